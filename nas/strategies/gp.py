"""Bayesian optimisation with a Gaussian process over the genes of networks, by expected improvement.

Mockus 1978 and Jones et al. 1998, https://doi.org/10.1023/A:1008306431147, equation 15; candidates are
found by hill climbing over genes, as in BANANAS, White et al. 2021, https://arxiv.org/abs/1910.11858.
Several objectives are weighed anew for every proposal (Knowles 2006, ParEGO,
https://doi.org/10.1109/TEVC.2005.851274), with one process each.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from nas.domain import Domain
from nas.errors import UsageError
from nas.strategies import _gp
from nas.strategies._features import Features
from nas.strategies._history import History
from nas.strategies.base import Proposal, Strategy, rng
from nas.trial import Genes, Trial

__all__ = ["GaussianProcess", "Value", "everywhere", "strategy"]

Floats = NDArray[np.float64]

MOST = 250
"""Observations that the process is given: the best half of so many, and the latest."""
STARTS = 4
STEPS = 8
DRAWS = 256
RESCORED = 12
LOOKED_AT = 96
NORMALS = 32
MUTATIONS = (2, 4, 8)
OWN = 0.8

Within = Callable[[NDArray[np.int64]], NDArray[np.bool_]]
"""Which of (n, number of choices) genes may be proposed."""


def everywhere(genes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """No region."""
    return np.ones(len(genes), bool)


class GaussianProcess(Strategy):
    """Proposes the unseen network with the largest expected improvement on the best posterior mean told.

    Observations and candidates are canonical genes, so a network is one point however it is written. The
    first ``initial`` networks are random. Pending networks count as told with the mean expected of them
    (kriging believer), failed ones with a bad value. The weights of the kernel are fitted anew whenever the
    observations have grown by a tenth.
    """

    def __init__(self, domain: Domain, *, seed: int, objectives: int = 1, initial: int = 10) -> None:
        if initial < 2:
            raise UsageError(f"a Gaussian process needs at least 2 initial networks, not {initial}")
        self.domain, self.seed, self.objectives, self.initial = domain, seed, objectives, initial
        self.history = History(domain)
        self.version = 0
        self.repeats = 0
        self.features = Features(domain)
        self._fitted: tuple[tuple[int, int], list[_gp.Weights]] | None = None
        self._model: tuple[int, Model] | None = None

    def tell(self, trial: Trial) -> None:
        """See `Strategy`."""
        known = len(self.history.losses)
        self.history.tell(trial)
        self.repeats += trial.state == "complete" and len(self.history.losses) == known
        self.version += 1

    def ask(self, number: int, pending: Sequence[Proposal] = ()) -> Proposal:
        """See `Strategy`."""
        generator = rng(self.seed, "ask", number)
        if len(self.history.losses) < self.initial:
            return Proposal(self.history.draw(generator, pending))
        value = self.model().expect(sorted(self.history.taken(pending)), generator)
        found = self.best_unseen(value, everywhere, generator, pending)
        return Proposal(found or self.history.draw(generator, pending))

    # -- the model --------------------------------------------------------------------------------

    def model(self) -> "Model":
        """What has been told, as processes; at least one network must be complete."""
        if self._model is None or self._model[0] != self.version:
            self._model = self.version, self._build()
        return self._model[1]

    def _build(self) -> "Model":
        losses = self.history.losses
        kept = self._kept(list(losses))
        weights = self._weights(list(losses))
        failed = [key for key in self.history.genes if key not in losses][-MOST // 4 :]
        return Model(self.features, weights, kept, np.array([losses[key] for key in kept]), failed)

    def _kept(self, keys: list[Genes]) -> list[Genes]:
        if len(keys) <= MOST:
            return keys
        order = self.history.order(np.ones(self.objectives), keys)
        chosen = {*order[: MOST // 2], *keys[-MOST // 2 :]}
        return [key for key in keys if key in chosen]

    def _weights(self, keys: list[Genes]) -> list[_gp.Weights]:
        """Fitted to the first so many observations that the count has grown by a tenth since."""
        count = 1
        while count + max(1, count // 10) <= len(keys):
            count += max(1, count // 10)
        if self._fitted is None or self._fitted[0] != (count, self.repeats):
            kept = self._kept(keys[:count])
            points = self.features.points(np.array(kept))
            y = np.array([self.history.losses[key] for key in kept])
            fitted = [_gp.fit(points, _gp.squash(column)) for column in y.T]
            self._fitted = (count, self.repeats), fitted
        return self._fitted[1]

    # -- candidates -------------------------------------------------------------------------------

    def best_unseen(
        self, value: "Value", within: Within, generator: np.random.Generator, pending: Sequence[Proposal]
    ) -> Genes | None:
        """The best network found that was neither told nor is pending, scored by its canonical genes."""
        pool, scores = self._climb(value, within, generator)
        taken = self.history.taken(pending)
        found: dict[Genes, Genes] = {}
        for place in np.argsort(-scores, kind="stable")[:LOOKED_AT]:
            genes = tuple(pool[place].tolist())
            key = self.history.canonical(genes)
            if key not in self.history.genes and key not in taken:
                found.setdefault(key, genes)
            if len(found) == RESCORED:
                break
        if not found:
            return None
        keys = list(found)
        return found[keys[int(value(np.array(keys)).argmax())]]

    def _climb(
        self, value: "Value", within: Within, generator: np.random.Generator
    ) -> tuple[NDArray[np.int64], Floats]:
        """Networks seen on the way uphill from the best told and from the best of some draws, with their scores.

        The first step leads to the best neighbour whatever it is worth: a network told is worth nothing now.
        """
        told = np.array(value.model.keys)[np.argsort(value.told, kind="stable")]
        starts = told[within(told)][:STARTS]
        drawn = np.concatenate([self.domain.sample_many(DRAWS, generator), self._perturbed(starts, generator)])
        pool = [drawn[within(drawn)]]
        scores = [value(pool[0])]
        best_drawn = pool[0][np.argsort(-scores[0])[:STARTS]]
        here = [self.history.canonical(tuple(genes)) for genes in (*starts.tolist(), *best_drawn.tolist())]
        at = [-np.inf] * len(here)
        for _ in range(STEPS):
            moved: dict[Genes, float] = {}
            near = [self.domain.neighbours(genes) for genes in here]
            near = [block[within(block)] for block in near]
            flat = np.concatenate(near)
            if not len(flat):
                break
            pool.append(flat)
            scores.append(value(flat))
            parts = np.split(scores[-1], np.cumsum([len(block) for block in near])[:-1])
            for block, part, before in zip(near, parts, at, strict=True):
                if len(block) and part.max() > before:
                    moved[self.history.canonical(tuple(block[part.argmax()].tolist()))] = float(part.max())
            if not moved:
                break
            here, at = list(moved), list(moved.values())
        return np.concatenate(pool), np.concatenate(scores)

    def _perturbed(self, starts: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
        """Networks inside the bounds that share most genes with a start."""
        drawn = self.domain.sample_many(DRAWS, generator)
        if not len(starts):
            return drawn
        base = starts[generator.integers(len(starts), size=DRAWS)]
        rate = generator.choice(MUTATIONS, size=(DRAWS, 1)) / drawn.shape[1]
        mixed = np.where(generator.random(drawn.shape) < rate, drawn, base)
        return mixed[self.domain.inside(mixed)]

    def recommend(self) -> Genes:
        """The complete network with the best posterior mean of itself, objectives weighed equally.

        What the process takes for noise is in part the network's own. How much cannot be told from single
        evaluations; `OWN` is our guess. On NAS-Bench-Macro, 16 seeds, 100 evaluations, shares of 0, .5, .8 and 1
        leave a regret of .090, .011, .000 and .000 points, with one noisy training per network .110, .086,
        .093 and .093 (standard errors of the latter .02).
        """
        if len(self.history.losses) < self.initial:
            return self.history.best() or self.history.draw(rng(self.seed, "recommend", 0))
        model = self.model()
        own = (1 - OWN) * model.means + OWN * model.y
        return self.history.genes[model.keys[int(chebyshev(own, own, np.ones(self.objectives)).argmin())]]


class Model:
    """A process per objective over the same networks; losses: (n, objectives)."""

    def __init__(
        self,
        features: Features,
        weights: Sequence[_gp.Weights],
        keys: list[Genes],
        losses: Floats,
        failed: Sequence[Genes],
    ) -> None:
        self.features, self.weights, self.keys = features, weights, keys
        self.y = np.stack([_gp.squash(column) for column in losses.T], axis=1)
        bad = np.quantile(self.y, 0.8, axis=0)
        self.all_y = np.concatenate([self.y, np.tile(bad, (len(failed), 1))])
        self.points = features.points(np.array([*keys, *failed]))
        self.processes = self._processes(self.points, self.all_y)
        self.means = self.predict(self.processes, np.array(keys))[0]

    def _processes(self, points: _gp.Points, y: Floats) -> list[_gp.Posterior]:
        return [_gp.Posterior(points, *of) for of in zip(y.T, self.weights, strict=True)]

    def predict(self, processes: Sequence[_gp.Posterior], genes: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """genes: (n, number of choices). Means and standard deviations: (n, objectives) each."""
        points = self.features.points(genes)
        mean, sd = zip(*(process.predict(points) for process in processes), strict=True)
        return np.stack(mean, axis=1), np.stack(sd, axis=1)

    def weighed(self, weights: Floats) -> Floats:
        """Posterior means of the networks told, as one number each: (n,)."""
        return chebyshev(self.means, self.means, weights)

    def expect(self, pending: Sequence[Genes], generator: np.random.Generator) -> "Value":
        """What a network is worth as the next proposal, with pending ones believed."""
        processes = self.processes
        if pending:
            genes = np.array(pending)
            believed = np.concatenate([self.all_y, self.predict(processes, genes)[0]])
            processes = self._processes(self.points.joined(self.features.points(genes)), believed)
        return Value(self, processes, generator)


class Value:
    """Expected improvement: of the mean loss, or of several weighed at random."""

    def __init__(self, model: Model, processes: Sequence[_gp.Posterior], generator: np.random.Generator) -> None:
        self.model, self.processes = model, processes
        self.weights = generator.dirichlet(np.ones(len(processes)))
        self.normals = generator.standard_normal((NORMALS, 1, len(processes)))
        self.told = model.weighed(self.weights)
        """Of the networks told, lower is better: (n,)."""

    def __call__(self, genes: NDArray[np.int64]) -> Floats:
        """genes: (n, number of choices). Higher is better: (n,)."""
        mean, sd = self.model.predict(self.processes, genes)
        if mean.shape[1] == 1:
            return expected_improvement(float(self.model.means.min()) - mean[:, 0], sd[:, 0])
        drawn = chebyshev(mean + sd * self.normals, self.model.means, self.weights)
        return np.asarray(np.maximum(self.told.min() - drawn, 0).mean(axis=0) + 1e-9 * -drawn.mean(axis=0))


def expected_improvement(gap: Floats, sd: Floats) -> Floats:
    """gap: by how much the mean lies below the best, (n,); sd: (n,)."""
    z = gap / sd
    return np.asarray(gap * ndtr(z) + sd * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))


def chebyshev(losses: Floats, told: Floats, weights: Floats) -> Floats:
    """losses: (..., objectives). Augmented Chebyshev distance to the best of each objective told: (...)."""
    if len(weights) == 1:
        return losses[..., 0]
    low, high = told.min(axis=0), told.max(axis=0)
    weighed = weights * (losses - low) / np.where(high > low, high - low, 1)
    return np.asarray(weighed.max(axis=-1) + 0.05 * weighed.sum(axis=-1))


strategy = GaussianProcess
