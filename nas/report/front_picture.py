"""The picture of a front: as searched above, and below it what a confirmation found."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING

from nas.objectives import Objective
from nas.report.axes import axis_label, robust_range
from nas.report.labels import Label, Line, place_labels
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
    began: Mapping[int, str] = MappingProxyType({}),
    confirmed: Sequence[Confirmed] = (),
    confirmed_as: str = "confirmed on test",
    verdict: str = "",
) -> "Figure":
    """All complete trials and the front, first objective upwards, second to the right.

    ``searched_as`` says in the legend what the trials' scores are.
    ``spread``: the standard deviation of the second objective for each front trial, drawn as a bar;
    ``deviations``: that of the first, by digest. ``began``: by trial, what the search began with.
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
    begun = [trial for trial in complete if trial.number in began]
    shown = _draw_searched(axes, complete, front, bars, (across, up), searched_as)
    _ring(axes, [place(trial, across, up) for trial in begun])
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
    labels = _numbers(front, across, up)
    for trial in begun:
        point = place(trial, across, up)
        labels.append(Label(text=began[trial.number], point=point, color=INK))
    points = [place(trial, across, up) for trial in front]
    place_labels(figure, axes, labels, every, [*_lines(points, bars)])
    if below is not None:
        _label_confirmed(figure, below, confirmed)
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


def _ring(axes: "Axes", points: Sequence[tuple[float, float]]) -> None:
    """Rings around what the search began with."""
    if points:
        axes.scatter(
            *columns(points),
            s=74,
            facecolors="none",
            edgecolors=INK,
            linewidths=1.0,
            label="published, or nearest point",
            zorder=5,
        )


# -- labels ---------------------------------------------------------------------------------------


def _numbers(front: Sequence[Trial], across: str, up: str) -> list[Label]:
    """The trials of the front."""
    if len(front) > NUMBERED:
        return []
    return [
        Label(text=str(trial.number), point=place(trial, across, up), color=ACCENT)
        for trial in front
    ]


def _lines(points: Sequence[tuple[float, float]], bars: Sequence[Bars]) -> Iterator[Line]:
    """The front's bars and its steps."""
    for (x, y), (across_sd, up_sd) in zip(points, bars, strict=True):
        yield x - (across_sd or 0.0), y, x + (across_sd or 0.0), y
        yield x, y - (up_sd or 0.0), x, y + (up_sd or 0.0)
    for (x, y), (next_x, next_y) in pairwise(sorted(points)):
        yield x, y, next_x, y
        yield next_x, min(y, next_y), next_x, max(y, next_y)


def _label_confirmed(figure: "Figure", axes: "Axes", confirmed: Sequence[Confirmed]) -> None:
    """Numbers of the front's trials, then names of the published networks."""
    numbers, names, bars = list[Label](), list[Label](), list[Line]()
    for each in confirmed:
        point = each.x, each.score
        sd = each.sd or 0.0
        bars.append((each.x, each.score - sd, each.x, each.score + sd))
        if each.kind == "front" and each.trial is not None:
            numbers.append(Label(text=str(each.trial), point=point, color=CONFIRMED))
        if each.kind == "published":
            name = each.name.partition(" at ")[0]
            names.append(Label(text=name, point=point, color=INK))
    points = [(each.x, each.score) for each in confirmed]
    place_labels(figure, axes, [*numbers, *names], points, bars)
