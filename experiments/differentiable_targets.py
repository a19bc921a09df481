"""Differentiable search at several latency targets and seeds, beside random search.

Random search costs as much and stays in the same latency window.

    python experiments/differentiable_targets.py OUT --data fashion-mnist

Per target and seed: ``--strategy differentiable`` on FBNet's space, then random search inside the
same latency window for as many core-seconds as the supernet and the trainings of the first took
together (the ranking of 48 candidates, a twentieth of it, is not counted). The best network of each
on *selection* is trained anew by one longer recipe, with two seeds, and scored on *test*. Printed:
how far derived networks are from the target by the table, the mean difference of the test
accuracies with its 95 % interval over all pairs, and the shares of empty slots. Runs lie in OUT:
the same command goes on after a kill. The supernet's length and the number of trained networks were
chosen at 50 ms, which is no target here.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student

from nas.data import load
from nas.evaluate.retraining import retraining
from nas.run.execute import execute
from nas.run.plan import plan
from nas.run.run import Run
from nas.run.settings import Search

DEVICE = "pixel1"


def search(folder: Path, **settings: Any) -> Run:
    """A run, begun or gone on with."""
    # What each finds by itself.
    asked = Search().changed(space="fbnet", devices=(DEVICE,), warm="none", **settings)
    return execute(plan(asked), folder, resume=(folder / "run.json").exists()).run


def pair(out: Path, target: float, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Both searches for one target and seed, and their best networks' scores."""
    common = {"data": options.data, "latency_ms": target, "seed": seed, "proxy": options.proxy}
    strategy = f"differentiable:{options.settings}".rstrip(":")
    ours = search(
        out / f"ours-{target:g}-{seed}", strategy=strategy, trials=options.trials, **common
    )
    state = torch.load(ours.folder / "theta.pt", map_location="cpu", weights_only=True)
    seconds = ours.core_seconds + state["seconds"]
    random = search(
        out / f"random-{target:g}-{seed}",
        strategy="random",
        latency_min_ms=0.95 * target,
        seconds=seconds,
        **common,
    )
    complete = [trial for trial in ours.trials if trial.state == "complete"]
    costs = [trial.metrics[f"latency_ms@{DEVICE}"] for trial in complete]
    return {
        "target": target,
        "seed": seed,
        "seconds": seconds,
        "farthest": max(abs(cost / target - 1) for cost in costs),
        "random networks": len(random.trials),
        "ours": final(out, ours, options),
        "random": final(out, random, options),
        "ours skips": skips(ours),
        "random skips": skips(random),
    }


def skips(run: Run) -> float:
    """The share of empty slots in a run's best network."""
    words = run.space.words(run.best().genes)
    return sum(not word for word in words) / len(words)


def final(out: Path, run: Run, options: argparse.Namespace) -> float:
    """Accuracy on *test* of a run's best network, trained anew for longer; kept beside the run."""
    file = out / f"{run.folder.name}.json"
    if not file.exists():
        judge = retraining(load(options.data), dict(run.identity.proxy), options.factor)
        judge.open_test(out / "openings.jsonl")
        network = run.space.decode(run.best().genes)
        scores = [
            judge.evaluate(network, 1000 + repeat)["accuracy"] for repeat in range(options.repeats)
        ]
        file.write_text(json.dumps(scores))
    return float(np.mean(json.loads(file.read_text())))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--targets", default="40,60,80", help="ms")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--settings", default="longer=18", help="of the strategy")
    parser.add_argument("--proxy", default="")
    parser.add_argument(
        "--factor", type=float, default=5.0, help="times the short training, for the final scores"
    )
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for target in map(float, options.targets.split(",")):
        for seed in range(options.seeds):
            rows.append(pair(options.out, target, seed, options))
            print(json.dumps(rows[-1]), flush=True)
    leads = np.array([row["ours"] - row["random"] for row in rows])
    half = math.inf
    if len(leads) > 1:
        spread = leads.std(ddof=1) / math.sqrt(len(leads))
        half = float(student.ppf(0.975, len(leads) - 1) * spread)
    print(f"farthest from a target: {max(row['farthest'] for row in rows):.1%}")
    ours = np.array([row["ours skips"] for row in rows])
    other = np.array([row["random skips"] for row in rows])
    print(
        f"empty slots: {ours.mean():.3f}, random {other.mean():.3f} with a standard deviation of "
        f"{other.std():.3f}"
    )
    print(f"ours minus random on test: {leads.mean():+.4f} ± {half:.4f} (95 %), {len(leads)} pairs")


if __name__ == "__main__":
    main()
