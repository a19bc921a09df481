"""What the trials of a study add up to: counts, times, the front and the best."""

import math
from bisect import insort
from collections.abc import Sequence
from statistics import median

from nas.objectives import Objectives
from nas.pareto import RunningFront
from nas.trial import Trial

__all__ = ["ANSWERS_IN_A_ROW", "FAILURES_IN_A_ROW", "Tally"]

FAILURES_IN_A_ROW = 10
"""So many are no accident: something is wrong with the data or the machine."""
ANSWERS_IN_A_ROW = 200
"""After so many proposals that needed no evaluation a strategy has seen its space."""


class Tally:
    """Counts trials as they are told.

    ``reference``: the worst loss in each objective; empty if they are not known, and then there is
    no hypervolume.
    """

    def __init__(self, objectives: Objectives, reference: Sequence[float]) -> None:
        self._objectives = objectives
        self._has_volume = bool(reference)
        ones = [1.0] * len(objectives.each)
        # Losses are divided by the reference, so that the hypervolume is a share.
        self._reference = reference or ones
        self._front = RunningFront(ones)
        self.best: Trial | None = None
        """The best in the first objective; None before a trial is complete."""
        self._least = math.inf
        self._failed = 0
        self._of_network: dict[str, list[Trial]] = {}
        self._seconds: list[float] = []  # in order: a median of many is soon found
        self._failures_in_a_row = self._answers_in_a_row = 0

    @property
    def evaluated(self) -> int:
        """Evaluations of this driver, failed ones included."""
        return len(self._seconds)

    @property
    def typical_seconds(self) -> float | None:
        """The median time of an evaluation; None before the first."""
        return median(self._seconds) if self._seconds else None

    @property
    def failing(self) -> bool:
        """Whether the last evaluations have all failed."""
        return self._failures_in_a_row >= FAILURES_IN_A_ROW

    @property
    def exhausted(self) -> bool:
        """Whether the last proposals were all answered without an evaluation."""
        return self._answers_in_a_row >= ANSWERS_IN_A_ROW

    def of_network(self, digest: str) -> Sequence[Trial]:
        """The evaluations of a network, in the order they were told."""
        return self._of_network.get(digest, ())

    def figures(self) -> dict[str, float]:
        """For people: ``front``, ``hypervolume``, and ``best`` once a trial is complete.

        ``front``: the number of trials on it. ``hypervolume``: a share, 0 to 1, as each loss is
        relative to the reference; left out without one. ``best``: the best value of the first
        objective. ``failed``: the number of evaluations that failed, if any did.
        """
        figures: dict[str, float] = {"front": len(self._front)}
        if self._has_volume:
            figures["hypervolume"] = self._front.hypervolume
        if self.best is not None:
            figures["best"] = self.best.metrics[self._objectives.names[0]]
        if self._failed:
            figures["failed"] = self._failed
        return figures

    def add_answer(self) -> None:
        """Count a proposal that was answered without an evaluation."""
        self._answers_in_a_row += 1

    def add_evaluation(self, trial: Trial, seconds: float) -> None:
        """Count an evaluation of this driver, which took so long."""
        failed = trial.state == "failed"
        self._failed += failed
        self._failures_in_a_row = self._failures_in_a_row + 1 if failed else 0
        insort(self._seconds, seconds)
        self.add_foreign(trial)

    def add_foreign(self, trial: Trial) -> None:
        """Count an evaluation of another driver."""
        self._answers_in_a_row = 0
        self._of_network.setdefault(trial.digest, []).append(trial)
        if trial.state != "complete":
            return
        losses = self._objectives.losses(trial.metrics)
        pairs = zip(losses, self._reference, strict=True)
        self._front.add([loss / worst for loss, worst in pairs])
        if losses[0] < self._least:
            self._least, self.best = losses[0], trial

    def renew_limits(self) -> None:
        """Give a run that was stopped by either limit, and is gone on with, the whole limit."""
        # A count below its limit stays: only a full one begins anew.
        self._failures_in_a_row %= FAILURES_IN_A_ROW
        self._answers_in_a_row %= ANSWERS_IN_A_ROW
