"""A comparison of strategies as a table and a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nas.benchmarks.arena import Arena, Score
from nas.report.plots import literal, shown_figure
from nas.statistics import mean_band
from nas.units import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["arena_figure", "arena_table"]

LEAST_SHOWN, LOGARITHMIC_FROM = 1e-3, 20


def arena_table(arena: Arena, checkpoints: Sequence[int] = ()) -> str:
    """One line per strategy, best first: means, half of their 95 % intervals, and the verdict."""
    scores = arena.scores(checkpoints or (arena.budget // 2,))
    evaluations = list(scores[0].regret)
    header = ["strategy"]
    header += [f"regret@{count}" for count in evaluations]
    header += ["hypervolume", "area", "against random", "s/ask", "asks/eval"]
    rows = [header]
    rows += [_row(score, evaluations) for score in scores]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = map(str.ljust, row, widths)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _row(score: Score, evaluations: Sequence[int]) -> list[str]:
    asks = f"{score.asks_per_evaluation:.2f}"
    if score.stalled:
        asks += f" ({score.stalled} stalled)"
    return [
        score.strategy,
        *(_with_error(*score.regret[count]) for count in evaluations),
        _with_error(*score.hypervolume),
        _with_error(*score.area),
        score.verdict or "no difference",
        f"{score.ask_seconds:.4f}",
        asks,
    ]


def _with_error(mean: float, low: float, high: float) -> str:
    return f"{mean:.4f} ±{(high - low) / 2:.4f}"


def arena_figure(arena: Arena) -> "Figure":
    """Mean curves over evaluations with 95 % bands: hypervolume, and with one objective regret."""
    columns = ["regret", "hypervolume"] if arena.column == "regret" else ["hypervolume"]
    figure = shown_figure(6.4 * len(columns), 4.4)
    for place, column in enumerate(columns, 1):
        axes = figure.add_subplot(1, len(columns), place)
        _draw_curves(axes, arena, column)
        if column == "regret":
            _scale_regret(axes, arena)
        axes.set_xlabel("evaluations (new networks)")
        axes.grid(alpha=0.25, lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    # One for both panels, whose curves are of the same strategies.
    axes.legend(frameon=False, fontsize=8)
    seeds = counted(len(arena.of(arena.strategies[0])), "seed")
    title = f"{arena.name}: mean of {seeds}, 95 % bands"
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return literal(figure)


def _draw_curves(axes: "Axes", arena: Arena, column: str) -> None:
    """One curve per strategy, the first one thickest, so that equal ones are all seen."""
    from matplotlib import colormaps

    evaluations = np.arange(1, arena.budget + 1)
    for index, strategy in enumerate(arena.strategies):
        curve, color = arena.curve(strategy, column), colormaps["tab10"](index % 10)
        width = 3 - 1.8 * index / len(arena.strategies)
        axes.plot(evaluations, curve.mean(axis=0), color=color, lw=width, label=strategy)
        axes.fill_between(evaluations, *mean_band(curve), color=color, alpha=0.18, lw=0)
    axes.set_ylabel(column)


def _scale_regret(axes: "Axes", arena: Arena) -> None:
    """From zero; logarithmic if the curves' means are of very different size."""
    means = [arena.curve(strategy, "regret").mean(axis=0) for strategy in arena.strategies]
    least = max(float(np.min(means)), LEAST_SHOWN)
    if least < np.max(means) / LOGARITHMIC_FROM:
        # Not a plain logarithm: the regret of a search that finds the best is zero.
        axes.set_yscale("symlog", linthresh=least)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(f"regret of the recommendation ({arena.losses[0]})")
