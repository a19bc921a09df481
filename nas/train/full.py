"""Train one network in full: checkpoints, exact resume, one score on *test*.

A folder holds ``train.json`` (what the result depends on), ``checkpoint.pt``, and at the end
``weights.pt`` (a state dict of the torch module), ``architecture.json`` and ``result.json``. The
same call goes on after a kill and ends in the same bits. Training reads *weights* and *search*,
*selection* is watched; normalisation is that of *weights*.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import nn

from nas.arch import Architecture
from nas.compute import USUAL, Compute
from nas.cost.memory import GIB, training_bytes
from nas.data import Dataset
from nas.data.masks import MaskDataset
from nas.data.pictures import ImageFiles
from nas.errors import RunError, UsageError
from nas.files import UNREADABLE, make_folder, one_line, read_json, through_json, write_json
from nas.logs import Job, Logs, check
from nas.metadata import Metadata, save_network
from nas.model.blocks import NORM_MOMENTUM, set_norm_momentum
from nas.model.weights import Loaded, Weights, read, read_weights, save
from nas.progress import Pace, Progress, Watch, ignore
from nas.reading import to_json
from nas.record import ledger
from nas.record.identity import check_same, device_change
from nas.record.journal import RunLock
from nas.train.accelerator import placed
from nas.train.augment import FULL
from nas.train.droppath import add_drop_path
from nas.train.loop import Phase, Training
from nas.train.parallel import launched
from nas.train.picture import draw_batch
from nas.train.precision import precise
from nas.train.recipe import Recipe
from nas.train.tasks import task_of
from nas.train.teacher import Teacher
from nas.train.threads import threads
from nas.units import counted

__all__ = ["FullTraining", "Recipe"]

OPENINGS = "test.jsonl"
LARGEST_JSON_BYTES = 64 << 20
REMEMBERED = 0.01
"""Share of their start that the statistics of norms may still hold at the end, untold."""


class Normalisation(TypedDict):
    """Per channel, of pixels 0..1."""

    mean: list[float]
    std: list[float]


class Result(TypedDict):
    """The content of ``result.json``."""

    task: str
    network: str
    data: str
    classes: list[str]
    normalisation: Normalisation
    steps: int
    device: str
    """That of the last steps, with the precision if it is not float32."""
    core_seconds: float
    selection: dict[str, float]
    test: dict[str, float]
    test_images: int
    test_openings: int
    test_left_out: str
    """Which images of *test* could not be read; empty if all could."""
    history: list[dict[str, float]]


class FullTraining:
    """One network on one data set, in one folder. Raises `NasError` in one line if it cannot be.

    The data set decides the task: a `nas.data.masks.MaskDataset` is segmented. Started by torch's
    launcher, each process makes the same one, and the first writes the files.

    ``weights``: what to start from, a file, a folder that holds one, or weights that were read;
    ``partial`` takes of them what fits. ``logs``: names of `nas.logs` that curves are told to.
    ``data_workers``: processes that decode image files, 0 for this one; they change no bit.
    """

    def __init__(
        self,
        network: Architecture,
        dataset: Dataset,
        out: str | Path,
        recipe: Recipe,
        *,
        weights: str | Path | Weights | None = None,
        partial: bool = False,
        thread_count: int = 1,
        teacher: Teacher | None = None,
        logs: Sequence[str] = (),
        data_workers: int = 0,
        compute: Compute = USUAL,
    ) -> None:
        if teacher is not None and isinstance(dataset, MaskDataset):
            raise UsageError(
                "a teacher gives a class per image: "
                "--teacher and --task segmentation exclude each other"
            )
        self.folder, self.recipe = Path(out), recipe
        self.thread_count, self.teacher, self.logs = thread_count, teacher, tuple(logs)
        check(self.logs)
        self.remarks: list[str] = []
        self.processes, self.device = launched(compute.accelerator)
        self.precision = compute.precision
        self.task = task_of(network, dataset, recipe, self.device, data_workers=data_workers)
        self.network, self.splits, self.rows = self.task.network, self.task.splits, self.task.rows
        self.dataset = self.task.dataset
        self.schedule = recipe.schedule(len(self.rows))
        self.phases: list[Phase] = self.task.phases(recipe, self.schedule.steps)
        self.partial = partial
        self.start = read_weights(weights) if isinstance(weights, str | Path) else weights
        self.loaded: Loaded | None = None
        if self.start is not None:
            self.loaded = self.task.load(self.task.build(recipe.seed), self.start, partial)
        self.epoch_steps = math.ceil(len(self.rows) / recipe.batch_size)

    def identity(self) -> dict[str, object]:
        """What the result depends on, as plain JSON."""
        return {
            "network": self.network.digest,
            "data": {
                "name": self.dataset.name,
                "digest": self.dataset.digest,
                "split_seed": self.splits.seed,
            },
            "recipe": {
                **self._recipe_identity(),
                "threads": self.thread_count,
                "processes": self.processes.count,
                "device": self.device.type,
                **Compute(precision=self.precision).described(),
            },
            "weights": None if self.start is None else self.start.digest,
            **({"partial": True} if self.partial else {}),
            "teacher": None if self.teacher is None else self.teacher.describe(),
        }

    def _recipe_identity(self) -> dict[str, object]:
        """The recipe, in the form it had before ``norm_momentum``, if that is as it was then."""
        document = {**to_json(self.recipe), "eps": self.schedule.epsilon}
        if not self.recipe.crop or not isinstance(self.dataset.images, ImageFiles):
            del document["crop"]
        if self.recipe.norm_momentum == NORM_MOMENTUM:
            del document["norm_momentum"]
        return document

    def lines(self) -> list[str]:
        """What will be done, for people."""
        lines = [
            self._network_line(),
            *self.splits.lines(),
            self._training_line(),
            self._memory_line(),
            *self._image_lines(),
            f"recipe     {self.schedule.optimiser}, peak rate {self.schedule.lr:.4g}, "
            f"{self.schedule.decay}; {self.recipe or 'the defaults'}",
        ]
        remembered = (1 - self.recipe.norm_momentum) ** self.schedule.steps
        if remembered > REMEMBERED:
            slow = self.recipe.norm_momentum < NORM_MOMENTUM
            faster = f"--set norm_momentum={NORM_MOMENTUM:g}, or " if slow else ""
            lines.append(
                f"           so short a training leaves {remembered:.0%} of their start in the "
                f"statistics of batch norms: {faster}more --epochs"
            )
        if self.loaded is not None:
            lines += self.loaded.lines()
        lines.append(f"folder     {self.folder}")
        if self._moved():
            lines.append(f"changed    {self._moved()}")
        if max(self.recipe.randaugment, self.recipe.randaugment_start) > FULL:
            lines.append(
                f"           randaugment above {FULL:g} acts as {FULL:g}: "
                "kornia's operations go no further"
            )
        if self.teacher is not None:
            lines.append(f"teacher    {self.teacher}")
        return lines

    def _moved(self) -> str:
        """What is told where the folder's training goes on on another device."""
        file = self.folder / "train.json"
        if not file.exists():
            return ""
        recipes = [_read_document(file).get("recipe"), self.identity()["recipe"]]
        there, here = [recipe if isinstance(recipe, dict) else {} for recipe in recipes]
        return device_change(there, here)

    def _image_lines(self) -> list[str]:
        """What is done to an image, in evaluations and in training."""
        how = self.dataset.preprocessing(self.network.input.size)
        lines = [f"images     {how}, normalised by weights"]
        if not isinstance(self.dataset.images, ImageFiles):
            return lines
        if self.recipe.crop:
            lines.append(
                f"           training sees random parts of {self.recipe.crop:g} to 1 of the area"
            )
        return lines

    def _network_line(self) -> str:
        network = self.network
        return (
            f"network    input {network.input}, {network.params:,} params, "
            f"{network.macs / 1e6:,.0f} M macs"
        )

    def _training_line(self) -> str:
        schedule = self.schedule
        sizes = " then ".join(str(step.size) for step in self.recipe.plan(self.network.input.size))
        where = placed(self.device, self.precision)
        several = f", {self.processes.count} processes" if self.processes.count > 1 else ""
        return (
            f"training   {counted(schedule.steps, 'step')} of {schedule.batch_size} images of "
            f"weights and search ({schedule.steps / self.epoch_steps:.3g} epochs) at {sizes} px, "
            f"{counted(self.thread_count, 'thread')} on {where}{several}"
        )

    def _memory_line(self) -> str:
        images = self.schedule.batch_size // (self.schedule.accumulate * self.processes.count)
        needed = training_bytes(self.network, images) / GIB
        return f"memory     about {needed:.2g} GiB a step of {images} images in float32"

    def show_batch(self, file: Path) -> int:
        """Draw the first training batch as the network sees it; how many images. Trains nothing."""
        images, labels = self._training().peek()
        draw_batch(file, images, labels, self.task.statistics, self.dataset.classes)
        return len(images)

    def run(
        self,
        *,
        checkpoint_seconds: float = 60.0,
        watch: Watch = ignore,
    ) -> Result:
        """Train from the last checkpoint, or from the start, to the end.

        ``watch`` is called after every step; its figures are ``loss`` and, after the first whole
        epoch, ``selection``, the task's metric. Returns the content of ``result.json``.
        """
        make_folder(self.folder)
        lock = RunLock(self.folder) if self.processes.first else None
        try:
            if self.processes.first:
                self._claim()
            self.processes.wait()
            if (self.folder / "result.json").exists():
                return self._result()
            with threads(self.thread_count), precise(self.precision):
                return self._run(checkpoint_seconds, watch)
        finally:
            if lock is not None:
                lock.release()

    def _claim(self) -> None:
        """Write ``train.json``, or refuse a folder that holds another training."""
        file = self.folder / "train.json"
        if not file.exists():
            write_json(file, self.identity())
        check_same(self.folder, _read_document(file), through_json(self.identity()))

    def _run(self, checkpoint_seconds: float, watch: Watch) -> Result:
        training = self._training()
        history, seconds = self._restore(training)
        with self._opened_logs(training) as logs:
            result = self._stepped(training, history, seconds, logs, checkpoint_seconds, watch)
            if self.processes.first:
                scores = {f"test/{name}": value for name, value in result["test"].items()}
                logs.values(training.done, scores)
                logs.files([self.folder / "architecture.json", self.folder / "result.json"])
        self.remarks = logs.remarks
        return result

    def _opened_logs(self, training: Training) -> Logs:
        job = Job(
            folder=self.folder,
            axis="step",
            settings={"data": self.dataset.name, **to_json(self.recipe)},
            start=training.done,
        )
        return Logs.opened(self.logs if self.processes.first else (), job)

    def _stepped(
        self,
        training: Training,
        history: list[dict[str, float]],
        seconds: float,
        logs: Logs,
        checkpoint_seconds: float,
        watch: Watch,
    ) -> Result:
        pace = Pace("step", self.schedule.steps, done=training.done, seconds=seconds)
        saved = seconds
        while training.done < self.schedule.steps:
            loss = training.advance()
            if training.done % self.epoch_steps == 0:
                scores = self._watched_selection(training)
                history.append({"step": training.done, "loss": loss, **scores})
            self._tell(logs, training.done, loss, history)
            progress: Progress[object] = pace.at(training.done, None, self._figures(loss, history))
            watch(progress)
            seconds = progress.seconds
            if self._due(seconds - saved, checkpoint_seconds, training.done):
                self._checkpoint(training, history, seconds)
                saved = seconds
        training.finish()
        return self._finish(training.network, history, seconds)

    def _figures(self, loss: float, history: list[dict[str, float]]) -> dict[str, float]:
        figures = {"loss": loss}
        if history:
            figures["selection"] = history[-1][self.task.metric]
        return figures

    def _training(self) -> Training:
        network = self.task.build(self.recipe.seed)
        if self.start is not None:
            self.task.load(network, self.start, self.partial)
        if self.recipe.drop_path:
            add_drop_path(network, self.recipe.drop_path)
        set_norm_momentum(network, self.recipe.norm_momentum)
        return Training(
            network,
            self.phases[-1].images,
            self.task.labels(self.rows, self.network.input.size),
            self.schedule,
            seed=self.recipe.seed,
            phases=self.phases,
            distillation=None if self.teacher is None else self.teacher.on(self.device),
            processes=self.processes,
        )

    def _tell(self, logs: Logs, done: int, loss: float, history: list[dict[str, float]]) -> None:
        values = {"loss": loss, "lr": self.schedule.lr_at(done - 1)}
        if history and history[-1]["step"] == done:
            for name, value in history[-1].items():
                if name not in ("step", "loss"):
                    values[f"selection/{name}"] = value
        logs.values(done, values)

    def _due(self, seconds: float, every: float, done: int) -> bool:
        """Whether to save now. Processes agree, since each has a part in a checkpoint."""
        late = torch.tensor(float(seconds >= every), device=self.device)
        return done == self.schedule.steps or bool(self.processes.mean(late) > 0)

    def _watched_selection(self, training: Training) -> dict[str, float]:
        """Scores of what would be shipped now: of the averaged weights, where there are some."""
        with training.average.shown():
            return self._selection(training.network)

    def _selection(self, network: nn.Module) -> dict[str, float]:
        scores = self.task.score(network, self.splits.selection)
        return {name: value for name, value in scores.items() if name != "loss"}

    def _checkpoint(
        self, training: Training, history: list[dict[str, float]], seconds: float
    ) -> None:
        state = {**training.state(), "history": history, "seconds": seconds}
        if self.processes.first:
            save(self.folder / "checkpoint.pt", state)

    def _restore(self, training: Training) -> tuple[list[dict[str, float]], float]:
        """The history and seconds so far."""
        file = self.folder / "checkpoint.pt"
        if not file.exists():
            return [], 0.0
        state = read(file)
        try:
            history, seconds = [dict(row) for row in state["history"]], float(state["seconds"])
            training.restore(state)
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            text = one_line(error, 120)
            raise RunError(
                f"{file} is not a checkpoint of this training: {text}. Remove it to start anew"
            ) from None
        return history, seconds

    def _finish(
        self, network: nn.Module, history: list[dict[str, float]], seconds: float
    ) -> Result:
        """Save the network, then open *test* and score it once; the first process does."""
        if self.processes.first:
            self._ship(network, history, seconds)
        self.processes.wait()
        return self._result()

    def _result(self) -> Result:
        result: Result = _read_document(self.folder / "result.json")
        return result

    def _ship(self, network: nn.Module, history: list[dict[str, float]], seconds: float) -> None:
        state = {name: value.cpu() for name, value in network.state_dict().items()}
        # Before *test* is opened: a kill in between costs a second opening, never the network.
        save(self.folder / "weights.pt", state)
        norm = self.task.statistics
        metadata = Metadata(
            classes=self.dataset.classes,
            mean=norm.mean,
            std=norm.std,
            preprocessing=self.dataset.preprocessing(self.network.input.size),
        )
        save_network(self.network, metadata, self.folder / "architecture.json")
        selection = self._selection(network)
        test, images = self.task.score_test(network, self.folder / OPENINGS)
        result: Result = {
            "task": type(self.task).__name__.lower(),
            "network": self.network.digest,
            "data": self.dataset.name,
            "classes": list(self.dataset.classes),
            "normalisation": {"mean": list(norm.mean), "std": list(norm.std)},
            "steps": self.schedule.steps,
            "device": placed(self.device, self.precision),
            "core_seconds": round(seconds * self.thread_count * self.processes.count, 1),
            "selection": selection,
            "test": test,
            "test_images": images,
            "test_openings": ledger.openings(self.folder / OPENINGS),
            "test_left_out": ledger.left_out(self.folder / OPENINGS),
            "history": history,
        }
        # Last of all: where it lies, the training is over.
        write_json(self.folder / "result.json", result)


def _read_document(path: Path) -> Any:
    try:
        document = read_json(path, LARGEST_JSON_BYTES, "not a file of a training")
    except UNREADABLE as error:
        raise RunError(
            f"cannot read {path}: {one_line(error, 120)}. Remove it to start anew"
        ) from None
    if not isinstance(document, dict):
        kind = type(document).__name__
        raise RunError(
            f"{path} is not a file of a training: it holds a {kind}. Remove it to start anew"
        )
    return document
