"""The contract of a strategy."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.statistics import rng
from nas.trial import Genes, Trial

__all__ = ["Proposal", "Strategy", "rng"]


@dataclass(frozen=True)
class Proposal:
    """Genes to evaluate, and a small JSON note that comes back with the trial."""

    genes: Genes
    note: Mapping[str, Any] = field(default_factory=dict)


class Strategy(ABC):
    """Proposes genes inside a domain, learns from trials, names its best network.

    A proposal is a pure function of the constructor's arguments, the sequence of trials told, the
    trial's number and the proposals still pending. What cannot be rebuilt from genes alone (a
    log-probability, a region) travels in the proposal's note and comes back with the trial. So a
    killed study resumes by telling a new strategy its record.
    """

    draws_version: int = 1
    """Raised whenever the same arguments and trials would give other proposals than before."""

    @abstractmethod
    def ask(self, number: int, pending: Sequence[Proposal] = ()) -> Proposal:
        """Propose the network to evaluate as trial ``number``. Learns nothing."""

    def adopt(
        self, genes: Genes, number: int, pending: Sequence[Proposal] = ()
    ) -> Mapping[str, Any]:
        """The note by which it learns from a network that it did not choose, asked as this trial.

        Learns nothing. Empty, unless the strategy cannot learn from a trial without a note.
        """
        return {}

    @abstractmethod
    def tell(self, trial: Trial) -> None:
        """Learn from one trial, complete, infeasible, failed or stopped."""

    def snapshot(self) -> bytes | None:
        """All that was learnt so far; None if telling the trials again is cheap."""
        return None

    def restore(self, snapshot: bytes, told: Sequence[Trial]) -> None:
        """Become, bit for bit, the strategy that gave the snapshot after these trials.

        Called on a new strategy.
        """
        raise NotImplementedError

    def doing(self) -> str:
        """What its next proposals are made from, in a few words for people; empty: not told."""
        return ""

    @abstractmethod
    def recommend(self) -> Genes:
        """The network it would bet on, given noise: not merely the luckiest one told."""
