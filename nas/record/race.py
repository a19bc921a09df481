"""The later rungs of a race, as ``race.jsonl`` in the run's folder holds them.

The first rung are the run's trials; the journal holds them, and strategies learn from them alone.
A later rung is **claimed** by one line, a `Rung`, which names the trials that are promoted to it,
and each of its trainings is **finished** by another, a `Promotion`. So a kill at any moment loses
nothing finished and repeats nothing.

A promotion is known by its network and by its schedule. Scores of other schedules are never put
beside each other: `Race.standings` keeps them apart.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from nas.errors import RunError
from nas.objectives import Objectives, check_shares
from nas.reading import FormError, from_json, to_json
from nas.record import ledger
from nas.trial import State, Trial, check_metrics

__all__ = [
    "ENOUGH",
    "FILE",
    "Promotion",
    "Race",
    "Rung",
    "Standing",
    "append",
    "first_of_each",
    "last_rules",
    "promoted_trial",
    "read",
]

FILE = "race.jsonl"
ENOUGH = 3
"""So many networks make a rung that is shown before all of it is trained."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """Which trials are promoted to a longer training, the first ones first."""

    kind: Literal["rung"] = "rung"
    number: int
    """From 2 on: the trials themselves are the first rung."""
    factor: int
    """How many times the first rung's schedule."""
    eta: int
    """About one in so many networks of the rung below is promoted."""
    rungs: int
    """Of the whole race."""
    among: int
    """So many networks of the rung below were complete when these were chosen."""
    trials: tuple[int, ...]
    elapsed: float
    """Seconds that the run had taken."""

    def __post_init__(self) -> None:
        _check_at_least(2, number=self.number, factor=self.factor, eta=self.eta, rungs=self.rungs)
        _check_at_least(0, among=self.among, elapsed=self.elapsed, **_named(self.trials))


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What became of a longer training."""

    kind: Literal["promotion"] = "promotion"
    factor: int
    """How many times the first rung's schedule."""
    trial: int
    digest: str
    """The network's."""
    state: State
    metrics: Mapping[str, float]
    """Of this training and the network's costs; of a failed one the costs alone."""
    reason: str
    """Why it is not complete; empty if it is."""
    seconds: float
    elapsed: float
    """Seconds that the run had taken when it ended."""

    def __post_init__(self) -> None:
        _check_at_least(2, factor=self.factor)
        _check_at_least(0, trial=self.trial, seconds=self.seconds, elapsed=self.elapsed)
        check_shares(check_metrics(self.metrics))
        # Half a character would fail wherever it is printed.
        f"{self.digest}{self.reason}".encode()

    def canonical(self) -> str:
        """One line of JSON that two equal runs share: no times."""
        row = {
            "factor": self.factor,
            "trial": self.trial,
            "digest": self.digest,
            "state": self.state,
            "metrics": dict(sorted(self.metrics.items())),
        }
        return json.dumps(row, sort_keys=True, separators=(",", ":"))


Row = Rung | Promotion
KINDS: Mapping[str, type[Row]] = {"rung": Rung, "promotion": Promotion}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The networks of one rung, by the scores of its schedule alone."""

    number: int
    """1 for the trials themselves."""
    factor: int
    """How many times the first rung's schedule."""
    planned: int
    """Networks that were promoted to it, or all trials."""
    trials: tuple[Trial, ...]
    """What is finished, by number; the metrics are of this rung's trainings."""

    @property
    def complete(self) -> list[Trial]:
        """Those that have scores."""
        return [trial for trial in self.trials if trial.state == "complete"]

    @property
    def shown(self) -> bool:
        """Whether it has enough networks for a front: `ENOUGH`, or all that it will have."""
        whole = len(self.trials) >= self.planned
        return len(self.complete) >= (1 if whole else ENOUGH)


@dataclass(frozen=True, kw_only=True)
class Race:
    """All rows of a file."""

    rungs: tuple[Rung, ...] = ()
    """Every choice of networks, in the order they were made."""
    finished_before: tuple[int, ...] = ()
    """By rung: how many promotions were finished when it was chosen."""
    promotions: Mapping[tuple[int, str], Promotion] = field(default_factory=dict)
    """By factor and digest, in the order they were finished."""
    seconds: float = 0.0
    """Time that the later rungs have taken, of the run's."""
    elapsed: float = 0.0
    """Time that the run had taken when the last row was written."""

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "Race":
        """The race that a file's rows tell of."""
        race = cls()
        for row in rows:
            race = race.after(row)
        return race

    def after(self, row: Row) -> "Race":
        """The same with one more row."""
        if isinstance(row, Rung):
            return replace(
                self,
                rungs=(*self.rungs, row),
                finished_before=(*self.finished_before, len(self.promotions)),
                elapsed=row.elapsed,
            )
        return replace(
            self,
            promotions={**self.promotions, (row.factor, row.digest): row},
            # Since the row before: trials between two rungs do not count.
            seconds=self.seconds + max(0.0, row.elapsed - self.elapsed),
            elapsed=row.elapsed,
        )

    def standing(self, rung: Rung, trials: Sequence[Trial], objectives: Objectives) -> Standing:
        """What the rung's schedule has shown, promotions of earlier choices included."""
        finished = []
        for trial in trials:
            promotion = self.promotions.get((rung.factor, trial.digest))
            if promotion is not None and promotion.trial == trial.number:
                finished.append(promoted_trial(trial, promotion, objectives))
        numbers = {*rung.trials, *(trial.number for trial in finished)}
        return Standing(
            number=rung.number,
            factor=rung.factor,
            planned=len(numbers),
            trials=tuple(finished),
        )

    def standings(self, trials: Sequence[Trial], objectives: Objectives) -> list[Standing]:
        """Every rung, the trials' own first, by the length of its schedule."""
        first = Standing(number=1, factor=1, planned=len(trials), trials=tuple(trials))
        # The last choice of each schedule is the one that holds.
        by_factor = {rung.factor: rung for rung in self.rungs}
        later = [by_factor[factor] for factor in sorted(by_factor)]
        return [first, *(self.standing(rung, trials, objectives) for rung in later)]

    def canonical(self) -> str:
        """What two equal runs share byte for byte: a line per promotion, by rung and trial."""
        rows = sorted(self.promotions.values(), key=lambda row: (row.factor, row.trial))
        return "".join(row.canonical() + "\n" for row in rows)


def promoted_trial(trial: Trial, promotion: Promotion, objectives: Objectives) -> Trial:
    """A trial as its longer training has it: nothing of the shorter one's scores is left."""
    complete = promotion.state == "complete"
    return replace(
        trial,
        state=promotion.state,
        metrics=promotion.metrics,
        losses=objectives.told(promotion.metrics) if complete else (),
        reason=promotion.reason,
    )


def first_of_each(trials: Iterable[Trial]) -> list[Trial]:
    """The first complete trial of each network, by number."""
    networks: dict[str, Trial] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.state == "complete":
            networks.setdefault(trial.digest, trial)
    return list(networks.values())


def append(folder: Path, row: Row) -> None:
    """Record a row; it is on the disk when this returns. The caller holds the run's lock."""
    ledger.append(folder / FILE, to_json(row))


def read(folder: str | Path) -> Race:
    """The race of a run, empty if it has none. Raises `RunError` for a damaged file."""
    path = Path(folder) / FILE
    rows = ledger.read(path)
    try:
        return Race.of(_row(row) for row in rows)
    except FormError as error:
        raise RunError(
            f"{path} is of another version or damaged: {error}. Remove it to race anew"
        ) from None


def last_rules(folder: str | Path) -> str:
    """The rules by which a run was raced last, as ``--race`` takes them; empty if it never was."""
    rungs = read(folder).rungs
    return f"eta={rungs[-1].eta},rungs={rungs[-1].rungs}" if rungs else ""


def _row(row: ledger.Row) -> Row:
    kind = row["kind"]
    if kind not in KINDS:
        raise FormError(f"kind must be one of {', '.join(KINDS)}, not '{kind[:40]}'")
    return from_json(KINDS[kind], row)


def _named(trials: Sequence[int]) -> dict[str, float]:
    return {f"trials[{place}]": number for place, number in enumerate(trials)}


def _check_at_least(least: int, **values: float) -> None:
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value:g}")
