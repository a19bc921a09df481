"""Which way to scale: one network per direction, trained on the user's data and compared.

All cost one step more than the base. A folder holds ``fit.json`` (what the result depends on)
and ``fit.jsonl`` (one line per finished training), so a fit that was killed goes on where it was.
Training reads *weights*, scores are of *selection*; *test* stays closed.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nas.arch import Architecture
from nas.compute import USUAL, Compute
from nas.data import Dataset, LazyTensors, Splits, Statistics, split, statistics
from nas.data.dataset import Labels, Pictures
from nas.errors import TrainingError, UsageError
from nas.family import Coefficients, Member
from nas.family.fitted import Fitted
from nas.files import make_folder, one_line, through_json, write_json
from nas.model import build
from nas.progress import Progress, ignore
from nas.record import ledger
from nas.record.identity import check_same
from nas.record.journal import RunLock
from nas.size import Size, shorter
from nas.study.trainings import FitWatch
from nas.train import Augment, Schedule, fit, precise, score, threads
from nas.train.accelerator import device_of, placed
from nas.units import counted

__all__ = ["Fit", "Short", "Trainer", "fitting"]

RECORD = "fit.jsonl"
Key = tuple[str, int]
"""Digest of a candidate, and the seed of a training."""
Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Short:
    """The recipe of every candidate's training. What is not told here: see `nas.train.Schedule`."""

    epochs: float = 8.0
    """Passes over the images."""
    images: int = 0
    """Images of *weights* that are trained on; 0 for all of them."""
    batch_size: int = 64
    lr: float = 0.05
    weight_decay: float = 1e-4
    average: float = 0.25
    shift: float = 0.0
    """The largest random shift, as a share of the side: candidates differ in resolution."""

    def schedule(self, images: int) -> Schedule:
        """The schedule for a weights set of that many images."""
        return Schedule(
            steps=max(1, math.ceil(self.epochs * images / self.batch_size)),
            batch_size=self.batch_size,
            lr=self.lr,
            weight_decay=self.weight_decay,
            average=self.average,
        )


class Trainer:
    """Trains whole networks on *weights* and scores them on *selection*, or on *test*.

    Each sees images of its own resolution.
    """

    def __init__(
        self,
        dataset: Dataset,
        recipe: Short,
        *,
        thread_count: int = 1,
        compute: Compute = USUAL,
    ) -> None:
        self.splits: Splits = split(dataset)
        self.dataset = self.splits.dataset
        self.recipe, self.thread_count = recipe, thread_count
        self.rows = self.splits.weights[: recipe.images or None]
        self.device, self.precision = device_of(compute.accelerator), compute.precision

    @cached_property
    def _statistics(self) -> Statistics:
        return statistics(self.dataset.images[self.rows])

    def train(self, network: Architecture, seed: int) -> torch.nn.Module:
        """A trained module. Raises `TrainingError`."""
        with threads(self.thread_count), precise(self.precision):
            module = build(network, seed=seed)
            size = network.input.size
            images = LazyTensors(
                self.dataset.images, self.rows, self._statistics, size, self.device
            )
            labels = torch.from_numpy(self.dataset.labels[self.rows]).to(self.device)
            augment = Augment(pad=round(self.recipe.shift * shorter(size)), flip=self.dataset.flip)
            fit(
                module,
                images,
                labels,
                self.recipe.schedule(len(images)),
                seed=seed,
                augment=augment,
            )
        return module

    def selection(self, module: torch.nn.Module, size: Size) -> dict[str, float]:
        """Scores on *selection*."""
        chosen = self.splits.selection
        return self._score(module, size, self.dataset.images, chosen, self.dataset.labels[chosen])

    def test(
        self, module: torch.nn.Module, size: Size, images: Pictures, labels: Labels
    ) -> dict[str, float]:
        """Scores on the test set that `nas.data.Splits.open_test` gave."""
        return self._score(module, size, images, np.arange(len(labels)), labels)

    def _score(
        self, module: torch.nn.Module, size: Size, images: Pictures, chosen: Rows, labels: Labels
    ) -> dict[str, float]:
        with threads(self.thread_count):
            lazy = LazyTensors(images, chosen, self._statistics, size, self.device)
            return score(module, lazy, torch.from_numpy(labels).to(self.device))


class Fit:
    """Candidates on a data set, in one folder. Raises `NasError` for what cannot be."""

    def __init__(
        self,
        candidates: Sequence[tuple[Coefficients, Member]],
        trainer: Trainer,
        folder: str | Path,
        *,
        seeds: int = 2,
        seed: int = 0,
    ) -> None:
        if seeds < 1:
            raise UsageError(f"a fit needs at least one seed, not {seeds}")
        self.candidates, self.trainer, self.folder = candidates, trainer, Path(folder)
        self.seeds = [seed + number for number in range(seeds)]
        self._members = {member.network.digest: member for _, member in candidates}

    def identity(self) -> dict[str, object]:
        """What the result depends on, as plain JSON."""
        trainer = self.trainer
        return {
            "candidates": [member.network.digest for _, member in self.candidates],
            "data": {
                "name": trainer.dataset.name,
                "digest": trainer.dataset.digest,
                "split_seed": trainer.splits.seed,
            },
            "recipe": {
                **asdict(trainer.recipe),
                # These two decide the order of sums, and so a training's last bits.
                "threads": trainer.thread_count,
                "device": trainer.device.type,
                **Compute(precision=trainer.precision).described(),
            },
            "seeds": self.seeds,
        }

    def lines(self) -> list[str]:
        """What will be done, for people."""
        trainer = self.trainer
        steps = trainer.recipe.schedule(len(trainer.rows)).steps
        return [
            f"data       {trainer.dataset}; {trainer.splits}",
            f"fit        {len(self.candidates)} candidates x {len(self.seeds)} seeds, {steps} "
            f"steps of {trainer.recipe.batch_size} images of weights each; scored on selection; "
            f"{counted(trainer.thread_count, 'thread')} on "
            f"{placed(trainer.device, trainer.precision)}",
            f"folder     {self.folder}",
        ]

    def run(self, watch: FitWatch = ignore) -> Fitted:
        """Train what is missing."""
        make_folder(self.folder)
        lock = RunLock(self.folder)
        try:
            file = self.folder / "fit.json"
            asked = through_json(self.identity())
            if not file.exists():
                write_json(file, asked)
            check_same(self.folder, json.loads(file.read_text()), asked)
            rows = self._train(watch)
            return self._fitted(rows)
        finally:
            lock.release()

    def _train(self, watch: FitWatch) -> dict[Key, ledger.Row]:
        """The row of each training, old and new."""
        file = self.folder / RECORD

        def tell(progress: Progress[ledger.Row]) -> None:
            row = progress.last or {}
            figures = {"accuracy": row["accuracy"]} if "accuracy" in row else {}
            watch(progress.about(self._members[row["digest"]].name, figures))

        rows = {_key(row): row for row in ledger.read(file)}
        # All candidates once, then all again, so that a kill leaves whole rounds.
        wanted = [
            (member.network.digest, seed) for seed in self.seeds for _, member in self.candidates
        ]
        # Time is about proportional to macs; the record says how long one takes here.
        new = ledger.complete(
            file,
            "trainings",
            wanted,
            rows,
            self._training,
            watch=tell,
            work=lambda key: self._members[key[0]].network.macs,
        )
        return rows | {_key(row): row for row in new}

    def _training(self, key: Key) -> ledger.Row:
        digest, seed = key
        network = self._members[digest].network
        start = time.monotonic()
        outcome: dict[str, object]
        try:
            module = self.trainer.train(network, seed)
            scores = self.trainer.selection(module, network.input.size)
            outcome = {"accuracy": scores["accuracy"]}
        except TrainingError as error:
            # A candidate that cannot be trained must not end the fit of the others.
            outcome = {"reason": one_line(error, 300)}
        seconds = round(time.monotonic() - start, 3)
        return {"kind": "training", "digest": digest, "seed": seed, **outcome, "seconds": seconds}

    def _fitted(self, rows: Mapping[Key, ledger.Row]) -> Fitted:
        scores: dict[str, list[float]] = {digest: [] for digest in self._members}
        failed: dict[str, str] = {}
        for digest in self._members:
            for seed in self.seeds:
                row = rows[digest, seed]
                if "accuracy" in row:
                    scores[digest].append(row["accuracy"])
                if "reason" in row:
                    failed[digest] = row["reason"]
        seconds = sum(row["seconds"] for row in rows.values())
        return Fitted(
            candidates=self.candidates,
            scores=scores,
            failed=failed,
            core_seconds=seconds * self.trainer.thread_count,
            # One image more or less: no finer difference of accuracies exists.
            step=1 / len(self.trainer.splits.selection),
        )


def _key(row: ledger.Row) -> Key:
    return row["digest"], row["seed"]


def fitting(
    candidates: Sequence[tuple[Coefficients, Member]],
    data: Dataset,
    folder: str | Path,
    *,
    epochs: float,
    images: int,
    batch_size: int,
    lr: float,
    threads: int,
    seeds: int,
    seed: int,
    compute: Compute = USUAL,
) -> Fit:
    """See `nas.study.trainings.Fitting`."""
    recipe = Short(epochs=epochs, images=images, batch_size=batch_size, lr=lr)
    trainer = Trainer(data, recipe, thread_count=threads, compute=compute)
    return Fit(candidates, trainer, folder, seeds=seeds, seed=seed)
