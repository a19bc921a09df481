"""Pictures, drawn with matplotlib without a display and without global state."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nas.cost.metric import Metric
from nas.errors import UsageError
from nas.files import write_with
from nas.objectives import Objective
from nas.trial import Metrics, Trial
from nas.units import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as Plot

__all__ = [
    "audit_figure",
    "axis_label",
    "family_figure",
    "fit_figure",
    "front_figure",
    "interactive_front",
    "save",
]

INK, ACCENT, QUIET, CONFIRMED = "#22262b", "#c2410c", "#9aa5b1", "#15803d"
LABEL_SHARE = 0.07  # of an axis: labels that are nearer overlap
UNITS = {"params": ("params (M)", 1e6), "macs": ("multiply-adds (M)", 1e6), "size_bytes": ("size (MB)", 1e6),
         "peak_memory_bytes": ("peak memory (MB)", 1e6)}  # fmt: skip


def axis_label(name: str) -> tuple[str, float]:
    """What to write at an axis, and what to divide by."""
    metric = Metric.parse(name)
    if metric.is_latency:
        return f"latency on {metric.device} (ms)", 1.0
    return UNITS.get(metric.name, (metric.name.replace("_", " "), 1.0))


def front_figure(
    trials: Sequence[Trial],
    front: Sequence[Trial],
    objectives: Sequence[Objective],
    *,
    title: str = "",
    spread: Sequence[float] = (),
    confirmed: Mapping[str, float] = MappingProxyType({}),
    confirmed_as: str = "confirmed on test",
) -> "Figure":
    """All complete trials and the front, first objective upwards, second to the right.

    ``spread``: the standard deviation of the second objective for each front trial, drawn as a bar.
    ``confirmed``: score on the test set by digest, drawn above or below its network, if the first
    objective is a quality; ``confirmed_as`` says in the legend what that score is. With one
    objective the trial number is on the horizontal axis.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    up = objectives[0].name
    across = objectives[1].name if len(objectives) > 1 else ""

    def place(trial: Trial) -> tuple[float, float]:
        x = _value(trial.metrics, across) if across else float(trial.number)
        return x, _value(trial.metrics, up)

    complete = [trial for trial in trials if trial.state == "complete"]
    axes.scatter(
        *_columns([place(t) for t in complete]),
        s=22,
        color=QUIET,
        label=f"{counted(len(complete), 'network')}, as searched",
        zorder=2,
    )
    points = sorted(place(trial) for trial in front)
    if across and points:
        axes.plot(*_columns(points), color=ACCENT, lw=1.4, drawstyle="steps-post", zorder=3)
    axes.scatter(*_columns(points), s=44, color=ACCENT, label=f"front ({len(points)})", zorder=4)
    if spread and across:
        scale = axis_label(across)[1]
        for trial, sd in zip(front, spread, strict=True):
            axes.errorbar(
                *place(trial), xerr=sd / scale, color=ACCENT, alpha=0.45, lw=1, capsize=2, zorder=3
            )
    tested = [
        (*place(trial), confirmed[trial.digest]) for trial in front if trial.digest in confirmed
    ]
    if tested and objectives[0].direction == "maximize":
        across_values, searched, sure = zip(*tested, strict=True)
        axes.vlines(across_values, searched, sure, color=CONFIRMED, lw=1, ls=":", zorder=3)
        axes.scatter(
            across_values, sure, s=52, marker="D", color=CONFIRMED, label=confirmed_as, zorder=5
        )
    axes.set_xlabel(axis_label(across)[0] if across else "trial")
    axes.set_ylabel(axis_label(up)[0])
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.grid(alpha=0.25, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if complete:
        figure.legend(frameon=False, loc="outside lower center", ncols=3, fontsize=9)
    return figure


def interactive_front(
    trials: Sequence[Trial],
    front: Sequence[Trial],
    objectives: Sequence[Objective],
    *,
    title: str = "",
    confirmed: Mapping[str, float] | None = None,
    confirmed_as: str = "confirmed on test",
) -> "Plot":
    """The picture of `front_figure` for a notebook: every point tells its trial, digest and metrics."""
    try:
        import plotly.graph_objects as go
    except ImportError:
        raise UsageError(
            "an interactive plot needs plotly: pip install 'nas-toolkit[notebook]'"
        ) from None
    up, across = objectives[0].name, objectives[1].name if len(objectives) > 1 else ""

    def points(found: Sequence[Trial], **style: Any) -> Any:
        tips = [
            "<br>".join(
                [
                    f"trial {t.number}",
                    t.digest,
                    *(f"{name} {value:.6g}" for name, value in t.metrics.items()),
                ]
            )
            + (
                f"<br>confirmed {confirmed[t.digest]:.4f}"
                if confirmed and t.digest in confirmed
                else ""
            )
            for t in found
        ]
        x = [_value(t.metrics, across) if across else t.number for t in found]
        return go.Scatter(
            x=x, y=[_value(t.metrics, up) for t in found], text=tips, hoverinfo="text", **style
        )

    rest = [trial for trial in trials if trial.state == "complete"]
    ordered = sorted(front, key=lambda t: _value(t.metrics, across) if across else t.number)
    figure = go.Figure(
        [
            points(rest, mode="markers", name=f"{counted(len(rest), 'network')}, as searched", marker={"color": QUIET, "size": 7}),
            points(
                ordered, mode="lines+markers" if across else "markers", name=f"front ({len(ordered)})",
                marker={"color": ACCENT, "size": 11}, line={"shape": "hv", "color": ACCENT, "width": 1.5},
            ),
        ]
    )  # fmt: skip
    tested = [trial for trial in ordered if trial.digest in (confirmed or {})]
    if confirmed and tested and objectives[0].direction == "maximize":
        diamonds = points(
            tested,
            mode="markers",
            name=confirmed_as,
            marker={"color": CONFIRMED, "symbol": "diamond", "size": 10},
        )
        diamonds.y = [confirmed[trial.digest] for trial in tested]
        figure.add_trace(diamonds)
    figure.update_layout(
        title=title, template="plotly_white", xaxis_title=axis_label(across)[0] if across else "trial",
        yaxis_title=axis_label(up)[0], legend={"orientation": "h", "y": 1.08, "x": 1, "xanchor": "right"},
    )  # fmt: skip
    return figure


def audit_figure(
    spaces: Mapping[str, Sequence[tuple[float, float]]], *, title: str = ""
) -> "Figure":
    """(measured ms, estimated ms) of whole networks by space, on logarithmic axes; the band is ±10 %."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    figure = Figure(figsize=(5.6, 5.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    every = [value for points in spaces.values() for point in points for value in point]
    ends = [0.9 * min(every), 1.1 * max(every)]
    axes.fill_between(
        ends, [0.9 * e for e in ends], [1.1 * e for e in ends], color=QUIET, alpha=0.25, lw=0
    )
    axes.plot(ends, ends, color=INK, lw=0.8)
    for (name, points), marker in zip(spaces.items(), cycle("osD^v"), strict=False):
        axes.scatter(*_columns(points), s=18, marker=marker, label=name)
    axes.set(xscale="log", yscale="log", xlabel="measured (ms)", ylabel="estimated (ms)")
    for axis in (axes.xaxis, axes.yaxis):  # few and plain: labels of powers run into each other
        axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axis.set_major_formatter(FormatStrFormatter("%g"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    return figure


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
    """Where a family lies: upright lines at each member's (cost, sd) in metric ``across``, with the front it came from.

    The members' accuracy is not known before they are trained, so none is drawn. Without a front,
    their params are upwards.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    label, scale = axis_label(across)
    places = [cost / scale for cost, _ in costs]
    if front:
        points = sorted((_value(t.metrics, across), _value(t.metrics, up)) for t in front)
        rest = [
            (_value(t.metrics, across), _value(t.metrics, up))
            for t in trials
            if t.state == "complete"
        ]
        axes.scatter(*_columns(rest), s=22, color=QUIET, label=f"{len(rest)} networks", zorder=2)
        axes.plot(
            *_columns(points),
            color=ACCENT,
            lw=1.4,
            marker="o",
            drawstyle="steps-post",
            label="front",
            zorder=3,
        )
        for number, (place, (_, sd)) in enumerate(zip(places, costs, strict=True)):
            axes.axvline(place, color=INK, lw=0.9, ls="--", zorder=1)
            band = "member ± 1 sd" if number == 0 else None
            axes.axvspan(
                place - sd / scale, place + sd / scale, color=QUIET, alpha=0.2, lw=0, label=band
            )
        for place, name in zip(places, names, strict=True):
            axes.annotate(
                name, (place, 0.02), xycoords=("data", "axes fraction"), textcoords="offset points", xytext=(-3, 0),
                rotation=90, fontsize=8, ha="right",
                bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5},
            )  # fmt: skip
        axes.set_ylabel(axis_label(up)[0])
        axes.legend(
            frameon=False,
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=3,
            borderaxespad=0.2,
            fontsize=9,
        )
    else:
        heights = [count / 1e6 for count in params]
        axes.plot(places, heights, color=ACCENT, lw=1.2, marker="o", zorder=3)
        axes.errorbar(
            places,
            heights,
            xerr=[sd / scale for _, sd in costs],
            fmt="none",
            color=ACCENT,
            alpha=0.45,
            capsize=2,
        )
        for place, height, name in zip(places, heights, names, strict=True):
            axes.annotate(
                name,
                (place, height),
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
    axes.set_xscale("log")
    axes.set_xticks(places, _apart(places))
    axes.set_xticks([], minor=True)
    axes.set_xlabel(f"{label}, logarithmic")
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.grid(alpha=0.25, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def fit_figure(
    names: Sequence[str],
    scores: Sequence[Sequence[float]],
    pure: Sequence[bool],
    *,
    title: str = "",
) -> "Figure":
    """Candidates of one cost, best on top: a dot per seed, a bar at the mean; ``pure`` ones grow one thing only."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 0.9 + 0.3 * len(names)), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for place, (own, single) in enumerate(zip(scores, pure, strict=True)):
        color = QUIET if single else ACCENT
        axes.scatter(own, [-place] * len(own), s=18, color=color, zorder=3)
        axes.scatter([sum(own) / len(own)], [-place], s=160, marker="|", color=color, zorder=4)
    axes.set_yticks([-place for place in range(len(names))], names, fontsize=8)
    axes.set_xlabel("accuracy on the selection set; grey: only one of the three grows")
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.grid(alpha=0.25, lw=0.6, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _value(metrics: Metrics, name: str) -> float:
    return metrics[name] / axis_label(name)[1]


def _apart(places: Sequence[float]) -> list[str]:
    """Labels of ticks on a logarithmic axis, empty where one would stand on another: too near the last that is not."""
    span = math.log(max(places) / min(places)) or 1.0
    labels, last = [""] * len(places), -math.inf
    for index in sorted(range(len(places)), key=lambda index: places[index]):
        if math.log(places[index]) - last >= LABEL_SHARE * span:
            labels[index], last = _short(places[index]), math.log(places[index])
    return labels


def _short(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{float(f'{value:.3g}'):,g}" if value < 1e5 else f"{value:.3g}"


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def save(figure: "Figure", path: Path) -> None:
    """Write the picture whole or not at all."""
    kind = path.suffix.removeprefix(".")
    write_with(path, lambda file: figure.savefig(file, format=kind))
