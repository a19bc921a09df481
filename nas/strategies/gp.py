"""Bayesian optimisation with a Gaussian process over the genes of networks, by expected improvement.

Mockus 1978 and Jones et al. 1998, https://doi.org/10.1023/A:1008306431147, equation 15; candidates are
found by hill climbing over genes, as in BANANAS, White et al. 2021, https://arxiv.org/abs/1910.11858.
Several objectives are weighed anew for every proposal (Knowles 2006, ParEGO,
https://doi.org/10.1109/TEVC.2005.851274), with one process each.
"""

from collections.abc import Sequence

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

__all__ = ["GaussianProcess", "strategy"]

Floats = NDArray[np.float64]

MOST = 300
"""Observations that the process is given: the best half of so many, and the latest."""
STARTS = 6
STEPS = 12
DRAWS = 256
RESCORED = 12
LOOKED_AT = 96
NORMALS = 32


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
        self._model: tuple[int, _Model] | None = None

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
        taken = self.history.taken(pending)
        value = self.model().expect(sorted(taken), generator)
        return Proposal(self._best_unseen(value, generator, pending))

    # -- the model --------------------------------------------------------------------------------

    def model(self) -> "_Model":
        """What has been told, as processes; at least one network must be complete."""
        if self._model is None or self._model[0] != self.version:
            self._model = self.version, self._build()
        return self._model[1]

    def _build(self) -> "_Model":
        losses = self.history.losses
        kept = self._kept(list(losses))
        weights = self._weights(list(losses))
        failed = [key for key in self.history.genes if key not in losses][-MOST // 4 :]
        return _Model(self.features, weights, kept, np.array([losses[key] for key in kept]), failed)

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
            features = self.features(np.array(kept))
            y = np.array([self.history.losses[key] for key in kept])
            fitted = [_gp.fit(features, self.features.sizes, _gp.squash(column)) for column in y.T]
            self._fitted = (count, self.repeats), fitted
        return self._fitted[1]

    # -- candidates -------------------------------------------------------------------------------

    def _best_unseen(self, value: "_Value", generator: np.random.Generator, pending: Sequence[Proposal]) -> Genes:
        """The best network found that was neither told nor is pending, scored by its canonical genes."""
        pool, scores = self._climb(value, generator)
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
            return self.history.draw(generator, pending)
        keys = list(found)
        return found[keys[int(value(np.array(keys)).argmax())]]

    def _climb(self, value: "_Value", generator: np.random.Generator) -> tuple[NDArray[np.int64], Floats]:
        """Networks seen on the way uphill from the best told and from the best of some draws, with their scores."""
        starts = self._starts(value)
        drawn = np.concatenate([self.domain.sample_many(DRAWS, generator), self._perturbed(starts, generator)])
        pool = [drawn]
        scores = [value(drawn)]
        here = [*starts, *(self.history.canonical(tuple(g)) for g in drawn[np.argsort(-scores[0])[:STARTS]].tolist())]
        at = np.full(len(here), -np.inf)  # a network told has no value as a proposal: the first step is free
        for _ in range(STEPS):
            near = [self.domain.neighbours(genes) for genes in here]
            flat = np.concatenate(near)
            if not len(flat):
                break
            score = value(flat)
            pool.append(flat)
            scores.append(score)
            ends = np.cumsum([len(block) for block in near])
            moved: list[tuple[Genes, float]] = []
            for block, part, before in zip(near, np.split(score, ends[:-1]), at, strict=True):
                if len(block) and part.max() > before:
                    genes = self.history.canonical(tuple(block[part.argmax()].tolist()))
                    if all(genes != other for other, _ in moved):
                        moved.append((genes, float(part.max())))
            if not moved:
                break
            here, at = [genes for genes, _ in moved], np.array([score for _, score in moved])
        return np.concatenate(pool), np.concatenate(scores)

    def _starts(self, value: "_Value") -> list[Genes]:
        return [value.model.keys[i] for i in np.argsort(value.told, kind="stable")[:STARTS]]

    def _perturbed(self, starts: Sequence[Genes], generator: np.random.Generator) -> NDArray[np.int64]:
        """Networks inside the bounds that share most genes with a start."""
        drawn = self.domain.sample_many(DRAWS, generator)
        base = np.array(starts)[generator.integers(len(starts), size=DRAWS)]
        rate = generator.choice([2, 4, 8], size=(DRAWS, 1)) / drawn.shape[1]
        mixed = np.where(generator.random(drawn.shape) < rate, drawn, base)
        return mixed[self.domain.inside(mixed)]

    def recommend(self) -> Genes:
        """The complete network with the best posterior mean, objectives weighed equally."""
        if len(self.history.losses) < self.initial:
            return self.history.best() or self.history.draw(rng(self.seed, "recommend", 0))
        model = self.model()
        return self.history.genes[model.keys[int(model.weighed(np.ones(self.objectives)).argmin())]]


class _Model:
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
        self.genes = np.array([*keys, *failed])
        self.processes = self._processes(self.genes, self.all_y)
        means = [p.means(self.weighed_features(self.genes[: len(keys)], i)) for i, p in enumerate(self.processes)]
        self.means = np.stack(means, axis=1)

    def weighed_features(self, genes: NDArray[np.int64], objective: int) -> Floats:
        return _gp.weigh(self.features(genes), self.features.sizes, self.weights[objective])

    def _processes(self, genes: NDArray[np.int64], y: Floats) -> list[_gp.Posterior]:
        return [
            _gp.Posterior(self.weighed_features(genes, i), column, weights.noise)
            for i, (column, weights) in enumerate(zip(y.T, self.weights, strict=True))
        ]

    def weighed(self, weights: Floats) -> Floats:
        """Posterior means of the networks told, as one number each: (n,)."""
        return chebyshev(self.means, self.means, weights)

    def expect(self, pending: Sequence[Genes], generator: np.random.Generator) -> "_Value":
        """What a network is worth as the next proposal, with pending ones believed."""
        processes = self.processes
        if pending:
            genes = np.array(pending)
            means = [p.means(self.weighed_features(genes, i)) for i, p in enumerate(processes)]
            believed = np.concatenate([self.all_y, np.stack(means, axis=1)])
            processes = self._processes(np.concatenate([self.genes, genes]), believed)
        return _Value(self, processes, generator)


class _Value:
    """Expected improvement: of the mean loss, or of several weighed at random."""

    def __init__(self, model: _Model, processes: Sequence[_gp.Posterior], generator: np.random.Generator) -> None:
        self.model, self.processes = model, processes
        self.weights = generator.dirichlet(np.ones(len(processes)))
        self.normals = generator.standard_normal((NORMALS, 1, len(processes)))
        self.told = model.weighed(self.weights)
        """Of the networks told, lower is better: (n,)."""

    def __call__(self, genes: NDArray[np.int64]) -> Floats:
        """genes: (n, number of choices). Higher is better: (n,)."""
        found = [p.predict(self.model.weighed_features(genes, i)) for i, p in enumerate(self.processes)]
        mean, sd = (np.stack(part, axis=1) for part in zip(*found, strict=True))
        if len(found) == 1:
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
