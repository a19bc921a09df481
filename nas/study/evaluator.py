"""What gives a network its accuracy: the contract that searches, workers and confirmations rely on.

A file ``nas/evaluate/NAME.py`` exports ``KIND``, an `EvaluatorKind`; NAME is what the command line
calls it. Other packages add theirs through the entry-point group ``nas.evaluators``: an entry
point NAME leads to an `EvaluatorKind` of that name, or to a function as `nas.search` takes it with
``evaluate=``. `nas.testing.evaluators.check_evaluator` holds
an evaluator to the contract.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nas.arch import Architecture
from nas.compute import USUAL, Compute
from nas.domain import Domain
from nas.errors import UsageError, unknown
from nas.objectives import QUALITY
from nas.progress import Watch, ignore
from nas.size import Size
from nas.trial import Metrics

__all__ = [
    "Data",
    "Evaluator",
    "EvaluatorKind",
    "OpenData",
    "Retrain",
    "RetrainFully",
    "Retraining",
]


class Evaluator(Protocol):
    """Gives a network its measured metrics, such as ``accuracy``.

    A subclass must have `evaluate`; the rest has the defaults of an evaluator that is ready at once
    and gives no scores on the way.
    """

    noisy: bool = False
    """Whether a second evaluation of a network, with another seed, is worth paying for."""
    qualities: Sequence[str] = QUALITY
    """The metrics that may be objectives, the preferred one first; `evaluate` gives all of them."""
    trains: bool = True
    """Whether each network is trained. If not, there is no training that a search could stop."""
    followable: bool = False
    """Whether `evaluate_in_parts` has more than one part, so that it can be stopped early."""
    lengthens: bool = False
    """Whether `longer` gives an evaluator, so that networks can race."""
    prepares: bool = False
    """Whether `prepare` must run once before the first network, in the process that evaluates."""
    thread_count: int = 1
    """Threads of an evaluation: its core-seconds are its seconds times this."""
    remarks: Sequence[str] = ()
    """What is worth saying when all is done, a line each."""

    @abstractmethod
    def evaluate(self, architecture: Architecture, seed: int) -> Metrics:
        """Train or look up one network. Equal arguments give equal metrics on the same machine.

        Metrics under their own names are of the *selection* set, those under ``search_NAME`` of the
        *search* set. ``seed``: 0 to 2^32 - 1. Raises `NasError`, such as `TrainingError`, for a
        network that fails; the trial is then recorded as failed. `UsageError` and `RunError` are
        not the network's fault: they end the run.
        """

    def evaluate_in_parts(
        self, architecture: Architecture, seed: int, on_part: Callable[[Metrics], None]
    ) -> Metrics:
        """As `evaluate`, bit for bit.

        ``on_part`` gets the ``search_`` metrics after each part but the last. What it raises ends
        the evaluation.
        """
        return self.evaluate(architecture, seed)

    def longer(self, factor: int) -> "Evaluator":
        """The same by ``factor`` times the schedule, at least 2: for the later rungs of a race.

        Its metrics have the names of this one's. Raises `UsageError` unless ``lengthens``.
        """
        raise UsageError("this evaluator cannot train for longer: leave out --race")

    def work_in(self, folder: Path) -> None:
        """Told once where the run's folder is, before anything is evaluated.

        Without it an evaluator leaves no files, or leaves them elsewhere.
        """
        return None

    def prepare(self, domain: Domain, folder: Path, *, seed: int, watch: Watch = ignore) -> None:
        """Do once what all evaluations build on, such as the training of a supernet.

        ``folder``: the run's. What a killed preparation has written there is gone on with, what a
        finished one has written is read.
        """
        return None

    def lines(self) -> list[str]:
        """What will be done, a line each, for people: ``data       ...``, ``training   ...``."""
        return []

    def describe_data(self) -> Mapping[str, object]:
        """What the result depends on of the data, as plain JSON: ``name``, ``digest``, splits.

        A run goes on only where this is what it was.
        """
        return {}

    def describe_training(self) -> Mapping[str, object]:
        """What else it depends on, as plain JSON; a run goes on only where this is what it was.

        ``threads`` is `thread_count`. The fields of `nas.evaluate.Proxy`, if given, are the recipe
        by which ``nas confirm`` trains networks anew; what the evaluator needs beside them goes
        under ``evaluator``.
        """
        return {"threads": self.thread_count}


class Data(Protocol):
    """A data set that an evaluator has opened, as far as a search looks at it."""

    @property
    def classes(self) -> Sequence[object]:
        """The names of the classes."""

    @property
    def in_channels(self) -> int:
        """1 for grey images, 3 for coloured ones."""


class OpenData(Protocol):
    """Opens the data set of ``--data``; raises `DataError` for one that cannot be read."""

    def __call__(
        self, spec: str, *, strict: bool = False, groups: str | None = None, watch: Watch = ignore
    ) -> Data:
        """``strict``: images that cannot be read raise; the others: see `nas.data.load`."""


@dataclass(frozen=True, kw_only=True)
class EvaluatorKind:
    """A kind of evaluator: what the command line knows of it before one is made."""

    name: str
    """Its name on the command line, that of its file or entry point."""
    open_data: OpenData
    """Reads the data that ``factory`` gets."""
    factory: Callable[..., Evaluator]
    """Called as ``factory(data, recipe, threads=..., **settings)``.

    A teacher, if there is one, comes as ``teacher``. ``recipe``: changes to the short training,
    ``name=value,...``.
    """
    settings: Sequence[str] = ()
    """Names of the settings of ``--evaluator NAME:setting=value,...``."""
    open_teacher: Callable[..., object] | None = None
    """Called as ``open_teacher(spec, weights, data, temperature, weight)``.

    None if the evaluator takes no teacher.
    """
    takes_items: bool = False
    """Whether it takes a data set of the user's own as it is, through ``open_data``."""
    takes_objectives: bool = False
    """Whether the factory is told the metrics that are objectives, as ``objectives``.

    Such an evaluator measures whatever is asked for.
    """
    takes_compute: bool = False
    """Whether the factory is told what to compute on, as ``compute``, a `nas.compute.Compute`.

    Others decide that for themselves.
    """
    retrain: Callable[..., "Retraining"] | None = None
    """What trains the networks of a confirmation; None for the short training.

    Called as ``retrain(data, recipe, factor, metric)``: see `Retrain`, and the metric to compare.
    """

    def make(
        self,
        data: Data,
        recipe: str = "",
        *,
        threads: int = 1,
        teacher: object = None,
        settings: Mapping[str, object] | None = None,
        objectives: Sequence[str] = (),
        compute: Compute = USUAL,
    ) -> Evaluator:
        """An evaluator of this kind. Raises `UsageError` for what it does not take."""
        settings = settings or {}
        if settings and not self.settings:
            raise UsageError(
                f"evaluator '{self.name}' has no settings, so '{next(iter(settings))}' means "
                f"nothing: write '{self.name}'"
            )
        # Here: from the factory it would be a TypeError with a trace.
        for name in settings:
            if name not in self.settings:
                raise unknown(f"setting of evaluator '{self.name}'", name, self.settings)
        # Only if there is one: a factory without teachers has no such parameter.
        if teacher is not None:
            settings = {**settings, "teacher": teacher}
        if self.takes_objectives and objectives:
            settings = {**settings, "objectives": objectives}
        if self.takes_compute:
            settings = {**settings, "compute": compute}
        elif compute != USUAL:
            raise UsageError(
                f"evaluator '{self.name}' decides for itself what it computes on: "
                "leave out --accelerator and --precision"
            )
        return self.factory(data, recipe, threads=threads, **settings)

    def teacher(
        self, spec: str, weights: str | None, data: Data, temperature: float, weight: float
    ) -> object:
        """The teacher of ``--teacher``. Raises `UsageError` if the evaluator takes none."""
        if self.open_teacher is None:
            raise UsageError(
                f"evaluator '{self.name}' takes no --teacher: leave it out, or use "
                "--evaluator training"
            )
        return self.open_teacher(spec, weights, data, temperature, weight)


class Retraining(Evaluator, Protocol):
    """Trains networks for longer, and scores each once on *test*: what a confirmation goes by.

    Metrics of `evaluate` under their own names are of *test*, those under ``selection_NAME`` of
    *selection*: a confirmation compares the former, and networks are picked by the latter. Without
    these a pick goes by the search's scores.
    """

    @abstractmethod
    def open_test(self, ledger: Path) -> int:
        """Read the test set; how many images it has.

        Before any score is known it adds the opening to a ledger by
        `nas.record.ledger.append_opening`. `nas.data.Splits.open_test` does.
        """


class Retrain(Protocol):
    """Makes a `Retraining` of a run's data and short recipe."""

    def __call__(self, data: Data, recipe: Mapping[str, object], factor: float) -> Retraining:
        """``recipe``: the run's `Evaluator.describe_training`; ``factor``: times its schedule.

        The recipe holds ``accelerator`` too, and ``precision`` where one was asked for.
        """


class RetrainFully(Protocol):
    """Makes a `Retraining` of the networks themselves, by the recipe of full trainings."""

    def __call__(
        self, data: Data, recipe: Mapping[str, object], factor: float, resolution: Size | None
    ) -> Retraining:
        """``recipe``: the run's; threads, teacher, ``accelerator`` and ``precision`` are taken.

        ``factor``: times the full schedule. ``resolution``: of the images; None: the network's own.
        """
