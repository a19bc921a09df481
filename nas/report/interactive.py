"""The picture of a front for a notebook, drawn with plotly: points tell what they are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nas.errors import UsageError
from nas.report.front_shown import BEGAN, CONTROLS, FrontShown
from nas.report.page.content import Confirmed
from nas.report.plots import ACCENT, CONFIRMED, INK, QUIET, RANDOM
from nas.trial import Trial
from nas.units import uncertain

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["interactive_front"]

MARKS = {
    "random": ("diamond-open", RANDOM),
    "published": ("triangle-up", INK),
    "front": ("diamond", CONFIRMED),
}


def interactive_front(shown: FrontShown) -> "Figure":
    """The picture of `nas.report.front_picture.front_figure`, whose points tell what they are.

    Under the pointer a trial tells its digest and metrics. Raises `UsageError` without plotly.
    """
    try:
        from plotly.subplots import make_subplots
    except ImportError:
        raise UsageError(
            "an interactive plot needs plotly: pip install 'nas-toolkit[notebook]'"
        ) from None
    rows = 2 if shown.confirmed else 1
    figure = make_subplots(
        rows=rows,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.1,
        row_heights=[0.6, 0.4][:rows],
        subplot_titles=["", shown.confirmed_as][:rows],
    )
    _add_searched(figure, shown)
    for kind, label in CONTROLS:
        own = [each for each in shown.confirmed if each.kind == kind]
        if own:
            _add_confirmed(figure, own, label)
    _limit(figure, shown)
    figure.update_xaxes(title_text=shown.across_label, row=rows, col=1)
    figure.update_yaxes(title_text=shown.up_label, row=1, col=1)
    if shown.confirmed:
        figure.update_yaxes(title_text=f"{shown.up} on test", row=2, col=1)
    figure.update_layout(
        title={"text": shown.heading.replace("\n", "<br>"), "font": {"size": 15}},
        template="plotly_white",
        font={"color": INK},
        hoverlabel={"align": "left"},
        legend={"orientation": "h", "yref": "container", "y": 0.01, "yanchor": "bottom"},
        width=800,
        height=720 if shown.confirmed else 520,
        margin={"l": 70, "r": 20, "t": 80, "b": 130 if shown.confirmed else 110},
    )
    # The second panel's title stands where its axis begins, as the first one's does.
    figure.update_annotations(
        selector={"text": shown.confirmed_as}, x=0, xanchor="left", font={"size": 14}
    )
    return figure


# -- as searched ----------------------------------------------------------------------------------


def _add_searched(figure: "Figure", shown: FrontShown) -> None:
    # A line joins its points in the order given.
    places = dict(zip((t.number for t in shown.front), shown.points(shown.front), strict=True))
    bars = dict(zip(places, shown.bars, strict=True))
    ordered = sorted(shown.front, key=lambda trial: places[trial.number])
    _add_trials(
        figure,
        shown,
        shown.complete,
        mode="markers",
        name=shown.searched_label,
        marker={"color": QUIET, "size": 7},
    )
    _add_trials(
        figure,
        shown,
        ordered,
        mode="lines+markers+text" if shown.across else "markers+text",
        name=f"front ({len(ordered)})",
        text=[str(trial.number) for trial in ordered] if shown.numbered else None,
        textposition="top right",
        textfont={"color": ACCENT, "size": 11},
        marker={"color": ACCENT, "size": 10},
        line={"shape": "hv", "color": ACCENT, "width": 1.5},
        error_x=_bars([bars[trial.number][0] for trial in ordered], ACCENT),
        error_y=_bars([bars[trial.number][1] for trial in ordered], ACCENT),
    )
    if shown.begun:
        _add_trials(
            figure,
            shown,
            shown.begun,
            mode="markers",
            name=BEGAN,
            marker={"symbol": "circle-open", "color": INK, "size": 13, "line": {"width": 1.2}},
        )


def _add_trials(
    figure: "Figure", shown: FrontShown, trials: Sequence[Trial], **style: object
) -> None:
    points = shown.points(trials)
    figure.add_scatter(
        x=[x for x, _ in points],
        y=[y for _, y in points],
        hovertext=[_tip(trial, shown) for trial in trials],
        hoverinfo="text",
        row=1,
        col=1,
        **style,
    )


def _bars(deviations: Sequence[float | None], color: str) -> dict[str, Any] | None:
    """Bars of one deviation either way; None where none is known."""
    if not any(deviations):
        return None
    faint = f"{color}66"  # the last two digits are the opacity
    return {"array": [sd or 0.0 for sd in deviations], "color": faint, "thickness": 1, "width": 3}


def _tip(trial: Trial, shown: FrontShown) -> str:
    """What a point tells under the pointer."""
    lines = [f"trial {trial.number}", trial.digest]
    if trial.number in shown.began:
        lines.append(f"began with {shown.began[trial.number]}")
    lines += [f"{name} {value:.6g}" for name, value in trial.metrics.items()]
    for each in shown.confirmed:
        if each.trial == trial.number:
            lines.append(f"{shown.confirmed_as}: {uncertain(each.score, each.sd)}")
    return "<br>".join(lines)


# -- confirmed ------------------------------------------------------------------------------------


def _add_confirmed(figure: "Figure", own: Sequence[Confirmed], label: str) -> None:
    """Networks of one kind; those of the front with their numbers, others under the pointer."""
    symbol, color = MARKS[own[0].kind]
    words = ["" if each.trial is None else str(each.trial) for each in own]
    figure.add_scatter(
        x=[each.x for each in own],
        y=[each.score for each in own],
        mode="markers+text",
        name=label,
        text=words,
        textposition="top right",
        textfont={"color": color, "size": 10},
        hovertext=[f"{each.name}<br>{uncertain(each.score, each.sd)} on test" for each in own],
        hoverinfo="text",
        marker={"symbol": symbol, "color": color, "size": 10},
        error_y=_bars([each.sd for each in own], color),
        row=2,
        col=1,
    )


# -- axes -----------------------------------------------------------------------------------------


def _limit(figure: "Figure", shown: FrontShown) -> None:
    """Set the ends of the axes, and say how many points lie beyond them."""
    window = shown.window
    if window is None:
        return
    figure.update_xaxes(range=[window.left, window.right])
    figure.update_yaxes(range=[window.low, window.high], row=1, col=1)
    for words, x, y in shown.outside().values():
        figure.add_annotation(
            text=words, x=x, y=y, xref="x domain", yref="y domain", showarrow=False
        )
