"""Progressive learning on CIFAR-10: equal epochs in less time, and equal time.

A small Fused-MBConv network in the manner of EfficientNetV2, three seeds, three trainings each by
`nas train`'s own loop: ``fixed`` at 32 pixels, ``growing`` with equal epochs (sizes as the preset
``s`` has them, 18, 22, 27, 32 pixels here; mixup and dropout grow from 0), and ``shorter``, fixed
again with so many steps as take the time of ``growing``. Regularisation of the fixed ones is that
at the end of the growing one. RandAugment is left out: networks and trainings of this size
underfit. What a growing step costs is timed first, in rounds that alternate with fixed ones: the
CPU time of a whole training follows what runs beside it. Every training is scored once on test, the
10,000 test images. NAS_DATA holds the images. Stopped, it goes on with the training it was at.

    # seconds; keep the machine quiet
    python experiments/progressive.py --out runs/progressive pace
    # half an hour on one core
    python experiments/progressive.py --out runs/progressive
    # a minute, to see that it works
    python experiments/progressive.py --slice --out runs/progressive-slice
"""

import argparse
import dataclasses
import os
import shutil
import time
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from nas.arch import Architecture, Stage
from nas.data import Dataset, load
from nas.errors import UsageError
from nas.model import build
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import FusedMBConv, MBConv
from nas.record import ledger
from nas.shape import Shape
from nas.statistics import paired_interval
from nas.train import Training, threads
from nas.train.full import FullTraining
from nas.train.recipe import GROWTH, Recipe
from nas.train.tasks import Classification

FINAL = {"mixup": 0.2, "dropout": 0.1}
GROWING = {name: GROWTH["s"][name] for name in ("stages", "smallest")}
ROUNDS = 15
NAMES = ("fixed", "growing", "shorter")


def network() -> Architecture:
    fused = {"kernel": 3, "act": "swish", "skip": "identity"}
    body = (
        Stage("stem", (Conv(kernel=3, channels=16, act="swish"),)),
        Stage("one", (FusedMBConv(expand=1, channels=16, **fused),)),
        Stage(
            "two",
            (
                FusedMBConv(expand=2, channels=24, stride=2, **fused),
                FusedMBConv(expand=2, channels=24, **fused),
            ),
        ),
        Stage(
            "three",
            (
                FusedMBConv(expand=2, channels=32, stride=2, **fused),
                FusedMBConv(expand=2, channels=32, **fused),
            ),
        ),
        Stage(
            "four",
            (
                MBConv(expand=4, channels=64, stride=2, se=0.25, **fused),
                MBConv(expand=4, channels=64, se=0.25, **fused),
            ),
        ),
        Stage("head", (Conv(kernel=1, channels=256, act="swish"), Classifier(classes=10))),
    )
    return Architecture(Shape(3, 32), body)


def data(images: int) -> Dataset:
    folder = os.environ.get("NAS_DATA")
    if folder is None:
        raise UsageError(
            "NAS_DATA must name the folder of cifar10_train_jpegs.npz and cifar10_test_jpegs.npz"
        )
    whole = load(f"npz:{folder}/cifar10_train_jpegs.npz,{folder}/cifar10_test_jpegs.npz")
    chosen = np.random.default_rng(0).permutation(len(whole))[:images]
    return dataclasses.replace(whole, images=whole.images[chosen], labels=whole.labels[chosen])


def trained(
    dataset: Dataset, name: str, seed: int, steps: int, out: Path, changes: dict[str, object]
) -> dict:
    """The row of one training, from the record or made now."""
    record = out / "trainings.jsonl"
    for row in ledger.read(record):
        if (row["kind"], row["seed"]) == (name, seed):
            return row
    folder = out / f"{name}{seed}"
    shutil.rmtree(folder, ignore_errors=True)  # what a kill left: its time could not be known
    recipe = Recipe(
        steps=steps, batch_size=64, lr=0.1, shift=0.125, average=0.1, seed=seed, **(FINAL | changes)
    )
    training = FullTraining(network(), dataset, folder, recipe)
    begun = time.process_time()
    result = training.run(checkpoint_seconds=1e9)
    row = {
        "kind": name,
        "seed": seed,
        "steps": steps,
        "seconds": time.process_time() - begun,
        "accuracy": result["test"]["accuracy"],
        "selection": result["selection"]["accuracy"],
    }
    ledger.append(record, row)
    print(
        f"{name:8} seed {seed}: {steps} steps, {row['seconds']:.0f} s, test {row['accuracy']:.4f}",
        flush=True,
    )
    return row


def stages(dataset: Dataset, changes: dict[str, object]) -> list[Training]:
    """Trainings that stay in one stage of the recipe each."""
    recipe = Recipe(steps=10**6, batch_size=64, shift=0.125, average=0.1, **(FINAL | changes))
    task = Classification(network(), dataset, recipe, torch.device("cpu"))
    labels = task.labels(task.rows, 0)
    return [
        Training(
            build(task.network),
            phase.images,
            labels,
            recipe.schedule(len(task.rows)),
            seed=0,
            phases=[dataclasses.replace(phase, end=10**9)],
        )
        for phase in task.phases(recipe, 4)
    ]


def pace(dataset: Dataset, out: Path) -> float:
    """CPU time of a growing step over that of a fixed one, the mean over the stages.

    It is read from the record, or else measured now.
    """
    record = out / "trainings.jsonl"
    for row in ledger.read(record):
        if row["kind"] == "pace":
            return row["ratio"]
    kinds = (stages(dataset, {}), stages(dataset, GROWING))
    ratios = []
    with threads(1):
        for number in range(1 + ROUNDS):
            seconds = []
            for kind in kinds:
                begun = time.process_time()
                for training in kind:
                    training.advance()
                    training.advance()
                seconds.append((time.process_time() - begun) / len(kind))
            if number:  # the first round warms up
                ratios.append(seconds[1] / seconds[0])
    low, middle, high = (float(q) for q in np.quantile(ratios, (0.25, 0.5, 0.75)))
    print(
        f"a growing step takes {middle:.3f} of a fixed one's time ({low:.3f} to {high:.3f}, "
        f"{ROUNDS} rounds)",
        flush=True,
    )
    ledger.append(record, {"kind": "pace", "seed": -1, "ratio": middle, "quartiles": [low, high]})
    return middle


def train_all(
    dataset: Dataset, seed: int, steps: int, ratio: float, out: Path
) -> tuple[dict, dict, dict]:
    fixed = trained(dataset, "fixed", seed, steps, out, {})
    growing = trained(dataset, "growing", seed, steps, out, GROWING)
    return fixed, growing, trained(dataset, "shorter", seed, max(1, round(steps * ratio)), out, {})


def print_goal(name: str, values: list[float], unit: str, least: float | None = None) -> None:
    """Print a mean with its interval; the goal is met if the lower end is above ``least``."""
    bounds = paired_interval(values)
    edges = "" if bounds is None else f", 95 % {bounds[0]:+.2f} to {bounds[1]:+.2f}"
    goal = ""
    if least is not None:
        met = bounds is not None and bounds[0] > least
        goal = f"; goal, above {least:+.1f}: {'met' if met else 'not shown'}"
    print(f"{name}: {fmean(values):+.2f} {unit}{edges} ({len(values)} seeds){goal}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("what", nargs="?", choices=("pace", "all"), default="all")
    options.add_argument("--out", type=Path, default=Path("runs/progressive"))
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument(
        "--images", type=int, default=16000, help="of the 50,000, weights to selection"
    )
    options.add_argument("--steps", type=int, default=2000)
    options.add_argument("--slice", action="store_true", help="two seeds of a few steps")
    given = options.parse_args()
    if given.slice:
        given.seeds, given.images, given.steps = 2, 1000, 60
    given.out.mkdir(parents=True, exist_ok=True)
    dataset = data(given.images)
    ratio = pace(dataset, given.out)
    print(f"time at equal epochs: {ratio:.3f} of the fixed size's")
    if given.what == "pace":
        return
    seeds = range(given.seeds)
    trainings = [train_all(dataset, seed, given.steps, ratio, given.out) for seed in seeds]
    print_goal(
        "accuracy at equal epochs",
        [100 * (g["accuracy"] - f["accuracy"]) for f, g, _ in trainings],
        "points",
        -0.3,
    )
    print_goal(
        "accuracy at equal time",
        [100 * (g["accuracy"] - s["accuracy"]) for _, g, s in trainings],
        "points",
        0.0,
    )
    spent = [sum(row[number]["seconds"] for row in trainings) for number in range(3)]
    print(
        "CPU seconds of all, evaluation included: "
        + ", ".join(f"{n} {s:.0f}" for n, s in zip(NAMES, spent, strict=True))
    )


if __name__ == "__main__":
    main()
