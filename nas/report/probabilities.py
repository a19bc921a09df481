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
    """One row per option and one column per snapshot, darker is likelier; below it cost, entropy and skips over time."""
    from matplotlib.figure import Figure

    history = document["history"]
    names = [name for name, row in history[-1]["probabilities"].items() if len(row) > 1]
    blocks = [np.array([row["probabilities"][name] for row in history]).T for name in names]
    made = Figure(figsize=(9, max(5.0, 2.5 + 0.09 * sum(len(block) for block in blocks))), layout="constrained")
    top, bottom = made.subplots(2, 1, height_ratios=(max(2.0, 0.09 * sum(len(b) for b in blocks)), 2.0))
    steps = [row["step"] for row in history]
    top.imshow(np.concatenate(blocks), aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    ends = np.cumsum([len(block) for block in blocks])
    top.set_yticks(ends - [len(block) / 2 for block in blocks] - 0.5, names, fontsize=6)
    for end in ends[:-1]:
        top.axhline(end - 0.5, color="white", linewidth=0.8)
    top.set_xticks([])
    top.set_title(f"probability of each option; {document['metric']} aims at {_window(document)}")
    for name in ("entropy", "skips"):
        bottom.plot(steps, [row[name] for row in history], label=name)
    bottom.set_ylim(0, 1)
    bottom.set_xlabel("step")
    bottom.legend(loc="center left", fontsize=8)
    cost, expected = bottom.twinx(), [row["expected"] for row in history]
    cost.plot(steps, expected, color="black", linestyle=":")
    costs = (*document["window"], *expected)
    cost.set_ylim(0.9 * min(costs), 1.1 * max(costs))  # a cost that stays on its target is a line, not rounding errors
    cost.set_ylabel(f"expected {document['metric']}")
    return made


def _window(document: Mapping[str, Any]) -> str:
    return " to ".join(f"{value:.4g}" for value in document["window"])


def save_picture(document: Mapping[str, Any], path: Path) -> None:
    """Write the figure as a PNG."""
    plots.save(figure(document), path)
