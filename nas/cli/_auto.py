"""The plan of ``nas auto``: commands of this tool, a ledger of those that are done."""

import json
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import click

from nas.arch import Architecture
from nas.compute import USUAL, Compute
from nas.data import Dataset
from nas.data.cache import cores, folder
from nas.errors import ExistsError, InterruptError, NasError, RunError, UsageError
from nas.latency.table import Table
from nas.measure.front import not_here
from nas.measure.runners import OnnxRuntime
from nas.measure.training import TrainingStep, network_document
from nas.record import ledger
from nas.run.contest import winner
from nas.run.opponents import opponent_network
from nas.run.run import Run
from nas.size import Size
from nas.train.full import Recipe
from nas.units import duration

__all__ = ["HERE", "Asked", "Auto", "Step"]

HERE = "here"
"""The device that is this machine."""
TABLE_MINUTES, TABLE_SHARE = 5.0, 0.15
"""What the table of this machine may take, in minutes and as a share of the time."""
SEARCH, CONFIRM = 0.4, 0.25
"""Shares of the time that the table leaves; the rest is for the full training."""
MOST_TRIALS = 1000
"""The time ends the search, and not this."""
CONTEST_TRAININGS, CONTROL_TRAININGS = 30, 12
"""Of a confirmation with published networks, and of one with random networks alone."""
LONGER = 1.5
"""What such a training takes, in times of the search's."""
DECODING = 1.3
"""What a step of the full training takes, in times of one on images that lie ready."""
TIMED_SECONDS = 5.0
"""For steps of training, which say how many passes the time allows."""
FREE = ("seconds", "compute")
"""What may differ where a folder's work goes on."""
FEWEST_EPOCHS, FEW_EPOCHS = 1.0, 20.0
"""What is trained at least, and what is so little that it is told."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user asked for."""

    data: str
    space: str
    device: str
    latency_ms: float
    resolution: Size | None
    seconds: float
    seed: int
    compute: Compute = USUAL


@dataclass(frozen=True, kw_only=True)
class Step:
    """A command of the plan."""

    name: str
    seconds: float | None
    """About what it takes; None if that is known only later."""
    argv: tuple[str, ...]
    """After ``nas``."""

    @property
    def text(self) -> str:
        """The command as one pastes it."""
        return shlex.join(["nas", *self.argv])


class Auto:
    """The steps, and a ledger of those that are done."""

    def __init__(self, out: Path, asked: Asked, dataset: Dataset) -> None:
        self.out = out
        self.asked = asked
        self.dataset = dataset
        self.run_folder = out / "run"
        self.ledger = out / "auto.jsonl"
        self.channels = int(dataset.images.shape[3])
        self._until = time.monotonic() + asked.seconds

    # -- what is to be done ------------------------------------------------------------------

    def plan(self) -> list[Step]:
        """The steps, with commands as far as they are known before the search."""
        table_seconds = 0.0 if self.table_is_here() else 60 * self.table_minutes()
        left = self.asked.seconds - table_seconds
        steps = []
        if self.is_here:
            steps.append(Step(name="table", seconds=table_seconds, argv=self.table_argv()))
        return [
            *steps,
            Step(name="search", seconds=SEARCH * left, argv=self.search_argv(SEARCH * left)),
            Step(name="confirm", seconds=CONFIRM * left, argv=self.confirm_argv()),
            Step(
                name="train",
                seconds=(1 - SEARCH - CONFIRM) * left,
                argv=self.train_argv(None),
            ),
            Step(name="export", seconds=None, argv=self.export_argv()),
            Step(name="check", seconds=None, argv=self.check_argv()),
        ]

    @property
    def is_here(self) -> bool:
        """Whether the device is this machine."""
        return self.asked.device == HERE

    def table_minutes(self) -> float:
        """What the table of this machine may take."""
        return min(TABLE_MINUTES, TABLE_SHARE * self.asked.seconds / 60)

    def table_name(self) -> str:
        """Names space, size, classes and conditions: another runtime is another table."""
        words = json.dumps([self._problem(), OnnxRuntime().conditions()], sort_keys=True)
        return f"here_{sha256(words.encode()).hexdigest()[:10]}"

    def _problem(self) -> list[str]:
        return [
            self.asked.space,
            str(self.asked.resolution),
            str(len(self.dataset.classes)),
            str(self.channels),
        ]

    def table_path(self) -> Path:
        """Where the table of this machine is kept for the next time."""
        return folder("tables") / f"{self.table_name()}.csv"

    def table_is_here(self) -> bool:
        """Whether there is a table already that holds for this machine as it is."""
        if not self.is_here:
            return True
        path = self.table_path()
        try:
            return path.exists() and not not_here(Table.load(path))
        except NasError:
            return False

    def device(self) -> str:
        """The table's file, or the device's name."""
        return str(self.table_path()) if self.is_here else self.asked.device

    def table_argv(self) -> tuple[str, ...]:
        """Rows, whole networks and a correction."""
        shape = ("--classes", str(len(self.dataset.classes)), "--in-channels", str(self.channels))
        return (
            *("latency", "build", "--device", self.table_name(), "--space", self.asked.space),
            *self._resolution(),
            *shape,
            *("--minutes", f"{self.table_minutes():.2g}", "--out", str(folder("tables"))),
        )

    def search_argv(self, seconds: float) -> tuple[str, ...]:
        """The search; goes on with a run that a kill left."""
        if (self.run_folder / "run.json").exists():
            return ("search", "--resume", str(self.run_folder), *self._compute())
        return (
            *("search", "--space", self.asked.space, "--device", self.device()),
            *self._resolution(),
            *self._data(),
            *("--latency", f"{self.asked.latency_ms:g}ms", "--time", f"{seconds:.0f}s"),
            *("--trials", str(MOST_TRIALS), "--seed", str(self.asked.seed)),
            *self._compute(),
            *("--out", str(self.run_folder)),
        )

    def confirm_argv(self) -> tuple[str, ...]:
        """The search beside random networks, and beside published ones."""
        seed = ("--seed", str(self.asked.seed))
        return ("confirm", str(self.run_folder), *seed, *self._compute())

    def train_argv(self, epochs: float | None) -> tuple[str, ...]:
        """The full training of what was picked."""
        length = () if epochs is None else ("--epochs", f"{epochs:.3g}")
        return (
            *("train", str(self.out / "architecture.json"), *self._data(), *length),
            *("--seed", str(self.asked.seed), *self._compute()),
            *("--out", str(self.out / "trained")),
        )

    def export_argv(self) -> tuple[str, ...]:
        """The files to ship."""
        return (
            *("export", str(self.out / "architecture.json")),
            *("--weights", str(self.out / "trained"), "--name", "model", "--force"),
            *("--out", str(self.out / "shipped")),
        )

    def check_argv(self) -> tuple[str, ...]:
        """One image through the shipped file, or its latency where no image is a file."""
        model = str(self.out / "shipped" / "model.onnx")
        kind, _, place = self.asked.data.partition(":")
        if kind == "folder" and self.dataset.names:
            return ("predict", model, str(Path(place) / self.dataset.names[0]))
        return ("cost", str(self.out / "architecture.json"), "--device", self.device())

    def _resolution(self) -> tuple[str, ...]:
        size = self.asked.resolution
        return () if size is None else ("--resolution", str(size))

    def _compute(self) -> tuple[str, ...]:
        words: tuple[str, ...] = ()
        for name, word in asdict(self.asked.compute).items():
            if word != "auto":
                words += (f"--{name}", word)
        return words

    def _data(self) -> tuple[str, ...]:
        return ("--data", self.asked.data)

    # -- doing it ----------------------------------------------------------------------------

    def check_same(self) -> None:
        """Refuse a folder whose search is of another task; note the task where none began."""
        task = {key: str(value) for key, value in asdict(self.asked).items() if key not in FREE}
        rows = [row for row in ledger.read(self.ledger) if row["kind"] == "asked"]
        if not rows and any(self.out.iterdir()):
            raise ExistsError(
                f"'{self.out}' holds other files: choose an --out that is new or empty"
            )
        if not (self.run_folder / "run.json").exists():
            ledger.append(self.ledger, {"kind": "asked", **task})
            return
        for name, value in task.items():
            if rows[-1].get(name) != value:
                raise UsageError(
                    f"{self.out} was begun with {name} {rows[-1].get(name)}, not {value}: "
                    "give it as then, or choose another --out"
                )

    def done(self) -> dict[str, float]:
        """The steps that are done, with what they took in seconds."""
        rows = ledger.read(self.ledger)
        return {str(row["step"]): float(row["seconds"]) for row in rows if row["kind"] == "done"}

    def perform(self) -> None:
        """All steps that are not done, each as its own command."""
        if self.is_here and not self.table_is_here():
            self.run_step("table", self.table_argv())
        left = self._until - time.monotonic()
        self.run_step("search", self.search_argv(SEARCH * left))
        if "train" not in self.done():
            self.confirm()
            self.choose()
        epochs = None if "train" in self.done() else self.epochs()
        self.run_step("train", self.train_argv(epochs))
        self.run_step("export", self.export_argv())
        self.run_step("check", self.check_argv())

    def run_step(self, name: str, argv: Sequence[str]) -> None:
        """Run a command of this tool; its own output is what one sees."""
        if name in self.done():
            click.echo(f"\n{name:10s} done before")
            return
        click.echo(f"\n{name:10s} {shlex.join(['nas', *argv])}")
        start = time.monotonic()
        try:
            code = subprocess.run([sys.executable, "-m", "nas", *argv], check=False).returncode
        except KeyboardInterrupt:
            code = 130
        if code == 130:
            raise InterruptError("interrupted; the same command goes on where it was")
        if code:
            raise RunError(
                f"{name} failed, see above. What is done is kept: mend it, then give the same "
                "command again"
            )
        seconds = round(time.monotonic() - start, 1)
        ledger.append(self.ledger, {"kind": "done", "step": name, "seconds": seconds})

    def confirm(self) -> None:
        """As large a confirmation as its share of the time allows."""
        if "confirm" in self.done():
            click.echo("\nconfirm    done before")
            return
        trial_seconds = self.trial_seconds()
        left = CONFIRM / (1 - SEARCH) * (self._until - time.monotonic())
        argv = self.confirm_argv()
        if CONTEST_TRAININGS * LONGER * trial_seconds > left:
            argv = (*argv, "--against", "none")
        if CONTROL_TRAININGS * LONGER * trial_seconds > left:
            words = duration(CONTROL_TRAININGS * LONGER * trial_seconds)
            click.echo(
                f"\nconfirm    left out: it would take {words}, and {duration(max(left, 0.0))} are "
                f"left for it. Nothing shows that the pick is better than others. Later: "
                f"{shlex.join(['nas', *self.confirm_argv()])}"
            )
            return
        self.run_step("confirm", argv)

    def trial_seconds(self) -> float:
        """What a training of the search took, in the median."""
        seconds = Run(self.run_folder).record.seconds.values()
        return statistics.median(seconds) if seconds else 0.0

    def choose(self) -> None:
        """Write the architecture: the pick, or the published network that was better."""
        path = self.out / "architecture.json"
        if path.exists():
            return
        run = Run(self.run_folder)
        pick = run.pick(latency_ms=self.asked.latency_ms)
        confirmed = run.confirmed
        better = None
        if confirmed is not None:
            better = winner(confirmed.contest, confirmed.outcomes, pick.trial.number)
        if better is None:
            pick.save(path)
            click.echo(f"\npick       {pick}")
            return
        opponent = better.opponent
        classes = len(self.dataset.classes)
        network = opponent_network(opponent.name, run.space.input, classes, width=opponent.width)
        network.save(path)
        click.echo(
            f"\npick       {opponent}, a published network: at the same latency it was better than "
            f"the best that the search found ({better})"
        )

    def epochs(self) -> float:
        """The passes that the time left allows, at most the recipe's."""
        import torch

        recipe = Recipe()
        text = (self.out / "architecture.json").read_text(encoding="utf-8")
        network = Architecture.from_json(json.loads(text))
        threads = torch.get_num_threads()
        once = TrainingStep(cores(), batch=recipe.batch_size).open(network_document(network))
        # The first one meets cold caches.
        once()
        until = time.monotonic() + TIMED_SECONDS
        times = [once()]
        while time.monotonic() < until:
            times.append(once())
        step_ms = statistics.median(times)
        torch.set_num_threads(threads)
        steps = len(self.dataset.images) / recipe.batch_size
        epoch_seconds = DECODING * steps * step_ms / 1e3
        left = self._until - time.monotonic()
        epochs = float(max(FEWEST_EPOCHS, min(recipe.epochs, left / epoch_seconds)))
        if epochs < FEW_EPOCHS:
            click.echo(
                f"\ntrain      the time left allows {epochs:.3g} passes of the recipe's "
                f"{recipe.epochs:g}: with more --time the network learns more"
            )
        return epochs
