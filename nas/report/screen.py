"""Where a search stands, as a terminal shows it: redrawn in place, a row for each thing to know."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from nas.cost.metric import Metric
from nas.progress import Progress
from nas.report.axes import UNITS
from nas.study.progress import StudyProgress
from nas.trial import Trial
from nas.units import counted, duration

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

__all__ = ["Screen", "best_text", "figure_text"]


WIDEST = 100
"""Columns: a longer bar says no more."""


def figure_text(name: str, value: float) -> str:
    """A metric in a few words: ``accuracy 0.9597``, ``14.21 ms on pixel3``, ``params 1.9 M``."""
    metric = Metric.parse(name)
    if metric.is_latency:
        return f"{value:.2f} ms on {metric.device}"
    if name in UNITS:
        label, scale = UNITS[name]
        words, _, unit = label.rstrip(")").partition(" (")
        return f"{words} {value / scale:.4g} {unit}"
    return f"{name} {value:.4f}"


def best_text(trial: Trial, objectives: Sequence[str]) -> str:
    """The best network: its trial and what is optimised."""
    figures = [figure_text(name, trial.metrics[name]) for name in objectives]
    return "  ".join([f"trial {trial.number}", *figures])


class Screen:
    """What is drawn, anew at every refresh: times go on between two steps of the search."""

    def __init__(
        self, title: str, folder: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.title, self.folder = title, folder
        self.study: StudyProgress | None = None
        self._clock = clock
        self._step: Progress[object] | None = None
        self._since = clock()

    def stand(self, progress: StudyProgress) -> None:
        """The trials, or a rung, stand so from now on."""
        self.study, self._step, self._since = progress, None, self._clock()

    def step(self, progress: Progress[object]) -> None:
        """The work before the trials, or after them, stands so from now on."""
        self._step, self._since = progress, self._clock()

    def __rich_console__(
        self, console: "Console", options: "ConsoleOptions"
    ) -> "Iterator[RenderableType]":
        from rich.console import Group
        from rich.constrain import Constrain
        from rich.table import Table
        from rich.text import Text

        head = Table.grid(expand=True, padding=(0, 2))
        head.add_column(ratio=1)
        head.add_column(justify="right")
        head.add_row(Text(self.title, "bold"), Text(self.folder, "dim"))
        rows = Table.grid(padding=(0, 2, 0, 0), expand=True)
        rows.add_column(style="dim", no_wrap=True)
        rows.add_column(ratio=1)
        for name, shown in self._rows():
            rows.add_row(name, shown)
        yield Constrain(Group(head, rows), WIDEST)

    def _rows(self) -> "Iterator[tuple[str, RenderableType]]":
        if self._step is not None:
            yield self._step.what, _bar(self._step.done, self._step.planned)
        study = self.study
        if study is None:
            if self._step is None:
                yield "now", "begins"
            else:
                yield from self._timed(self._step, _figures(self._step))
            return
        for stage in study.stages:
            yield stage.name, _bar(stage.done, stage.planned)
        figures = study.figures
        best = "none yet" if study.best is None else best_text(study.best, study.objectives)
        yield "best", _bold(best)
        front = "none yet"
        if figures.get("front"):
            front = counted(int(figures["front"]), "network")
        # There is none where an objective has no worst value.
        if study.best is not None and "hypervolume" in figures:
            front += f", hypervolume {figures['hypervolume']:.4f}"
        if "failed" in figures:
            front += f"; {figures['failed']:g} failed"
        yield "front", front
        if study.recent:
            yield "last", _lines(_finished(trial, study.objectives) for trial in study.recent)
        if self._step is not None:
            yield from self._timed(self._step, _figures(self._step))
            return
        yield from self._timed(study, _doing(study))

    def _timed(
        self, progress: Progress[object], doing: str
    ) -> "Iterator[tuple[str, RenderableType]]":
        """What is being done, and the time: what has passed since the step counts."""
        if doing:
            yield "now", doing
        passed = self._clock() - self._since
        gone = f"{duration(progress.seconds + passed)} gone"
        if progress.eta_seconds is None:
            yield "time", f"{gone}, measuring what a network takes"
        else:
            left = max(0.0, progress.eta_seconds - passed)
            yield "time", f"{gone}, about {duration(left)} left"


def _bar(done: int, planned: int | None) -> "RenderableType":
    """A bar in the colour of a front, and the count; an empty bar where the plan is not known."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    bar = ProgressBar(
        total=max(planned or 0, 1),
        completed=0 if planned is None else done,
        complete_style="dark_orange3",
        finished_style="green4",
    )
    row = Table.grid(padding=(0, 2, 0, 0), expand=True)
    row.add_column(ratio=1)
    row.add_column(justify="right", min_width=9, no_wrap=True)
    row.add_row(bar, f"{done}/{'?' if planned is None else planned}")
    return row


def _bold(text: str) -> "RenderableType":
    from rich.text import Text

    return Text(text, "bold")


def _lines(lines: Iterator[str]) -> "RenderableType":
    from rich.text import Text

    # Without markup: a reason may hold brackets.
    return Text("\n".join(lines))


def _finished(trial: Trial, objectives: Sequence[str]) -> str:
    if trial.state != "complete":
        return f"trial {trial.number}  {trial.state}: {trial.reason}"
    text = best_text(trial, objectives)
    return f"{text}  (from {trial.warm})" if trial.warm else text


def _doing(study: StudyProgress) -> str:
    numbers = ", ".join(map(str, study.running))
    parts = []
    if study.running:
        many = "trials" if len(study.running) > 1 else "trial"
        parts.append(f"{many} {numbers} in training")
    if study.doing:
        parts.append(study.doing)
    return "; ".join(parts)


def _figures(progress: Progress[object]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in progress.figures.items())
