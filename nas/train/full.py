"""Train one network in full: checkpoints, exact resume, a watch on *selection*, one score on *test*.

A folder holds ``train.json`` (what the result depends on), ``checkpoint.pt``, and at the end ``weights.pt`` (a state
dict of the torch module), ``architecture.json`` and ``result.json``. The same call goes on after a kill and
ends in the same bits. Training reads *weights* and *search*; normalisation is that of *weights*.
"""

import dataclasses
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas import rows
from nas.arch import Architecture
from nas.capsule import check_same, write_atomic
from nas.data import Dataset, LazyTensors, Splits, split, statistics
from nas.errors import RunError, TrainingError
from nas.journal import RunLock
from nas.model import build
from nas.model.weights import Loaded, load, read_state
from nas.notes import Notes, save_network
from nas.scale import scaled
from nas.train.augment import Augment
from nas.train.loop import Schedule, Training
from nas.train.scores import score
from nas.train.threads import threads
from nas.units import counted

__all__ = ["FullTraining", "Recipe", "Watched"]

SPLIT_SEED = 0  # as in searches: what one held back for its test, no training sees
OPENINGS = "test.jsonl"
LARGEST_JSON_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """``steps`` overrides ``epochs``. ``resolution``: None is the network's own. ``shift``: as a share of the side."""

    epochs: float = 60.0
    steps: int | None = None
    batch_size: int = 64
    lr: float = 0.05
    weight_decay: float = 1e-4
    label_smoothing: float = 0.1
    average: float = 0.1
    shift: float = 0.125
    resolution: int | None = None
    seed: int = 0

    def schedule(self, images: int) -> Schedule:
        """The schedule for so many images."""
        return Schedule(
            steps=self.steps or max(1, math.ceil(self.epochs * images / self.batch_size)), batch_size=self.batch_size,
            lr=self.lr, weight_decay=self.weight_decay, label_smoothing=self.label_smoothing, average=self.average,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Watched:
    """Where a training stands; ``selection`` is the accuracy after the last whole epoch, None before."""

    done: int
    steps: int
    loss: float
    selection: float | None
    eta_seconds: float


class FullTraining:
    """One network on one data set, in one folder. Raises `NasError` in one line for whatever cannot be.

    ``weights``: a state dict, or a folder that holds one, to start from; ``partial`` takes of it what fits.
    """

    def __init__(
        self,
        network: Architecture,
        dataset: Dataset,
        out: str | Path,
        recipe: Recipe,
        *,
        weights: str | Path | None = None,
        partial: bool = False,
        thread_count: int = 1,
    ) -> None:
        self.folder, self.recipe, self.dataset, self.thread_count = Path(out), recipe, dataset, thread_count
        self.network = scaled(
            network, resolution=recipe.resolution, classes=len(dataset.classes), in_channels=dataset.in_channels
        )
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.splits: Splits = split(dataset, SPLIT_SEED)
        self.rows = np.concatenate([self.splits.weights, self.splits.search])
        self.statistics = statistics(dataset.images[self.splits.weights])
        self.schedule = recipe.schedule(len(self.rows))
        self.partial = partial
        self.start: dict[str, Tensor] | None = None
        self.loaded: Loaded | None = None
        self.start_digest: str | None = None
        if weights is not None:
            file, self.start = read_state(weights)
            self.start_digest = hashlib.sha256(file.read_bytes()).hexdigest()[:20]
            self.loaded = load(build(self.network), self.start, file, partial=partial)
        self.epoch_steps = math.ceil(len(self.rows) / recipe.batch_size)

    def identity(self) -> dict[str, Any]:
        """What the result depends on, as plain JSON."""
        return {
            "network": self.network.digest,
            "data": {"name": self.dataset.name, "digest": self.dataset.digest, "split_seed": SPLIT_SEED},
            "recipe": {**dataclasses.asdict(self.recipe), "threads": self.thread_count, "device": self.device.type},
            "weights": self.start_digest,
            **({"partial": True} if self.partial else {}),
        }

    def lines(self) -> list[str]:
        """What will be done, for people."""
        return [
            f"network    input {self.network.input}, {self.network.params:,} params, {self.network.macs / 1e6:,.0f} M macs",
            f"data       {self.dataset}; {self.splits}",
            *([f"           {self.dataset.note}"] if self.dataset.note else []),
            f"training   {counted(self.schedule.steps, 'step')} of {self.schedule.batch_size} images of weights and search "
            f"({self.schedule.steps / self.epoch_steps:.3g} epochs), {counted(self.thread_count, 'thread')} on {self.device.type}",
            *(self.loaded.lines() if self.loaded else ()),
            f"folder     {self.folder}",
        ]

    def run(
        self, *, checkpoint_seconds: float = 60.0, watch: Callable[[Watched], None] = lambda watched: None
    ) -> dict[str, Any]:
        """Train from the last checkpoint, or from the start, to the end; ``result.json``'s content."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot make folder '{self.folder}': {error.strerror}") from None
        lock = RunLock(self.folder)
        try:
            self._claim()
            result = self.folder / "result.json"
            if result.exists():
                return _read_json(result)
            with threads(self.thread_count):
                return self._run(checkpoint_seconds, watch)
        finally:
            lock.release()

    def _claim(self) -> None:
        """Write ``train.json``, or refuse a folder that holds another training."""
        file = self.folder / "train.json"
        if not file.exists():
            write_atomic(file, json.dumps(self.identity(), indent=1) + "\n")
        check_same(self.folder, _read_json(file), json.loads(json.dumps(self.identity())))

    def _run(self, checkpoint_seconds: float, watch: Callable[[Watched], None]) -> dict[str, Any]:
        network = build(self.network, seed=self.recipe.seed)
        if self.start is not None:
            load(network, self.start, "to start from", partial=self.partial)
        labels = torch.from_numpy(self.dataset.labels[self.rows]).to(self.device)
        pad = round(self.recipe.shift * self.network.input.size)
        training = Training(
            network, self._images(self.rows), labels, self.schedule, seed=self.recipe.seed,
            augment=Augment(pad=pad, flip=self.dataset.flip),
        )  # fmt: skip
        history, before = self._restore(training)
        begun = saved = time.monotonic()
        first = training.done
        while training.done < self.schedule.steps:
            loss = training.advance()
            if training.done % self.epoch_steps == 0:
                history.append({"step": training.done, "loss": loss, **self._selection(network)})
            now = time.monotonic()
            watch(
                Watched(
                    done=training.done,
                    steps=self.schedule.steps,
                    loss=loss,
                    selection=history[-1]["accuracy"] if history else None,
                    eta_seconds=(now - begun) / (training.done - first) * (self.schedule.steps - training.done),
                )
            )
            if now - saved >= checkpoint_seconds or training.done == self.schedule.steps:
                self._checkpoint(training, history, before + now - begun)
                saved = now
        training.finish()
        return self._finish(network, history, before + time.monotonic() - begun)

    def _images(self, chosen: np.ndarray) -> LazyTensors:
        return LazyTensors(self.dataset.images, chosen, self.statistics, self.network.input.size, self.device)

    def _selection(self, network: nn.Module) -> dict[str, float]:
        labels = torch.from_numpy(self.dataset.labels[self.splits.selection]).to(self.device)
        found = score(network, self._images(self.splits.selection), labels)
        return {name: value for name, value in found.items() if name != "loss"}

    def _checkpoint(self, training: Training, history: list[dict[str, float]], seconds: float) -> None:
        _save(self.folder / "checkpoint.pt", {**training.state(), "history": history, "seconds": seconds})

    def _restore(self, training: Training) -> tuple[list[dict[str, float]], float]:
        """The history and seconds so far."""
        file = self.folder / "checkpoint.pt"
        if not file.exists():
            return [], 0.0
        state = _read(file)
        try:
            history, seconds = [dict(row) for row in state["history"]], float(state["seconds"])
            training.restore(state)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            text = " ".join(str(error).split())[:120]
            raise RunError(f"{file} is not a checkpoint of this training: {text}. Remove it to start anew") from None
        return history, seconds

    def _finish(self, network: nn.Module, history: list[dict[str, float]], seconds: float) -> dict[str, Any]:
        """Save the network, then open *test* and score it once."""
        _save(self.folder / "weights.pt", {name: value.cpu() for name, value in network.state_dict().items()})
        notes = Notes(classes=self.dataset.classes, mean=self.statistics.mean, std=self.statistics.std)
        save_network(self.network, notes, self.folder / "architecture.json")
        selection = self._selection(network)
        images, labels = self.splits.open_test()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        rows.append(self.folder / OPENINGS, {"kind": "opening", "time": now, "images": len(labels)})
        every = np.arange(len(images))
        lazy = LazyTensors(images, every, self.statistics, self.network.input.size, self.device)
        result = {
            "network": self.network.digest,
            "data": self.dataset.name,
            "classes": list(self.dataset.classes),
            "normalisation": {"mean": list(self.statistics.mean), "std": list(self.statistics.std)},
            "steps": self.schedule.steps,
            "core_seconds": round(seconds * self.thread_count, 1),
            "selection": selection,
            "test": score(network, lazy, torch.from_numpy(labels).to(self.device)),
            "test_images": len(labels),
            "test_openings": len(rows.read(self.folder / OPENINGS)),
            "history": history,
        }
        write_atomic(self.folder / "result.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
        return result


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_JSON_BYTES:
            raise RunError(f"{path} has over {LARGEST_JSON_BYTES >> 20} MiB: not a file of a training")
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"cannot read {path}: {' '.join(str(error).split())[:120]}. Remove it to start anew") from None
    if not isinstance(found, dict):
        raise RunError(
            f"{path} is not a file of a training: it holds a {type(found).__name__}. Remove it to start anew"
        )
    return found


def _save(path: Path, state: Mapping[str, Any]) -> None:
    """Write the file whole or not at all."""
    temporary = path.with_name(f".{path.name}")
    try:
        with temporary.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        raise RunError(f"cannot write '{path}': {error}. Mend that, then give the same command again") from None


def _read(path: Path) -> dict[str, Any]:
    """A file of tensors and plain values; nothing in it is ever unpickled into code."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the restricted unpickler raise anything
        raise TrainingError(f"cannot read {path} as weights: {' '.join(str(error).split())[:120]}") from None
    if not isinstance(state, dict):
        raise TrainingError(f"cannot read {path} as weights: it holds a {type(state).__name__}, not a state dict")
    return state
