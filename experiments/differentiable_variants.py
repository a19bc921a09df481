"""What each improvement of differentiable search does, at one latency, beside FBNet's own way.

    python experiments/differentiable_variants.py OUT

FBNet's space on digits, two seeds. Per variant, as means: the training's core-seconds, the latency
that the distribution expects and the least and largest one of the derived networks, as shares of
the target; empty slots and entropy, as shares; how often the watch warned; the accuracy of the
derived networks on *selection* after a short training each, and how far that is from the preset's
with the same seed, with a 95 % interval over seeds. Runs lie in OUT: the same command goes on after
a kill.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from differentiable_targets import DEVICE, search
from scipy.stats import t as student

VARIANTS = (
    "fbnet",
    "fbnet,loss=absolute",
    "fbnet,loss=absolute,depth=true",
    "fbnet,loss=absolute,prune=0.3",
    "path",
    "path,beside=false",
    "path,guard=false",
    "path,depth=true",
    "path,prune=0.3",
)
"""The first is the paper's.

``two_path`` needs ordered choices. FBNet's space has none: see two_path_widths.py.
"""


def row(out: Path, variant: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One search."""
    if variant.startswith("fbnet"):
        length = f",epochs={options.epochs}"
    else:
        length = f",longer={options.longer}"
    run = search(
        out / f"{variant.replace(',', '-').replace('=', '-')}-{seed}",
        strategy=f"differentiable:{variant}{length}",
        trials=options.trials,
        data=options.data,
        latency_ms=options.target,
        seed=seed,
    )
    state = torch.load(run.folder / "theta.pt", map_location="cpu", weights_only=True)
    distribution = json.loads((run.folder / "distribution.json").read_text())
    trials = [trial for trial in run.trials if trial.state == "complete"]
    costs = [trial.metrics[f"latency_ms@{DEVICE}"] / options.target for trial in trials]
    empty: list[bool] = []
    for trial in trials:
        empty += [not word for word in run.space.words(trial.genes)]
    return {
        "variant": variant,
        "seed": seed,
        "seconds": state["seconds"],
        "expected": distribution["expected"] / options.target,
        "least": min(costs),
        "largest": max(costs),
        "empty": float(np.mean(empty)),
        "entropy": distribution["entropy"],
        "warnings": len(distribution["warnings"]),
        "accuracy": float(np.mean([trial.metrics["accuracy"] for trial in trials])),
    }


def table(rows: list[dict[str, Any]]) -> list[str]:
    """A line per variant, means over seeds."""
    names = ("seconds", "expected", "least", "largest", "empty", "entropy", "warnings", "accuracy")
    head = "".join(name.rjust(10) for name in names)
    lines = ["variant".ljust(34) + head + "   accuracy - preset's"]
    of_variant: dict[str, list[dict[str, Any]]] = {}
    for search_row in rows:
        of_variant.setdefault(search_row["variant"], []).append(search_row)
    preset = {mine["seed"]: mine["accuracy"] for mine in of_variant.get(VARIANTS[0], [])}
    for variant, searches in of_variant.items():
        figures = "".join(f"{np.mean([mine[name] for mine in searches]):10.3f}" for name in names)
        lead = "" if variant == VARIANTS[0] else lead_text(searches, preset)
        lines.append(variant.ljust(34) + figures + lead)
    return lines


def lead_text(searches: list[dict[str, Any]], preset: dict[int, float]) -> str:
    """How far a variant is ahead of the preset of the same seed; empty for fewer than two seeds."""
    both = [mine for mine in searches if mine["seed"] in preset]
    if len(both) < 2:
        return ""
    leads = np.array([mine["accuracy"] - preset[mine["seed"]] for mine in both])
    half = student.ppf(0.975, len(leads) - 1) * leads.std(ddof=1) / math.sqrt(len(leads))
    return f"   {leads.mean():+.3f} ± {half:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--target", type=float, default=60, help="ms")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument(
        "--epochs", type=int, default=90, help="of the fbnet variants; the paper has 90"
    )
    parser.add_argument("--longer", type=float, default=12, help="of the path variants")
    parser.add_argument("--variants", help="some of them, joined by semicolons")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    variants = options.variants.split(";") if options.variants else VARIANTS
    for seed in range(options.seeds):
        for variant in variants:
            rows.append(row(options.out, variant, seed, options))
            print(json.dumps(rows[-1]), flush=True)
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
