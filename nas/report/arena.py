"""A comparison of strategies as a table and a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nas.benchmarks.arena import Arena
from nas.statistics import mean_band
from nas.units import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["arena_figure", "arena_table"]

LEAST_SHOWN, LOGARITHMIC_FROM = 1e-3, 20


def arena_table(arena: Arena, checkpoints: Sequence[int] = ()) -> str:
    """One line per strategy, best first: means with half the width of their 95 % intervals, and the verdict."""
    scores = arena.scores(checkpoints or (arena.budget // 2,))
    at = list(scores[0].regret)
    header = [
        "strategy",
        *(f"regret@{n}" for n in at),
        "hypervolume",
        "area",
        "against random",
        "s/ask",
        "asks/eval",
    ]
    rows = [header]
    for score in scores:
        rows.append(
            [
                score.strategy,
                *(_with_error(*score.regret[n]) for n in at),
                _with_error(*score.hypervolume),
                _with_error(*score.area),
                score.verdict or "no difference",
                f"{score.ask_seconds:.4f}",
                f"{score.asks_per_evaluation:.2f}"
                + (f" ({score.stalled} stalled)" if score.stalled else ""),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _with_error(mean: float, low: float, high: float) -> str:
    return f"{mean:.4f} ±{(high - low) / 2:.4f}"


def arena_figure(arena: Arena) -> "Figure":
    """Mean curves of regret (with one objective) and hypervolume over evaluations, with 95 % bands."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    columns = ["regret", "hypervolume"] if arena.column == "regret" else ["hypervolume"]
    figure = Figure(figsize=(6.4 * len(columns), 4.4), dpi=150, layout="constrained")
    evaluations = np.arange(1, arena.budget + 1)
    for place, column in enumerate(columns, 1):
        axes = figure.add_subplot(1, len(columns), place)
        for index, strategy in enumerate(arena.strategies):
            curve, color = arena.curve(strategy, column), colormaps["tab10"](index % 10)
            axes.plot(
                evaluations,
                curve.mean(axis=0),
                color=color,
                lw=3 - 1.8 * index / len(arena.strategies),
                label=strategy,
            )
            axes.fill_between(evaluations, *mean_band(curve), color=color, alpha=0.18, lw=0)
        if column == "regret":
            means = np.array(
                [arena.curve(strategy, column).mean(axis=0) for strategy in arena.strategies]
            )
            least = max(float(means.min()), LEAST_SHOWN)
            if least < means.max() / LOGARITHMIC_FROM:
                axes.set_yscale("symlog", linthresh=least)
            axes.set_ylim(bottom=0)
        axes.set_xlabel("evaluations (new networks)")
        axes.set_ylabel(
            f"regret of the recommendation ({arena.losses[0]})" if column == "regret" else column
        )
        axes.grid(alpha=0.25, lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    seeds = len(arena.of(arena.strategies[0]))
    figure.suptitle(
        f"{arena.name}: mean of {counted(seeds, 'seed')}, 95 % bands",
        fontsize=10,
        x=0.01,
        ha="left",
    )
    return figure
