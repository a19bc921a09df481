"""Who evaluates networks: the tasks they get, what comes of them, the driver as its own worker."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from nas.arch import Architecture
from nas.errors import NasError, RunError, UsageError
from nas.files import one_line
from nas.objectives import check_shares
from nas.study.evaluator import Evaluator
from nas.trial import Metrics, check_metrics

__all__ = ["Finished", "Judge", "Measured", "Serial", "Task", "Workers", "measure"]

LONGEST_REASON = 300

Judge = Callable[[int, int, Metrics], bool]
"""Whether a training goes on: of a trial's number, the parts that are done, and its scores."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One network to evaluate."""

    number: int
    """The trial's; that of a longer training is no trial's."""
    network: Architecture
    seed: int
    """Of the evaluation, 0 to 2^32 - 1."""
    factor: int = 1
    """How many times the evaluator's own schedule, see `Evaluator.longer`."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What came of a task."""

    metrics: Metrics = field(default_factory=dict)
    """Empty if there is a reason."""
    reason: str = ""
    """Why there are no metrics, in one line."""
    stopped: bool = False
    """Whether the evaluation was given up before its end."""
    seconds: float = 0.0
    """Time that it took."""
    curve: tuple[Metrics, ...] = ()
    """The scores after each part; empty if the evaluation was not followed."""


Finished = tuple[int, Measured]
"""A trial's number, and what came of its task."""


class Workers(Protocol):
    """Takes up to ``slots`` tasks at a time and gives back what came of them, in any order."""

    slots: int

    def submit(self, task: Task) -> None:
        """Take on a task; there is a free slot."""

    def wait(self, judge: Judge | None, seconds: float | None = None) -> list[Finished]:
        """What has ended. Waits for the first to end, for at most ``seconds``.

        ``judge``: asked after each part of an evaluation; None lets all go on.
        """


class Serial:
    """The driver itself, one network at a time."""

    slots = 1

    def __init__(
        self, evaluator: Evaluator, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._evaluator, self._clock = evaluator, clock
        self._task: Task | None = None

    def submit(self, task: Task) -> None:
        """See `Workers`."""
        self._task = task

    def wait(self, judge: Judge | None, seconds: float | None = None) -> list[Finished]:
        """See `Workers`."""
        task, self._task = self._task, None
        if task is None:
            return []
        return [(task.number, measure(self._evaluator, task, judge, clock=self._clock))]


class _GivenUpError(Exception):
    """Ends an evaluation from inside."""


def measure(
    evaluator: Evaluator,
    task: Task,
    judge: Judge | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Measured:
    """Evaluate here.

    Whatever the network does wrong is a reason. `UsageError` and `RunError` are not its fault, so
    they are raised.
    """
    start = clock()
    curve: list[Metrics] = []
    metrics: Metrics = {}
    reason, stopped = "", False
    try:
        metrics = _metrics(evaluator, task, judge, curve)
    except _GivenUpError:
        reason, stopped = f"stopped early after part {len(curve)}", True
    # Before NasError, which they are, too.
    except (UsageError, RunError):
        raise
    except MemoryError as error:
        # Python's own says nothing.
        reason = one_line(error, LONGEST_REASON) or "out of memory"
    except NasError as error:
        reason = one_line(error, LONGEST_REASON)
    except Exception as error:
        # A network that breaks the evaluator is a failed trial, not the end of a run.
        reason = f"{type(error).__name__}: {one_line(error, LONGEST_REASON)}"
    return Measured(
        metrics=metrics,
        reason=reason,
        stopped=stopped,
        seconds=clock() - start,
        curve=tuple(curve),
    )


def _metrics(
    evaluator: Evaluator, task: Task, judge: Judge | None, curve: list[Metrics]
) -> Metrics:
    """The task's metrics, checked. Adds the scores after each part to ``curve``."""
    if task.factor != 1:
        evaluator = evaluator.longer(task.factor)
    if judge is None:
        # Checked here: an accuracy in percent fails this trial, and not every later reading.
        return check_shares(check_metrics(evaluator.evaluate(task.network, task.seed)))

    def on_part(scores: Metrics) -> None:
        # A copy: the evaluator may go on with its own.
        curve.append(dict(check_shares(scores)))
        if not judge(task.number, len(curve), scores):
            raise _GivenUpError

    metrics = evaluator.evaluate_in_parts(task.network, task.seed, on_part)
    return check_shares(check_metrics(metrics))
