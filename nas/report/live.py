"""Progress of long work on stderr: a live line on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import click

from nas.progress import Progress
from nas.trial import Trial

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

__all__ = ["LOG_EVERY_SECONDS", "Live", "duration"]

LOG_EVERY_SECONDS = 10.0
SOON_SECONDS = 2.0
"""Of what ends sooner, nothing is said."""


def duration(seconds: float) -> str:
    """``41 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Live:
    """Shows where a long job stands. Use as a context around the job.

    `watch` follows a study, `prepare` what is done before its first trial.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._terminal = not quiet and sys.stderr.isatty()
        self._bar: Bar | None = None
        # So long ago that the first line of a log is due at once.
        self._logged = 0.0

    def lines(self, lines: Sequence[str]) -> None:
        """Say what will be done."""
        if not self.quiet:
            click.echo("\n".join(lines) + "\n", err=True)

    def __enter__(self) -> "Live":
        if self._terminal:
            self._bar = _new_bar()
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

    def watch(self, progress: Progress[Trial]) -> None:
        """Show a study's progress; a log gets no line before the first trial."""
        # The rungs of a race call themselves something else.
        unit = "trial" if progress.what == "trials" else progress.what
        self._show(progress, _study_text(progress), unit, loggable=progress.last is not None)

    def prepare(self, progress: Progress[object]) -> None:
        """Show where the work before the first trial stands."""
        self._show(progress, _preparing_text(progress), progress.what)

    def read(self, progress: Progress[object]) -> None:
        """Show where the reading of data stands, if it takes long; before the context."""
        if progress.seconds > SOON_SECONDS:
            self._show(progress, _preparing_text(progress).lstrip(), progress.what)

    def step(self, text: str) -> None:
        """Say where other work stands, in a line of its own."""
        if not self.quiet:
            click.echo(text, err=True)

    def _show(
        self, progress: Progress[object], text: str, unit: str, *, loggable: bool = True
    ) -> None:
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=progress.done,
                total=progress.planned,
                description=f"{progress.what}  {text}",
            )
            return
        due = self._is_overdue() or progress.done == progress.planned
        if due and loggable and not self.quiet:
            planned = "?" if progress.planned is None else progress.planned
            click.echo(f"{unit} {progress.done}/{planned}  {text}", err=True)

    def _is_overdue(self) -> bool:
        """Whether a log has had no line for long; the time until the next begins then."""
        now = time.monotonic()
        if now - self._logged < LOG_EVERY_SECONDS:
            return False
        self._logged = now
        return True


def _new_bar() -> "Bar":
    # Here, as a log or --json needs no rich, and --help must be instant.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as RichProgress
    from rich.table import Column

    # A narrow terminal wraps the text, and nothing is cut.
    count = MofNCompleteColumn(table_column=Column(no_wrap=True))
    text = TextColumn("{task.description}", table_column=Column(no_wrap=False))
    # Standard output is for what is asked for, such as --json.
    console = Console(stderr=True)
    return RichProgress(BarColumn(12), count, text, console=console, transient=True)


def _study_text(progress: Progress[Trial]) -> str:
    figures = progress.figures
    best = f"{figures['best']:.4f}" if "best" in figures else "none yet"
    left = "measuring"
    if progress.eta_seconds is not None:
        left = f"{duration(progress.eta_seconds)} left"
    volume = ""
    # There is none where an objective has no worst value.
    if "hypervolume" in figures:
        volume = f"hypervolume {figures['hypervolume']:.4f}  "
    return (
        f"best {best}  front {figures['front']:g}  {volume}"
        f"{duration(progress.seconds)} gone, {left}"
    )


def _preparing_text(progress: Progress[object]) -> str:
    figures = "  ".join(f"{name} {value:.4g}" for name, value in progress.figures.items())
    return f"{figures}  {duration(progress.eta_seconds or 0.0)} left"
