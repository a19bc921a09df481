"""Short training as the main job asks for it: a data set and a recipe by their command-line words."""

import dataclasses
from typing import Any

import torch

from nas.data import Dataset, load, split
from nas.evaluate.proxy import Proxy, preset
from nas.evaluate.training import TrainingEvaluator

__all__ = ["TrainingSession", "make", "open_data"]

SPLIT_SEED = 0
"""Splits do not follow the run's seed: the test set is the same for every search on a data set."""


class TrainingSession(TrainingEvaluator):
    """A `TrainingEvaluator` that can say what it will do, for people and for ``run.json``."""

    def __init__(self, dataset: Dataset, proxy_text: str, threads: int) -> None:
        self.preset, base = preset(dataset)
        self.changes = proxy_text
        super().__init__(
            split(dataset, SPLIT_SEED),
            Proxy.parse(proxy_text, base),
            thread_count=threads,
            device="cuda" if torch.cuda.is_available() else "cpu",
        )

    def describe_data(self) -> dict[str, Any]:
        """What the result depends on: name, digest, seed and sizes of the splits."""
        sizes = {name: len(getattr(self.splits, name)) for name in ("weights", "search", "selection")}
        return {"name": self.dataset.name, "digest": self.dataset.digest, "split_seed": SPLIT_SEED, **sizes}

    def describe_training(self) -> dict[str, Any]:
        """The recipe, and what else decides its bits."""
        return {**dataclasses.asdict(self.proxy), "threads": self.thread_count, "device": self.device.type}

    def lines(self) -> list[str]:
        """For people: the data with its splits and doubts, the recipe."""
        lines = [f"data       {self.dataset}; {self.splits}"]
        if self.dataset.skipped:
            names = ", ".join(self.dataset.skipped[:3])
            lines.append(f"           {len(self.dataset.skipped)} unreadable images left out: {names} ...")
        if self.splits.duplicates:
            found = ", ".join(f"{count} in {pair}" for pair, count in self.splits.duplicates.items())
            lines.append(f"           exact copies across sets: {found}")
        changed = f", changed by {self.changes}" if self.changes else ""
        steps = self.proxy.schedule(len(self.splits.weights)).steps
        lines.append(
            f"training   preset '{self.preset}'{changed}: {steps} steps of {self.proxy.batch_size} images at "
            f"{self.proxy.resolution} px, width {self.proxy.width:g}, {self.thread_count} thread{'s' * (self.thread_count > 1)} on {self.device.type}"
        )
        return lines


def open_data(spec: str, *, strict: bool = False) -> Dataset:
    """See `nas.data.load`."""
    return load(spec, strict=strict)


def make(dataset: Dataset, proxy_text: str = "", *, threads: int = 1) -> TrainingSession:
    """The evaluator for a data set: its preset, changed by ``name=value,...``.

    Slimmed networks are so small that a second thread gains nothing on an idle machine and costs ten times the
    time on a busy one, where threads wait for each other at every layer: hence one.
    """
    return TrainingSession(dataset, proxy_text, threads)
