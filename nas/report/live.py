"""Progress of long work on stderr: a live view on a terminal, a line now and then in a log."""

import os
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from nas.progress import Progress
from nas.report.screen import Screen
from nas.study.progress import StudyProgress
from nas.trial import Trial
from nas.units import duration

if TYPE_CHECKING:
    from rich.live import Live as Redrawn

__all__ = ["LOG_EVERY_SECONDS", "Live"]

LOG_EVERY_SECONDS = 10.0
SOON_SECONDS = 2.0
"""Of what ends sooner, nothing is said."""
REFRESHES_A_SECOND = 2
"""Drawing takes a few milliseconds of the process that trains."""


class Live:
    """Shows where a long job stands. Use as a context around the job.

    `watch` follows a study, `prepare` what is done before its first trial. A terminal gets a view
    that is redrawn in place, a notebook one line that is, and anything else a line now and then.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._terminal = not quiet and _redraws()
        self._line = None if quiet else _notebook_line()
        self._screen = Screen("", "")
        self._view: Redrawn | None = None
        # So long ago that the first line of a log is due at once.
        self._logged = 0.0
        self._told: tuple[str, int] | None = None

    def lines(self, lines: Sequence[str]) -> None:
        """Say what will be done."""
        if not self.quiet:
            click.echo("\n".join(lines) + "\n", err=True)

    def about(self, title: str, folder: object) -> "Live":
        """Say what the view is of."""
        self._screen.title, self._screen.folder = title, str(folder)
        return self

    def __enter__(self) -> "Live":
        if self._terminal:
            self._view = _new_view(self._screen)
            self._view.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._view is not None:
            self._view.stop()
            self._view = None

    def watch(self, progress: Progress[Trial]) -> None:
        """Show a study's progress; a log gets no line before the first trial."""
        if self._view is not None and isinstance(progress, StudyProgress):
            self._screen.stand(progress)
            return
        # The rungs of a race call themselves something else.
        unit = "trial" if progress.what == "trials" else progress.what
        self._show(progress, _study_text(progress), unit, loggable=progress.last is not None)

    def prepare(self, progress: Progress[object]) -> None:
        """Show where the work before the first trial stands."""
        if self._view is not None:
            self._screen.step(progress)
            return
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
        if self.quiet or not loggable:
            return
        planned = "?" if progress.planned is None else progress.planned
        line = f"{unit} {progress.done}/{planned}  {text}"
        if self._line is not None:
            self._line(line)
            return
        # A step is told once, also where it is heard of twice.
        place = (progress.what, progress.done)
        due = self._is_overdue() or progress.done == progress.planned
        if due and place != self._told:
            self._told = place
            click.echo(line, err=True)

    def _is_overdue(self) -> bool:
        """Whether a log has had no line for long; the time until the next begins then."""
        now = time.monotonic()
        if now - self._logged < LOG_EVERY_SECONDS:
            return False
        self._logged = now
        return True


def _redraws() -> bool:
    """Whether stderr is a terminal on which a view can be drawn again."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def _new_view(screen: Screen) -> "Redrawn":
    # Here, as a log or --json needs no rich, and --help must be instant.
    from rich.console import Console
    from rich.live import Live as RichLive

    # Standard output is for what is asked for, such as --json. rich itself obeys NO_COLOR.
    console = Console(stderr=True, highlight=False)
    return RichLive(
        screen,
        console=console,
        transient=True,
        refresh_per_second=REFRESHES_A_SECOND,
        redirect_stdout=False,
    )


def _notebook_line() -> Any:
    """Shows a line in place of the one before, in the output of a notebook's cell; else None."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    # IPython in a terminal has no kernel.
    if shell is None or not hasattr(shell, "kernel"):
        return None
    return _NotebookLine()


class _NotebookLine:
    """One line below a cell, updated."""

    def __init__(self) -> None:
        self._handle: Any = None

    def __call__(self, text: str) -> None:
        from IPython.display import display

        shown = {"text/plain": text}
        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)


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
