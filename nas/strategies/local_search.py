"""Local search: from the best network to one of its neighbours that differs in one gene.

White et al. 2021, Exploring the Loss Landscape in Neural Architecture Search,
https://arxiv.org/abs/2005.02960, with the first neighbour that improves instead of the best one.
"""

from collections.abc import Sequence

import numpy as np

from nas.domain import Domain
from nas.strategies._history import History
from nas.strategies.base import Proposal, Strategy, rng
from nas.trial import Genes, Trial

__all__ = ["LocalSearch", "strategy"]

FRONT_STARTS = 8
FRONT_CENTRES = 32


class LocalSearch(Strategy):
    """Hill climbing with random restarts; several objectives are weighed anew for every proposal.

    One objective: a climb starts at a random network and visits neighbours of its best in random
    order. It moves on to known better ones and tries the unseen ones. When none is left a new
    climb begins. The note carries the climb's number. Several objectives: after a few random
    networks, each proposal is a neighbour of the network that is best under random weights, so that
    the whole front moves.
    """

    def __init__(self, domain: Domain, *, seed: int, objectives: int = 1) -> None:
        self.domain, self.seed, self.objectives = domain, seed, objectives
        self.history = History(domain)
        self.climb = 0
        self.centres: dict[int, Genes] = {}

    def ask(self, number: int, pending: Sequence[Proposal] = ()) -> Proposal:
        """See `Strategy`."""
        generator = rng(self.seed, "ask", number)
        if self.objectives > 1:
            return Proposal(self._ask_front(generator, pending))
        climb = max([self.climb, *(int(p.note.get("climb", 0)) for p in pending)])
        if climb in self.centres:
            unseen = self._uphill(self.centres[climb], generator, pending)
            if unseen is not None:
                return Proposal(unseen, {"climb": climb})
            climb += 1
        return Proposal(self.history.draw(generator, pending), {"climb": climb})

    def _uphill(
        self, centre: Genes, generator: np.random.Generator, pending: Sequence[Proposal]
    ) -> Genes | None:
        """An unseen neighbour of the centre, or of a better network that it leads to.

        None if the climb has come to a summit.
        """
        losses, taken = self.history.losses, self.history.taken(pending)
        while True:
            here = centre
            neighbours = self.domain.neighbours(self.history.genes[here])
            for genes in map(tuple, generator.permutation(neighbours).tolist()):
                key = self.history.canonical(genes)
                if key not in taken and key not in self.history.genes:
                    return genes
                if key in losses and losses[key] < losses[here]:
                    centre = key
                    break
            if centre == here:
                return None

    def _ask_front(self, generator: np.random.Generator, pending: Sequence[Proposal]) -> Genes:
        """An unseen neighbour of one of the best networks under random weights."""
        if len(self.history.losses) < FRONT_STARTS:
            return self.history.draw(generator, pending)
        weights = generator.dirichlet(np.ones(self.objectives))
        for key in self.history.order(weights)[:FRONT_CENTRES]:
            centre = self.history.genes[key]
            unseen = self.history.unseen_neighbour(centre, generator, pending)
            if unseen is not None:
                return unseen
        return self.history.draw(generator, pending)

    def tell(self, trial: Trial) -> None:
        """See `Strategy`."""
        key = self.history.tell(trial)
        climb = int(trial.note.get("climb", 0))
        self.climb = max(self.climb, climb)
        if trial.state != "complete":
            return
        centre = self.centres.setdefault(climb, key)
        if self.history.losses[key] < self.history.losses[centre]:
            self.centres[climb] = key

    def recommend(self) -> Genes:
        """The best network on average over its evaluations; a random one before any is complete."""
        return self.history.best() or self.history.draw(rng(self.seed, "recommend", 0))


strategy = LocalSearch
