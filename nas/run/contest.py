"""A search's pick against published networks of the same latency, trained by the same recipe.

Whoever has a latency budget could have taken a published network and scaled its width. So a
confirmation ends with that comparison. The pick is the member with the best score on *selection*;
`nas pick` names it without a rule where the quality is the first objective. It is trained anew,
from seeds that its choice did not depend on, as often as each opponent. All are scored on *test*.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from nas import networks
from nas.statistics import Interval, claim, many_to_one_intervals

__all__ = [
    "AUTO",
    "SEEDS",
    "Contest",
    "Opponent",
    "Outcome",
    "outcomes",
    "verdict",
    "winner",
]

AUTO = ("mobilenet_v3_large", "efficientnet_b0", "mobilenet_v4_conv_small")
"""Who is met by default: three designs that people take for phones, of 2019 to 2024."""
SEEDS = 3
"""Trainings of the pick and of each opponent. With three opponents their mean is told from the
pick's if they are two and a half deviations of a training apart."""

Key = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Opponent:
    """A published network, made as wide as the pick's latency allows."""

    name: str
    width: float
    """The factor on its channels."""
    digest: str
    latency_ms: float

    def __post_init__(self) -> None:
        if self.name not in networks.names():
            raise ValueError(f"no published network named '{self.name}'")

    def __str__(self) -> str:
        return f"{self.name} at width {self.width:g}"


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Who meets whom, as ``confirm.jsonl`` holds it. It belongs to the plan before it."""

    kind: Literal["contest"] = "contest"
    trial: int
    """The pick's."""
    digest: str
    latency_ms: float
    timed: bool = False
    """Whether the latencies, the opponents' too, are of whole networks that were timed."""
    first_repeat: int
    """Of the pick's trainings here; those before decided that it is the pick."""
    seeds: int = SEEDS
    opponents: tuple[Opponent, ...]
    left_out: Mapping[str, str]
    """By name, why a network that was asked for is not met."""

    @property
    def keys(self) -> dict[str, list[Key]]:
        """By digest, the trainings that are compared; none without an opponent."""
        if not self.opponents:
            return {}
        keys = {self.digest: [(self.digest, self.first_repeat + i) for i in range(self.seeds)]}
        for opponent in self.opponents:
            keys[opponent.digest] = [(opponent.digest, i) for i in range(self.seeds)]
        return keys

    @property
    def wanted(self) -> list[Key]:
        """All networks once, then all again."""
        return [key for repeat in zip(*self.keys.values(), strict=True) for key in repeat]


def winner(contest: Contest | None, found: Sequence["Outcome"], trial: int) -> "Outcome | None":
    """The published network that is better than a trial by evidence; None if there is none."""
    if contest is None or contest.trial != trial:
        return None
    better = [outcome for outcome in found if claim(outcome.interval) == "worse"]
    return better[0] if better else None


# -- what came of it ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """An opponent's scores beside the pick's; means over the trainings."""

    opponent: Opponent
    score: float
    difference: float
    """The pick's score less the opponent's, or the other way round where less is better."""
    interval: Interval
    """Of the difference, 95 % for all opponents together."""

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.opponent} {self.score:.4f} (pick {self.difference:+.4f}, {low:+.4f} to "
            f"{high:+.4f})"
        )


def outcomes(
    contest: Contest, scores: Mapping[str, Sequence[float]], step: float, *, sign: int = 1
) -> list[Outcome]:
    """The opponents, best first; empty while a training is missing.

    ``scores``: by digest. An opponent without scores, for its trainings failed, is left out.
    ``step``: what one test image is worth. ``sign``: -1 where less is better.
    """
    scores = {digest: [sign * score for score in sample] for digest, sample in scores.items()}
    own = scores.get(contest.digest, ())
    met = [opponent for opponent in contest.opponents if scores.get(opponent.digest)]
    if len(own) < 2 or not met:
        return []
    samples = [scores[opponent.digest] for opponent in met]
    intervals = many_to_one_intervals(own, samples, step)
    found = [
        Outcome(
            opponent=opponent,
            score=sign * fmean(sample),
            difference=fmean(own) - fmean(sample),
            interval=interval,
        )
        for opponent, sample, interval in zip(met, samples, intervals, strict=True)
    ]
    return sorted(found, key=lambda outcome: -sign * outcome.score)


def verdict(contest: Contest, metric: str, found: Sequence[Outcome]) -> str:
    """One line. What published networks win is said first, and nothing that is not shown."""
    if not found:
        reasons = "; ".join(f"{name}: {why}" for name, why in contest.left_out.items())
        return f"no published network was met{f': {reasons}' if reasons else ''}"
    claims = {outcome.opponent.name: claim(outcome.interval) for outcome in found}
    best = found[0]
    if "worse" in claims.values():
        winners = [outcome for outcome in found if claims[outcome.opponent.name] == "worse"]
        said = f"a published network of the same latency is better: {winners[0]}"
    elif set(claims.values()) == {"better"}:
        said = f"better than the best published network of the same latency that was met: {best}"
    else:
        said = f"no evidence that the pick beats every published network of its latency: {best}"
    others = ", ".join(str(outcome) for outcome in found if str(outcome) not in said)
    parts = [f"{said}{f'; {others}' if others else ''}"]
    parts.append(
        f"{metric} of trial {contest.trial}, {contest.seeds} trainings each, 95 % for all together"
    )
    return "; ".join(parts)
