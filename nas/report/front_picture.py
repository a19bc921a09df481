"""The picture of a front: as searched above, and below it what a confirmation found."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from nas.report.front_shown import BEGAN, CONTROLS, FrontShown
from nas.report.labels import Label, Line, place_labels
from nas.report.page.content import Confirmed
from nas.report.plots import (
    ACCENT,
    CONFIRMED,
    INK,
    QUIET,
    RANDOM,
    blank,
    columns,
    dress,
    literal,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["front_figure"]

MARKS = {"random": ("D", RANDOM), "published": ("^", INK), "front": ("D", CONFIRMED)}


def front_figure(shown: FrontShown) -> "Figure":
    """The picture as a matplotlib figure; confirmed scores have a panel of their own."""
    figure, axes = blank(7.2, 4.6 if not shown.confirmed else 6.8)
    below = None
    if shown.confirmed:
        figure.delaxes(axes)
        axes, below = figure.subplots(2, 1, height_ratios=(3, 2), sharex=True)
    _draw_searched(axes, shown)
    _limit(axes, shown)
    axes.set_ylabel(shown.up_label)
    dress(axes, shown.heading)
    if below is not None:
        _draw_confirmed(below, shown.confirmed)
        below.set_ylabel(f"{shown.up} on test")
        dress(below, shown.confirmed_as)
    (axes if below is None else below).set_xlabel(shown.across_label)
    if shown.complete:
        figure.legend(frameon=False, loc="outside lower center", ncols=2, fontsize=9)
    # First: to place labels, the picture is laid out.
    literal(figure)
    _label_searched(figure, axes, shown)
    if below is not None:
        _label_confirmed(figure, below, shown.confirmed)
    return figure


def _draw_searched(axes: "Axes", shown: FrontShown) -> None:
    every, points = shown.points(shown.complete), shown.points(shown.front)
    axes.scatter(*columns(every), s=22, color=QUIET, label=shown.searched_label, zorder=2)
    if shown.across and points:
        # Steps, not slopes: nothing is known of a network between two of the front.
        ordered = columns(sorted(points))
        axes.plot(*ordered, color=ACCENT, lw=1.4, drawstyle="steps-post", zorder=3)
    axes.scatter(*columns(points), s=44, color=ACCENT, label=f"front ({len(points)})", zorder=4)
    for point, (across_sd, up_sd) in zip(points, shown.bars, strict=True):
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
    if shown.begun:
        axes.scatter(
            *columns(shown.points(shown.begun)),
            s=74,
            facecolors="none",
            edgecolors=INK,
            linewidths=1.0,
            label=BEGAN,
            zorder=5,
        )


def _limit(axes: "Axes", shown: FrontShown) -> None:
    """Set the ends of the axes, and say how many points lie beyond them."""
    window = shown.window
    if window is None:
        return
    axes.set_xlim(window.left, window.right)
    axes.set_ylim(window.low, window.high)
    for side, (words, x, y) in shown.outside().items():
        axes.text(
            x,
            y,
            words,
            transform=axes.transAxes,
            ha=side if side in ("left", "right") else "center",
            va=side if side in ("bottom", "top") else "center",
            fontsize=8,
            color=INK,
        )


def _draw_confirmed(axes: "Axes", confirmed: Sequence[Confirmed]) -> None:
    """The front's networks, random and published ones, each kind in its mark."""
    for kind, label in CONTROLS:
        own = [each for each in confirmed if each.kind == kind]
        if not own:
            continue
        marker, color = MARKS[kind]
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


# -- labels ---------------------------------------------------------------------------------------


def _label_searched(figure: "Figure", axes: "Axes", shown: FrontShown) -> None:
    """Numbers of the front's trials, then what the search began with."""
    labels = []
    for trial, point in zip(shown.numbered, shown.points(shown.numbered), strict=True):
        labels.append(Label(text=str(trial.number), point=point, color=ACCENT))
    for trial, point in zip(shown.begun, shown.points(shown.begun), strict=True):
        labels.append(Label(text=shown.began[trial.number], point=point, color=INK))
    place_labels(figure, axes, labels, shown.points(shown.complete), [*_lines(shown)])


def _lines(shown: FrontShown) -> Iterator[Line]:
    """The front's bars and its steps."""
    points = shown.points(shown.front)
    for (x, y), (across_sd, up_sd) in zip(points, shown.bars, strict=True):
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
