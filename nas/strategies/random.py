"""Random search: the control of every comparison."""

from collections.abc import Sequence

from nas.domain import Domain
from nas.strategies._history import History
from nas.strategies.base import Proposal, Strategy, rng
from nas.trial import Genes, Trial

__all__ = ["RandomSearch", "strategy"]


class RandomSearch(Strategy):
    """Uniform over gene tuples inside the bounds, without repeating a network."""

    def __init__(self, domain: Domain, *, seed: int, objectives: int = 1) -> None:
        self.seed = seed
        self.history = History(domain)

    def ask(self, number: int, pending: Sequence[Proposal] = ()) -> Proposal:
        """See `Strategy`."""
        return Proposal(self.history.draw(rng(self.seed, "ask", number), pending))

    def tell(self, trial: Trial) -> None:
        """See `Strategy`."""
        self.history.tell(trial)

    def doing(self) -> str:
        """See `Strategy`."""
        return "draws at random"

    def recommend(self) -> Genes:
        """The best network on average over its evaluations; a random one before any is complete."""
        return self.history.best() or self.history.draw(rng(self.seed, "recommend", 0))


strategy = RandomSearch
