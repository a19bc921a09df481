"""What a report says of a run: plain values, gathered before anything is drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from nas.reading import to_json
from nas.report.explain import Change, LayerTime

__all__ = [
    "Axis",
    "Confirmed",
    "Content",
    "Course",
    "FamilyMember",
    "FrontPoint",
    "Importance",
    "Moment",
    "Pick",
    "Rung",
    "Searched",
    "Spent",
    "Verdict",
]

Claim = Literal["better", "worse", "no evidence", "unfinished", "not confirmed", "nothing yet"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What may be said of the search, and no more."""

    claim: Claim
    headline: str
    details: tuple[str, ...]
    """Whole sentences; what an opponent wins comes first."""
    pick: str
    """The network to take, in one line; empty while there is none."""
    commands: tuple[tuple[str, str], ...]
    """What to do next: what for, and a command that a shell takes as it stands."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis of the front."""

    metric: str
    """Empty for the number of the trial."""
    label: str
    low: float
    """The ends that are shown, in the label's unit."""
    high: float


@dataclass(frozen=True, kw_only=True)
class Searched:
    """A trial as the search scored it."""

    trial: int
    digest: str
    state: str
    x: float | None = None
    """Its place in the units of the axes; None unless it is complete, in the front's rung."""
    y: float | None = None
    began_with: str = ""
    """The published network that the search began with by it."""
    reason: str = ""
    """Why it is not complete."""
    genes: tuple[int, ...]
    figures: Mapping[str, float]
    """What is told of it: objectives, latencies, params, macs."""


@dataclass(frozen=True, kw_only=True)
class FrontPoint:
    """A network of the front."""

    trial: int
    x: float
    x_sd: float | None
    """Standard deviation of the latency estimate; None if x is no latency."""
    y: float
    y_sd: float | None
    """Of a share of images, by their number; None for anything else."""
    latencies: Mapping[str, tuple[float, float]]
    """By device, milliseconds and their standard deviation."""
    predicted: Mapping[str, float]
    """By device, the share of the milliseconds that no timing stands behind, 0 to 1."""
    timed: Mapping[str, tuple[float, float]]
    """By device, what the whole network was timed to take, with its deviation; where it was."""
    confirmed: float | None
    """Its mean score on *test*."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """Trainings of another length than the front's: their scores are not to be compared with it."""

    number: int
    factor: int
    """How many times the first rung's schedule."""
    points: tuple[tuple[float, float], ...]
    """In the units of the axes."""


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """A network that was trained anew, and scored on *test*."""

    kind: Literal["front", "random", "published"]
    name: str
    trial: int | None = None
    x: float
    """Cost, in the unit of the front's horizontal axis."""
    score: float
    sd: float | None
    """Of a share of images, by their number."""
    lead: float | None = None
    """Of the pick over a published network, both trained several times."""
    interval: tuple[float, float] | None = None
    """Of the lead, 95 % for all published networks together: by it a published one is better."""
    alone: tuple[float, float] | None = None
    """Of the lead, 95 % by itself: by these the pick is better than every one."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """A figure over the finished trials, told where it changes."""

    name: str
    steps: tuple[tuple[int, float], ...]
    """Number of finished trials, and the figure from there on."""
    end: int
    """Number of finished trials at the end."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """What a forest loses on networks that it has not seen, when one choice is shuffled."""

    gene: str
    share: float
    """Of the variance of the scores; below 0 by chance."""
    sd: float
    """Over the shufflings and the parts left out."""


@dataclass(frozen=True, kw_only=True)
class Pick:
    """The network to take, and where its time goes."""

    trial: int
    digest: str
    reason: str
    device: str
    latency_ms: float
    latency_sd_ms: float
    beyond_layers_ms: float
    params: int
    macs: int
    layers: tuple[LayerTime, ...]
    changes: tuple[Change, ...]
    """Of one gene, inside the run's bounds or not."""
    genes: Mapping[str, str]
    """Label of the chosen option by gene."""


@dataclass(frozen=True, kw_only=True)
class FamilyMember:
    """A member of a family made from the run."""

    name: str
    resolution: str
    params: int
    macs: int
    latencies: Mapping[str, tuple[float, float]]
    """By device, milliseconds and their standard deviation."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What something cost."""

    what: str
    core_seconds: float
    trainings: int


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What a page that is served is of."""

    stamp: str
    """Differs from an earlier one if the page would."""
    line: str
    """Where the run stands, in a line: this may change while the page does not."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """All that a report says of one run."""

    name: str
    """The run's folder as it was named."""
    title: str
    state: str
    """How far the search is, in words."""
    verdict: Verdict
    across: Axis
    up: Axis
    choices: tuple[tuple[str, tuple[str, ...]], ...]
    """By gene: its name and the labels of its options."""
    trials: tuple[Searched, ...]
    searched_as: str
    """What the front's scores are, in words."""
    race: str
    """Which rung the front is made of, in a sentence; empty without a race."""
    other_rungs: tuple[Rung, ...]
    front: tuple[FrontPoint, ...]
    confirmed: tuple[Confirmed, ...]
    confirmed_as: str
    """What a confirmed score is, in words."""
    course: tuple[Course, ...]
    importance: tuple[Importance, ...]
    importance_remark: str
    """How it was found, and how far it can be believed."""
    pick: Pick | None
    family: tuple[FamilyMember, ...]
    spent: tuple[Spent, ...]
    how: tuple[tuple[str, str], ...]
    """How it was run: what, and its value."""
    distrust: tuple[str, ...]
    """What to be careful with, a sentence each."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {field.name: to_json(getattr(self, field.name)) for field in fields(self)}

    def on(self, across: Axis, up: Axis) -> "Content":
        """The same on other axes."""
        return replace(self, across=across, up=up)
