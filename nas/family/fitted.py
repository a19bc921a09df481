"""What a fit of coefficients found: candidates of one cost, compared by what they score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from nas.errors import TrainingError
from nas.family.member import Member
from nas.family.steps import Coefficients
from nas.statistics import Interval, paired_interval

__all__ = ["Fitted", "Lead", "Ranked"]


class Ranked(NamedTuple):
    """A candidate all of whose trainings succeeded."""

    coefficients: Coefficients
    member: Member
    accuracy: float
    """Mean over the seeds, on *selection*."""


class Lead(NamedTuple):
    """How far the winner is above the best candidate that grows one thing only."""

    over: str
    """What that candidate grows: ``depth``, ``width`` or ``resolution``."""
    mean: float
    interval: Interval | None
    """95 %, over seeds; None with fewer than two."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The trainings of all candidates."""

    candidates: Sequence[tuple[Coefficients, Member]]
    scores: Mapping[str, Sequence[float]]
    """Accuracy on *selection* by digest, one per seed; a failed training leaves none."""
    failed: Mapping[str, str]
    """By digest, the reason of a training that failed."""
    core_seconds: float
    step: float = 0.0
    """What one image of *selection* is worth."""

    @property
    def ranked(self) -> list[Ranked]:
        """Best first; of equal ones the smaller network."""
        ranked = [
            Ranked(coefficients, member, fmean(self.scores[member.network.digest]))
            for coefficients, member in self.candidates
            if self._whole(member)
        ]
        return sorted(ranked, key=lambda one: (-one.accuracy, one.member.network.params))

    def _whole(self, member: Member) -> bool:
        # The mean over fewer seeds than the others have would be compared with theirs.
        digest = member.network.digest
        return bool(self.scores.get(digest)) and digest not in self.failed

    @property
    def best(self) -> Ranked:
        """The candidate whose coefficients are kept. Raises `TrainingError` if all failed."""
        ranked = self.ranked
        if not ranked:
            reason = next(iter(self.failed.values()), "none was tried")
            raise TrainingError(f"no candidate could be trained: {reason}")
        return ranked[0]

    def lead(self) -> Lead | None:
        """The winner's lead over the best candidate that grows one thing only.

        None if the winner is such a one itself, or if there is none. The winner was chosen by these
        scores, so the lead flatters it.
        """
        winner = self.best
        pure = [one for one in self.ranked if one.coefficients.pure]
        if winner.coefficients.pure or not pure:
            return None
        other = pure[0]
        # Seed by seed: both trainings of a seed see the same order of images.
        differences = [
            own - its
            for own, its in zip(
                self.scores[winner.member.network.digest],
                self.scores[other.member.network.digest],
                strict=True,
            )
        ]
        interval = paired_interval(differences, self.step)
        return Lead(other.coefficients.pure, fmean(differences), interval)
