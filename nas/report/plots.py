"""Pictures, drawn with matplotlib without a display and without global state."""

import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nas.files import one_line, write_with
from nas.report.axes import axis_label
from nas.trial import Metrics, Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "audit_figure",
    "blank",
    "columns",
    "draw",
    "dress",
    "escaped",
    "family_figure",
    "fit_figure",
    "literal",
    "place",
    "save",
    "shown_figure",
]

INK, ACCENT, QUIET, CONFIRMED = "#22262b", "#c2410c", "#9aa5b1", "#15803d"
RANDOM = "#6d28d9"
LABEL_SHARE = 0.07  # of an axis: labels that are nearer overlap


def audit_figure(
    spaces: Mapping[str, Sequence[tuple[float, float]]], *, title: str = ""
) -> "Figure":
    """(measured ms, estimated ms) of whole networks by space, on logarithmic axes.

    The band is ±10 %.
    """
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    figure, axes = blank(5.6, 5.2)
    values: list[float] = []
    for points in spaces.values():
        for measured_ms, estimated_ms in points:
            values += [measured_ms, estimated_ms]
    ends = [0.9 * min(values), 1.1 * max(values)]
    low, high = [0.9 * end for end in ends], [1.1 * end for end in ends]
    axes.fill_between(ends, low, high, color=QUIET, alpha=0.25, lw=0)
    axes.plot(ends, ends, color=INK, lw=0.8)
    for (name, points), marker in zip(spaces.items(), cycle("osD^v"), strict=False):
        axes.scatter(*columns(points), s=18, marker=marker, label=name)
    axes.set(xscale="log", yscale="log", xlabel="measured (ms)", ylabel="estimated (ms)")
    for axis in (axes.xaxis, axes.yaxis):
        # Few and plain: labels of powers run into each other.
        axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axis.set_major_formatter(FormatStrFormatter("%g"))
        axis.set_minor_formatter(NullFormatter())
    dress(axes, title, grid=None)
    axes.legend(frameon=False, fontsize=9)
    return literal(figure)


def family_figure(
    names: Sequence[str],
    costs: Sequence[tuple[float, float]],
    across: str,
    *,
    trials: Sequence[Trial] = (),
    front: Sequence[Trial] = (),
    up: str = "accuracy",
    params: Sequence[int] = (),
    title: str = "",
) -> "Figure":
    """Where a family lies: each member at its (cost, sd) in metric ``across``.

    With the front that it came from, members are upright lines: their accuracy is not known before
    they are trained, so none is drawn. Without a front, their params are upwards.
    """
    figure, axes = blank(7.2, 4.6)
    label, scale = axis_label(across)
    places = [cost / scale for cost, _ in costs]
    deviations = [sd / scale for _, sd in costs]
    if front:
        complete = [trial for trial in trials if trial.state == "complete"]
        _draw_front(axes, complete, front, across, up)
        _draw_members(axes, names, places, deviations)
        axes.legend(
            frameon=False,
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=3,
            borderaxespad=0.2,
            fontsize=9,
        )
    else:
        _draw_sizes(axes, names, places, deviations, params)
    axes.set_xscale("log")
    axes.set_xticks(places, _apart(places))
    # A logarithmic axis would label steps between the members.
    axes.set_xticks([], minor=True)
    axes.set_xlabel(f"{label}, logarithmic")
    dress(axes, title)
    return literal(figure)


def _draw_front(
    axes: "Axes", complete: Sequence[Trial], front: Sequence[Trial], across: str, up: str
) -> None:
    axes.scatter(
        *columns([place(trial, across, up) for trial in complete]),
        s=22,
        color=QUIET,
        label=f"{len(complete)} networks",
        zorder=2,
    )
    axes.plot(
        *columns(sorted(place(trial, across, up) for trial in front)),
        color=ACCENT,
        lw=1.4,
        marker="o",
        drawstyle="steps-post",
        label="front",
        zorder=3,
    )
    axes.set_ylabel(axis_label(up)[0])


def _draw_members(
    axes: "Axes", names: Sequence[str], places: Sequence[float], deviations: Sequence[float]
) -> None:
    """An upright line and a band for each member, with its name at the foot."""
    for number, (x, sd) in enumerate(zip(places, deviations, strict=True)):
        axes.axvline(x, color=INK, lw=0.9, ls="--", zorder=1)
        # One label: the legend names each that is given.
        label = "member ± 1 sd" if number == 0 else None
        axes.axvspan(x - sd, x + sd, color=QUIET, alpha=0.2, lw=0, label=label)
    for x, name in zip(places, names, strict=True):
        axes.annotate(
            name,
            (x, 0.02),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            xytext=(-3, 0),
            rotation=90,
            fontsize=8,
            ha="right",
            bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5},
        )


def _draw_sizes(
    axes: "Axes",
    names: Sequence[str],
    places: Sequence[float],
    deviations: Sequence[float],
    params: Sequence[int],
) -> None:
    """A point for each member, its params upwards."""
    heights = [count / 1e6 for count in params]
    axes.plot(places, heights, color=ACCENT, lw=1.2, marker="o", zorder=3)
    axes.errorbar(places, heights, xerr=deviations, fmt="none", color=ACCENT, alpha=0.45, capsize=2)
    for x, height, name in zip(places, heights, names, strict=True):
        axes.annotate(
            name,
            (x, height),
            textcoords="offset points",
            xytext=(-5, 6),
            fontsize=8,
            ha="right",
        )
    axes.set_yscale("log")
    axes.set_yticks(heights, [_short(height) for height in heights])
    axes.set_yticks([], minor=True)
    axes.set_ylabel("params (M)")
    axes.margins(x=0.2, y=0.15)


def fit_figure(
    names: Sequence[str],
    scores: Sequence[Sequence[float]],
    pure: Sequence[bool],
    *,
    title: str = "",
) -> "Figure":
    """Candidates of one cost, best on top: a dot per seed, a bar at the mean.

    ``pure``: whether a candidate grows one thing only.
    """
    figure, axes = blank(7.2, 0.9 + 0.3 * len(names))
    for row, (own, single) in enumerate(zip(scores, pure, strict=True)):
        color = QUIET if single else ACCENT
        axes.scatter(own, [-row] * len(own), s=18, color=color, zorder=3)
        axes.scatter([sum(own) / len(own)], [-row], s=160, marker="|", color=color, zorder=4)
    axes.set_yticks([-row for row in range(len(names))], escaped(names), fontsize=8)
    axes.set_xlabel("accuracy on the selection set; grey: only one of the three grows")
    dress(axes, title, grid="x")
    return literal(figure)


def blank(width: float, height: float) -> "tuple[Figure, Axes]":
    """A figure of so many inches.

    Not by pyplot, which keeps every figure, and would look for a display.
    """
    figure = shown_figure(width, height)
    return figure, figure.add_subplot()


def shown_figure(width: float, height: float) -> "Figure":
    """A figure of so many inches that a notebook shows."""
    # By name, as matplotlib takes its time to load.
    module = import_module("nas.report.shown")
    figure: Figure = module.Shown(figsize=(width, height), dpi=150, layout="constrained")
    return figure


def dress(axes: "Axes", title: str, grid: Literal["both", "x"] | None = "both") -> None:
    """What all pictures share. ``grid``: on which axes."""
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    if grid:
        axes.grid(alpha=0.25, lw=0.6, axis=grid)
    axes.spines[["top", "right"]].set_visible(False)


def place(trial: Trial, across: str, up: str) -> tuple[float, float]:
    """Where a trial lies: its metrics in the units of the axes.

    Without a metric ``across``, its number is on the horizontal axis.
    """
    x: float = _value(trial.metrics, across) if across else trial.number
    return x, _value(trial.metrics, up)


def _value(metrics: Metrics, name: str) -> float:
    return metrics[name] / axis_label(name)[1]


def _apart(places: Sequence[float]) -> list[str]:
    """Labels of ticks on a logarithmic axis; empty if one would overlap the last that is not."""
    # Members of one cost have no span.
    span = math.log(max(places) / min(places)) or 1.0
    labels = [""] * len(places)
    last = -math.inf
    for index in sorted(range(len(places)), key=lambda index: places[index]):
        position = math.log(places[index])
        if position - last >= LABEL_SHARE * span:
            labels[index] = _short(places[index])
            last = position
    return labels


def _short(value: float) -> str:
    """Three digits, without an exponent below a hundred thousand."""
    if value >= 1e5:
        return f"{value:.3g}"
    return f"{float(f'{value:.3g}'):,g}"


def columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Their values across, and upwards."""
    return [x for x, _ in points], [y for _, y in points]


def escaped(names: Sequence[str]) -> list[str]:
    """Names as labels of ticks, in which a dollar sign is one."""
    return [name.replace("$", r"\$") for name in names]


def literal(figure: "Figure") -> "Figure":
    """The same figure, in which a dollar sign is one: names are the user's, and no formulas.

    Labels of ticks are left, for some of matplotlib's own are formulas; see `escaped`.
    """
    from matplotlib.axis import Tick
    from matplotlib.text import Text

    labels = set()
    for tick in figure.findobj(Tick):
        assert isinstance(tick, Tick)
        labels |= {tick.label1, tick.label2}
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if text not in labels:
            text.set_parse_math(False)
    return figure


def draw(make: "Callable[[], Figure]", path: Path) -> str:
    """Make a picture and write it, or say in a line why there is none; empty if there is one.

    Whatever goes wrong with a picture must not withhold the numbers that it shows.
    """
    try:
        save(make(), path)
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) else None
        return f"no {path.name}: {reason or one_line(error) or type(error).__name__}"
    return ""


def save(figure: "Figure", path: Path) -> None:
    """Write the picture whole or not at all."""
    # An open file has no suffix that matplotlib could go by.
    kind = path.suffix.removeprefix(".")
    write_with(path, lambda file: figure.savefig(file, format=kind))
