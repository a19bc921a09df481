"""What a study optimises: objectives, an optional scalar reward, the hypervolume's reference.

A loss is a metric to minimise, or one minus a metric to maximise. Fronts and picks read a quality
metric on the *selection* set, under its own name; strategies are told its value on the *search*
set, ``search_accuracy`` beside ``accuracy``, if the evaluator gives one. In place of the accuracy
they are told ``search_likelihood``, if the evaluator gives that; see `TOLD`.

A quality is what the evaluator measures: one of `QUALITY`, or any metric that it gives, asked for
as ``dice:max`` or ``rmse:min``. A cost is computed of the network, and minimised.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from nas.cost.costs import plain_metric
from nas.domain import Domain
from nas.errors import NasError, UsageError, unknown
from nas.pareto import front
from nas.trial import Metrics, Trial

__all__ = [
    "QUALITY",
    "REWARDS",
    "SEARCH",
    "SELECTION",
    "TELLS",
    "TOLD",
    "UNTRAINED_SCORE",
    "Direction",
    "Objective",
    "Objectives",
    "Reward",
    "asked_quality",
    "check_shares",
    "parse_objectives",
    "reference",
    "told_metric",
]

Direction = Literal["minimize", "maximize"]

QUALITY = ("accuracy", "balanced_accuracy", "macro_f1")
"""Shares of images, 0..1, that a training gives; more is better."""
UNTRAINED = ("proxy_score",)
"""What a network is given without a training; more is better, and it is no share."""
MEASURED = ("train_ms",)
"""Costs that are measured and not compiled, so no bound on them can be kept exactly."""
UNTRAINED_SCORE = "untrained_"
"""Before the name of a score of a network before any training, which strategies may learn from."""
SEARCH = "search_"
"""Before the name of a quality: its value on the *search* set."""
SELECTION = "selection_"
"""Before it in a confirmation's scores, which are of *test* otherwise: of the *selection* set."""
TOLD: Mapping[str, str] = {"accuracy": "likelihood"}
"""What strategies are told in place of a quality, if the evaluator gives it for the *search* set.

The likelihood is exp(-loss), the geometric mean of the probabilities that images get for their
class: a share, 0..1, that orders networks as their loss does. It tells networks apart whose
accuracies tie, and ranked better where that was measured (docs/supernets.md).
"""


TELLS = ("likelihood", "accuracy")
"""What an evaluator of images can let strategies learn an accuracy from."""


def check_shares(metrics: Metrics) -> Metrics:
    """The metrics, unchanged. Raises `NasError` for one of `QUALITY` or `TOLD` that is not 0..1.

    A share of images in percent would rank above all others.
    """
    shares = {*QUALITY, *TOLD.values()}
    for name, value in metrics.items():
        if name.removeprefix(SEARCH) in shares and not 0 <= value <= 1:
            raise NasError(f"metric '{name}' is a share of images, 0 to 1, not {value:g}")
    return metrics


def told_metric(metrics: Metrics, quality: str) -> str:
    """The metric that strategies are told of a quality: the first of three that is there.

    They are its stand-in in `TOLD` on *search*, itself on *search*, itself on *selection*.
    """
    for name in (TOLD.get(quality, quality), quality):
        if SEARCH + name in metrics:
            return SEARCH + name
    return quality


def _metric(metrics: Metrics, name: str) -> float:
    if name not in metrics:
        known = ", ".join(sorted(metrics))
        raise UsageError(f"no metric named '{name}' was measured. Known of the network: {known}")
    return metrics[name]


@dataclass(frozen=True)
class Objective:
    """A metric and which way is better."""

    name: str
    direction: Direction
    own: bool = False
    """Whether it is a metric of the user's own, asked for with its direction."""

    @property
    def is_quality(self) -> bool:
        """Whether the evaluator measures it; the others are costs."""
        return self.own or self.name in QUALITY + UNTRAINED

    def loss(self, metrics: Metrics) -> float:
        """Lower is better: the metric, or one minus it."""
        return self._loss(_metric(metrics, self.name))

    def told(self, metrics: Metrics) -> float:
        """The loss as a strategy is told it, see `told_metric`."""
        return self._loss(_metric(metrics, told_metric(metrics, self.name)))

    def better(self, value: float, other: float) -> bool:
        """Whether a value is better than another one."""
        return self._loss(value) < self._loss(other)

    def _loss(self, value: float) -> float:
        return 1 - value if self.direction == "maximize" else value


DIRECTIONS: Mapping[str, Direction] = {"max": "maximize", "min": "minimize"}
OWN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,59}")
RESERVED = (SEARCH, SELECTION, UNTRAINED_SCORE)


def asked_quality(text: str) -> Objective | None:
    """The quality that ``accuracy`` or ``dice:max`` asks for; None for any other objective.

    Raises `UsageError` for a name or a direction that cannot be.
    """
    name, colon, direction = text.partition(":")
    if not colon:
        is_quality = name in QUALITY + UNTRAINED
        return Objective(name, "maximize") if is_quality else None
    if direction not in DIRECTIONS:
        raise UsageError(
            f"an objective of your own is written NAME:max or NAME:min, not '{text[:60]}'"
        )
    if not OWN_NAME.fullmatch(name) or name.startswith(RESERVED):
        raise UsageError(
            f"the name of an objective is made of letters, digits and _.-, does not begin with "
            f"{', '.join(RESERVED)}, and is not '{name[:60]}'"
        )
    if name not in QUALITY + UNTRAINED:
        return Objective(name, DIRECTIONS[direction], own=True)
    if direction != "max":
        raise UsageError(f"more {name} is better: write {name}, not {text}")
    return Objective(name, "maximize")


def parse_objectives(names: Sequence[str], columns: Iterable[str]) -> tuple[Objective, ...]:
    """Objectives by name: qualities are maximised, ``train_ms`` and the cost ``columns`` minimised.

    A metric of the user's own is written with its direction, see `asked_quality`. Raises
    `UsageError` for an unknown name, none, or one given twice.
    """
    costs = (*MEASURED, *columns)
    objectives = []
    for text in names:
        quality = asked_quality(text)
        if quality is None and text not in costs:
            error = unknown("objective", text, (*QUALITY, *UNTRAINED, *costs))
            raise UsageError(f"{error} A metric of your own is written {text}:max or {text}:min")
        if quality is not None and quality.name in costs:
            raise UsageError(
                f"'{quality.name}' is a cost, and less of it is better: write {quality.name}"
            )
        objectives.append(quality or Objective(text, "minimize"))
    distinct = {objective.name for objective in objectives}
    if not names or len(distinct) != len(names):
        raise UsageError(
            f"objectives must be at least one name and none twice, not '{','.join(names)}'"
        )
    return tuple(objectives)


# -- scalar rewards -------------------------------------------------------------------------------


def mnasnet_soft(accuracy: float, cost: float, target: float) -> float:
    """MnasNet, section 3, https://arxiv.org/abs/1807.11626: alpha = beta = -0.07."""
    # The paper's rule: 5 % more accuracy pays for twice the latency, 1.05 * 2^-0.07 = 1.0003.
    return float(accuracy * (cost / target) ** -0.07)


def mnasnet_hard(accuracy: float, cost: float, target: float) -> float:
    """MnasNet, section 3: alpha = 0, beta = -1: nothing gained below the target."""
    return accuracy * (1.0 if cost <= target else target / cost)


def tunas(accuracy: float, cost: float, target: float) -> float:
    """TuNAS' absolute reward, https://arxiv.org/abs/2008.06120: beta = -0.10."""
    # With an absolute difference, searches land on the target without an exponent to tune.
    return accuracy - 0.10 * abs(cost / target - 1)


def efficientnetv2(accuracy: float, step: float, params: float) -> float:
    """EfficientNetV2, section 3.3, https://arxiv.org/abs/2104.00298; ``step`` over a target."""
    # The paper's w = -0.07 and v = -0.05. Params need no target: a constant factor on all rewards
    # changes no order.
    return float(accuracy * step**-0.07 * params**-0.05)


def mes(params: float, latency_ms: float) -> float:
    """EfficientFormerV2's mobile efficiency, https://arxiv.org/abs/2212.08059, in 3 M and 1 ms."""
    # The exponents were not checked against the paper. EfficientFormerV2-S0, 3.5 M in 0.9 ms, gets
    # 97.6 by them.
    return float(100 * (params / 3e6) ** -0.5 * latency_ms**-0.5)


REWARDS: Mapping[str, tuple[str, Callable[..., float]]] = {
    "efficientnetv2": ("{quality} * ({cost} / {target})^-0.07 * params^-0.05", efficientnetv2),
    "mes": ("100 * (params / 3e6)^-0.5 * ({cost} / 1)^-0.5", mes),
    "mnasnet_hard": ("{quality} * min(1, {target} / {cost})", mnasnet_hard),
    "mnasnet_soft": ("{quality} * ({cost} / {target})^-0.07", mnasnet_soft),
    "tunas": ("{quality} - 0.10 * |{cost} / {target} - 1|", tunas),
}


@dataclass(frozen=True, kw_only=True)
class Reward:
    """A named scalar reward over a quality metric and a cost; higher is better."""

    name: str
    """One of `REWARDS`."""
    cost: str = "latency_ms"
    """The metric of the cost."""
    target: float | None = None
    """In the cost's unit; ``mes`` has none."""
    quality: str = "accuracy"
    """The metric of the quality."""

    def __post_init__(self) -> None:
        if self.name not in REWARDS:
            raise unknown("reward", self.name, REWARDS)
        if self.name != "mes" and not 0 < (self.target or 0.0) < math.inf:
            instead = "none was given" if self.target is None else f"not {self.target:g}"
            raise UsageError(
                f"reward '{self.name}' needs a target above 0 in {self.cost}, {instead}: "
                "--target 60ms, or --latency 60ms"
            )

    def __str__(self) -> str:
        target = f"{self.target:g}" if self.target else ""
        formula, _ = REWARDS[self.name]
        text = formula.format(quality=self.quality, cost=self.cost, target=target)
        return f"{self.name} = {text}"

    def value(self, metrics: Metrics) -> float:
        """The reward, of the quality on the search set if the evaluator gave that.

        Nothing stands in for the quality here: the published exponents are for an accuracy.
        """
        cost = _metric(metrics, self.cost)
        if self.name == "mes":
            return mes(_metric(metrics, "params"), cost)
        on_search = SEARCH + self.quality
        quality = _metric(metrics, on_search if on_search in metrics else self.quality)
        target = self.target or math.nan
        if self.name == "efficientnetv2":
            return efficientnetv2(quality, cost / target, _metric(metrics, "params"))
        return REWARDS[self.name][1](quality, cost, target)


@dataclass(frozen=True)
class Objectives:
    """What fronts are made of, and what strategies are told: the same, or one scalar reward."""

    each: tuple[Objective, ...]
    reward: Reward | None = None
    quality_alone: bool = False
    """Whether strategies are told the quality alone, as all networks cost about as much."""

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics, in order."""
        return tuple(objective.name for objective in self.each)

    @property
    def qualities(self) -> tuple[str, ...]:
        """The metrics that are measured of a network, in order."""
        return tuple(each.name for each in self.each if each.is_quality)

    @property
    def costs(self) -> tuple[str, ...]:
        """The others, in order: less is better."""
        return tuple(each.name for each in self.each if not each.is_quality)

    @property
    def first_quality(self) -> Objective:
        """The first quality, or the first objective if there is none."""
        qualities = [each for each in self.each if each.is_quality]
        return (*qualities, *self.each)[0]

    @property
    def quality(self) -> str:
        """The name of `first_quality`."""
        return self.first_quality.name

    def direction(self, metric: str) -> Direction:
        """Which way a metric is better: as its objective says, or else by its kind."""
        for objective in self.each:
            if objective.name == metric:
                return objective.direction
        return "maximize" if metric in QUALITY + UNTRAINED else "minimize"

    @property
    def told_count(self) -> int:
        """How many losses strategies are told."""
        is_one_number = self.reward is not None or self.quality_alone
        return 1 if is_one_number else len(self.each)

    def losses(self, metrics: Metrics) -> tuple[float, ...]:
        """For fronts and picks: on the selection set, lower is better."""
        return tuple(objective.loss(metrics) for objective in self.each)

    def told(self, metrics: Metrics) -> tuple[float, ...]:
        """For strategies: on the search set, lower is better; see `told_metric`."""
        if self.reward is not None:
            # Strategies minimise, and a reward is better the higher it is.
            return (1 - self.reward.value(metrics),)
        if self.quality_alone:
            return (self.first_quality.told(metrics),)
        return tuple(objective.told(metrics) for objective in self.each)

    def front(self, trials: Iterable[Trial]) -> list[Trial]:
        """The complete trials that no other dominates on the selection set, by the last objective.

        A network that was evaluated repeatedly counts by its first evaluation, so that a noisy one
        is not on the front for its luckiest. Of networks with equal losses the front has one: that
        whose last trial came first.

        Strategies make fronts of their own (`nas.pareto.front`): of losses on the search set, as
        means over a network's evaluations or as a model predicts them, before there is a trial.
        There equal losses stand for one point, whichever is kept. So it is for the front's size
        while a search runs, which `nas.pareto.RunningFront` counts over all evaluations.
        """
        networks: dict[str, Trial] = {}
        for trial in trials:
            if trial.state == "complete":
                # Its first trial, moved behind the other networks.
                networks[trial.digest] = networks.pop(trial.digest, trial)
        if not networks:
            return []
        first = list(networks.values())
        losses = [self.losses(trial.metrics) for trial in first]
        chosen = [first[i] for i in np.flatnonzero(front(losses))]
        return sorted(chosen, key=lambda trial: self.losses(trial.metrics)[::-1])

    def to_json(self) -> dict[str, object]:
        """Plain JSON."""
        reward = None if self.reward is None else vars(self.reward).copy()
        each = []
        for objective in self.each:
            # Runs of before know no own metrics: theirs stay as they are.
            own = [True] if objective.own else []
            each.append([objective.name, objective.direction, *own])
        written: dict[str, object] = {"each": each, "reward": reward}
        # Runs of before have no such line.
        return written | ({"quality_alone": True} if self.quality_alone else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Objectives":
        """What `to_json` wrote; anything else raises `UsageError`."""
        try:
            reward = None if data["reward"] is None else Reward(**data["reward"])
            each = tuple(
                Objective(str(name), direction, own=own == [True])
                for name, direction, *own in data["each"]
            )
            quality_alone = bool(data.get("quality_alone", False))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"not a run's objectives: {error}") from None
        names = {objective.name for objective in each}
        # A file may hold anything here: `Literal` is checked by nobody at run time.
        known = all(objective.direction in get_args(Direction) for objective in each)
        if not each or len(names) < len(each) or not known:
            raise UsageError(
                "objectives must be at least one name, none twice, each with a direction, "
                f"not {str(data)[:80]}"
            )
        return cls(each, reward, quality_alone)


def reference(objectives: Objectives, domain: Domain) -> tuple[float, ...]:
    """The hypervolume's reference, (objectives,).

    Loss 1 for a quality, for a cost its bound or else its exact maximum. Empty where a quality is
    of the user's own: it has no worst value, so there is no hypervolume. Raises `UsageError` for a
    cost that has neither.
    """
    if any(objective.own for objective in objectives.each):
        return ()
    upper = {plain_metric(bound.metric): bound.upper for bound in domain.bounds}
    worst = []
    for objective in objectives.each:
        bound = upper.get(objective.name, math.inf)
        worst.append(_worst(objective, domain, bound))
    return tuple(worst)


def _worst(objective: Objective, domain: Domain, bound: float) -> float:
    if objective.direction == "maximize":
        return 1.0
    if bound < math.inf:
        return float(bound)
    if objective.name in domain.compiled.names:
        return domain.compiled.extreme(objective.name, largest=True)[0]
    raise UsageError(
        f"'{objective.name}' has no largest value to measure a hypervolume from: give it a bound"
    )
