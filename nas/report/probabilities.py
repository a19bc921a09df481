"""The picture of a differentiable search: how the probabilities of the options moved, and what they came to cost."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.report import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FILE", "PICTURE", "figure", "save_picture"]

FILE = "distribution.json"
PICTURE = "distribution.png"


def figure(document: Mapping[str, Any]) -> "Figure":
    """One row per option and one column per snapshot, darker is likelier, with the likeliest at the end named on the right.

    Below it the expected cost, entropy, skips and, where it falls, the temperature over time.
    """
    from matplotlib.figure import Figure

    history = document["history"]
    names = [name for name, row in history[-1]["probabilities"].items() if len(row) > 1]
    blocks = [np.array([row["probabilities"][name] for row in history]).T for name in names]
    made = Figure(
        figsize=(9, max(5.0, 2.5 + 0.09 * sum(len(block) for block in blocks))),
        layout="constrained",
    )
    top, bottom = made.subplots(
        2, 1, height_ratios=(max(2.0, 0.09 * sum(len(b) for b in blocks)), 2.0)
    )
    steps = [row["step"] for row in history]
    top.imshow(
        np.concatenate(blocks), aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest"
    )
    ends = np.cumsum([len(block) for block in blocks])
    top.set_yticks(ends - [len(block) / 2 for block in blocks] - 0.5, names, fontsize=6)
    for end in ends[:-1]:
        top.axhline(end - 0.5, color="grey", linewidth=0.4)
    likeliest = [int(block[:, -1].argmax()) for block in blocks]
    labels = [
        f"{document['options'][name][best]}  {block[best, -1]:.2f}"
        for name, block, best in zip(names, blocks, likeliest, strict=True)
    ]
    named = top.secondary_yaxis("right")
    named.set_yticks(
        [end - len(b) + best for end, b, best in zip(ends, blocks, likeliest, strict=True)], labels
    )
    named.tick_params(labelsize=6, length=0)
    top.set_xticks([])
    top.set_title(
        f"probability of each option; {document['metric']} aims at {_window(document)}", fontsize=10
    )
    temperatures = [row["temperature"] for row in history]
    lines = {name: [row[name] for row in history] for name in ("entropy", "skips")}
    if max(temperatures) > min(temperatures):
        lines["temperature / first"] = [value / temperatures[0] for value in temperatures]
    for name, line in lines.items():
        bottom.plot(steps, line, label=name)
    half = (steps[-1] - steps[0]) / max(1, len(steps) - 1) / 2 or 0.5
    bottom.set_xlim(steps[0] - half, steps[-1] + half)  # as the columns above
    bottom.set_ylim(0, 1.02)
    bottom.set_xlabel("step")
    cost, expected = bottom.twinx(), [row["expected"] for row in history]
    bottom.plot([], [], color="black", linestyle=":", label="expected cost (right)")
    bottom.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, fontsize=8, frameon=False)
    cost.plot(steps, expected, color="black", linestyle=":")
    costs = (*document["window"], *expected)
    cost.set_ylim(
        0.9 * min(costs), 1.1 * max(costs)
    )  # a cost that stays on its target is a line, not rounding errors
    cost.set_ylabel(f"expected {document['metric']}")
    return made


def _window(document: Mapping[str, Any]) -> str:
    return " to ".join(f"{value:.4g}" for value in document["window"])


def save_picture(document: Mapping[str, Any], path: Path) -> None:
    """Write the figure as a PNG."""
    plots.save(figure(document), path)
