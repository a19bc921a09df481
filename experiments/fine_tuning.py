"""Fine-tuning on few images: from scratch, by the default recipe, and by changes of it.

    # 400 images, 15 passes; ten minutes for the weights, then 12 seconds of a core a training
    NAS_DATA=... python experiments/fine_tuning.py --epochs 15 --out runs/fine_tuning
    # 200 images, 60 passes
    NAS_DATA=... python experiments/fine_tuning.py --images 200 --epochs 60 --out runs/fine_tuning
    # other images and seeds, scored on test
    NAS_DATA=... python experiments/fine_tuning.py --confirm --recipes "default;batch_size=32"
    # a minute, to see that it works
    NAS_DATA=... python experiments/fine_tuning.py --slice --out runs/fine_tuning_slice

MobileNetV3-Small of half the width at 16 pixels learns the first five classes of CIFAR-10, which
gives the weights (5,000 steps). A few images of the other five classes are then learnt by
`nas train`'s own code, by each of `RECIPES`, with the same images and seeds. Recipes are compared
on 2,500 training images that no training sees; ``--confirm`` repeats some of them with other images
and seeds, and scores them on the 5,000 test images of those classes. Stopped, it goes on with the
training it was at. NAS_DATA holds the images.
"""

import argparse
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.arch import Architecture
from nas.data import Dataset, load
from nas.data.dataset import Sealed
from nas.errors import UsageError
from nas.progress import Progress
from nas.record import ledger
from nas.run.network import named_network
from nas.scale import scaled
from nas.statistics import paired_interval
from nas.train.full import FullTraining
from nas.train.recipe import Recipe, recipe

FIRST, OTHERS = range(5), range(5, 10)
"""Classes that the weights are made on, and those that are learnt from few images."""
STEPS = 5000
"""Of the training that makes the weights."""
HELD_BACK = 2500
"""Images of the others that compare recipes."""
TRAINED_SHARE = 0.85
"""Of a data set with a test part of its own: its sets weights and search."""
REFERENCE = "default"
RECIPES = {
    "scratch": None,
    "default": "",
    "lr=.1": "lr=0.1",
    "lr=.02": "lr=0.02",
    "lr=.01": "lr=0.01",
    "batch_size=32": "batch_size=32",
}
"""What each changes of the default recipe; None: without the weights."""
Arrays = tuple[NDArray[Any], NDArray[np.int64]]


def cifar() -> Dataset:
    folder = os.environ.get("NAS_DATA")
    if folder is None:
        raise UsageError(
            "NAS_DATA must name the folder of cifar10_train_jpegs.npz and cifar10_test_jpegs.npz"
        )
    return load(f"npz:{folder}/cifar10_train_jpegs.npz,{folder}/cifar10_test_jpegs.npz")


def network() -> Architecture:
    """With the strides of 32 pixels."""
    wide = named_network("mobilenet_v3_small", width=0.5, resolution=32, small_images=True)
    return scaled(wide, resolution=16)


def part(images: NDArray[Any], labels: NDArray[np.int64], classes: range) -> Arrays:
    """The images of those classes, numbered from 0."""
    rows = np.isin(labels, classes)
    return images[rows], labels[rows] - classes[0]


def dataset(whole: Dataset, classes: range, images: Arrays, test: Callable[[], Arrays]) -> Dataset:
    return Dataset(
        name="cifar-10, " + ", ".join(whole.classes[k] for k in classes),
        images=images[0],
        labels=images[1],
        classes=tuple(whole.classes[k] for k in classes),
        flip=True,
        test_part=Sealed(test),
    )


def pretrained(whole: Dataset, out: Path, steps: int) -> Path:
    """The folder of weights that were made on the first five classes."""
    images, labels = part(whole.images, whole.labels, FIRST)
    some = slice(len(images) // 50)
    data = dataset(whole, FIRST, (images, labels), lambda: (images[some], labels[some]))
    training = FullTraining(network(), data, out / "pretrained", Recipe(steps=steps))
    result = training.run(watch=told)
    print(f"weights: selection {result['selection']['accuracy']:.4f}", flush=True)
    return out / "pretrained"


def told(progress: Progress[object]) -> None:
    if progress.done % 500 == 0:
        print(f"weights: step {progress.done}/{progress.planned} {progress.figures}", flush=True)


class Comparison:
    """Trainings on a few images of the other classes, each made once and kept in a ledger."""

    def __init__(self, whole: Dataset, out: Path, weights: Path, *, confirm: bool) -> None:
        self.whole, self.out, self.weights = whole, out, weights
        self.record = out / ("confirmed.jsonl" if confirm else "trainings.jsonl")
        images, labels = part(whole.images, whole.labels, OTHERS)
        order = np.random.default_rng(0).permutation(len(labels))  # the file is sorted by class
        images, labels = images[order], labels[order]
        self.pool = images[HELD_BACK:], labels[HELD_BACK:]
        self.held_back = images[:HELD_BACK], labels[:HELD_BACK]
        self.first_seed = 100 if confirm else 0
        self.test = self._test if confirm else lambda: self.held_back

    def _test(self) -> Arrays:
        images, labels = self.whole.test_part.open(self.out / "test.jsonl")
        return part(images, labels, OTHERS)

    def accuracy(self, name: str, images: int, epochs: float, seed: int) -> float:
        """Of one training, from the record or made now."""
        seed += self.first_seed
        key = {"kind": "training", "recipe": name, "images": images, "epochs": epochs, "seed": seed}
        for row in ledger.read(self.record):
            if row.items() >= key.items():
                return row["accuracy"]
        count = round(images / TRAINED_SHARE)
        rows = np.random.default_rng(seed).permutation(len(self.pool[0]))[:count]
        few = self.pool[0][rows], self.pool[1][rows]
        data = dataset(self.whole, OTHERS, few, self.test)
        settings = RECIPES[name] or ""
        folder = self.out / "training"
        shutil.rmtree(folder, ignore_errors=True)
        training = FullTraining(
            network(),
            data,
            folder,
            recipe(
                "default", "", ",".join(filter(None, (f"epochs={epochs},seed={seed}", settings)))
            ),
            weights=None if RECIPES[name] is None else self.weights,
        )
        result = training.run(checkpoint_seconds=1e9)
        accuracy = result["test"]["accuracy"]
        ledger.append(
            self.record,
            {
                **key,
                "accuracy": accuracy,
                "loss": result["history"][-1]["loss"],
                "steps": result["steps"],
                "seconds": result["core_seconds"],
            },
        )
        print(f"{images} images, seed {seed}, {name}: {accuracy:.4f}", flush=True)
        return accuracy


def table(comparison: Comparison, names: list[str], images: int, epochs: float, seeds: int) -> None:
    scores = {name: [] for name in names}
    for seed in range(seeds):
        for name in names:
            scores[name].append(comparison.accuracy(name, images, epochs, seed))
    print(f"\n{images} images, {epochs:g} epochs, {seeds} seeds\n")
    print(f"| recipe | accuracy | less {REFERENCE}'s (95 %) |\n|---|---|---|")
    for name in names:
        pairs = zip(scores[name], scores[REFERENCE], strict=True)
        bounds = paired_interval([mine - theirs for mine, theirs in pairs])
        lead = fmean(scores[name]) - fmean(scores[REFERENCE])
        interval = "" if bounds is None else f" ({bounds[0]:+.3f} to {bounds[1]:+.3f})"
        print(f"| `{name}` | {fmean(scores[name]):.3f} | {lead:+.3f}{interval} |")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--out", type=Path, default=Path("runs/fine_tuning"))
    options.add_argument("--confirm", action="store_true", help="other images, on test")
    options.add_argument("--recipes", default=";".join(RECIPES), help="names, with ; between")
    options.add_argument("--images", type=int, default=400, help="that are learnt from")
    options.add_argument("--epochs", type=float, default=15.0)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--slice", action="store_true", help="two seeds of a few steps")
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    whole = cifar()
    steps = STEPS
    if given.slice:
        steps, given.images, given.epochs, given.seeds = 20, 100, 1.0, 2
    names = given.recipes.split(";")
    weights = pretrained(whole, given.out, steps)
    comparison = Comparison(whole, given.out, weights, confirm=given.confirm)
    table(comparison, names, given.images, given.epochs, given.seeds)


if __name__ == "__main__":
    main()
