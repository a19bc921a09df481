"""A search's pick against published networks of the same latency, trained by the same recipe.

Whoever has a latency budget could have taken a published network and scaled its width. So a
confirmation ends with that comparison. The pick is the member with the best score on *selection*;
`nas pick` names it without a rule where the quality is the first objective. It is trained anew,
from seeds that its choice did not depend on, as often as each opponent. All are scored on *test*.

That some opponent is better is said by intervals that hold for all of them together: each is a
chance to be wrong. That the pick is better than the best of them means that it is better than every
one, so each difference alone must show it, and their number needs no correction: the
intersection-union test, Berger 1982, https://doi.org/10.1080/00401706.1982.10487790.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from nas import networks
from nas.errors import UsageError
from nas.statistics import Interval, claim, many_to_one_intervals

__all__ = [
    "AUTO",
    "SEEDS",
    "Contest",
    "Opponent",
    "Outcome",
    "outcomes",
    "seeds_of",
    "verdict",
    "winner",
]

AUTO = ("mobilenet_v3_large", "efficientnet_b0", "mobilenet_v2")
"""Who is met by default.

Of six designs for phones these were hardest to beat: the first two on CIFAR-10, the last two on
Fashion-MNIST (docs/results.md).
"""
SEEDS = 3
"""Trainings of the pick and of each opponent. With three opponents the pick's mean is told from
theirs if it is two deviations of a training ahead of all of them."""

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


def seeds_of(before: Contest | None, asked: int | None) -> int:
    """Trainings of each network: as many as ``asked``, else as a contest was begun with.

    Raises `UsageError` if these differ: who adds trainings until a difference shows finds one where
    there is none.
    """
    begun = before.seeds if before is not None and before.opponents else None
    if asked is None:
        return begun or SEEDS
    if asked < 2:
        raise UsageError(f"--against-seeds must be at least 2, not {asked}: one tells no deviation")
    if begun not in (None, asked):
        raise UsageError(
            f"this contest was begun with {begun} trainings each, not {asked}: trainings that are "
            "added after a look at the result would flatter. Give another --seed, and all are "
            "trained anew"
        )
    return asked


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
    alone: Interval
    """Of the difference, 95 % for this one alone."""

    def __str__(self) -> str:
        return self.text(self.interval)

    def text(self, interval: Interval) -> str:
        """One line with one of the intervals."""
        low, high = interval
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
    together = many_to_one_intervals(own, samples, step)
    alone = many_to_one_intervals(own, samples, step, together=False)
    found = [
        Outcome(
            opponent=opponent,
            score=sign * fmean(sample),
            difference=fmean(own) - fmean(sample),
            interval=interval,
            alone=single,
        )
        for opponent, sample, interval, single in zip(met, samples, together, alone, strict=True)
    ]
    return sorted(found, key=lambda outcome: -sign * outcome.score)


def verdict(contest: Contest, metric: str, found: Sequence[Outcome]) -> str:
    """One line. What published networks win is said first, and nothing that is not shown."""
    if not found:
        reasons = "; ".join(f"{name}: {why}" for name, why in contest.left_out.items())
        return f"no published network was met{f': {reasons}' if reasons else ''}"
    winners = [outcome for outcome in found if claim(outcome.interval) == "worse"]
    beaten = all(claim(outcome.alone) == "better" for outcome in found)
    if beaten:
        texts = [outcome.text(outcome.alone) for outcome in found]
        confidence = "95 % each, for it must be ahead of every one"
    else:
        texts = [outcome.text(outcome.interval) for outcome in found]
        confidence = "95 % for all together"
    first = found.index(winners[0]) if winners else 0
    if winners:
        said = "a published network of the same latency is better"
    elif beaten:
        said = "better than the best published network of the same latency that was met"
    else:
        said = "no evidence that the pick beats every published network of its latency"
    others = ", ".join(text for place, text in enumerate(texts) if place != first)
    parts = [f"{said}: {texts[first]}{f'; {others}' if others else ''}"]
    parts.append(f"{metric} of trial {contest.trial}, {contest.seeds} trainings each, {confidence}")
    return "; ".join(parts)
