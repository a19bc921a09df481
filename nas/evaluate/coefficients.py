"""Which way to scale: one network per direction, all at one step of cost, trained on the user's data and compared.

A folder holds ``fit.json`` (what the result depends on) and ``fit.jsonl`` (one line per finished
training), so a fit that was killed goes on where it was. Training reads *weights*, scores are of
*selection*; *test* stays closed.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from nas.arch import Architecture
from nas.data import Dataset, LazyTensors, Splits, split, statistics
from nas.data.dataset import Images, Labels
from nas.errors import TrainingError, UsageError
from nas.family import Coefficients, Member
from nas.files import make_folder, one_line, through_json, write_json
from nas.model import build
from nas.record import ledger
from nas.record.identity import check_same
from nas.record.journal import RunLock
from nas.statistics import paired_interval
from nas.train import Augment, Schedule, fit, score, threads

__all__ = ["Fit", "Fitted", "Short", "Step", "Trainer"]

RECORD = "fit.jsonl"


@dataclass(frozen=True, kw_only=True)
class Short:
    """The recipe of every candidate's training: ``epochs`` over at most ``images`` of *weights* (0: all of them).

    ``shift``: largest random shift as a share of the side. The rest: see `nas.train.Schedule`.
    """

    epochs: float = 8.0
    images: int = 0
    batch_size: int = 64
    lr: float = 0.05
    weight_decay: float = 1e-4
    average: float = 0.25
    shift: float = 0.0

    def schedule(self, images: int) -> Schedule:
        """The schedule for a weights set of that many images."""
        return Schedule(
            steps=max(1, math.ceil(self.epochs * images / self.batch_size)), batch_size=self.batch_size, lr=self.lr,
            weight_decay=self.weight_decay, average=self.average,
        )  # fmt: skip


class Trainer:
    """Trains whole networks, each at its own resolution, on *weights*; scores them on *selection*, or on *test*."""

    def __init__(self, dataset: Dataset, recipe: Short, *, thread_count: int = 1) -> None:
        self.dataset, self.recipe, self.thread_count = dataset, recipe, thread_count
        self.splits: Splits = split(dataset)
        self.rows = self.splits.weights[: recipe.images or None]
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @cached_property
    def _statistics(self) -> Any:
        return statistics(self.dataset.images[self.rows])

    def train(self, network: Architecture, seed: int) -> torch.nn.Module:
        """A trained module. Raises `TrainingError`."""
        with threads(self.thread_count):
            module = build(network, seed=seed)
            side = network.input.size
            images = LazyTensors(
                self.dataset.images, self.rows, self._statistics, side, self.device
            )
            labels = torch.from_numpy(self.dataset.labels[self.rows]).to(self.device)
            augment = Augment(pad=round(self.recipe.shift * side), flip=self.dataset.flip)
            fit(
                module,
                images,
                labels,
                self.recipe.schedule(len(images)),
                seed=seed,
                augment=augment,
            )
        return module

    def selection(self, module: torch.nn.Module, side: int) -> dict[str, float]:
        """Scores on *selection*."""
        chosen = self.splits.selection
        return self._score(module, side, self.dataset.images, chosen, self.dataset.labels[chosen])

    def test(
        self, module: torch.nn.Module, side: int, images: Images, labels: Labels
    ) -> dict[str, float]:
        """Scores on the test set that `nas.data.Splits.open_test` gave."""
        return self._score(module, side, images, np.arange(len(labels)), labels)

    def _score(
        self, module: torch.nn.Module, side: int, images: Any, chosen: Any, labels: Any
    ) -> dict[str, float]:
        with threads(self.thread_count):
            lazy = LazyTensors(images, chosen, self._statistics, side, self.device)
            return score(module, lazy, torch.from_numpy(labels).to(self.device))


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where a fit stands: trainings done and planned, the last one's score (None: it failed)."""

    done: int
    planned: int
    name: str
    accuracy: float | None
    eta_seconds: float


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What came out. ``scores``: accuracy on *selection* by candidate, one per seed; failed candidates have none."""

    candidates: Sequence[tuple[Coefficients, Member]]
    scores: Mapping[str, Sequence[float]]
    failed: Mapping[str, str]
    core_seconds: float
    step: float = 0.0
    """What one image of *selection* is worth."""

    @property
    def ranked(self) -> list[tuple[Coefficients, Member, float]]:
        """Best first; of equal ones the smaller network."""
        scored = [
            (c, m, fmean(self.scores[m.network.digest]))
            for c, m in self.candidates
            if self._whole(m)
        ]
        return sorted(scored, key=lambda found: (-found[2], found[1].network.params))

    def _whole(self, member: Member) -> bool:
        return (
            bool(self.scores.get(member.network.digest))
            and member.network.digest not in self.failed
        )

    @property
    def best(self) -> tuple[Coefficients, Member, float]:
        """The coefficients that are kept."""
        if not self.ranked:
            raise TrainingError(
                f"no candidate could be trained: {next(iter(self.failed.values()), 'none was tried')}"
            )
        return self.ranked[0]

    def lead(self) -> tuple[str, float, tuple[float, float] | None] | None:
        """The best candidate that grows one thing only, the winner's lead over it, and its 95 % interval over seeds.

        None where the winner is such a one itself, or there is none. The winner was chosen by these
        scores, so the lead flatters it.
        """
        winner = self.best
        others = [found for found in self.ranked if found[0].pure]
        if winner[0].pure or not others:
            return None
        mine, theirs = (self.scores[found[1].network.digest] for found in (winner, others[0]))
        each = [a - b for a, b in zip(mine, theirs, strict=True)]
        return others[0][0].pure, fmean(each), paired_interval(each, self.step)


class Fit:
    """Candidates on a data set, in one folder. Raises `NasError` in one line for whatever cannot be."""

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

    def identity(self) -> dict[str, Any]:
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
                "threads": trainer.thread_count,
                "device": trainer.device.type,
            },
            "seeds": self.seeds,
        }

    def lines(self) -> list[str]:
        """What will be done, for people."""
        trainer = self.trainer
        steps = trainer.recipe.schedule(len(trainer.rows)).steps
        return [
            f"data       {trainer.dataset}; {trainer.splits}",
            f"fit        {len(self.candidates)} candidates x {len(self.seeds)} seeds, {steps} steps of "
            f"{trainer.recipe.batch_size} images of weights each; scored on selection",
            f"folder     {self.folder}",
        ]

    def run(self, watch: Callable[[Step], None] = lambda step: None) -> Fitted:
        """Train what is missing."""
        make_folder(self.folder)
        lock = RunLock(self.folder)
        try:
            file, asked = self.folder / "fit.json", through_json(self.identity())
            if not file.exists():
                write_json(file, asked)
            check_same(self.folder, json.loads(file.read_text()), asked)
            self._train(watch)
            return self._fitted()
        finally:
            lock.release()

    def _wanted(self) -> list[tuple[Member, int]]:
        """All candidates once, then all again, so that a kill leaves whole rounds."""
        return [(member, seed) for seed in self.seeds for _, member in self.candidates]

    def _done(self) -> dict[tuple[str, int], dict[str, Any]]:
        return {(row["digest"], row["seed"]): row for row in ledger.read(self.folder / RECORD)}

    def _train(self, watch: Callable[[Step], None]) -> None:
        done = self._done()
        wanted = self._wanted()
        missing = [
            (member, seed) for member, seed in wanted if (member.network.digest, seed) not in done
        ]
        # Time is about proportional to macs; the record says how long one takes here.
        left = sum(member.network.macs for member, _ in missing)
        worked = spent = 0.0
        for number, (member, seed) in enumerate(missing, 1):
            row = self._training(member.network, seed)
            ledger.append(self.folder / RECORD, row)
            worked, spent, left = (
                worked + member.network.macs,
                spent + row["seconds"],
                left - member.network.macs,
            )
            watch(
                Step(
                    done=len(wanted) - len(missing) + number, planned=len(wanted), name=member.name,
                    accuracy=row.get("accuracy"), eta_seconds=spent / worked * left,
                )
            )  # fmt: skip

    def _training(self, network: Architecture, seed: int) -> dict[str, Any]:
        start = time.monotonic()
        try:
            module = self.trainer.train(network, seed)
            found: dict[str, Any] = {
                "accuracy": self.trainer.selection(module, network.input.size)["accuracy"]
            }
        except TrainingError as error:
            found = {"reason": one_line(error, 300)}
        seconds = round(time.monotonic() - start, 3)
        return {
            "kind": "training",
            "digest": network.digest,
            "seed": seed,
            **found,
            "seconds": seconds,
        }

    def _fitted(self) -> Fitted:
        done, digests = self._done(), [member.network.digest for _, member in self.candidates]
        own = {digest: [done[digest, seed] for seed in self.seeds] for digest in digests}
        return Fitted(
            candidates=self.candidates,
            scores={
                digest: [row["accuracy"] for row in found if "accuracy" in row]
                for digest, found in own.items()
            },
            failed={
                digest: row["reason"]
                for digest, found in own.items()
                for row in found
                if "reason" in row
            },
            core_seconds=sum(row["seconds"] for row in done.values()) * self.trainer.thread_count,
            step=1 / len(self.trainer.splits.selection),
        )
