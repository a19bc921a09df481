"""What has been told as Gaussian processes, and what an unseen network is worth as the next proposal."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from nas.pareto import front
from nas.strategies import _gp
from nas.strategies._features import Features
from nas.trial import Genes

__all__ = ["STARTS", "Column", "Model", "Value", "chebyshev", "expected_improvement"]

Floats = NDArray[np.float64]
Processes = Sequence[_gp.Posterior | None]

STARTS = 4
FRONT_STARTS = 16
NORMALS = 16
MARGIN = 0.1
"""How far beyond the worst of its front an objective still counts, in units of the front's range."""


@dataclass(frozen=True)
class Column:
    """One number that every complete network has, (n,), as a process is fitted to it.

    ``cost``: the domain's cost that it equals: priced up to ``most``, not predicted, so it has no
    weights. ``limit``: the largest allowed value of a metric that is no objective.
    """

    values: Floats
    weights: _gp.Weights | None = None
    cost: int | None = None
    most: float = 1.0
    limit: float | None = None


class Model:
    """Columns over the same networks: the objectives first, then metrics under a limit."""

    def __init__(
        self,
        features: Features,
        keys: Sequence[Genes],
        columns: Sequence[Column],
        failed: Sequence[Genes],
    ) -> None:
        self.features, self.keys, self.columns = features, keys, columns
        self.objectives = sum(column.limit is None for column in columns)
        self.y = np.stack([column.values for column in columns], axis=1)
        bad = np.quantile(self.y, 0.8, axis=0)
        self.all_y = np.concatenate([self.y, np.tile(bad, (len(failed), 1))])
        self.points = features.points(np.array([*keys, *failed]))
        self.processes = self._processes(self.points, self.all_y)
        self.means = self.predict(self.processes, features.points(np.array(keys)))[0]
        """Posterior means of the networks told: (n, columns)."""

    def _processes(self, points: _gp.Points, y: Floats) -> Processes:
        return [
            None if column.weights is None else _gp.Posterior(points, values, column.weights)
            for values, column in zip(y.T, self.columns, strict=True)
        ]

    def predict(self, processes: Processes, points: _gp.Points) -> tuple[Floats, Floats]:
        """Means and standard deviations, (n, columns) each; a price has no deviation."""
        costs = self.features.costs(points)
        found = [
            (costs[:, column.cost or 0], np.zeros(len(costs)))
            if process is None
            else process.predict(points)
            for process, column in zip(processes, self.columns, strict=True)
        ]
        mean, sd = zip(*found, strict=True)
        return np.stack(mean, axis=1), np.stack(sd, axis=1)

    def starts(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Places of the networks to climb from: the best one on average, or a random part of the front."""
        best = self.rank(self.means, np.ones(self.objectives))
        kept = np.flatnonzero(self.excess(self.means) == 0)
        if self.objectives == 1 or not len(kept):
            return best[:STARTS]
        edge = kept[front(self.means[kept, : self.objectives])]
        return generator.permutation(edge)[:FRONT_STARTS]

    def excess(self, values: Floats) -> Floats:
        """values: (n, columns). By how much limits are exceeded in all: (n,)."""
        over = [
            np.maximum(v - c.limit, 0)
            for v, c in zip(values.T, self.columns, strict=True)
            if c.limit is not None
        ]
        return np.asarray(np.sum(over, axis=0) if over else np.zeros(len(values)))

    def rank(self, values: Floats, weights: Floats) -> NDArray[np.int64]:
        """values: (n, columns). Places from the best on: what keeps the limits by its objectives, then the least excess."""
        weighed = chebyshev(values[:, : self.objectives], self.means[:, : self.objectives], weights)
        return np.lexsort((weighed, self.excess(values)))

    def expect(self, pending: Sequence[Genes], generator: np.random.Generator) -> "Value":
        """What a network is worth as the next proposal, with pending ones believed."""
        processes = self.processes
        if pending:
            points = self.features.points(np.array(pending))
            believed = np.concatenate([self.all_y, self.predict(processes, points)[0]])
            processes = self._processes(self.points.joined(points), believed)
        return Value(self, processes, generator)


class Value:
    """Expected improvement of the best mean loss, of the front's hypervolume, or of losses weighed at random.

    Times the probability that limits are kept; while none told keeps them, that probability alone.
    """

    def __init__(self, model: Model, processes: Processes, generator: np.random.Generator) -> None:
        self.model, self.processes = model, processes
        self.weights = generator.dirichlet(np.ones(model.objectives))
        self.normals = generator.standard_normal((NORMALS, 1, model.objectives))
        means = model.means[:, : model.objectives]
        self.kept = means[model.excess(model.means) == 0]
        """Posterior means of the networks told that keep all limits: (n, objectives)."""
        self.steps = (
            _Staircase(self.kept, model.columns)
            if len(self.kept) and model.objectives == 2
            else None
        )

    def __call__(self, genes: NDArray[np.int64]) -> Floats:
        """genes: (n, number of choices). Higher is better: (n,)."""
        mean, sd = self.model.predict(self.processes, self.model.features.points(genes))
        odds = np.ones(len(mean))
        for m, s, column in zip(mean.T, sd.T, self.model.columns, strict=True):
            if column.limit is not None:
                odds *= ndtr((column.limit - m) / np.maximum(s, 1e-12))
        if not len(self.kept):
            return odds
        objectives = self.model.objectives
        return np.asarray(odds * self._improvement(mean[:, :objectives], sd[:, :objectives]))

    def _improvement(self, mean: Floats, sd: Floats) -> Floats:
        if mean.shape[1] == 1:
            return expected_improvement(float(self.kept.min()) - mean[:, 0], sd[:, 0])
        if self.steps is not None:
            return self.steps.improvement(mean, sd, self.normals)
        drawn = chebyshev(mean + sd * self.normals, self.kept, self.weights)
        best = chebyshev(self.kept, self.kept, self.weights).min()
        return np.asarray(np.maximum(best - drawn, 0).mean(axis=0) + 1e-9 * -drawn.mean(axis=0))


class _Staircase:
    """The front of two objectives, as the best of one of them at most so much of the other.

    Given a network's second loss c, its hypervolume improvement is the integral over c' >= c of how
    far its first loss lies below the best that costs at most c'. So the expectation over a normal
    first loss is a sum of expected improvements, one per step and times its width: exact where c is
    a price, else averaged over draws of c. In two dimensions this is the expected hypervolume
    improvement of Emmerich et al. 2011, https://doi.org/10.1109/CEC.2011.5949880. The reference is
    the largest price, or a tenth of the front's range beyond its worst, and at most `_gp.FAR`:
    networks that are worse than nearly all told are not aimed at.
    """

    def __init__(self, kept: Floats, columns: Sequence[Column]) -> None:
        self.first = 1 if columns[0].cost is not None and columns[1].cost is None else 0
        edge = kept[front(kept)]
        worst = np.minimum(edge.max(axis=0) + MARGIN * (np.ptp(edge, axis=0) + 1e-9), _gp.FAR)
        corner = [
            w if column.cost is None else column.most
            for w, column in zip(worst, columns, strict=True)
        ]
        edge = edge[edge[:, 1 - self.first].argsort(kind="stable")]
        self.lower = np.concatenate([[-np.inf], edge[:, 1 - self.first]])
        self.upper = np.concatenate([edge[:, 1 - self.first], [corner[1 - self.first]]])
        self.best = np.minimum(np.concatenate([[np.inf], edge[:, self.first]]), corner[self.first])

    def improvement(self, mean: Floats, sd: Floats, normals: Floats) -> Floats:
        """mean, sd: (n, 2); normals: (draws, 1, 2). Expected gain of hypervolume: (n,)."""
        other, draws = (
            1 - self.first,
            normals if sd[:, 1 - self.first].any() else np.zeros((1, 1, 2)),
        )
        gains = expected_improvement(self.best - mean[:, self.first, None], sd[:, self.first, None])
        total = np.zeros(len(mean))
        for normal in draws[:, 0, other]:
            spent = (mean[:, other] + normal * sd[:, other])[:, None]
            total += (np.maximum(self.upper - np.maximum(self.lower, spent), 0) * gains).sum(axis=1)
        return total / len(draws)


def expected_improvement(gap: Floats, sd: Floats) -> Floats:
    """gap: by how much the mean lies below the best; sd: of a shape that fits. Of the shape of both."""
    sd = np.maximum(sd, 1e-12)
    z = gap / sd
    return np.asarray(gap * ndtr(z) + sd * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))


def chebyshev(losses: Floats, told: Floats, weights: Floats) -> Floats:
    """losses: (..., objectives). Augmented Chebyshev distance to the best of each objective told: (...)."""
    if len(weights) == 1:
        return losses[..., 0]
    low, high = told.min(axis=0), told.max(axis=0)
    weighed = weights * (losses - low) / np.where(high > low, high - low, 1)
    return np.asarray(weighed.max(axis=-1) + 0.05 * weighed.sum(axis=-1))
