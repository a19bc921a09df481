"""The picture of a differentiable search: how the options' probabilities moved, and their cost."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nas.report import plots
from nas.strategies._learned import Learned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FILE", "PICTURE", "figure", "save_picture"]

Floats = NDArray[np.float64]

FILE = "distribution.json"
PICTURE = "distribution.png"


def figure(learned: Learned) -> "Figure":
    """One row per option and one column per snapshot; darker is likelier.

    The likeliest options at the end are named on the right. Below it the expected cost, entropy,
    skips and, if it falls, the temperature over time.
    """
    from matplotlib.figure import Figure

    history = learned.history
    # The probability of an only option is 1 from the start.
    names = [name for name, row in history[-1].probabilities.items() if len(row) > 1]
    blocks = [_block(learned, name) for name in names]
    height = 0.09 * sum(map(len, blocks))  # inches: the rows of options stay apart
    picture = Figure(figsize=(9, max(5.0, 2.5 + height)), layout="constrained")
    top, bottom = picture.subplots(2, 1, height_ratios=(max(2.0, height), 2.0))
    _draw_probabilities(top, learned, names, blocks)
    _draw_figures(bottom, learned)
    return plots.literal(picture)


def _block(learned: Learned, name: str) -> Floats:
    """Probabilities of a choice: (options, snapshots)."""
    rows = [snapshot.probabilities[name] for snapshot in learned.history]
    return np.array(rows).T


def _draw_probabilities(
    top: "Axes", learned: Learned, names: Sequence[str], blocks: Sequence[Floats]
) -> None:
    """blocks: per choice, (options, snapshots)."""
    top.imshow(
        np.concatenate(blocks), aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest"
    )
    sizes = np.array(list(map(len, blocks)))
    ends = np.cumsum(sizes)
    top.set_yticks(ends - sizes / 2 - 0.5, plots.escaped(names), fontsize=6)
    for end in ends[:-1]:
        top.axhline(end - 0.5, color="grey", linewidth=0.4)
    places, labels = [], []
    for name, block, end in zip(names, blocks, ends, strict=True):
        likeliest = int(block[:, -1].argmax())
        places.append(end - len(block) + likeliest)
        labels.append(f"{learned.options[name][likeliest]}  {block[likeliest, -1]:.2f}")
    named = top.secondary_yaxis("right")
    named.set_yticks(places, plots.escaped(labels))
    named.tick_params(labelsize=6, length=0)
    top.set_xticks([])
    window = " to ".join(f"{value:.4g}" for value in learned.window)
    top.set_title(f"probability of each option; {learned.metric} aims at {window}", fontsize=10)


def _draw_figures(bottom: "Axes", learned: Learned) -> None:
    history = learned.history
    steps = [row.step for row in history]
    bottom.plot(steps, [row.entropy for row in history], label="entropy")
    bottom.plot(steps, [row.skips for row in history], label="skips")
    temperatures = np.array([row.temperature for row in history])
    if np.ptp(temperatures) > 0:
        bottom.plot(steps, temperatures / temperatures[0], label="temperature / first")
    half = (steps[-1] - steps[0]) / max(1, len(steps) - 1) / 2 or 0.5
    bottom.set_xlim(steps[0] - half, steps[-1] + half)  # as the columns above
    bottom.set_ylim(0, 1.02)
    bottom.set_xlabel("step")
    cost, expected = bottom.twinx(), [row.expected for row in history]
    # Empty, for the legend: the curve itself is drawn on the other axis.
    bottom.plot([], [], color="black", linestyle=":", label="expected cost (right)")
    bottom.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, fontsize=8, frameon=False)
    cost.plot(steps, expected, color="black", linestyle=":")
    costs = (*learned.window, *expected)
    # A cost that stays on its target is a line, not rounding errors.
    cost.set_ylim(0.9 * min(costs), 1.1 * max(costs))
    cost.set_ylabel(f"expected {learned.metric}")


def save_picture(learned: Learned, path: Path) -> None:
    """Write the figure as a PNG."""
    plots.save(figure(learned), path)
