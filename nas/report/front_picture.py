"""The picture of a front: as searched above, and below it what a confirmation found."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from nas.objectives import Objective
from nas.report.axes import axis_label, robust_range
from nas.report.page.content import Confirmed
from nas.report.plots import ACCENT, CONFIRMED, INK, QUIET, blank, columns, dress, literal, place
from nas.trial import Trial
from nas.units import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["front_figure"]

RANDOM = "#6d28d9"
NUMBERED = 24
"""On a front of more networks numbers would cover each other."""
NAME_ROOM = 0.05
"""Of the range upwards, left free for a name below the lowest point."""
Bars = tuple[float | None, float | None]
"""One standard deviation across and upwards, each None if it is not known."""


def front_figure(
    trials: Sequence[Trial],
    front: Sequence[Trial],
    objectives: Sequence[Objective],
    *,
    title: str = "",
    searched_as: str = "as searched",
    spread: Sequence[float] = (),
    deviations: Mapping[str, float] = MappingProxyType({}),
    confirmed: Sequence[Confirmed] = (),
    confirmed_as: str = "confirmed on test",
    verdict: str = "",
) -> "Figure":
    """All complete trials and the front, first objective upwards, second to the right.

    ``searched_as`` says in the legend what the trials' scores are.
    ``spread``: the standard deviation of the second objective for each front trial, drawn as a bar;
    ``deviations``: that of the first, by digest.
    ``confirmed``: networks that were trained anew. They have a panel of their own, for a score on
    another set of images after a longer training is no improvement of the one above;
    ``confirmed_as`` says what it is. ``verdict``: a line under the title.

    One outlier stretches no axis; at the edge it is said how many lie outside. With one objective
    the trial number is on the horizontal axis.
    """
    up = objectives[0].name
    across = objectives[1].name if len(objectives) > 1 else ""
    complete = [trial for trial in trials if trial.state == "complete"]
    figure, axes = blank(7.2, 4.6 if not confirmed else 6.8)
    below = None
    if confirmed:
        figure.delaxes(axes)
        axes, below = figure.subplots(2, 1, height_ratios=(3, 2), sharex=True)
    bars = _bars(front, spread, deviations, across)
    shown = _draw_searched(axes, complete, front, bars, (across, up), searched_as)
    every = [place(trial, across, up) for trial in complete]
    _limit(axes, every, shown, [each.x for each in confirmed])
    across_label = axis_label(across)[0] if across else "trial"
    axes.set_ylabel(axis_label(up)[0])
    dress(axes, "\n".join(filter(None, (title, verdict))))
    if below is not None:
        _draw_confirmed(below, confirmed)
        below.set_ylabel(f"{up} on test")
        dress(below, confirmed_as)
    (axes if below is None else below).set_xlabel(across_label)
    if complete:
        figure.legend(frameon=False, loc="outside lower center", ncols=2, fontsize=9)
    return literal(figure)


def _bars(
    front: Sequence[Trial],
    spread: Sequence[float],
    deviations: Mapping[str, float],
    across: str,
) -> list[Bars]:
    """By trial of the front, in the units of the axes."""
    bars = []
    for number, trial in enumerate(front):
        across_sd = None
        if spread and across:
            across_sd = spread[number] / axis_label(across)[1]
        bars.append((across_sd, deviations.get(trial.digest)))
    return bars


def _draw_searched(
    axes: "Axes",
    complete: Sequence[Trial],
    front: Sequence[Trial],
    bars: Sequence[Bars],
    metrics: tuple[str, str],
    searched_as: str,
) -> list[tuple[float, float]]:
    """What is always shown: the front with its bars."""
    across, up = metrics
    every = [place(trial, across, up) for trial in complete]
    points = [place(trial, across, up) for trial in front]
    label = f"{counted(len(complete), 'network')}, {searched_as}"
    axes.scatter(*columns(every), s=22, color=QUIET, label=label, zorder=2)
    if across and points:
        # Steps, not slopes: nothing is known of a network between two of the front.
        ordered = columns(sorted(points))
        axes.plot(*ordered, color=ACCENT, lw=1.4, drawstyle="steps-post", zorder=3)
    axes.scatter(*columns(points), s=44, color=ACCENT, label=f"front ({len(points)})", zorder=4)
    for point, (across_sd, up_sd) in zip(points, bars, strict=True):
        axes.errorbar(
            *point,
            xerr=across_sd,
            yerr=up_sd,
            color=ACCENT,
            alpha=0.45,
            lw=1,
            capsize=2,
            zorder=3,
        )
    _name_began(axes, [trial for trial in complete if trial.warm], across, up)
    if len(front) <= NUMBERED:
        for trial, point in zip(front, points, strict=True):
            _write(axes, str(trial.number), point, ACCENT, above=True)
    return [*_reach(points, bars)]


def _reach(
    points: Sequence[tuple[float, float]], bars: Sequence[Bars]
) -> Iterator[tuple[float, float]]:
    """Both ends of each point's bars."""
    for (x, y), (across_sd, up_sd) in zip(points, bars, strict=True):
        yield x - (across_sd or 0.0), y - (up_sd or 0.0)
        yield x + (across_sd or 0.0), y + (up_sd or 0.0)


def _limit(
    axes: "Axes",
    every: Sequence[tuple[float, float]],
    shown: Sequence[tuple[float, float]],
    beside: Sequence[float],
) -> None:
    """Ends of the axes that no outlier stretches, and how many points lie beyond them.

    ``shown``: points that are inside; ``beside``: further values across that are.
    """
    if not every:
        return
    xs, ys = columns(every)
    low_x, high_x = robust_range(xs, [*(x for x, _ in shown), *beside])
    low_y, high_y = robust_range(ys, [y for _, y in shown])
    # Names stand below their points, and not on the axis.
    low_y -= NAME_ROOM * (high_y - low_y)
    axes.set_xlim(low_x, high_x)
    axes.set_ylim(low_y, high_y)
    outside = {
        ("▼ {} below", 0.5, 0.02, "center", "bottom"): sum(y < low_y for y in ys),
        ("▲ {} above", 0.5, 0.98, "center", "top"): sum(y > high_y for y in ys),
        ("◀ {} left", 0.01, 0.5, "left", "center"): sum(x < low_x for x in xs),
        ("▶ {} right", 0.99, 0.5, "right", "center"): sum(x > high_x for x in xs),
    }
    for (text, x, y, sideways, upright), count in outside.items():
        if count:
            axes.text(
                x,
                y,
                text.format(count),
                transform=axes.transAxes,
                ha=sideways,
                va=upright,
                fontsize=8,
                color=INK,
            )


def _draw_confirmed(axes: "Axes", confirmed: Sequence[Confirmed]) -> None:
    """The front's networks, random and published ones, each kind in its mark."""
    for kind, marker, color, label in (
        ("random", "D", RANDOM, "random networks of the same cost"),
        ("published", "^", INK, "published networks, scaled to it"),
        ("front", "D", CONFIRMED, "of the front, trained anew"),
    ):
        own = [each for each in confirmed if each.kind == kind]
        if not own:
            continue
        axes.scatter(
            [each.x for each in own],
            [each.score for each in own],
            s=46,
            marker=marker,
            facecolors="white" if kind == "random" else color,
            edgecolors=color,
            label=label,
            zorder=4,
        )
        for each in own:
            axes.errorbar(
                each.x, each.score, yerr=each.sd, color=color, alpha=0.4, lw=1, capsize=2, zorder=3
            )
    for each in confirmed:
        if each.kind == "front" and each.trial is not None:
            _write(axes, str(each.trial), (each.x, each.score), CONFIRMED, above=True)
    # They share a latency. So names of neighbours in the order of scores stand on either side.
    published = [each for each in confirmed if each.kind == "published"]
    ranked = sorted(published, key=lambda each: -each.score)
    for rank, each in enumerate(ranked):
        name = each.name.partition(" at ")[0]
        above = rank % 2 == 0
        left = _left_is_free(axes, each.x, otherwise=above)
        _write(axes, name, (each.x, each.score), INK, left=left, above=above)


def _left_is_free(axes: "Axes", x: float, *, otherwise: bool) -> bool:
    """On which side a name has room: away from an end of the axes that is near."""
    low, high = axes.get_xlim()
    share = (x - low) / (high - low)
    if 0.25 <= share <= 0.75:
        return otherwise
    return share > 0.5


def _name_began(axes: "Axes", trials: Sequence[Trial], across: str, up: str) -> None:
    """Rings around what the search began with, and its names."""
    if not trials:
        return
    points = [place(trial, across, up) for trial in trials]
    axes.scatter(
        *columns(points),
        s=74,
        facecolors="none",
        edgecolors=INK,
        linewidths=1.0,
        label="published, or nearest point",
        zorder=5,
    )
    middle = (min(x for x, _ in points) + max(x for x, _ in points)) / 2
    for trial, point in zip(trials, points, strict=True):
        # Of the slower ones to the left, where there is room.
        _write(axes, trial.warm, point, INK, left=point[0] > middle)


def _write(
    axes: "Axes",
    text: str,
    point: tuple[float, float],
    color: str,
    *,
    above: bool = False,
    left: bool = False,
) -> None:
    """A few letters beside a point; none beyond the ends of the axes."""
    axes.annotate(
        text,
        point,
        xytext=(-6 if left else 5, 4 if above else -11),
        ha="right" if left else "left",
        textcoords="offset points",
        fontsize=7,
        color=color,
        annotation_clip=True,
        zorder=6,
    )
