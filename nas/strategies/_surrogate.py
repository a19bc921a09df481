"""What was told as Gaussian processes, and what an unseen network is worth as next proposal."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from nas.pareto import front
from nas.strategies import _gp
from nas.strategies._covariates import Covariates
from nas.strategies._sample import Sample
from nas.trial import Genes

__all__ = ["STARTS", "Column", "Drawn", "Model", "Value", "chebyshev", "expected_improvement"]

Floats = NDArray[np.float64]
Processes = Sequence[_gp.Posterior | None]

STARTS = 4
"""Best networks told that are climbed from."""
FRONT_STARTS = 16
"""The same with several objectives, at most."""
NORMALS = 16
"""Draws over which an expectation without a closed form is averaged."""
MARGIN = 0.1
"""How far beyond its front's worst an objective still counts, in units of the front's range."""

OWN = 0.15
"""What a network has of its own beyond what the process explains, as a share of the prior variance.

It looks like noise, and cannot be told from it by single evaluations, so this is our guess. What
the process takes for noise beyond this share counts as noise. It was chosen on NAS-Bench-Macro,
where without noise the process leaves .05 to .1 unexplained, and on landscapes of main effects.
"""


@dataclass(frozen=True)
class Column:
    """One number that every complete network has, as a process is fitted to it."""

    values: Floats
    """(n,)."""
    weights: _gp.Weights | None = None
    """Of the process; None for a price."""
    cost: int | None = None
    """The domain's cost that the number equals: it is priced, not predicted."""
    most: float = 1.0
    """The largest price inside the bounds."""
    limit: float | None = None
    """The largest allowed value of a metric that is no objective."""


class Model:
    """Columns over the same networks: the objectives first, then metrics under a limit."""

    def __init__(
        self,
        covariates: Covariates,
        keys: Sequence[Genes],
        columns: Sequence[Column],
        failed: Sequence[Genes],
    ) -> None:
        self.covariates, self.keys, self.columns = covariates, keys, columns
        self.objectives = sum(column.limit is None for column in columns)
        self.y = np.stack([column.values for column in columns], axis=1)
        # A failed network counts as bad, not as the worst: its neighbours may well be good.
        bad = np.quantile(self.y, 0.8, axis=0)
        self.all_y = np.concatenate([self.y, np.tile(bad, (len(failed), 1))])
        self.points = covariates.told
        if failed:
            self.points = self.points.joined(covariates.points(np.array(failed)))
        self.processes = self._processes(self.points, self.all_y)
        self.means = self.predict(self.processes, covariates.told)[0]
        """Posterior means of the networks told: (n, columns)."""

    def _processes(self, points: _gp.Points, y: Floats) -> Processes:
        return [
            None if column.weights is None else _gp.Posterior(points, values, column.weights)
            for values, column in zip(y.T, self.columns, strict=True)
        ]

    def predict(self, processes: Processes, points: _gp.Points) -> tuple[Floats, Floats]:
        """Means and standard deviations, (n, columns) each; a price has no deviation."""
        costs = self.covariates.features.costs(points)
        means, sds = [], []
        for process, column in zip(processes, self.columns, strict=True):
            if process is None:
                mean, sd = costs[:, column.cost or 0], np.zeros(len(costs))
            else:
                mean, sd = process.predict(points)
            means.append(mean)
            sds.append(sd)
        return np.stack(means, axis=1), np.stack(sds, axis=1)

    def themselves(self) -> Floats:
        """What is expected of the networks told themselves, own deviations in: (n, columns)."""
        values = []
        for y, mean, process in zip(self.y.T, self.means.T, self.processes, strict=True):
            share = 1.0 if process is None else _own_share(process)
            values.append((1 - share) * mean + share * y)
        return np.stack(values, axis=1)

    def starts(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Places of the networks to climb from: the best ones, or a random part of the front."""
        best = self.rank(self.means, np.ones(self.objectives))
        kept = np.flatnonzero(self.excess(self.means) == 0)
        if self.objectives == 1 or not len(kept):
            return best[:STARTS]
        edge = kept[front(self.means[kept, : self.objectives])]
        return generator.permutation(edge)[:FRONT_STARTS]

    def excess(self, values: Floats) -> Floats:
        """values: (n, columns). By how much limits are exceeded in all: (n,)."""
        total = np.zeros(len(values))
        for metric, column in zip(values.T, self.columns, strict=True):
            if column.limit is not None:
                total += np.maximum(metric - column.limit, 0)
        return total

    def rank(self, values: Floats, weights: Floats) -> NDArray[np.int64]:
        """values: (n, columns). Places from the best on: by the excess, then by the objectives."""
        weighed = chebyshev(values[:, : self.objectives], self.means[:, : self.objectives], weights)
        # `lexsort` sorts by its last key first.
        return np.lexsort((weighed, self.excess(values)))

    def sample(self, generator: np.random.Generator) -> "Drawn":
        """What a network is worth in one function that the first objective may be."""
        process = self.processes[0]
        if process is None:
            raise ValueError("a price is known, nothing is drawn of it")
        return Drawn(self, Sample(process, generator))

    def expect(self, pending: Sequence[Genes], generator: np.random.Generator) -> "Value":
        """What a network is worth as the next proposal, with pending ones believed."""
        processes = self.processes
        if pending:
            points = self.covariates.points(np.array(pending))
            # Kriging believer: without it, proposals of one batch would crowd around one network.
            believed = np.concatenate([self.all_y, self.predict(processes, points)[0]])
            processes = self._processes(self.points.joined(points), believed)
        return Value(self, processes, generator)


@dataclass(frozen=True)
class Drawn:
    """Thompson sampling: what is best in a function drawn is as likely as that it is best at all.

    Thompson 1933, https://doi.org/10.2307/2332286.
    """

    model: Model
    sample: Sample

    def __call__(self, genes: NDArray[np.int64]) -> Floats:
        """genes: (n, number of choices). Higher is better: (n,)."""
        return -self.sample(self.model.covariates.points(genes))


class Value:
    """Expected improvement, times the probability that limits are kept.

    Of the best mean loss with one objective, of the front's hypervolume with two, of losses weighed
    at random with more. While no network told keeps the limits, that probability alone.
    """

    def __init__(self, model: Model, processes: Processes, generator: np.random.Generator) -> None:
        self.model, self.processes = model, processes
        self.weights = generator.dirichlet(np.ones(model.objectives))
        # Drawn once: with common random numbers the value is a function, and a climb has a summit.
        self.normals = generator.standard_normal((NORMALS, 1, model.objectives))
        means = model.means[:, : model.objectives]
        self.kept = means[model.excess(model.means) == 0]
        """Posterior means of the networks told that keep all limits: (n, objectives)."""
        self.steps: _Staircase | None = None
        if len(self.kept) and model.objectives == 2:
            self.steps = _Staircase(self.kept, model.columns[:2])

    def __call__(self, genes: NDArray[np.int64]) -> Floats:
        """genes: (n, number of choices). Higher is better: (n,)."""
        mean, sd = self.model.predict(self.processes, self.model.covariates.points(genes))
        odds = self._odds(mean, sd)
        if not len(self.kept):
            return odds
        objectives = self.model.objectives
        return np.asarray(odds * self._improvement(mean[:, :objectives], sd[:, :objectives]))

    def _odds(self, mean: Floats, sd: Floats) -> Floats:
        """mean, sd: (n, columns). Probability that all limits are kept: (n,)."""
        odds = np.ones(len(mean))
        for place, column in enumerate(self.model.columns):
            if column.limit is not None:
                room = column.limit - mean[:, place]
                odds *= ndtr(room / np.maximum(sd[:, place], 1e-12))
        return odds

    def _improvement(self, mean: Floats, sd: Floats) -> Floats:
        if mean.shape[1] == 1:
            return expected_improvement(float(self.kept.min()) - mean[:, 0], sd[:, 0])
        if self.steps is not None:
            return self.steps.improvement(mean, sd, self.normals)
        drawn = chebyshev(mean + sd * self.normals, self.kept, self.weights)
        best = chebyshev(self.kept, self.kept, self.weights).min()
        gains = np.maximum(best - drawn, 0).mean(axis=0)
        # Where no draw gains, the mean still shows a climb the way.
        return np.asarray(gains + 1e-9 * -drawn.mean(axis=0))


class _Staircase:
    """The front of two objectives, as the best of one of them at most so much of the other.

    Given a network's second loss c, its hypervolume improvement is the integral over c' >= c of how
    far its first loss lies below the best that costs at most c'. So the expectation over a normal
    first loss is a sum of expected improvements, one per step and times its width. It is exact if c
    is a price, else averaged over draws of c. In two dimensions this is the expected hypervolume
    improvement of Emmerich et al. 2011, https://doi.org/10.1109/CEC.2011.5949880. The reference is
    the largest price, or a tenth of the front's range beyond its worst, and at most `_gp.FAR`:
    networks that are worse than nearly all told are not aimed at.

    kept: (n, 2); columns: the two objectives'.
    """

    def __init__(self, kept: Floats, columns: Sequence[Column]) -> None:
        only_first_is_priced = columns[0].cost is not None and columns[1].cost is None
        self.first = 1 if only_first_is_priced else 0
        self.second = 1 - self.first
        edge = kept[front(kept)]
        margin = MARGIN * (np.ptp(edge, axis=0) + 1e-9)
        # This limit was chosen on NAS-Bench-Macro (docs/strategies.md).
        corner = np.minimum(edge.max(axis=0) + margin, _gp.FAR)
        for place, column in enumerate(columns):
            if column.cost is not None:
                corner[place] = column.most
        edge = edge[edge[:, self.second].argsort(kind="stable")]
        self.lower = np.concatenate([[-np.inf], edge[:, self.second]])
        self.upper = np.concatenate([edge[:, self.second], [corner[self.second]]])
        self.best = np.minimum(np.concatenate([[np.inf], edge[:, self.first]]), corner[self.first])

    def improvement(self, mean: Floats, sd: Floats, normals: Floats) -> Floats:
        """mean, sd: (n, 2); normals: (draws, 1, 2). Expected gain of hypervolume: (n,)."""
        draws = normals[:, 0, self.second]
        if not sd[:, self.second].any():  # a price: one draw is exact
            draws = np.zeros(1)
        gains = expected_improvement(self.best - mean[:, self.first, None], sd[:, self.first, None])
        total = np.zeros(len(mean))
        for normal in draws:
            spent = (mean[:, self.second] + normal * sd[:, self.second])[:, None]
            widths = np.maximum(self.upper - np.maximum(self.lower, spent), 0)
            total += (widths * gains).sum(axis=1)
        return total / len(draws)


def _own_share(process: _gp.Posterior) -> float:
    """Share of a deviation from the posterior mean that is the network's own."""
    own = OWN * float(process.prior(process.points).mean())
    return min(1.0, own / process.weights.noise)


def expected_improvement(gap: Floats, sd: Floats) -> Floats:
    """gap: by how much the mean lies below the best; sd: of a shape that fits. Of both shapes."""
    # Jones et al. 1998, equation 15.
    sd = np.maximum(sd, 1e-12)
    # Upper confidence bounds were tried in its place and lost: on NK over MnasNet and, with K = 5,
    # over UniNet (docs/strategies.md).
    z = gap / sd
    return np.asarray(gap * ndtr(z) + sd * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))


def chebyshev(losses: Floats, told: Floats, weights: Floats) -> Floats:
    """losses: (..., objectives), told: (n, objectives). Augmented Chebyshev distance: (...).

    To the best of each objective told, in units of the range told.
    """
    if len(weights) == 1:
        return losses[..., 0]
    low = told.min(axis=0)
    high = told.max(axis=0)
    weighed = weights * (losses - low) / np.where(high > low, high - low, 1)
    # ParEGO's rho, as in `History.order`.
    return np.asarray(weighed.max(axis=-1) + 0.05 * weighed.sum(axis=-1))
