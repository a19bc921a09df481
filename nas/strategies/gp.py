"""Bayesian optimisation with a Gaussian process over the genes of networks.

Mockus 1978 and Jones et al. 1998, https://doi.org/10.1023/A:1008306431147, equation 15; candidates
are found by hill climbing over genes, as in BANANAS, White et al. 2021,
https://arxiv.org/abs/1910.11858. Two objectives: expected hypervolume improvement; more are weighed
anew for every proposal (Knowles 2006, ParEGO, https://doi.org/10.1109/TEVC.2005.851274). Limits on
metrics known only after an evaluation have a process of their own (SCBO, Eriksson and Poloczek
2021, https://arxiv.org/abs/2002.08526).
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.domain import Domain
from nas.errors import UsageError
from nas.strategies import _gp
from nas.strategies._features import Features
from nas.strategies._history import History
from nas.strategies._starts import warm as warm_starts
from nas.strategies._surrogate import STARTS, Column, Model, Value
from nas.strategies.base import Proposal, Strategy, rng
from nas.trial import Genes, Trial

__all__ = ["DRAWS", "GaussianProcess", "everywhere", "strategy"]

Floats = NDArray[np.float64]

MOST = 250
"""Observations that the process is given: the best half of so many, and the latest."""
STEPS = 8
DRAWS = 256
RESCORED = 12
LOOKED_AT = 96
MUTATIONS = (2, 4, 8)
OWN = 0.8

Within = Callable[[NDArray[np.int64]], NDArray[np.bool_]]
"""Which of (n, number of choices) genes may be proposed."""


def everywhere(genes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """No region."""
    return np.ones(len(genes), bool)


class GaussianProcess(Strategy):
    """Proposes the unseen network that is worth most, see `nas.strategies._surrogate.Value`.

    Observations and candidates are canonical genes, so a network is one point however it is
    written. The first ``initial`` networks are those nearest to the published ones named in
    ``warm`` (``mnasnet_a1+fbnet_c``), then random ones. Pending networks count as told with the
    mean expected of them (kriging believer), failed ones with a bad value. An objective that has
    equalled a cost of the domain in every trial is priced, not predicted. ``limit``
    (``train_ms<=200``, several joined by ``+``) bounds metrics of trials. The weights of the kernel
    are fitted anew whenever the observations have grown by a tenth.
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
    ) -> None:
        if initial < 2:
            raise UsageError(f"a Gaussian process needs at least 2 initial networks, not {initial}")
        self.domain, self.seed, self.objectives, self.initial = domain, seed, objectives, initial
        self.warm = warm_starts(warm, domain, seed)
        self.limits = dict(_limit(part, limit) for part in filter(None, limit.split("+")))
        self.history = History(domain)
        self.version = 0
        self.repeats = 0
        self.features = Features(domain)
        self.metrics: dict[Genes, tuple[float, ...]] = {}
        """Metrics under a limit, by canonical genes, as told last."""
        self.equals = np.ones((objectives, len(domain.compiled.names)), bool)
        """Whether each objective equalled each cost, up to the trials that are yet to be `_unpriced`."""
        self._unpriced: list[Trial] = []
        self._fitted: tuple[Genes, list[_gp.Weights]] | None = None
        self._model: tuple[int, Model] | None = None

    def tell(self, trial: Trial) -> None:
        """See `Strategy`. Raises `UsageError` where a complete trial lacks a metric under a limit."""
        known = len(self.history.losses)
        key = self.history.tell(trial)
        self.version += 1
        if trial.state != "complete":
            return
        self.repeats += len(self.history.losses) == known
        self._unpriced.append(trial)
        self.metrics[key] = tuple(_measured(trial, name) for name in self.limits)

    def ask(self, number: int, pending: Sequence[Proposal] = ()) -> Proposal:
        """See `Strategy`."""
        generator = rng(self.seed, "ask", number)
        if len(self.history.losses) < self.initial:
            return Proposal(self.first(generator, pending))
        value = self.model().expect(sorted(self.history.taken(pending)), generator)
        found = self.best_unseen(value, everywhere, generator, pending)
        return Proposal(found or self.history.draw(generator, pending))

    def first(self, generator: np.random.Generator, pending: Sequence[Proposal]) -> Genes:
        """The next network of the warm start, else a random one."""
        known = self.history.unseen(np.array(self.warm, np.int64), pending)
        return known or self.history.draw(generator, pending)

    # -- the model --------------------------------------------------------------------------------

    def model(self) -> Model:
        """What has been told, as processes; at least one network must be complete."""
        if self._model is None or self._model[0] != self.version:
            self._model = self.version, self._build()
        return self._model[1]

    def _build(self) -> Model:
        losses = self.history.losses
        kept, weights = self._kept(list(losses)), iter(self._weights(list(losses)))
        failed = [key for key in self.history.genes if key not in losses][-MOST // 4 :]
        told = np.array([losses[key] for key in kept])
        columns = [
            self._priced(values, cost)
            if cost is not None
            else Column(_gp.squash(values), next(weights))
            for values, cost in zip(told.T, self._costs(), strict=True)
        ]
        measured = np.array([self.metrics[key] for key in kept]).reshape(len(kept), -1)
        for values, most in zip(measured.T, self.limits.values(), strict=True):
            scale = float(values.std()) or 1.0
            columns.append(
                Column(
                    (values - values.mean()) / scale,
                    next(weights),
                    limit=(most - values.mean()) / scale,
                )
            )
        return Model(self.features, kept, columns, failed)

    def _costs(self) -> list[int | None]:
        """By objective, the cost that it is: equal to it in every trial told."""
        if self._unpriced:
            prices = self.domain.compiled.price(
                np.array([trial.genes for trial in self._unpriced])
            )[:, None, :]
            losses = np.array([trial.losses for trial in self._unpriced])[:, :, None]
            self.equals &= np.isclose(losses, prices, rtol=1e-9, atol=0).all(axis=0)
            self._unpriced = []
        return [int(row.argmax()) if row.any() else None for row in self.equals]

    def _priced(self, values: Floats, cost: int) -> Column:
        name = self.domain.compiled.names[cost]
        most = min(
            [self.features.low[cost] + self.features.span[cost]]
            + [bound.upper for bound in self.domain.bounds if bound.metric == name]
        )
        low, span = self.features.low[cost], self.features.span[cost]
        return Column((values - low) / span, cost=cost, most=(most - low) / span)

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
        predicted = [place for place, cost in enumerate(self._costs()) if cost is None]
        state = (count, self.repeats, *predicted)
        if self._fitted is None or self._fitted[0] != state:
            kept = self._kept(keys[:count])
            points = self.features.points(np.array(kept))
            losses = np.array([self.history.losses[key] for key in kept])[:, predicted]
            fitted = [_gp.fit(points, _gp.squash(column)) for column in losses.T]
            for column in np.array([self.metrics[key] for key in kept]).reshape(len(kept), -1).T:
                fitted.append(_gp.fit(points, (column - column.mean()) / (column.std() or 1.0)))
            self._fitted = state, fitted
        return self._fitted[1]

    # -- candidates -------------------------------------------------------------------------------

    def best_unseen(
        self,
        value: Value,
        within: Within,
        generator: np.random.Generator,
        pending: Sequence[Proposal],
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
        self, value: Value, within: Within, generator: np.random.Generator
    ) -> tuple[NDArray[np.int64], Floats]:
        """Networks seen on the way uphill from the best told and from the best of some draws, with their scores.

        The first step leads to the best neighbour whatever it is worth: a network told is worth
        nothing now. So all neighbours of the best told are seen, of fronts those of a random part.
        """
        starts = np.array(value.model.keys)[value.model.starts(generator)]
        starts = starts[within(starts)]
        drawn = np.concatenate(
            [self.domain.sample_many(DRAWS, generator), self._perturbed(starts, generator)]
        )
        pool = [drawn[within(drawn)]]
        scores = [value(pool[0])]
        best_drawn = pool[0][np.argsort(-scores[0])[:STARTS]]
        here = [
            self.history.canonical(tuple(genes))
            for genes in (*starts.tolist(), *best_drawn.tolist())
        ]
        at = [-np.inf] * len(here)
        for _ in range(STEPS):
            moved: dict[Genes, float] = {}
            near = [self.domain.neighbours(genes) for genes in here]
            near = [block[within(block)] for block in near]
            flat = np.concatenate(near) if near else np.empty((0, drawn.shape[1]), np.int64)
            if not len(flat):
                break
            pool.append(flat)
            scores.append(value(flat))
            parts = np.split(scores[-1], np.cumsum([len(block) for block in near])[:-1])
            for block, part, before in zip(near, parts, at, strict=True):
                if len(block) and part.max() > before:
                    moved[self.history.canonical(tuple(block[part.argmax()].tolist()))] = float(
                        part.max()
                    )
            here = sorted(moved, key=lambda genes: -moved[genes])[: 2 * STARTS]
            at = [moved[genes] for genes in here]
        return np.concatenate(pool), np.concatenate(scores)

    def _perturbed(
        self, starts: NDArray[np.int64], generator: np.random.Generator
    ) -> NDArray[np.int64]:
        """Networks inside the bounds that share most genes with a start."""
        drawn = self.domain.sample_many(DRAWS, generator)
        if not len(starts):
            return drawn
        base = starts[generator.integers(len(starts), size=DRAWS)]
        rate = generator.choice(MUTATIONS, size=(DRAWS, 1)) / drawn.shape[1]
        mixed = np.where(generator.random(drawn.shape) < rate, drawn, base)
        return mixed[self.domain.inside(mixed)]

    def recommend(self) -> Genes:
        """The complete network with the best posterior mean of itself, limits first, objectives weighed equally.

        What the process takes for noise is in part the network's own. How much cannot be told from
        single evaluations; `OWN` is our guess. On NAS-Bench-Macro, 16 seeds, 100 evaluations,
        shares of 0, .5, .8 and 1 leave a regret of .090, .011, .000 and .000 points, with one noisy
        training per network .110, .086, .093 and .093 (standard errors of the latter .02).
        """
        if len(self.history.losses) < self.initial:
            return self.history.best() or self.history.draw(rng(self.seed, "recommend", 0))
        model = self.model()
        own = (1 - OWN) * model.means + OWN * model.y
        return self.history.genes[model.keys[int(model.rank(own, np.ones(self.objectives))[0])]]


def _limit(text: str, given: str) -> tuple[str, float]:
    """``metric<=value``."""
    match = re.fullmatch(r"\s*([\w@]+)\s*<=\s*(-?\d*\.?\d+(?:e[+-]?\d+)?)\s*", text)
    if match is None:
        raise UsageError(
            f"a limit is written metric<=value, such as train_ms<=200, several joined by +, not '{given}'"
        )
    return match[1], float(match[2])


def _measured(trial: Trial, name: str) -> float:
    if name not in trial.metrics:
        raise UsageError(
            f"a limit on '{name}' needs that metric of every trial; trial {trial.number} has "
            f"{', '.join(sorted(trial.metrics)) or 'none'}"
        )
    return trial.metrics[name]


strategy = GaussianProcess
