"""Progress of long work on stderr: a live line on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import click

from nas.study.study import Preparing, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

__all__ = ["Live", "duration"]

LOG_EVERY_SECONDS = 10.0


def duration(seconds: float) -> str:
    """``41 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Live:
    """Shows a study's progress. Use as a context around the study, with `watch` as its callback."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._terminal = not quiet and sys.stderr.isatty()
        self._bar: Bar | None = None
        self._logged = 0.0

    def lines(self, lines: Sequence[str]) -> None:
        """Say what will be done."""
        if not self.quiet:
            click.echo("\n".join(lines) + "\n", err=True)

    def __enter__(self) -> "Live":
        if self._terminal:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as RichProgress
            from rich.table import Column

            # A narrow terminal wraps the text, and nothing is cut.
            count, text = Column(no_wrap=True), Column(no_wrap=False)
            self._bar = RichProgress(
                BarColumn(12), MofNCompleteColumn(table_column=count), TextColumn("{task.description}", table_column=text),
                console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._task = self._bar.add_task("starting", total=None)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def watch(self, progress: Progress) -> None:
        """Take in one step."""
        text = self._text(progress)
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=progress.evaluated,
                total=progress.planned,
                description=f"trials  {text}",
            )
        elif not self.quiet and self._due(progress):
            planned = "?" if progress.planned is None else progress.planned
            click.echo(f"trial {progress.evaluated}/{planned}  {text}", err=True)

    def prepare(self, preparing: Preparing) -> None:
        """Take in where the work before the first trial stands."""
        figures = "  ".join(f"{name} {value:.4g}" for name, value in preparing.figures.items())
        text = f"{figures}  {duration(preparing.eta_seconds)} left"
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=preparing.done,
                total=preparing.steps,
                description=f"{preparing.what}  {text}",
            )
        elif not self.quiet and (self._passed() or preparing.done == preparing.steps):
            click.echo(f"{preparing.what} {preparing.done}/{preparing.steps}  {text}", err=True)

    def step(self, text: str) -> None:
        """Say where work other than a study's stands, in a line of its own."""
        if not self.quiet:
            click.echo(text, err=True)

    def _due(self, progress: Progress) -> bool:
        return (
            self._passed() or progress.evaluated == progress.planned
        ) and progress.trial is not None

    def _passed(self) -> bool:
        """Whether the last line in a log is long enough ago; if so, the next one is due from now."""
        now = time.monotonic()
        if now - self._logged < LOG_EVERY_SECONDS:
            return False
        self._logged = now
        return True

    def _text(self, progress: Progress) -> str:
        left = (
            "measuring"
            if progress.eta_seconds is None
            else f"{duration(progress.eta_seconds)} left"
        )
        best = "none yet" if progress.best is None else f"{progress.best:.4f}"
        return (
            f"best {best}  front {progress.front_size}  hypervolume {progress.hypervolume:.4f}  "
            f"{duration(progress.seconds)} gone, {left}"
        )
