"""What a strategy was told, by network: two gene tuples may describe one."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nas.domain import Domain
from nas.strategies.base import Proposal, rng
from nas.trial import Genes, Trial

__all__ = ["History"]

DRAWS = 1024
LISTED = 1 << 13
"""Spaces of at most so many gene tuples are searched to the last network."""


class History:
    """Networks told, by canonical genes, and the mean losses of repeated evaluations."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.genes: dict[Genes, Genes] = {}
        """Canonical genes of every network told, in order, with the genes first told for them."""
        self.losses: dict[Genes, tuple[float, ...]] = {}
        """Mean losses by canonical genes, of complete trials only."""
        self._counts: dict[Genes, int] = {}
        self._canonical: dict[Genes, Genes] = {}

    def canonical(self, genes: Genes) -> Genes:
        """The least genes that describe the same network, remembered."""
        if genes not in self._canonical:
            self._canonical[genes] = self.domain.canonical(genes)
        return self._canonical[genes]

    def tell(self, trial: Trial) -> Genes:
        """Remember a trial; its canonical genes."""
        key = self.canonical(trial.genes)
        self.genes.setdefault(key, trial.genes)
        if trial.state == "complete":
            count = self._counts.get(key, 0) + 1
            self._counts[key] = count
            means = self.losses.get(key, trial.losses)
            both = zip(means, trial.losses, strict=True)
            # A running mean: what all evaluations were is not kept.
            self.losses[key] = tuple(mean + (loss - mean) / count for mean, loss in both)
        return key

    def taken(self, pending: Sequence[Proposal]) -> set[Genes]:
        """Canonical genes of the proposals still pending."""
        return {self.canonical(proposal.genes) for proposal in pending}

    def unseen(self, candidates: NDArray[np.int64], pending: Sequence[Proposal]) -> Genes | None:
        """candidates: (n, number of choices). The first network neither told nor pending."""
        taken = self.taken(pending)
        for genes in map(tuple, candidates.tolist()):
            key = self.canonical(genes)
            if key not in self.genes and key not in taken:
                return genes
        return None

    def unseen_neighbour(
        self, genes: Genes, generator: np.random.Generator, pending: Sequence[Proposal]
    ) -> Genes | None:
        """A random neighbour that was neither told nor is pending."""
        neighbours = self.domain.neighbours(genes)
        return self.unseen(generator.permutation(neighbours), pending)

    def draw(self, generator: np.random.Generator, pending: Sequence[Proposal] = ()) -> Genes:
        """An unseen network, uniform over gene tuples inside the bounds.

        One seen before if `DRAWS` draws find none, and the space is exhausted or too large to list.
        """
        tried = 0
        while tried < DRAWS:
            # As many again each time: the first few nearly always hold an unseen one.
            drawn = self.domain.sample_many(max(8, tried), generator)
            unseen = self.unseen(drawn, pending)
            if unseen is not None:
                return unseen
            tried += len(drawn)
        if self.domain.space.cardinality <= LISTED:
            unseen = self.unseen(generator.permutation(self._every()), pending)
        if unseen is not None:
            return unseen
        return tuple(map(int, drawn[0]))

    def _every(self) -> NDArray[np.int64]:
        """All gene tuples inside the bounds: (n, number of choices)."""
        options = map(range, self.domain.space.gene_sizes)
        every = np.array(list(product(*options)))
        return np.asarray(every[self.domain.inside(every)])

    def order(self, weights: NDArray[np.float64], among: Sequence[Genes] = ()) -> list[Genes]:
        """Canonical genes of complete trials, best first: of ``among``, or of all.

        Several objectives are weighed by the augmented Chebyshev distance to the best of each, in
        units of the range told (Knowles 2006, ParEGO, https://doi.org/10.1109/TEVC.2005.851274,
        equation 2).
        """
        keys = list(among or self.losses)
        losses = np.array([self.losses[key] for key in keys])
        low = losses.min(axis=0)
        high = losses.max(axis=0)
        weighed = weights * (losses - low) / np.where(high > low, high - low, 1)
        # ParEGO's rho: without the small sum a network ties with one that is better elsewhere.
        distances = weighed.max(axis=1) + 0.05 * weighed.sum(axis=1)
        # Stable: equal networks stay in the order told, on every machine.
        return [keys[i] for i in np.argsort(distances, kind="stable")]

    def best(self) -> Genes | None:
        """Genes of the best network on average over its evaluations, objectives weighed equally.

        Tried and dropped on NAS-Bench-Macro, 60 seeds, 100 evaluations of local search: the best
        posterior mean of a Gaussian process over the genes. With one noisy training per network it
        recommends no better (regret .135 against .135 points), without noise worse (.061 against
        .023).
        """
        if not self.losses:
            return None
        objectives = len(next(iter(self.losses.values())))
        return self.genes[self.order(np.ones(objectives))[0]]

    def recommend(self, seed: int) -> Genes:
        """The best network on average over its evaluations; a random one before any is complete."""
        best = self.best()
        return self.draw(rng(seed, "recommend", 0)) if best is None else best
