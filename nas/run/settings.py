"""What a search is asked for: frozen parts, and the flat names by which people write them.

`nas.search`, the command line and ``run.json`` know one flat list of names, such as ``space``,
``latency_ms`` and ``trials``. `FLAT` says which part holds each.
"""

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from nas.compute import Compute
from nas.errors import RunError, UsageError, unknown
from nas.files import between_commas
from nas.programs import spec_place
from nas.reading import to_json
from nas.size import EXAMPLES, Rect, Size
from nas.strategies._warm import AUTO, NONE
from nas.study.budget import Budget

__all__ = [
    "FLAT",
    "Bounds",
    "Crew",
    "Drivers",
    "Method",
    "Problem",
    "Search",
    "Teacher",
    "Telling",
    "pairs_text",
    "spec_text",
]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is searched, priced and measured."""

    space: str = "fbnet"
    """A name, ``name:setting=value`` or a ``.py`` file."""
    devices: tuple[str, ...] = ("pixel1",)
    """Names, aliases or table files; the first one is what ``latency_ms`` means."""
    data: str = "digits"
    """The images to learn, see `nas.data.load`; ``none`` where a function brings its own.

    ``python:NAME`` stands for what was given from Python, see `nas.programs.Given`.
    """
    groups: str | None = None
    """A file with a group id per image: no split cuts a group."""
    strict: bool = False
    """Whether a corrupt image is refused instead of left out."""
    resolution: Size | tuple[Size, ...] | None = None
    """Input size of the network to ship; None for the space's.

    Of several the search chooses.
    """
    classes: int | None = None
    """Classes of the network to ship; None for the data's."""
    in_channels: int | None = None
    """Input channels of the network to ship; None for the data's."""
    objectives: tuple[str, ...] = ("accuracy", "latency_ms")
    """The metrics that the front is made of."""
    reward: str = ""
    """A scalar that strategies learn from instead, a name of `nas.objectives.REWARDS`."""
    target_ms: float | None = None
    """Latency on the first device that the reward aims at; None for ``latency_ms``."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a network must keep to be searched at all."""

    latency_ms: float | None = None
    """Largest latency on the first device."""
    latency_min_ms: float | None = None
    """Smallest latency on the first device, to search a band."""
    aim: str = "budget"
    """What ``latency_ms`` means: ``budget``, to be used up, or a limit of a ``front``.

    See `nas.run.bounds.aimed_domain`.
    """
    confidence: float | None = None
    """Probability, 0.5 to below 1, with which every upper bound on a latency is kept.

    None bounds the estimate itself.
    """
    maxima: Mapping[str, float] = field(default_factory=dict)
    """Largest value by metric, such as ``params``, ``latency_ms@pixel3``, or one that is measured.

    A bound on a cost is compiled into the space. One on a metric that is measured leaves out
    networks that were trained.
    """
    minima: Mapping[str, float] = field(default_factory=dict)
    """Smallest value by metric that is measured."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """How networks are proposed and evaluated."""

    # docs/strategies.md says why.
    strategy: str = "gp"
    """A search strategy, with settings: ``name:key=value,...``."""
    seed: int = 0
    """Of everything random."""
    evaluator: str = "training"
    """What gives a network its accuracy, with settings: ``name:key=value,...``.

    A function of the user's own is ``FILE.py:NAME``, or ``python:NAME`` if it stands in no file.
    """
    recipe: str = ""
    """Changes to the short training, ``name=value,...``; empty for the preset."""
    warm: str = AUTO
    """Published networks to begin with, by name and commas; ``auto`` or ``none``."""
    learn_from: tuple[str, ...] = ()
    """Earlier trainings that the strategy learns from: run folders, or tables of trainings."""
    race: str = ""
    """How the better networks are trained for longer, see `nas.study.race.Racing.parse`.

    Empty: all are trained alike.
    """


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A network that the short trainings learn from too."""

    network: str | None = None
    """A network with its weights, or an ONNX file; None for no teacher."""
    weights: str | None = None
    """The file of the network's weights."""
    temperature: float = 4.0
    """Softens the teacher's classes; above 0."""
    share: float = 0.5
    """The teacher's share of the loss, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who evaluates the networks, and where."""

    workers: int = 1
    """Networks trained at a time; several are trained in processes of their own."""
    # Threads of one training wait for each other on a busy machine; workers do not.
    threads: int = 1
    """CPU threads of a training."""
    trial_timeout_seconds: float | None = None
    """A training that takes longer fails; None for no limit."""
    hopeless: bool = False
    """Whether trainings that can no longer reach the front are ended, see `nas.study.stopping`."""
    ray: str | None = None
    """Address of a Ray cluster to train on: ``local``, ``auto`` or ``HOST:PORT``."""
    scheduler: str | None = None
    """How Ray stops the worse trainings early, a name of `nas.study.ray.SCHEDULERS`."""
    gpus: float = 0.0
    """GPUs that Ray reserves for a trial."""
    accelerator: str = "auto"
    """What networks are computed on, see `nas.compute.Compute`."""
    precision: str = "auto"
    """Of their products, see there."""
    calibrate: bool | None = None
    """Whether networks of the budget are timed first, see `nas.run.calibrate`.

    None does so where the first device's table is of this machine.
    """
    time_front: bool | None = None
    """Whether the front is timed at the end; None does so where the table is of this machine."""

    @property
    def elsewhere(self) -> bool:
        """Whether networks are evaluated in other processes than this one."""
        several = self.workers > 1 or self.ray is not None
        return several or self.trial_timeout_seconds is not None

    @property
    def compute(self) -> Compute:
        """Where, and in which numbers. Raises `UsageError` for words that mean nothing."""
        return Compute(accelerator=self.accelerator, precision=self.precision)


@dataclass(frozen=True, kw_only=True)
class Drivers:
    """Several searches that share one study, see `nas.study.board`."""

    storage: str | None = None
    """A database URL where they hear of each other; None for a search alone."""
    study: str = "nas"
    """The study's name in that database."""


@dataclass(frozen=True, kw_only=True)
class Telling:
    """Who else hears of the trials."""

    log: tuple[str, ...] = ()
    """Names of `nas.logs.LOGGERS`."""


# Name in `nas.search` and run.json: the part of `Search`, and the field there.
FLAT: Mapping[str, tuple[str, str]] = {
    "space": ("problem", "space"),
    "devices": ("problem", "devices"),
    "data": ("problem", "data"),
    "strategy": ("method", "strategy"),
    "warm": ("method", "warm"),
    "learn_from": ("method", "learn_from"),
    "race": ("method", "race"),
    "evaluator": ("method", "evaluator"),
    "objectives": ("problem", "objectives"),
    "reward": ("problem", "reward"),
    "target_ms": ("problem", "target_ms"),
    "latency_ms": ("bounds", "latency_ms"),
    "latency_min_ms": ("bounds", "latency_min_ms"),
    "aim": ("bounds", "aim"),
    "confidence": ("bounds", "confidence"),
    "maxima": ("bounds", "maxima"),
    "minima": ("bounds", "minima"),
    "resolution": ("problem", "resolution"),
    "classes": ("problem", "classes"),
    "in_channels": ("problem", "in_channels"),
    # The flat name is that of every run.json, older than the field's.
    "proxy": ("method", "recipe"),
    "groups": ("problem", "groups"),
    "teacher": ("teacher", "network"),
    "teacher_weights": ("teacher", "weights"),
    "teacher_temperature": ("teacher", "temperature"),
    "teacher_weight": ("teacher", "share"),
    "strict": ("problem", "strict"),
    "threads": ("crew", "threads"),
    "workers": ("crew", "workers"),
    "trial_timeout_seconds": ("crew", "trial_timeout_seconds"),
    "hopeless": ("crew", "hopeless"),
    "ray": ("crew", "ray"),
    "scheduler": ("crew", "scheduler"),
    "gpus": ("crew", "gpus"),
    "accelerator": ("crew", "accelerator"),
    "precision": ("crew", "precision"),
    "calibrate": ("crew", "calibrate"),
    "time_front": ("crew", "time_front"),
    "storage": ("drivers", "storage"),
    "study": ("drivers", "study"),
    "log": ("telling", "log"),
    "trials": ("budget", "trials"),
    "seconds": ("budget", "seconds"),
    "seed": ("method", "seed"),
}


WORDS = {
    "resolution": f"a size such as {EXAMPLES}, or several",
    "confidence": "a probability from 0.5 to below 1, such as 0.95",
}
"""What a setting must be, where its type says less."""

LEAST = {"trials": 1, "workers": 1, "threads": 1}
"""The least value of a setting; further ranges are checked where they are used."""

DATA_OPTIONS = ("size=", "range=", "flip=")
"""What may follow a data set's place, after a comma, and is no place."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """Everything that a search is asked for, as plain values."""

    problem: Problem = Problem()
    bounds: Bounds = Bounds()
    method: Method = Method()
    teacher: Teacher = Teacher()
    crew: Crew = Crew()
    drivers: Drivers = Drivers()
    telling: Telling = Telling()
    budget: Budget = field(default_factory=Budget)

    def changed(self, **settings: object) -> "Search":
        """The same with other settings, by their flat names. Raises `UsageError` for others."""
        changes: dict[str, dict[str, object]] = {}
        for name, value in settings.items():
            if name not in FLAT:
                raise unknown("setting", name, FLAT)
            part, part_field = FLAT[name]
            changes.setdefault(part, {})[part_field] = value
        parts = {part: replace(getattr(self, part), **new) for part, new in changes.items()}
        return replace(self, **parts)

    def check(self) -> None:
        """Raise `UsageError` for a setting of the wrong type, or below its least value."""
        kinds = _kinds(self)
        for name, value in self._values().items():
            if not _is_of_kind(value, kinds[name]):
                kind = WORDS.get(name, kinds[name])
                raise UsageError(f"setting {name} must be {kind}, not {value!r:.60}")
            least = LEAST.get(name)
            if least is not None and isinstance(value, int) and value < least:
                raise UsageError(f"setting {name} must be at least {least}, not {value}")

    def with_absolute_paths(self) -> "Search":
        """The same, with every file and folder named so that it is found from anywhere."""
        return self.changed(
            space=_absolute(self.problem.space),
            data=_absolute(self.problem.data),
            evaluator=_absolute_place(self.method.evaluator),
            learn_from=tuple(str(_absolute_file(name)) for name in self.method.learn_from),
            teacher=_absolute_file(self.teacher.network),
            teacher_weights=_absolute_file(self.teacher.weights),
        )

    def to_json(self) -> dict[str, object]:
        """The settings as ``run.json`` holds them: flat."""
        settings = self._values()
        settings["resolution"] = to_json(settings["resolution"])
        return settings

    def _values(self) -> dict[str, object]:
        """Every setting by its flat name."""
        settings = {}
        for name, (part, part_field) in FLAT.items():
            settings[name] = getattr(getattr(self, part), part_field)
        return settings

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Search":
        """The settings of a ``run.json``. Raises `RunError` for what is none."""
        strange = sorted(set(data) - set(FLAT))
        # Not ignored: what a later version was asked for may decide what is searched.
        if strange:
            raise RunError(
                f"run.json holds settings this version does not know: {', '.join(strange)}"
            )
        kinds = _kinds(cls())
        # Runs from before there were warm starts and aims had none, and searched the whole range.
        settings: dict[str, Any] = {"warm": NONE, "aim": "front"}
        for name, value in data.items():
            # JSON has no tuples.
            settings[name] = tuple(value) if isinstance(value, list) else value
            if name == "resolution":
                settings[name] = _sizes_of(settings[name])
            if not _is_of_kind(settings[name], kinds[name]):
                raise RunError(
                    f"run.json was edited: setting {name} must be {kinds[name]}, "
                    f"not {str(settings[name])[:60]}"
                )
        return cls().changed(**settings)


def _sizes_of(value: object) -> object:
    """A size, or several, with rectangles as such where JSON has their text; all else as it is."""
    if isinstance(value, tuple):
        return tuple(map(_sizes_of, value))
    if not isinstance(value, str):
        return value
    with suppress(ValueError):
        return Rect.from_text(value)
    return value


def _kinds(search: Search) -> dict[str, str]:
    """The type of each setting, as text."""
    kinds = {}
    for name, (part, part_field) in FLAT.items():
        annotations = {f.name: f.type for f in fields(getattr(search, part))}
        kind = annotations[part_field]
        text = kind.__name__ if isinstance(kind, type) else str(kind)
        kinds[name] = text.replace("nas.size.", "")
    return kinds


BETWEEN_KINDS = re.compile(r" \| (?![^\[]*\])")
"""Between the types of a union, but not inside of a tuple's brackets."""


def _is_of_kind(value: object, kind: str) -> bool:
    """Whether a value that was read from JSON is of a type that is named by its text."""
    parts = BETWEEN_KINDS.split(kind)
    if len(parts) > 1:
        return any(_is_of_kind(value, part) for part in parts)
    if kind == "None":
        return value is None
    if kind.startswith("tuple"):
        part_kind = kind.removeprefix("tuple[").removesuffix(", ...]")
        return isinstance(value, tuple) and all(_is_of_kind(part, part_kind) for part in value)
    if kind.startswith("collections.abc.Mapping"):
        return isinstance(value, Mapping) and all(map(_is_finite, value.values()))
    if kind == "float":
        return _is_finite(value)
    return type(value).__name__ == kind


def _is_finite(value: object) -> bool:
    # To Python, true is an int.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)


def _absolute(spec: str) -> str:
    """A spec whose file or folder is found from wherever the run is opened."""
    if spec_place(spec, "") is not None:
        return _absolute_place(spec)
    kind, colon, places = spec.partition(":")
    if not colon or kind not in ("folder", "npz", "fashion-mnist"):
        return spec
    parts = []
    for part in between_commas(places):
        parts.append(part if part.startswith(DATA_OPTIONS) else str(Path(part).resolve()))
    return f"{kind}:{','.join(parts)}"


def _absolute_place(spec: str) -> str:
    """The same for a function in a file; what is none stays."""
    place = spec_place(spec, "")
    if place is None:
        return spec
    file = str(place.file.resolve())
    return f"{file}:{place.name}" if place.name else file


def _absolute_file(path: str | None) -> str | None:
    """The whole path of a file or folder; a name of neither stays."""
    if path is None or not Path(path).exists():
        return path
    return str(Path(path).resolve())


# -- mappings, where the shell takes texts --------------------------------------------------------


def spec_text(what: str, value: str | Mapping[str, Any]) -> str:
    """``{"name": "gp", "initial": 8}`` as ``gp:initial=8``; a text stays. Raises `UsageError`."""
    if not isinstance(value, Mapping):
        return value
    settings = dict(value)
    name = settings.pop("name", None)
    if not isinstance(name, str) or not name:
        raise UsageError(
            f'{what} as a mapping has a "name" beside its settings, and {value!r:.60} has none'
        )
    pairs = pairs_text(what, settings)
    return f"{name}:{pairs}" if pairs else name


def pairs_text(what: str, value: str | Mapping[str, Any]) -> str:
    """``{"epochs": 4}`` as ``epochs=4``; a text stays. Raises `UsageError`."""
    if not isinstance(value, Mapping):
        return value
    pairs = []
    for name, setting in value.items():
        if not isinstance(setting, str | int | float) or "," in str(setting):
            raise UsageError(
                f"{name} of {what} must be a number, a text without commas, or True or False, "
                f"not {setting!r:.60}"
            )
        text = str(setting).lower() if isinstance(setting, bool) else str(setting)
        pairs.append(f"{name}={text}")
    return ",".join(pairs)
