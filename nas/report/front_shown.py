"""What a picture of a front shows, gathered once for whoever draws it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from nas.objectives import Objective
from nas.report.axes import axis_label, robust_range
from nas.report.page.content import Confirmed
from nas.report.plots import place
from nas.trial import Trial
from nas.units import counted

__all__ = ["BEGAN", "CONTROLS", "NUMBERED", "FrontShown", "Window"]

BEGAN = "published, or nearest point"
"""What a ring means."""
CONTROLS = (
    ("random", "random networks of the same cost"),
    ("published", "published networks, scaled to it"),
    ("front", "of the front, trained anew"),
)
"""What was trained anew, by its kind; the later ones are drawn upon the earlier."""
NUMBERED = 24
"""On a front of more networks numbers would cover each other."""
NAME_ROOM = 0.05
"""Of the range upwards, left free for a name below the lowest point."""

Point = tuple[float, float]
Bars = tuple[float | None, float | None]
"""One standard deviation across and upwards, each None if it is not known."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """The ends of the axes, in their units."""

    left: float
    right: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class FrontShown:
    """All complete trials and the front, first objective upwards, second to the right.

    One outlier stretches no axis; at the edge it is said how many lie outside. With one objective
    the trial number is on the horizontal axis.
    """

    trials: Sequence[Trial]
    front: Sequence[Trial]
    objectives: Sequence[Objective]
    title: str = ""
    searched_as: str = "as searched"
    """What the trials' scores are, for the legend."""
    spread: Sequence[float] = ()
    """The standard deviation of the second objective for each front trial; empty if not known."""
    deviations: Mapping[str, float] = field(default_factory=dict)
    """That of the first objective, by digest."""
    began: Mapping[int, str] = field(default_factory=dict)
    """By trial, what the search began with."""
    confirmed: Sequence[Confirmed] = ()
    """Networks that were trained anew. They have a panel of their own, for a score on another set
    of images after a longer training is no improvement of the one above."""
    confirmed_as: str = "confirmed on test"
    verdict: str = ""
    """A line under the title."""

    @property
    def up(self) -> str:
        """The metric upwards."""
        return self.objectives[0].name

    @property
    def across(self) -> str:
        """The metric to the right; empty for the number of the trial."""
        return self.objectives[1].name if len(self.objectives) > 1 else ""

    @property
    def across_label(self) -> str:
        """What is written at the horizontal axis."""
        return axis_label(self.across)[0] if self.across else "trial"

    @property
    def up_label(self) -> str:
        """What is written at the vertical axis."""
        return axis_label(self.up)[0]

    @property
    def heading(self) -> str:
        """Title and verdict, a line each."""
        return "\n".join(filter(None, (self.title, self.verdict)))

    @property
    def searched_label(self) -> str:
        """The trials in the legend."""
        return f"{counted(len(self.complete), 'network')}, {self.searched_as}"

    @cached_property
    def complete(self) -> list[Trial]:
        """The trials that have scores."""
        return [trial for trial in self.trials if trial.state == "complete"]

    @property
    def begun(self) -> list[Trial]:
        """Those that the search began with."""
        return [trial for trial in self.complete if trial.number in self.began]

    def points(self, trials: Sequence[Trial]) -> list[Point]:
        """Where trials stand, in the units of the axes."""
        return [place(trial, self.across, self.up) for trial in trials]

    @property
    def numbered(self) -> Sequence[Trial]:
        """The trials of the front that are called by their numbers: none of a long one."""
        return self.front if len(self.front) <= NUMBERED else ()

    @cached_property
    def bars(self) -> list[Bars]:
        """By trial of the front, in the units of the axes."""
        bars = []
        for number, trial in enumerate(self.front):
            across_sd = None
            if self.spread and self.across:
                across_sd = self.spread[number] / axis_label(self.across)[1]
            bars.append((across_sd, self.deviations.get(trial.digest)))
        return bars

    def _reach(self) -> Iterator[Point]:
        """Both ends of each bar of the front."""
        for (x, y), (across_sd, up_sd) in zip(self.points(self.front), self.bars, strict=True):
            yield x - (across_sd or 0.0), y - (up_sd or 0.0)
            yield x + (across_sd or 0.0), y + (up_sd or 0.0)

    @cached_property
    def window(self) -> Window | None:
        """Ends of the axes that no outlier stretches; None without a complete trial."""
        every, shown = self.points(self.complete), [*self._reach()]
        if not every:
            return None
        beside = [each.x for each in self.confirmed]
        left, right = robust_range([x for x, _ in every], [*(x for x, _ in shown), *beside])
        low, high = robust_range([y for _, y in every], [y for _, y in shown])
        # Names stand below their points, and not on the axis.
        return Window(left=left, right=right, low=low - NAME_ROOM * (high - low), high=high)

    def outside(self) -> dict[str, tuple[str, float, float]]:
        """How many points lie beyond each end, if any do.

        By side the words, and where they stand: shares of the axes from the left and from below.
        """
        window = self.window
        if window is None:
            return {}
        every = self.points(self.complete)
        counts = {
            "bottom": ("▼ {} below", 0.5, 0.02, sum(y < window.low for _, y in every)),
            "top": ("▲ {} above", 0.5, 0.98, sum(y > window.high for _, y in every)),
            "left": ("◀ {} left", 0.01, 0.5, sum(x < window.left for x, _ in every)),
            "right": ("▶ {} right", 0.99, 0.5, sum(x > window.right for x, _ in every)),
        }
        told = {}
        for side, (words, x, y, count) in counts.items():
            if count:
                told[side] = words.format(count), x, y
        return told
