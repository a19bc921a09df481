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
"""Random networks before the front's neighbours are tried."""
FRONT_CENTRES = 32
"""Best networks under the weights whose neighbours are looked through for an unseen one."""


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
        climb = self._latest_climb(pending)
        if climb in self.centres:
            unseen = self._uphill(self.centres[climb], generator, pending)
            if unseen is not None:
                return Proposal(unseen, {"climb": climb})
            climb += 1
        return Proposal(self.history.draw(generator, pending), {"climb": climb})

    def _latest_climb(self, pending: Sequence[Proposal]) -> int:
        """The number of the climb begun last; its first network may still be pending."""
        begun = [int(proposal.note.get("climb", 0)) for proposal in pending]
        return max([self.climb, *begun])

    def _uphill(
        self, centre: Genes, generator: np.random.Generator, pending: Sequence[Proposal]
    ) -> Genes | None:
        """An unseen neighbour of the centre, or of a better network that it leads to.

        None if the climb has come to a summit.
        """
        while True:
            unseen, better = self._first_step(centre, generator, pending)
            if unseen is not None:
                return unseen
            if better is None:
                return None
            centre = better  # losses fall strictly, so the climb ends

    def _first_step(
        self, centre: Genes, generator: np.random.Generator, pending: Sequence[Proposal]
    ) -> tuple[Genes | None, Genes | None]:
        """Of the neighbours in random order, the first that is unseen or better than the centre.

        Genes of an unseen one, or canonical genes of a better one; both None at a summit.
        """
        losses, taken = self.history.losses, self.history.taken(pending)
        neighbours = self.domain.neighbours(self.history.genes[centre])
        for genes in map(tuple, generator.permutation(neighbours).tolist()):
            key = self.history.canonical(genes)
            if key not in taken and key not in self.history.genes:
                return genes, None
            if key in losses and losses[key] < losses[centre]:
                return None, key
        return None, None

    def _ask_front(self, generator: np.random.Generator, pending: Sequence[Proposal]) -> Genes:
        """An unseen neighbour of one of the best networks under random weights."""
        if len(self.history.losses) < FRONT_STARTS:
            return self.history.draw(generator, pending)
        # Under fixed weights only one part of the front would be climbed.
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
        # The first complete network of a climb is its centre, whatever it is worth.
        centre = self.centres.setdefault(climb, key)
        if self.history.losses[key] < self.history.losses[centre]:
            self.centres[climb] = key

    def doing(self) -> str:
        """See `Strategy`."""
        if self.objectives > 1:
            return "looks beside the front"
        return f"climb {self.climb + 1}"

    def recommend(self) -> Genes:
        """See `History.recommend`."""
        return self.history.recommend(self.seed)


strategy = LocalSearch
