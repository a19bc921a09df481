"""Bayesian optimisation inside trust regions of genes that grow with success and shrink with failure.

TuRBO-m, Eriksson et al. 2019, https://arxiv.org/abs/1910.01739, with the Hamming regions of
CASMOPOLITAN, Wan et al. 2021, https://arxiv.org/abs/2102.07188, and the Gaussian process of the
strategy `gp` over all networks told. Limits count as in SCBO, https://arxiv.org/abs/2002.08526;
with several objectives a region is centred as in MORBO, Daulton et al. 2022,
https://arxiv.org/abs/2109.10964.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nas.domain import Domain
from nas.errors import UsageError
from nas.pareto import front, hypervolume
from nas.strategies._surrogate import Model, Value
from nas.strategies.base import Proposal, rng
from nas.strategies.gp import DRAWS, GaussianProcess
from nas.trial import Genes, Trial

__all__ = ["TrustRegion", "strategy"]

# CASMOPOLITAN, appendix: lengths in genes.
FIRST, LONGEST, SHORTEST = 20, 30, 1
FACTOR = 1.5
SUCCESSES = 3
FAILURES = 40
LEAST_GAIN = 1e-3


@dataclass
class Region:
    """``length``: genes that a proposal may differ in from the centre; streaks count trials told."""

    number: int
    length: float
    best: tuple[float, ...] | None = None
    successes: int = 0
    failures: int = 0
    members: set[Genes] = field(default_factory=set)

    def count(self, gained: bool, tolerance: int) -> None:
        """One more trial: three successes in a row widen, so many failures in a row shrink."""
        self.successes, self.failures = (
            (self.successes + 1, 0) if gained else (0, self.failures + 1)
        )
        if self.successes == SUCCESSES:
            self.length, self.successes = min(self.length * FACTOR, LONGEST), 0
        elif self.failures == tolerance:
            self.length, self.failures = self.length / FACTOR, 0


class TrustRegion(GaussianProcess):
    """Proposes what is worth most within so many genes of the centre of any of the ``regions``.

    A centre is the region's network with the best posterior mean; with several objectives the one
    that adds most to the hypervolume. The note carries the region's number. Where a region has
    shrunk to nothing another begins around the network that is worth most anywhere; each of the
    ``warm`` networks may have a region of its own.
    """

    def __init__(
        self,
        domain: Domain,
        *,
        seed: int,
        objectives: int = 1,
        initial: int = 10,
        warm: str = "",
        limit: str = "",
        regions: int = 1,
        failures: int = FAILURES,
    ) -> None:
        super().__init__(
            domain, seed=seed, objectives=objectives, initial=initial, warm=warm, limit=limit
        )
        if regions < 1 or failures < 1:
            raise UsageError(
                f"trust-region needs at least 1 region and 1 failure, not {regions} and {failures}"
            )
        self.tolerance = failures
        self.begun = 0
        self.regions = [self._new() for _ in range(regions)]

    def _new(self) -> Region:
        self.begun += 1
        return Region(self.begun - 1, float(min(FIRST, len(self.domain.space.gene_sizes))))

    def tell(self, trial: Trial) -> None:
        """See `Strategy`."""
        started = len(self.history.losses) >= self.initial
        super().tell(trial)
        number = int(trial.note.get("region", 0))
        for place, region in enumerate(self.regions):
            if region.number == number:
                gained = trial.state == "complete" and self._joins(region, trial)
                if started:
                    region.count(gained, self.tolerance)
                if region.length < SHORTEST:
                    self.regions[place] = self._new()

    def _joins(self, region: Region, trial: Trial) -> bool:
        """Take a complete trial in; whether it is the first to keep the limits, or better than all before."""
        key, best = self.history.canonical(trial.genes), region.best
        region.members.add(key)
        if any(
            value > most
            for value, most in zip(self.metrics[key], self.limits.values(), strict=True)
        ):
            return False
        gained = best is None or any(
            new < old - LEAST_GAIN * abs(old) for new, old in zip(trial.losses, best, strict=True)
        )
        region.best = trial.losses if best is None else tuple(map(min, best, trial.losses))
        return gained

    def ask(self, number: int, pending: Sequence[Proposal] = ()) -> Proposal:
        """See `Strategy`."""
        generator = rng(self.seed, "ask", number)
        if len(self.history.losses) < self.initial:
            place = number % len(self.regions)
            return Proposal(self.first(generator, pending), {"region": self.regions[place].number})
        value = self.model().expect(sorted(self.history.taken(pending)), generator)
        centres = {region.number: self._centre(region, value.model) for region in self.regions}
        waiting = {int(proposal.note.get("region", -1)) for proposal in pending}
        for begun, centre in centres.items():
            if centre is None and begun not in waiting:
                return Proposal(self._afresh(value, generator, pending), {"region": begun})
        return self._within(
            value, {n: c for n, c in centres.items() if c is not None}, generator, pending
        )

    def _within(
        self, value: Value, centres: dict[int, NDArray[np.int64]], generator: np.random.Generator,
        pending: Sequence[Proposal],
    ) -> Proposal:  # fmt: skip
        lengths = [region.length for region in self.regions if region.number in centres]

        def distances(genes: NDArray[np.int64]) -> NDArray[np.int64]:
            return np.stack([(genes != centre).sum(axis=1) for centre in centres.values()], axis=1)

        def near(genes: NDArray[np.int64]) -> NDArray[np.bool_]:
            return np.asarray((distances(genes) <= lengths).any(axis=1))

        found = self.best_unseen(value, near, generator, pending) if centres else None
        genes = found or self._afresh(value, generator, pending)
        if not centres:
            return Proposal(genes, {"region": self.regions[0].number})
        return Proposal(
            genes,
            {"region": list(centres)[int((distances(np.array([genes]))[0] - lengths).argmin())]},
        )

    def _centre(self, region: Region, model: Model) -> NDArray[np.int64] | None:
        """None where no network of the region has been told of yet."""
        ranked = [int(place) for place in model.rank(model.means, np.ones(self.objectives))]
        members = [place for place in ranked if model.keys[place] in region.members]
        if not members:
            return None
        best = members[0]
        if self.objectives > 1:
            best = max(
                members,
                key=dict(zip(ranked, _contributions(model, ranked), strict=True)).__getitem__,
            )
        return np.array(model.keys[best])

    def _afresh(
        self, value: Value, generator: np.random.Generator, pending: Sequence[Proposal]
    ) -> Genes:
        """Of random networks, the one that is worth most."""
        drawn = self.domain.sample_many(DRAWS, generator)
        found = self.history.unseen(drawn[np.argsort(-value(drawn), kind="stable")], pending)
        return found or self.history.draw(generator, pending)


def _contributions(model: Model, places: Sequence[int]) -> list[float]:
    """What each network adds to the hypervolume of the posterior means of all of them; 0 off the front."""
    losses = model.means[list(places), : model.objectives]
    kept = model.excess(model.means[list(places)]) == 0
    edge = np.flatnonzero(kept)[front(losses[kept])]
    corner = losses.max(axis=0) + 1e-9
    whole = hypervolume(losses[edge], corner)
    lost = {int(place): whole - hypervolume(losses[edge[edge != place]], corner) for place in edge}
    return [lost.get(i, 0.0) for i in range(len(places))]


strategy = TrustRegion
