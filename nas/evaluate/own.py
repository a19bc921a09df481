"""Scores by a function of the user's own: ``fn(network, context) -> float | dict``.

The network comes built, the data split; the function trains as it likes and gives the metrics that
are the search's objectives. All that a search does with our own training it does with it.
"""

import random
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nas.arch import Architecture
from nas.compute import USUAL, Compute
from nas.data import Dataset, load
from nas.data.own import FUNCTION, Items, read_items, read_place
from nas.errors import NasError, RunError, TrainingError, UsageError
from nas.evaluate.context import Context
from nas.evaluate.proxy import Proxy, slim
from nas.evaluate.sets import NO_DATA, NoData, Source
from nas.files import one_line, write_text
from nas.model import Network, build
from nas.objectives import QUALITY
from nas.programs import function_name, line_of, place_of, spec_place
from nas.progress import Watch, ignore
from nas.reading import to_json
from nas.scale import scaled
from nas.settings import changed, check_ranges
from nas.size import Size
from nas.study.evaluator import Data, Evaluator, EvaluatorKind
from nas.study.evaluator import Retraining as RetrainingContract
from nas.train import precise, threads
from nas.train.accelerator import device_of, placed
from nas.trial import Metrics
from nas.units import counted

__all__ = ["Context", "OwnEvaluator", "OwnRetraining", "Slimming", "kind"]

FOLDER = "evaluations"
"""In a run's folder: what functions leave."""
TRACEBACK = "traceback.txt"
LONGEST_REASON = 240
LARGEST_FACTOR = 1000.0

Evaluate = Callable[[nn.Module, Context], object]
Kinds = Dataset | Items | NoData


@dataclass(frozen=True, kw_only=True)
class Slimming:
    """How networks are slimmed for another's training: the settings of a short recipe for that."""

    resolution: Size = 0
    """Pixels a side, or a size such as 24x32; 0 for the network's own."""
    width: float = 1.0
    """Times the channels."""
    input: Size = 0
    """Of several inputs, the largest: it has the ``resolution``, and others keep proportion."""

    def __post_init__(self) -> None:
        ranges = {"resolution": (0, 1024), "width": (0.01, 4), "input": (0, 65536)}
        check_ranges(self, ranges, "proxy")

    @classmethod
    def parse(cls, text: str) -> "Slimming":
        """``resolution=32,width=0.25``; an empty text for networks as they are."""
        own = {field.name for field in fields(Proxy)} - {field.name for field in fields(cls)}
        for part in filter(None, text.split(",")):
            key = part.partition("=")[0].strip()
            if key in own:
                raise UsageError(
                    f"'{key}' is a setting of our own training, and your function decides for "
                    "itself: beside it, --proxy takes resolution and width"
                )
        return changed(cls(), text, "proxy")

    @property
    def slims(self) -> bool:
        """Whether networks are changed at all."""
        return bool(self.resolution) or self.width != 1

    def described(self) -> dict[str, object]:
        """What is not the default."""
        return {name: to_json(value) for name, value in vars(self).items() if value}

    def applied(self, architecture: Architecture, channels: int, classes: int) -> Architecture:
        """The network to train."""
        if self.slims:
            resolution = self.resolution or architecture.input.size
            # Without a resolution every network keeps its own size, of whichever several.
            largest = self.input if self.resolution else 0
            proxy = Proxy(resolution=resolution, width=self.width, input=largest)
            return slim(architecture, proxy, channels, classes)
        given = architecture.input.channels, architecture.out_shape.channels
        if given == (channels, classes):
            return architecture
        return scaled(architecture, classes=classes, in_channels=channels)

    def __str__(self) -> str:
        if not self.slims:
            return "networks of full size"
        size = f" to {self.resolution} px" if self.resolution else ""
        return f"networks slimmed{size}, width {self.width:g}"


class OwnEvaluator(Evaluator):
    """A user's function as an evaluator. ``names``: the metrics that are objectives."""

    followable = True
    lengthens = True
    confirming = False

    def __init__(
        self,
        function: Evaluate,
        data: Kinds,
        *,
        name: str,
        names: Sequence[str] = QUALITY[:1],
        slimming: Slimming | None = None,
        thread_count: int = 1,
        device: str | torch.device = "cpu",
        precision: str = "auto",
        budget: float = 1.0,
    ) -> None:
        self.function, self.name = function, name
        self.data, self.source = data, Source(data)
        self.qualities = tuple(names)
        self.slimming = slimming or Slimming()
        self.thread_count = thread_count
        self.device, self.precision = torch.device(device), precision
        self.budget = budget
        self.remarks: list[str] = []
        self._folder: Path | None = None

    def work_in(self, folder: Path) -> None:
        """See `Evaluator`."""
        self._folder = folder / FOLDER

    def longer(self, factor: int) -> "OwnEvaluator":
        """The same function, which is told to train for ``factor`` times as long."""
        longer = OwnEvaluator(
            self.function,
            self.data,
            name=self.name,
            names=self.qualities,
            slimming=self.slimming,
            thread_count=self.thread_count,
            device=self.device,
            precision=self.precision,
            budget=self.budget * factor,
        )
        longer._folder = self._folder
        return longer

    def lines(self) -> list[str]:
        """The data, then who trains, and what."""
        times = "" if self.budget == 1 else f", {self.budget:g} times as long"
        return [
            *self.source.lines(),
            f"training   by {self.name}{times}: {self.slimming}, "
            f"{counted(self.thread_count, 'thread')} on {placed(self.device, self.precision)}",
        ]

    def describe_data(self) -> dict[str, object]:
        """Name, digest, seed and sizes of the splits."""
        return self.source.describe()

    def describe_training(self) -> dict[str, object]:
        """The function's name, and what decides the networks that it is given.

        Not what its file holds: see `nas.run.copies`.
        """
        return {
            "evaluator": self.name,
            "threads": self.thread_count,
            "device": self.device.type,
            **Compute(precision=self.precision).described(),
            **(self.slimming.described() if self.slimming.slims else {}),
            # Else a confirmation would take over trainings of another length.
            **({"budget": self.budget} if self.budget != 1 else {}),
        }

    def trained(self, architecture: Architecture) -> Architecture:
        """The network that is built: of the data's classes and channels, slimmed if asked for."""
        channels = self.data.in_channels or architecture.input.channels
        classes = len(self.data.classes) or architecture.out_shape.channels
        return self.slimming.applied(architecture, channels, classes)

    def evaluate(self, architecture: Architecture, seed: int) -> Metrics:
        """Call the function. Raises `TrainingError` for whatever it does wrong."""
        return self._evaluate(architecture, seed, None)

    def evaluate_in_parts(
        self, architecture: Architecture, seed: int, on_part: Callable[[Metrics], None]
    ) -> Metrics:
        """As `evaluate`; a part ends with each report of the function's."""
        return self._evaluate(architecture, seed, on_part)

    def _evaluate(
        self, architecture: Architecture, seed: int, on_part: Callable[[Metrics], None] | None
    ) -> Metrics:
        with threads(self.thread_count), precise(self.precision), _seeded(seed, self.device):
            network = build(self.trained(architecture), seed=seed).to(self.device)
            context = Context(
                network,
                seed=seed,
                device=self.device,
                threads=self.thread_count,
                budget=self.budget,
                source=self.source,
                folder=self._folder_of(architecture, seed),
                on_part=on_part,
                names=self.qualities,
                confirming=self.confirming,
            )
            metrics = context.result(self._called(network, context))
        self._check_sets(context)
        return metrics

    def _folder_of(self, architecture: Architecture, seed: int) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / f"{architecture.digest[:12]}-{seed:08x}"

    def _called(self, network: Network, context: Context) -> object:
        try:
            return self.function(network, context)
        except (NasError, MemoryError, KeyboardInterrupt):
            raise
        except BaseException as error:
            # What ends a training from outside comes through it, whatever its type.
            if error is context._stop or not isinstance(error, Exception | SystemExit):
                raise
            raise self._failed(error, context) from error

    def _failed(self, error: BaseException, context: Context) -> TrainingError:
        """One line for the record; the whole trace lies in the evaluation's folder."""
        told = one_line(error, LONGEST_REASON)
        place = place_of(self.function)
        line = line_of(error, None if place is None else place.file)
        text = "".join(traceback.format_exception(error))
        # The line is told all the same.
        with suppress(OSError, RunError):
            write_text(context.folder / TRACEBACK, text)
        return TrainingError(f"{type(error).__name__}: {told}{line}")

    def _check_sets(self, context: Context) -> None:
        """Called after each evaluation."""


class OwnRetraining(OwnEvaluator, RetrainingContract):
    """The function for ``budget`` times as long, scored on *test*."""

    followable = False
    lengthens = False
    confirming = True

    def open_test(self, ledger: Path) -> int:
        """See `Retraining`."""
        return self.source.open_test(ledger)

    def _check_sets(self, context: Context) -> None:
        if context.data is not None and not context.scored_test:
            raise RunError(
                f"{self.name} has not scored the test set, so that nothing is confirmed: return "
                "context.score(measure), or measure on context.test where context.confirming"
            )


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """All that a training may draw from is seeded, and left as it was."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - the user's code draws from it
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002


# -- as a search asks for it ----------------------------------------------------------------------


def open_data(
    spec: object, *, strict: bool = False, groups: str | None = None, watch: Watch = ignore
) -> Kinds:
    """The data of a function: what it is given as it is, by a place, or by a name of ours."""
    if isinstance(spec, Dataset | NoData):
        # A worker is sent what the driver has read.
        return spec
    if not isinstance(spec, str):
        return read_items(spec, groups=groups, watch=watch)
    if spec == NO_DATA:
        if groups is not None:
            raise UsageError("groups are of data, and there is none: give data, or leave them out")
        return NoData()
    place = spec_place(spec, FUNCTION)
    if place is not None:
        return read_place(place, groups=groups, watch=watch)
    return load(spec, strict=strict, groups=groups, watch=watch)


def make(
    function: Evaluate,
    name: str,
    data: Kinds,
    recipe: str = "",
    *,
    threads: int = 1,
    objectives: Sequence[str] = QUALITY[:1],
    compute: Compute = USUAL,
) -> OwnEvaluator:
    """The evaluator of a function. ``recipe``: ``resolution=32,width=0.25`` slims networks."""
    return OwnEvaluator(
        function,
        data,
        name=name,
        names=objectives,
        slimming=Slimming.parse(recipe),
        thread_count=threads,
        device=device_of(compute.accelerator),
        precision=compute.precision,
    )


def retrain(
    function: Evaluate,
    name: str,
    data: Data,
    recipe: Mapping[str, Any],
    factor: float,
    metric: str,
) -> OwnRetraining:
    """See `nas.study.evaluator.Retrain`."""
    if not 0 < factor <= LARGEST_FACTOR:
        raise UsageError(
            f"--epochs-factor must be above 0 and at most {LARGEST_FACTOR:g}, not {factor:g}"
        )
    names = [field.name for field in fields(Slimming)]
    # As text: a run's JSON has rectangles so.
    slimmed = ",".join(f"{key}={recipe[key]}" for key in names if key in recipe)
    return OwnRetraining(
        function,
        data,  # type: ignore[arg-type]
        name=name,
        names=(metric,),
        slimming=Slimming.parse(slimmed),
        thread_count=recipe.get("threads", 1),
        device=device_of(recipe.get("accelerator", "auto")),
        precision=recipe.get("precision", "auto"),
        budget=factor,
    )


def kind(function: Evaluate, name: str = "") -> EvaluatorKind:
    """A function as a kind of evaluator. ``name``: as runs know it, by default the function's."""
    name = name or function_name(function)
    try:
        signature(function).bind(None, None)
    except TypeError:
        raise UsageError(
            f"{name} is called with a network and a context, and takes {signature(function)}"
        ) from None
    except ValueError:
        # Some of what is compiled tells no signature.
        pass
    return EvaluatorKind(
        name=name,
        open_data=open_data,
        factory=partial(make, function, name),
        takes_items=True,
        takes_objectives=True,
        takes_compute=True,
        retrain=partial(retrain, function, name),
    )
