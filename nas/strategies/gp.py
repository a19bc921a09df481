"""Bayesian optimisation with a Gaussian process over the genes of networks.

Mockus 1978 and Jones et al. 1998, https://doi.org/10.1023/A:1008306431147, equation 15; candidates
are found by hill climbing over genes, as in BANANAS, White et al. 2021,
https://arxiv.org/abs/1910.11858. Two objectives: expected hypervolume improvement; more are weighed
anew for every proposal (Knowles 2006, ParEGO, https://doi.org/10.1109/TEVC.2005.851274). Limits on
metrics known only after an evaluation have a process of their own (SCBO, Eriksson and Poloczek
2021, https://arxiv.org/abs/2002.08526). Scores of the untrained networks that trials bring along
are covariates.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.domain import Domain
from nas.errors import UsageError, unknown
from nas.objectives import UNTRAINED_SCORE
from nas.strategies import _gp
from nas.strategies._covariates import Covariates, normal_scores
from nas.strategies._earlier import Earlier, Expectation
from nas.strategies._features import Features
from nas.strategies._history import History
from nas.strategies._starts import warm as warm_starts
from nas.strategies._surrogate import STARTS, Column, Drawn, Model, Value
from nas.strategies.base import Proposal, Strategy, rng
from nas.trial import Genes, Metrics, Trial

__all__ = ["DRAWS", "GaussianProcess", "everywhere", "strategy"]

Floats = NDArray[np.float64]

MOST = 250
"""Observations that the process is given: the best half of so many, and the latest."""
STEPS = 8
"""Of a climb."""
DRAWS = 256
"""Random networks that climbs may begin at, and as many perturbed ones."""
LOOKED_AT = 96
"""Networks of the pool, from the best on, that are looked through for unseen ones."""
RESCORED = 12
"""Unseen ones whose canonical genes are valued. A network's value depends on its spelling."""
MUTATIONS = (2, 4, 8)
"""Genes in which a perturbed network differs from its start, in the mean."""

ACQUISITIONS = ("both", "ei", "ts")
"""Expected improvement, Thompson sampling, or either in turn."""

Acquisition = Value | Drawn
Within = Callable[[NDArray[np.int64]], NDArray[np.bool_]]
"""Which of (n, number of choices) genes may be proposed."""


def everywhere(genes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """No region."""
    return np.ones(len(genes), bool)


class GaussianProcess(Strategy):
    """Proposes the unseen network that is worth most, see `nas.strategies._surrogate.Value`.

    With one objective, every other proposal is the best network of a function drawn from the
    process (Thompson sampling); ``acquisition`` is ``both``, or ``ei`` or ``ts`` for one of them.

    Observations and candidates are canonical genes, so a network is one point however it is
    written. The first ``initial`` networks are those nearest to the published ones named in
    ``warm`` (``mnasnet_a1+fbnet_c``), then random ones. Pending networks count as told with the
    mean expected of them (kriging believer), failed ones with a bad value. An objective that has
    equalled a cost of the domain in every trial is priced, not predicted. ``limit``
    (``train_ms<=200``, several joined by ``+``) bounds metrics of trials. The weights of the kernel
    are fitted anew whenever the observations have grown by a tenth.

    Metrics ``untrained_NAME`` that all complete trials have are covariates: the process learns from
    the trials what they are worth, and is told them exactly for networks that were evaluated. The
    loss that ``earlier`` trainings let one expect is a covariate too, and known of every network.
    """

    draws_version = 2  # in the first, the process had no main effects

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
        earlier: Earlier | None = None,
    ) -> None:
        if acquisition not in ACQUISITIONS:
            raise unknown("acquisition", acquisition, ACQUISITIONS)
        self.acquisition = acquisition
        if initial < 2:
            raise UsageError(f"a Gaussian process needs at least 2 initial networks, not {initial}")
        self.domain, self.seed, self.objectives, self.initial = domain, seed, objectives, initial
        self.warm = warm_starts(warm, domain, seed)
        self.limits = dict(_limit(part, limit) for part in filter(None, limit.split("+")))
        self.history = History(domain)
        self.version = 0
        self.repeats = 0
        self.features = Features(domain)
        self.expected = Expectation(self.features, earlier)
        self.metrics: dict[Genes, tuple[float, ...]] = {}
        """Metrics under a limit, by canonical genes, as told last."""
        self.untrained: dict[Genes, Metrics] = {}
        """Scores of the untrained network, by canonical genes, as told first."""
        self.equals = np.ones((objectives, len(domain.compiled.names)), bool)
        """Whether each objective equalled each cost, in all trials but the `_unpriced`."""
        self._unpriced: list[Trial] = []
        self._fitted: tuple[Genes, list[_gp.Weights]] | None = None
        self._model: tuple[int, Model] | None = None

    def tell(self, trial: Trial) -> None:
        """See `Strategy`. Raises `UsageError` if a complete trial lacks a metric under a limit."""
        known = len(self.history.losses)
        key = self.history.tell(trial)
        self.version += 1
        if trial.state != "complete":
            return
        # A repeat changes a mean, so weights are fitted anew though the networks are as many.
        self.repeats += len(self.history.losses) == known
        self._unpriced.append(trial)
        self.metrics[key] = tuple(_metric(trial, name) for name in self.limits)
        self.untrained.setdefault(key, _untrained(trial.metrics))

    def ask(self, number: int, pending: Sequence[Proposal] = ()) -> Proposal:
        """See `Strategy`."""
        generator = rng(self.seed, "ask", number)
        if len(self.history.losses) < self.initial:
            return Proposal(self.first(generator, pending))
        value = self.acquire(number, pending, generator)
        # There are no restarts: beginning anew after 25 or 50 networks without gain brought nothing
        # on NK with K = 5.
        unseen = self.best_unseen(value, everywhere, generator, pending)
        return Proposal(unseen or self.history.draw(generator, pending))

    def acquire(
        self, number: int, pending: Sequence[Proposal], generator: np.random.Generator
    ) -> Acquisition:
        """What this proposal is to have most of."""
        model = self.model()
        column = model.columns[0]
        one = len(model.columns) == 1 and column.cost is None
        thompson = {"ei": False, "ts": True, "both": number % 2 == 1}[self.acquisition]
        if one and thompson:
            return model.sample(generator)
        # Sorted: the proposal must not depend on the order of a set.
        return model.expect(sorted(self.history.taken(pending)), generator)

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
        kept = self._kept(list(losses))
        weights = iter(self._weights(list(losses)))  # in the order of `_fit`
        failed = [key for key in self.history.genes if key not in losses]
        columns = self._objectives(kept, weights) + self._limits(kept, weights)
        covariates = Covariates(
            self.features, kept, self._scores(kept), list(weights), self.expected
        )
        # The latest failures alone, so that a space full of them leaves room for what is known.
        return Model(covariates, kept, columns, failed[-MOST // 4 :])

    def _objectives(self, keys: Sequence[Genes], weights: Iterator[_gp.Weights]) -> list[Column]:
        """A column per objective, priced or predicted."""
        columns = []
        losses = np.array([self.history.losses[key] for key in keys])
        for values, cost in zip(losses.T, self._costs(), strict=True):
            if cost is None:
                columns.append(Column(_gp.squash(values), next(weights)))
            else:
                columns.append(self._priced(values, cost))
        return columns

    def _limits(self, keys: Sequence[Genes], weights: Iterator[_gp.Weights]) -> list[Column]:
        """A column per metric under a limit; not squashed, for its limit must stay in place."""
        columns = []
        for values, most in zip(self._measured(keys).T, self.limits.values(), strict=True):
            mean, scale = values.mean(), float(values.std()) or 1.0
            limit = (most - mean) / scale
            columns.append(Column((values - mean) / scale, next(weights), limit=limit))
        return columns

    def _measured(self, keys: Sequence[Genes]) -> Floats:
        """Metrics under a limit: (networks, limits)."""
        return np.array([self.metrics[key] for key in keys]).reshape(len(keys), -1)

    def _names(self) -> list[str]:
        """The covariates: scores that all complete trials have, whatever was told first."""
        return sorted(set.intersection(*map(set, self.untrained.values())))

    def _scores(self, keys: Sequence[Genes]) -> Floats:
        """Covariates: (networks, covariates)."""
        names = self._names()
        scores = [[self.untrained[key][name] for name in names] for key in keys]
        return np.array(scores).reshape(len(keys), -1)

    def _costs(self) -> list[int | None]:
        """By objective, the cost that it is: equal to it in every trial told."""
        if self._unpriced:
            # One price for many trials: after each, resuming 10,000 would price 10,000 times.
            genes = np.array([trial.genes for trial in self._unpriced])
            losses = np.array([trial.losses for trial in self._unpriced])
            prices = self.domain.compiled.price(genes)
            # A loss and a price may add up the same layers in another order.
            equal = np.isclose(losses[:, :, None], prices[:, None, :], rtol=1e-9, atol=0)
            self.equals &= equal.all(axis=0)
            self._unpriced = []
        return [int(row.argmax()) if row.any() else None for row in self.equals]

    def _priced(self, values: Floats, cost: int) -> Column:
        """values: (n,), in the cost's unit. Scaled as the features are."""
        name = self.domain.compiled.names[cost]
        low, span = self.features.low[cost], self.features.span[cost]
        bounds = [bound.upper for bound in self.domain.bounds if bound.metric == name]
        most = min([low + span, *bounds])
        return Column((values - low) / span, cost=cost, most=(most - low) / span)

    def _kept(self, keys: list[Genes]) -> list[Genes]:
        """What the process is given: a fit takes the cube of their number."""
        if len(keys) <= MOST:
            return keys
        order = self.history.order(np.ones(self.objectives), keys)
        chosen = {*order[: MOST // 2], *keys[-MOST // 2 :]}
        return [key for key in keys if key in chosen]

    def _weights(self, keys: list[Genes]) -> list[_gp.Weights]:
        """Fitted to the first so many observations that the count has grown by a tenth since."""
        count = _fitted_count(len(keys))
        predicted = [place for place, cost in enumerate(self._costs()) if cost is None]
        state = (count, self.repeats, len(self._names()), *predicted)
        if self._fitted is None or self._fitted[0] != state:
            self._fitted = state, self._fit(self._kept(keys[:count]), predicted)
        return self._fitted[1]

    def _fit(self, keys: Sequence[Genes], predicted: Sequence[int]) -> list[_gp.Weights]:
        """Of the predicted objectives, of the metrics under a limit, then of the covariates."""
        genes = self.features.points(np.array(keys))
        scores = normal_scores(self._scores(keys))
        z = np.concatenate([scores, self.expected(genes)], axis=1)
        points = dataclasses.replace(genes, covariates=z, doubt=np.zeros_like(z))
        losses = np.array([self.history.losses[key] for key in keys])[:, predicted]
        fitted = [_gp.fit(points, _gp.squash(column)) for column in losses.T]
        for column in self._measured(keys).T:
            fitted.append(_gp.fit(points, (column - column.mean()) / (column.std() or 1.0)))
        return fitted + [_gp.fit(genes, column) for column in scores.T]

    # -- candidates -------------------------------------------------------------------------------

    def best_unseen(
        self,
        value: Acquisition,
        within: Within,
        generator: np.random.Generator,
        pending: Sequence[Proposal],
    ) -> Genes | None:
        """The best network on the way uphill that was neither told nor is pending.

        The last word is the value of its canonical genes. None if there is no such network.
        """
        pool, scores = self._climb(value, within, generator)
        best = pool[np.argsort(-scores, kind="stable")[:LOOKED_AT]]
        unseen = self._unseen(best, pending)
        if not unseen:
            return None
        keys = list(unseen)
        return unseen[keys[int(value(np.array(keys)).argmax())]]

    def _unseen(
        self, networks: NDArray[np.int64], pending: Sequence[Proposal]
    ) -> dict[Genes, Genes]:
        """networks: (n, number of choices). The first `RESCORED` unseen, by canonical genes."""
        taken = self.history.taken(pending)
        unseen: dict[Genes, Genes] = {}
        for genes in map(tuple, networks.tolist()):
            key = self.history.canonical(genes)
            if key not in self.history.genes and key not in taken:
                unseen.setdefault(key, genes)
            if len(unseen) == RESCORED:
                break
        return unseen

    def _climb(
        self, value: Acquisition, within: Within, generator: np.random.Generator
    ) -> tuple[NDArray[np.int64], Floats]:
        """Networks seen on the way uphill, (n, number of choices), and their scores, (n,).

        Climbs begin at the best told and at the best of some draws. The first step leads to the
        best neighbour whatever it is worth: a network told is worth nothing now. So all neighbours
        of the best told are seen, of fronts those of a random part.
        """
        starts = np.array(value.model.keys)[value.model.starts(generator)]
        starts = starts[within(starts)]
        drawn = np.concatenate(
            [self.domain.sample_many(DRAWS, generator), self._perturbed(starts, generator)]
        )
        pool = [drawn[within(drawn)]]
        scores = [value(pool[0])]
        best_drawn = pool[0][np.argsort(-scores[0])[:STARTS]]
        first = [*starts.tolist(), *best_drawn.tolist()]
        here = [self.history.canonical(tuple(genes)) for genes in first]
        heights = [-np.inf] * len(here)  # so the first step is free
        for _ in range(STEPS):
            near = [self.domain.neighbours(genes) for genes in here]
            near = [block[within(block)] for block in near]
            if not any(map(len, near)):
                break
            pool.append(np.concatenate(near))
            scores.append(value(pool[-1]))
            moved = self._uphill(near, scores[-1], heights)
            # Climbs that have met are one from here on.
            here = sorted(moved, key=lambda genes: -moved[genes])[: 2 * STARTS]
            heights = [moved[genes] for genes in here]
        return np.concatenate(pool), np.concatenate(scores)

    def _uphill(
        self, near: Sequence[NDArray[np.int64]], scores: Floats, heights: Sequence[float]
    ) -> dict[Genes, float]:
        """The best of each block of neighbours that is higher than where it starts, with its score.

        ``scores``: of all blocks, one after the other.
        """
        moved: dict[Genes, float] = {}
        parts = np.split(scores, np.cumsum([len(block) for block in near])[:-1])
        for block, part, height in zip(near, parts, heights, strict=True):
            if len(block) and part.max() > height:
                best = tuple(block[part.argmax()].tolist())
                moved[self.history.canonical(best)] = float(part.max())
        return moved

    def _perturbed(
        self, starts: NDArray[np.int64], generator: np.random.Generator
    ) -> NDArray[np.int64]:
        """Networks inside the bounds that share most genes with a start."""
        drawn = self.domain.sample_many(DRAWS, generator)
        if not len(starts):
            return drawn
        base = starts[generator.integers(len(starts), size=DRAWS)]
        # Several rates, for nobody knows how far from a start the best network lies.
        rate = generator.choice(MUTATIONS, size=(DRAWS, 1)) / drawn.shape[1]
        mixed = np.where(generator.random(drawn.shape) < rate, drawn, base)
        return mixed[self.domain.inside(mixed)]

    def doing(self) -> str:
        """See `Strategy`."""
        known = len(self.history.losses)
        if known < self.initial:
            return f"random networks first, {known} of {self.initial} known"
        return f"proposes by a model of {known} networks"

    def recommend(self) -> Genes:
        """The complete network with the best posterior mean of itself.

        Limits come first, objectives are weighed equally. What the process takes for noise is in
        part the network's own, see `_surrogate.OWN`.
        """
        if len(self.history.losses) < self.initial:
            return self.history.recommend(self.seed)
        model = self.model()
        best = int(model.rank(model.themselves(), np.ones(self.objectives))[0])
        return self.history.genes[model.keys[best]]


def _fitted_count(count: int) -> int:
    """Of so many observations, the first so many that the weights are fitted to.

    It depends on the count alone. So a resumed strategy, which was never asked in between, has the
    weights of one that was not killed.
    """
    fitted = 1
    while fitted + max(1, fitted // 10) <= count:
        fitted += max(1, fitted // 10)
    return fitted


def _untrained(metrics: Metrics) -> Metrics:
    return {name: value for name, value in metrics.items() if name.startswith(UNTRAINED_SCORE)}


def _limit(text: str, limits: str) -> tuple[str, float]:
    """Metric and largest value of one ``metric<=value`` among ``limits``. Raises `UsageError`."""
    match = re.fullmatch(r"\s*([\w@]+)\s*<=\s*(-?\d*\.?\d+(?:e[+-]?\d+)?)\s*", text)
    if match is None:
        raise UsageError(
            "a limit is written metric<=value, such as train_ms<=200, several joined by +, "
            f"not '{limits}'"
        )
    return match[1], float(match[2])


def _metric(trial: Trial, name: str) -> float:
    """A metric under a limit. Raises `UsageError` if the trial has none of that name."""
    if name not in trial.metrics:
        names = ", ".join(sorted(trial.metrics)) or "none"
        raise UsageError(
            f"a limit on '{name}' needs that metric of every trial; "
            f"trial {trial.number} has {names}"
        )
    return trial.metrics[name]


strategy = GaussianProcess
