"""Bayesian optimisation inside trust regions that grow with success and shrink with failure.

TuRBO-m, Eriksson et al. 2019, https://arxiv.org/abs/1910.01739, with the Hamming regions of
CASMOPOLITAN, Wan et al. 2021, https://arxiv.org/abs/2102.07188, and the Gaussian process of the
strategy `gp` over all networks told. Limits count as in SCBO, https://arxiv.org/abs/2002.08526;
with several objectives a region is centred, and counts successes, as in MORBO, Daulton et al. 2022,
https://arxiv.org/abs/2109.10964.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nas.domain import Domain
from nas.errors import UsageError
from nas.pareto import front, hypervolume
from nas.strategies._earlier import Earlier
from nas.strategies._surrogate import Model
from nas.strategies.base import Proposal, rng
from nas.strategies.gp import DRAWS, Acquisition, GaussianProcess
from nas.trial import Genes, Trial
from nas.units import counted

__all__ = ["TrustRegion", "strategy"]

# CASMOPOLITAN, appendix: lengths in genes.
# Within 200 evaluations of 8 to 22 genes such a region seldom binds; fronts gain by it all the
# same (docs/strategies.md).
FIRST, LONGEST, SHORTEST = 20, 30, 1
FACTOR = 1.5
SUCCESSES = 3
FAILURES = 40
LEAST_GAIN = 1e-3
"""A smaller share is no success: of the best loss in TuRBO, of the hypervolume in MORBO."""
MARGIN = 0.1
"""How far beyond the worst of a front the hypervolume's corner lies, as a share of its range."""


@dataclass
class Region:
    """What a region was told so far."""

    number: int
    """Regions begun before it."""
    length: float
    """Genes that a proposal may differ in from the centre."""
    front: list[tuple[float, ...]] = field(default_factory=list)
    """Losses that no others dominate, of its networks that keep the limits."""
    successes: int = 0
    """Trials in a row that gained."""
    failures: int = 0
    """Trials in a row that did not."""
    members: set[Genes] = field(default_factory=set)
    """Canonical genes of its complete networks."""

    def count(self, gained: bool, tolerance: int) -> None:
        """One more trial: three successes in a row widen, so many failures in a row shrink."""
        if gained:
            self.successes, self.failures = self.successes + 1, 0
        else:
            self.successes, self.failures = 0, self.failures + 1
        if self.successes == SUCCESSES:
            self.length, self.successes = min(self.length * FACTOR, LONGEST), 0
        elif self.failures == tolerance:
            self.length, self.failures = self.length / FACTOR, 0


class TrustRegion(GaussianProcess):
    """Proposes what is worth most within so many genes of the centre of any of the ``regions``.

    A centre is the region's network with the best posterior mean; with several objectives the one
    that adds most to the hypervolume. The note carries the region's number. When a region has
    shrunk to nothing, another begins around the network that is worth most anywhere. Each of the
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
        acquisition: str = "both",
        regions: int = 1,
        failures: int = FAILURES,
        earlier: Earlier | None = None,
    ) -> None:
        super().__init__(
            domain,
            seed=seed,
            objectives=objectives,
            initial=initial,
            warm=warm,
            limit=limit,
            acquisition=acquisition,
            earlier=earlier,
        )
        if regions < 1 or failures < 1:
            raise UsageError(
                f"trust-region needs at least 1 region and 1 failure, not {regions} and {failures}"
            )
        # With several objectives version 1 took any loss that improved for a success; then the
        # process had no main effects.
        self.draws_version = 3 if objectives > 1 else 2
        self.tolerance = failures
        self.begun = 0
        self.regions = [self._new() for _ in range(regions)]

    def _new(self) -> Region:
        self.begun += 1
        # A region longer than the genes are many binds nothing until failures have shrunk it.
        return Region(self.begun - 1, float(min(FIRST, len(self.domain.space.gene_sizes))))

    def tell(self, trial: Trial) -> None:
        """See `Strategy`."""
        started = len(self.history.losses) >= self.initial
        super().tell(trial)
        # By number, not by place: a late trial of a region that has ended counts for none.
        number = int(trial.note.get("region", 0))
        for place, region in enumerate(self.regions):
            if region.number != number:
                continue
            gained = trial.state == "complete" and self._joins(region, trial)
            if started:  # random networks of the beginning say nothing of a region
                region.count(gained, self.tolerance)
            if region.length < SHORTEST:
                self.regions[place] = self._new()

    def doing(self) -> str:
        """See `Strategy`."""
        known = super().doing()
        if len(self.history.losses) < self.initial:
            return known
        return f"{known}, inside {counted(len(self.regions), 'region')}"

    def _joins(self, region: Region, trial: Trial) -> bool:
        """Take a complete trial in, and say whether it gained.

        It gains if it is the first to keep the limits, or better than all before: with several
        objectives if it adds to the hypervolume of the region's front.
        """
        key, before = self.history.canonical(trial.genes), region.front
        region.members.add(key)
        if (np.array(self.metrics[key]) > np.array(list(self.limits.values()))).any():
            return False
        losses = np.array([*before, trial.losses])
        region.front = [tuple(row) for row in losses[front(losses)].tolist()]
        # SCBO: the first network inside the limits is a success.
        return not before or _gains(losses[:-1], losses[-1])

    def ask(self, number: int, pending: Sequence[Proposal] = ()) -> Proposal:
        """See `Strategy`."""
        generator = rng(self.seed, "ask", number)
        if len(self.history.losses) < self.initial:
            place = number % len(self.regions)
            return Proposal(self.first(generator, pending), {"region": self.regions[place].number})
        value = self.acquire(number, pending, generator)
        waiting = {int(proposal.note.get("region", -1)) for proposal in pending}
        begun: list[Region] = []
        centres: list[NDArray[np.int64]] = []
        for region in self.regions:
            centre = self._centre(region, value.model)
            if centre is not None:
                begun.append(region)
                centres.append(centre)
            elif region.number not in waiting:  # its first network may be pending
                genes = self._afresh(value, generator, pending)
                return Proposal(genes, {"region": region.number})
        if not begun:
            genes = self._afresh(value, generator, pending)
            return Proposal(genes, {"region": self.regions[0].number})
        return self._within(value, begun, np.array(centres), generator, pending)

    def _within(
        self,
        value: Acquisition,
        regions: Sequence[Region],
        centres: NDArray[np.int64],
        generator: np.random.Generator,
        pending: Sequence[Proposal],
    ) -> Proposal:
        """The best inside any of the regions. centres: (regions, number of choices)."""
        lengths = [region.length for region in regions]

        def distances(genes: NDArray[np.int64]) -> NDArray[np.int64]:
            """genes: (n, number of choices). Genes in which they differ: (n, regions)."""
            return np.stack([(genes != centre).sum(axis=1) for centre in centres], axis=1)

        def near(genes: NDArray[np.int64]) -> NDArray[np.bool_]:
            return np.asarray((distances(genes) <= lengths).any(axis=1))

        unseen = self.best_unseen(value, near, generator, pending)
        genes = unseen or self._afresh(value, generator, pending)
        nearest = int((distances(np.array([genes]))[0] - lengths).argmin())
        return Proposal(genes, {"region": regions[nearest].number})

    def _centre(self, region: Region, model: Model) -> NDArray[np.int64] | None:
        """None if no network of the region was told yet."""
        ranked = [int(place) for place in model.rank(model.means, np.ones(self.objectives))]
        members = [place for place in ranked if model.keys[place] in region.members]
        if not members:
            return None
        # By posterior means: a centre at the luckiest observation would draw the region off.
        best = members[0]
        if self.objectives > 1:
            contributions = dict(zip(ranked, _contributions(model, ranked), strict=True))
            best = max(members, key=lambda place: contributions[place])
        return np.array(model.keys[best])

    def _afresh(
        self, value: Acquisition, generator: np.random.Generator, pending: Sequence[Proposal]
    ) -> Genes:
        """Of random networks, the one that is worth most."""
        drawn = self.domain.sample_many(DRAWS, generator)
        unseen = self.history.unseen(drawn[np.argsort(-value(drawn), kind="stable")], pending)
        return unseen or self.history.draw(generator, pending)


def _gains(before: NDArray[np.float64], losses: NDArray[np.float64]) -> bool:
    """Whether a network is a success beside a front.

    before: (n, objectives); losses: (objectives,). One that is better in one loss and
    far worse in another lies beyond the corner, and is none.
    """
    if len(losses) == 1:
        best = before.min()
        return bool(losses[0] < best - LEAST_GAIN * abs(best))
    worst, spread = before.max(axis=0), np.ptp(before, axis=0)
    # A front of one network has no range: its own size stands for it, as in BoTorch.
    spread = np.where(spread > 0, spread, np.abs(worst))
    corner = worst + MARGIN * np.where(spread > 0, spread, 1.0)
    volume = hypervolume(before, corner)
    return hypervolume(np.vstack([before, losses]), corner) > (1 + LEAST_GAIN) * volume


def _contributions(model: Model, places: Sequence[int]) -> list[float]:
    """What each network adds to the hypervolume of all posterior means; 0 off the front."""
    means = model.means[list(places)]
    losses = means[:, : model.objectives]
    kept = model.excess(means) == 0
    edge = np.flatnonzero(kept)[front(losses[kept])]
    # The hypervolume counts what lies strictly below its corner, so the worst must too.
    corner = losses.max(axis=0) + 1e-9
    whole = hypervolume(losses[edge], corner)
    added = np.zeros(len(places))
    for place in edge:
        added[place] = whole - hypervolume(losses[edge[edge != place]], corner)
    return added.tolist()


strategy = TrustRegion
