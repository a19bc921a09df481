"""What a confirmation found: networks of a front beside random ones, scored on *test*.

``confirm.jsonl`` in the run's folder holds four kinds of lines: a `Plan` (which networks, which
recipe), an `Opening` of the test set, a `Training` with its scores, and a `Contest` of the pick
with published networks. The last plan is the one that is shown, with the last contest behind it.

"Better" is said by an exact test, `nas.statistics.permutation_interval`. Its strata are the members
of the front, each with the random networks of its band, and it asks which networks could have been
the members: any of a stratum, if the search tells nothing of a network's accuracy.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from nas.cost.metric import Metric
from nas.errors import RunError
from nas.objectives import SELECTION, Direction
from nas.reading import LEFT_OUT, FormError, from_json, to_json
from nas.record import ledger
from nas.run.contest import Contest, Outcome, outcomes, verdict
from nas.statistics import Interval, arrangements, claim, permutation_interval
from nas.units import counted

__all__ = [
    "FILE",
    "LEAST_ARRANGEMENTS",
    "Confirmation",
    "Key",
    "Member",
    "Network",
    "Opening",
    "Pair",
    "Plan",
    "Training",
    "least_others",
    "read",
    "too_few",
]

FILE = "confirm.jsonl"
LEAST_ARRANGEMENTS = 40
"""The actual choice is one of them, and may be 2.5 % of them at most."""
Key = tuple[str, int]
"""Digest of a network, and which repeat of its training."""


# -- what the file holds --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network to train."""

    digest: str
    genes: tuple[int, ...]
    costs: Mapping[str, float]
    """By metric: what it shares with the networks that it is compared with."""

    def __post_init__(self) -> None:
        _check_at_least(0, genes=min(self.genes, default=0))


@dataclass(frozen=True, kw_only=True)
class Member(Network):
    """A network of the front, with random ones of about its costs."""

    trial: int
    band: float
    """Half-width of the band that the random ones are from, as a share of the member's costs."""
    random: tuple[Network, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_at_least(0, trial=self.trial)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which networks are trained, how, and how often."""

    kind: Literal["plan"] = "plan"
    metric: str
    """What is compared."""
    # Left out if more is better, as in confirmations from before less could be.
    direction: Direction = field(default="maximize", metadata=LEFT_OUT)
    """Which way it is better."""
    seed: int
    seeds: int
    """Trainings of each network."""
    recipe: Mapping[str, object]
    threads: int
    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        _check_at_least(0, seed=self.seed)
        _check_at_least(1, seeds=self.seeds, threads=self.threads, members=len(self.members))

    @property
    def sign(self) -> int:
        """1 if more is better, else -1: a difference times it is an advantage."""
        return 1 if self.direction == "maximize" else -1

    @property
    def networks(self) -> list[Network]:
        """Every member, followed by its random networks."""
        networks: list[Network] = []
        for member in self.members:
            networks += [member, *member.random]
        return networks

    @property
    def others(self) -> list[int]:
        """By member, the number of its random networks."""
        return [len(member.random) for member in self.members]

    @property
    def alike(self) -> list[str]:
        """What a member and its random networks share, in words."""
        costs = [Metric.parse(name) for name in self.members[0].costs]
        return ["latency" if cost.is_latency else str(cost) for cost in costs] or ["cost"]

    @property
    def trained(self) -> str:
        """What stands for a network in its trainings, in words; empty if the recipe tells not."""
        resolution, width = self.recipe.get("resolution"), self.recipe.get("width")
        if self.recipe.get("full") is True:
            size = "their own size" if resolution is None else f"{resolution} pixels"
            return f"the networks themselves, at {size}"
        if not isinstance(resolution, int | str) or not isinstance(width, int | float):
            return ""
        share = {0.25: "a quarter of the width", 0.5: "half the width", 1: "the whole width"}
        return f"slimmed copies, {resolution} pixels, {share.get(width, f'{width:g} of the width')}"

    @property
    def wanted(self) -> list[Key]:
        """All networks once, then all again, so that a kill leaves pairs."""
        networks = self.networks
        return [(network.digest, repeat) for repeat in range(self.seeds) for network in networks]


@dataclass(frozen=True, kw_only=True)
class Opening:
    """The test set was opened."""

    kind: Literal["opening"] = "opening"
    time: str = ""
    images: int
    unreadable: int = 0
    """Images that were left out."""
    such_as: str = ""
    """The first of them."""

    def __post_init__(self) -> None:
        # None are ours where a function brings its own data.
        _check_at_least(0, images=self.images, unreadable=self.unreadable)


@dataclass(frozen=True, kw_only=True)
class Training:
    """A network was trained: its scores, or the reason why there are none.

    Scores on *test* are under their own names, those on *selection* under ``selection_NAME``; a
    training of an earlier version has none of these.
    """

    kind: Literal["training"] = "training"
    digest: str
    repeat: int
    seed: int
    """The plan's."""
    recipe: Mapping[str, object]
    metrics: Mapping[str, float] | None = field(default=None, metadata=LEFT_OUT)
    reason: str = field(default="", metadata=LEFT_OUT)
    seconds: float

    def __post_init__(self) -> None:
        _check_at_least(0, repeat=self.repeat, seed=self.seed)
        if not self.reason and self.metrics is None:
            raise ValueError("metrics are missing")

    @property
    def key(self) -> Key:
        """Which of the plan's trainings it is."""
        return self.digest, self.repeat

    def belongs_to(self, plan: Plan) -> bool:
        """Whether the plan asks for a training such as this one."""
        return self.recipe == plan.recipe and self.seed == plan.seed

    def selection_score(self, metric: str) -> float | None:
        """The metric on *selection*; None if the training failed, or was not scored there."""
        if self.reason or self.metrics is None:
            return None
        return self.metrics.get(SELECTION + metric)

    def score(self, metric: str) -> float | None:
        """The metric on *test*; None if the training failed."""
        if self.reason or self.metrics is None:
            return None
        if metric not in self.metrics:
            raise FormError(f"metrics.{metric} is missing")
        return self.metrics[metric]


Row = Plan | Opening | Training | Contest

KINDS: Mapping[str, type[Row]] = {
    "plan": Plan,
    "contest": Contest,
    "opening": Opening,
    "training": Training,
}


def _check_at_least(least: int, **values: int) -> None:
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")


# -- what it says ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A network of the front, and random ones of its band. Scores are means over the seeds."""

    trial: int
    confirmed: float
    random: tuple[float, ...]

    @property
    def difference(self) -> float:
        """The member's score minus the mean of its random networks."""
        return self.confirmed - fmean(self.random)


@dataclass(frozen=True, kw_only=True, eq=False)
class Confirmation:
    """The trainings of a run's last plan; it may be unfinished."""

    plan: Plan
    openings: int
    """Openings of the test set so far, all plans counted."""
    trainings: Mapping[Key, Training]
    """The plan's trainings that are finished."""
    scores: Mapping[str, Sequence[float]]
    """By digest, the score on *test* of each finished seed."""
    selection_scores: Mapping[str, Sequence[float]]
    """By digest, the score on *selection* of each finished seed that was scored there."""
    failed: Mapping[str, str]
    """By digest, the reason of a training that diverged. Such a network enters no pair."""
    images: int = 0
    """Of the test set; 0 if it was never opened."""
    left_out: str = ""
    """For people, which images of the test set could not be read; empty if all could."""
    contest: Contest | None = None
    """The plan's, once its networks are trained and opponents were asked for."""
    contest_trainings: Mapping[Key, Training] = field(default_factory=dict)
    """The contest's trainings that are finished."""

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Confirmation | None":
        """The confirmation that a file's rows tell of; None if they hold no plan."""
        rows = list(rows)
        places = [place for place, row in enumerate(rows) if isinstance(row, Plan)]
        if not places:
            return None
        plan = rows[places[-1]]
        assert isinstance(plan, Plan)
        contests = [row for row in rows[places[-1] :] if isinstance(row, Contest)]
        contest = contests[-1] if contests else None
        openings = [row for row in rows if isinstance(row, Opening)]
        last = openings[-1] if openings else None
        trainings = _of_plan(plan, plan.wanted, rows)
        scores: dict[str, list[float]] = defaultdict(list)
        selection_scores: dict[str, list[float]] = defaultdict(list)
        failed: dict[str, str] = {}
        # Sorted: the order in the file depends on where kills came.
        for (digest, _), training in sorted(trainings.items()):
            score = training.score(plan.metric)
            if score is None:
                failed[digest] = training.reason
            else:
                scores[digest].append(score)
            selection_score = training.selection_score(plan.metric)
            if selection_score is not None:
                selection_scores[digest].append(selection_score)
        return cls(
            plan=plan,
            openings=len(openings),
            images=last.images if last else 0,
            left_out=ledger.left_out_text(last.unreadable, last.such_as) if last else "",
            contest=contest,
            contest_trainings=_of_plan(plan, contest.wanted, rows) if contest else {},
            trainings=trainings,
            scores=scores,
            selection_scores=selection_scores,
            failed=failed,
        )

    @property
    def metric(self) -> str:
        """What is compared."""
        return self.plan.metric

    @cached_property
    def missing(self) -> list[Key]:
        """The trainings that are still to be done."""
        return [key for key in self.plan.wanted if key not in self.trainings]

    @cached_property
    def contest_missing(self) -> list[Key]:
        """The contest's trainings that are still to be done."""
        wanted = self.contest.wanted if self.contest else []
        return [key for key in wanted if key not in self.contest_trainings]

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """The published networks that the pick has met, best first."""
        if self.contest is None or self.contest_missing:
            return []
        scores = {}
        for digest, keys in self.contest.keys.items():
            found = [self.contest_trainings[key].score(self.metric) for key in keys]
            # A network of which a training failed is not compared by its others.
            if None not in found:
                scores[digest] = [score for score in found if score is not None]
        step = 1 / self.images if self.images else 0.0
        return outcomes(self.contest, scores, step, sign=self.plan.sign)

    @property
    def contest_verdict(self) -> str:
        """One line on the pick and the published networks; empty if there is no contest."""
        if self.contest is None:
            return ""
        if self.contest_missing:
            return f"unfinished: {len(self.contest_missing)} trainings against published networks"
        metric = self.metric
        if self.plan.sign < 0:
            metric = f"{metric} (less is better, and counts as the pick's lead)"
        return verdict(self.contest, metric, self.outcomes)

    def score(self, digest: str) -> float | None:
        """A network's mean on *test* over the seeds; None unless all its trainings are finished."""
        return self._mean(self.scores.get(digest, ()))

    def selection_score(self, digest: str) -> float | None:
        """The same on *selection*; None also if a training was not scored there."""
        return self._mean(self.selection_scores.get(digest, ()))

    def _mean(self, scores: Sequence[float]) -> float | None:
        return fmean(scores) if len(scores) == self.plan.seeds else None

    @property
    def pairs(self) -> list[Pair]:
        """The finished ones, in the plan's order."""
        pairs = []
        for member in self.plan.members:
            confirmed = self.score(member.digest)
            others = [self.score(network.digest) for network in member.random]
            random = tuple(score for score in others if score is not None)
            # Whole pairs only. A pair is left out for whichever of its networks has failed, member
            # or not: so what is left stays a choice at random if the search tells nothing.
            if confirmed is not None and random and len(random) == len(others):
                pairs.append(Pair(trial=member.trial, confirmed=confirmed, random=random))
        return pairs

    @property
    def interval(self) -> Interval | None:
        """Of the members' advantage, see `permutation_interval`. None for too few networks."""
        sign = self.plan.sign
        return permutation_interval(
            [
                (sign * pair.confirmed, [sign * score for score in pair.random])
                for pair in self.pairs
            ]
        )

    @property
    def seconds(self) -> tuple[float, float]:
        """Core-seconds of the members' trainings, and of the random networks'.

        They are wall seconds times threads.
        """
        members = {member.digest for member in self.plan.members}
        spent = [0.0, 0.0]
        for training in self.trainings.values():
            spent[training.digest not in members] += training.seconds * self.plan.threads
        return spent[0], spent[1]

    @property
    def contest_seconds(self) -> float:
        """Core-seconds of the trainings against published networks, the pick's included."""
        spent = sum(training.seconds for training in self.contest_trainings.values())
        return spent * self.plan.threads

    @property
    def verdict(self) -> str:
        """One line: what the pairs say, and no more than they say."""
        if self.missing:
            return (
                f"unfinished: {len(self.missing)} of {len(self.plan.wanted)} trainings are to be "
                "done; confirm again"
            )
        interval = self.interval
        like = " and ".join(self.plan.alike)
        if interval is None:
            return f"{NO_EVIDENCE}: {too_few([len(pair.random) for pair in self.pairs])}"
        mean = self.plan.sign * fmean(pair.difference for pair in self.pairs)
        low, high = interval
        metric = self.metric if self.plan.sign > 0 else f"{self.metric} lower by"
        parts = [
            f"{VERDICTS[claim(interval)].format(like=like)}: {metric} {mean:+.4f}, "
            f"95 % interval {low:+.4f} to {high:+.4f} (exact permutation test, "
            f"{self._compared})"
        ]
        if self.plan.trained:
            parts.append(f"trained were {self.plan.trained}")
        # The networks of one search share its luck.
        parts.append("one search cannot speak for other seeds")
        return "; ".join(parts)

    @property
    def headline(self) -> str:
        """The verdict in a few words; what an opponent wins is said first."""
        if self.missing:
            return "The confirmation is not finished"
        if any(claim(outcome.interval) == "worse" for outcome in self.outcomes):
            return "A published network of the same latency is better"
        like = " and ".join(self.plan.alike)
        said = VERDICTS[claim(self.interval)].format(like=like)
        return f"{said[:1].upper()}{said[1:]}".removesuffix(" here")

    @property
    def _compared(self) -> str:
        random = sum(len(pair.random) for pair in self.pairs)
        seeds = counted(self.plan.seeds, "training")
        return f"{len(self.pairs)} of the front, {random} random, {seeds} each"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        members, random = self.seconds
        return {
            "metric": self.metric,
            "pairs": [{**to_json(pair), "difference": pair.difference} for pair in self.pairs],
            "interval": to_json(self.interval),
            "claim": "unfinished" if self.missing else claim(self.interval),
            "verdict": self.verdict,
            "against": None if self.contest is None else _contest_json(self),
            "test_openings": self.openings,
            "core_seconds": {"members": members, "random": random},
            "failed": dict(self.failed),
            "plan": to_json(self.plan),
        }


# Never "no better": a few pairs cannot show that both are equal.
NO_EVIDENCE = "no evidence that the search beat random here"
VERDICTS = {
    "better": "better than random networks of the same {like}",
    "worse": "worse than random networks of the same {like}",
    "no evidence": NO_EVIDENCE,
}


def too_few(others: Sequence[int]) -> str:
    """That the test can say nothing with so many random networks a member, and the way out."""
    ways = arrangements(others)
    if not others:
        return "no member and all its random networks are trained"
    return (
        f"the exact test needs {LEAST_ARRANGEMENTS} ways to choose the members, and {len(others)} "
        f"with {', '.join(map(str, others))} random networks make {ways}; "
        f"--random {len(others) * least_others(len(others))} makes enough"
    )


def least_others(members: int) -> int:
    """How many random networks each of so many members needs at least for the test."""
    others = 1
    while arrangements([others] * members) < LEAST_ARRANGEMENTS:
        others += 1
    return others


def _contest_json(confirmation: Confirmation) -> dict[str, Any]:
    return {
        "verdict": confirmation.contest_verdict,
        "outcomes": to_json(confirmation.outcomes),
        "contest": to_json(confirmation.contest),
    }


def _of_plan(plan: Plan, keys: Iterable[Key], rows: Iterable[object]) -> dict[Key, Training]:
    wanted = set(keys)
    trainings = {}
    for row in rows:
        # An earlier plan's count as well, so that a larger --top trains only what is new.
        if isinstance(row, Training) and row.key in wanted and row.belongs_to(plan):
            trainings[row.key] = row
    return trainings


def read(folder: str | Path) -> Confirmation | None:
    """A run's last confirmation; None if there is none. Raises `RunError` for a damaged file."""
    path = Path(folder) / FILE
    rows = ledger.read(path)
    try:
        return Confirmation.of(_record(row) for row in rows)
    except FormError as error:
        raise RunError(
            f"{path} is of another version or damaged: {error}. Remove it to confirm anew"
        ) from None


def _record(row: ledger.Row) -> Row:
    kind = row["kind"]
    if kind not in KINDS:
        raise FormError(f"kind must be one of {', '.join(KINDS)}, not '{kind[:40]}'")
    return from_json(KINDS[kind], row)
