"""The picture of a front for a notebook, drawn with plotly: points tell what they are."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from nas.errors import UsageError
from nas.objectives import Objective
from nas.report.axes import axis_label
from nas.report.plots import ACCENT, CONFIRMED, QUIET, place
from nas.trial import Trial
from nas.units import counted

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["interactive_front"]


def interactive_front(
    trials: Sequence[Trial],
    front: Sequence[Trial],
    objectives: Sequence[Objective],
    *,
    title: str = "",
    searched_as: str = "as searched",
    confirmed: Mapping[str, float] | None = None,
    confirmed_as: str = "confirmed on test",
) -> "Figure":
    """The picture of `nas.report.plots.front_figure`: every point tells trial, digest, metrics."""
    try:
        import plotly.graph_objects as go
    except ImportError:
        raise UsageError(
            "an interactive plot needs plotly: pip install 'nas-toolkit[notebook]'"
        ) from None
    scores = MappingProxyType({}) if confirmed is None else confirmed
    up = objectives[0].name
    across = objectives[1].name if len(objectives) > 1 else ""

    def points(shown: Sequence[Trial], **style: object) -> go.Scatter:
        places = [place(trial, across, up) for trial in shown]
        return go.Scatter(
            x=[x for x, _ in places],
            y=[y for _, y in places],
            text=[_tip(trial, scores) for trial in shown],
            hoverinfo="text",
            **style,
        )

    complete = [trial for trial in trials if trial.state == "complete"]
    # A line joins its points in the order given.
    ordered = sorted(front, key=lambda trial: place(trial, across, up)[0])
    figure = go.Figure()
    figure.add_trace(
        points(
            complete,
            mode="markers",
            name=f"{counted(len(complete), 'network')}, {searched_as}",
            marker={"color": QUIET, "size": 7},
        )
    )
    figure.add_trace(
        points(
            ordered,
            mode="lines+markers" if across else "markers",
            name=f"front ({len(ordered)})",
            marker={"color": ACCENT, "size": 11},
            line={"shape": "hv", "color": ACCENT, "width": 1.5},
        )
    )
    tested = [trial for trial in ordered if trial.digest in scores]
    if tested and objectives[0].is_quality:
        diamonds = points(
            tested,
            mode="markers",
            name=confirmed_as,
            marker={"color": CONFIRMED, "symbol": "diamond", "size": 10},
        )
        # In place of the searched scores, which every point is drawn at.
        diamonds.y = [scores[trial.digest] for trial in tested]
        figure.add_trace(diamonds)
    figure.update_layout(
        title=title,
        template="plotly_white",
        xaxis_title=axis_label(across)[0] if across else "trial",
        yaxis_title=axis_label(up)[0],
        legend={"orientation": "h", "y": 1.08, "x": 1, "xanchor": "right"},
    )
    return figure


def _tip(trial: Trial, confirmed: Mapping[str, float]) -> str:
    """What a point tells under the pointer."""
    metrics = [f"{name} {value:.6g}" for name, value in trial.metrics.items()]
    lines = [f"trial {trial.number}", trial.digest, *metrics]
    if trial.digest in confirmed:
        lines.append(f"confirmed {confirmed[trial.digest]:.4f}")
    return "<br>".join(lines)
