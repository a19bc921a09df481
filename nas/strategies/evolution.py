"""Regularized (ageing) evolution.

Real et al. 2019, Regularized Evolution for Image Classifier Architecture Search,
https://arxiv.org/abs/1802.01548, algorithm 1; population 100 and sample 25 as in its section 4.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np

from nas.domain import Domain
from nas.errors import UsageError
from nas.strategies._history import History
from nas.strategies.base import Proposal, Strategy, rng
from nas.trial import Genes, Trial

__all__ = ["Evolution", "strategy"]


class Evolution(Strategy):
    """Mutates one gene of the best of a random sample of the population: the networks told last.

    Unlike the paper it never repeats a network while an unseen one is near, and several objectives
    are weighed anew for every proposal.
    """

    def __init__(
        self,
        domain: Domain,
        *,
        seed: int,
        objectives: int = 1,
        population: int = 100,
        sample: int = 25,
    ) -> None:
        if not 1 <= sample <= population:
            raise UsageError(
                f"evolution needs 1 <= sample <= population, not sample {sample} of {population}"
            )
        self.domain, self.seed, self.objectives = domain, seed, objectives
        self.sample = sample
        self.history = History(domain)
        self.population: deque[Genes] = deque(maxlen=population)

    def ask(self, number: int, pending: Sequence[Proposal] = ()) -> Proposal:
        """See `Strategy`."""
        generator = rng(self.seed, "ask", number)
        # Algorithm 1 fills the population with random networks before it mutates any.
        if len(self.population) == self.population.maxlen:
            parent = self._parent(generator)
            child = self.history.unseen_neighbour(self.history.genes[parent], generator, pending)
            if child is not None:
                return Proposal(child)
        return Proposal(self.history.draw(generator, pending))

    def _parent(self, generator: np.random.Generator) -> Genes:
        """The best of the sample; several objectives are weighed at random."""
        # With replacement: in algorithm 1 an element that is drawn stays in the population.
        drawn = generator.integers(len(self.population), size=self.sample)
        weights = generator.dirichlet(np.ones(self.objectives))
        return self.history.order(weights, [self.population[i] for i in drawn])[0]

    def tell(self, trial: Trial) -> None:
        """See `Strategy`."""
        key = self.history.tell(trial)
        if trial.state == "complete":
            # The oldest falls out at the other end of the deque: that is the ageing.
            self.population.append(key)

    def doing(self) -> str:
        """See `Strategy`."""
        size, most = len(self.population), self.population.maxlen
        if size == most:
            return f"mutates the best of {self.sample} drawn of its population of {size}"
        return f"fills its population at random, {size} of {most}"

    def recommend(self) -> Genes:
        """See `History.recommend`."""
        return self.history.recommend(self.seed)


strategy = Evolution
