"""Names to things: spaces, devices, strategies, benchmarks, evaluators. The folder is the registry.

A built-in thing is found by listing its folder, somebody else's through an entry-point group
(``nas.search_spaces``, ``nas.latency_tables``, ``nas.strategies``, ``nas.evaluators``). A name that
is claimed twice raises.
"""

import importlib
import importlib.util
import inspect
import json
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import latency_tables
import search_spaces
from nas import benchmarks
from nas.arch import Architecture
from nas.benchmarks import Problem
from nas.errors import (
    NasError,
    RunError,
    SpaceError,
    UsageError,
    told_with_line,
    unknown,
)
from nas.latency.measured import TimedHere
from nas.latency.table import Table
from nas.programs import GIVEN, load, spec_place
from nas.progress import Watch, ignore
from nas.space import SearchSpace, at_sizes
from nas.strategies import parse_spec
from nas.study.evaluator import Data, EvaluatorKind, Retrain, RetrainFully
from nas.study.trainings import Fitting, Learn

__all__ = [
    "OWN_FUNCTION",
    "accelerators",
    "benchmark",
    "data_not_given",
    "device",
    "device_names",
    "differentiable",
    "evaluator",
    "fitting",
    "not_here",
    "own_data",
    "own_evaluator",
    "plug_ins",
    "retraining",
    "space",
    "space_names",
    "time_here",
]

EVALUATORS = {name: f"nas.evaluate.{name}" for name in ("supernet", "training", "zero_cost")}
OLD_NAMES = {"proxy": "zero_cost"}
"""Evaluators as older runs and command lines call them."""
RETRAINING = "nas.evaluate.retraining"
FITTING = "nas.evaluate.coefficients"
DIFFERENTIABLE = "nas.evaluate.differentiable"
OWN = "nas.evaluate.own"
OWN_DATA = "nas.data.own"
OWN_FUNCTION = "evaluate"
"""What ``--evaluator FILE.py`` calls if it names no function."""
FRONT = "nas.measure.front"
ACCELERATOR = "nas.train.accelerator"


def plug_ins(package: ModuleType, group: str, kind: str) -> dict[str, EntryPoint | str]:
    """Module name or entry point by command-line name: a folder's modules, a group's entries."""
    known = {
        found.name: f"{package.__name__}.{found.name}"
        for found in pkgutil.iter_modules(package.__path__)
        if not found.name.startswith("_")
    }
    return _with_entry_points(known, group, kind)


def _with_entry_points(
    shipped: Mapping[str, str], group: str, kind: str
) -> dict[str, EntryPoint | str]:
    known: dict[str, EntryPoint | str] = dict(shipped)
    for point in entry_points(group=group):
        if point.name in known:
            raise UsageError(
                f"two {kind}s are named '{point.name}': {known[point.name]} and {point.value}. "
                "Uninstall one"
            )
        known[point.name] = point
    return known


# -- spaces ---------------------------------------------------------------------------------------


def space_names() -> list[str]:
    """Every space that is installed."""
    return sorted(plug_ins(search_spaces, "nas.search_spaces", "search space"))


def space(name: str, **settings: object) -> SearchSpace:
    """The search space of that name, or of a ``.py`` file.

    ``settings`` go to its function ``space()``.
    ``fused_mbconv:base=b0`` passes settings of the space's own beside ``resolution``, ``classes``
    and ``in_channels``. A setting given as None is left at the space's default. Several
    resolutions, as a list or tuple, are a choice of the space's: see `nas.space.at_sizes`.
    """
    sizes = settings.get("resolution")
    if isinstance(sizes, list | tuple):
        return at_sizes(lambda size: space(name, **{**settings, "resolution": size}), sizes)
    extra = ""
    if not name.endswith(".py"):
        name, _, extra = name.partition(":")
    make = _space_maker(name)
    settings = {key: value for key, value in settings.items() if value is not None}
    settings |= _settings(name, extra)
    accepted = inspect.signature(make).parameters
    for key in settings:
        if key not in accepted:
            raise unknown(f"setting of space '{name}'", key, accepted)
    built = _built(name, make, settings)
    if not isinstance(built, SearchSpace):
        raise SpaceError(
            f"space() of '{name}' must return a SearchSpace, not {type(built).__name__}"
        )
    return built


def _built(name: str, make: Callable[..., SearchSpace], settings: Mapping[str, object]) -> object:
    """What ``space()`` returns. Raises `SpaceError`, in one line, for what it raises."""
    try:
        return make(**settings)
    except NasError:
        raise
    except Exception as error:
        told = told_with_line(error, inspect.getfile(inspect.unwrap(make)))
        raise SpaceError(f"space() of '{name}' failed: {told}") from error


def _settings(name: str, text: str) -> dict[str, object]:
    """``key=value,...``: numbers and lists as JSON, anything else as text."""
    settings: dict[str, object] = {}
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"settings of space '{name}' are written key=value, not '{pair}'")
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    return settings


def _space_maker(name: str) -> Callable[..., SearchSpace]:
    known = plug_ins(search_spaces, "nas.search_spaces", "search space")
    if name.endswith(".py"):
        module = _load_file(Path(name))
    elif name in known:
        module = _load(known[name])
    else:
        raise unknown("search space", name, known)
    make = getattr(module, "space", None) if isinstance(module, ModuleType) else module
    if not callable(make):
        raise SpaceError(
            f"search space '{name}' needs a function space(resolution, classes, in_channels)"
        )
    return make  # type: ignore[no-any-return]


def _load(found: EntryPoint | str) -> Any:
    return importlib.import_module(found) if isinstance(found, str) else found.load()


def _load_file(path: Path) -> ModuleType:
    """A module from a file the user named: their code, run because they asked for it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(
            f"no such file: {path}. A search space is a .py file with a function space()"
        )
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except NasError:
        raise
    except Exception as error:
        told = told_with_line(error, str(path))
        raise SpaceError(f"search space {path} does not load: {told}") from None
    return module


# -- devices --------------------------------------------------------------------------------------


@cache
def _device_files() -> dict[str, Path]:
    """JSON file by device name and alias."""
    folders = [Path(folder) for folder in latency_tables.__path__]
    for point in entry_points(group="nas.latency_tables"):
        folders += [Path(folder) for folder in point.load().__path__]
    known: dict[str, Path] = {}
    for file in sorted(file for folder in folders for file in folder.glob("*.json")):
        for name in (file.stem, *json.loads(file.read_text()).get("aliases", ())):
            if name in known:
                raise UsageError(
                    f"two devices are named '{name}': {known[name]} and {file}. Remove one"
                )
            known[name] = file
    return known


def device_names() -> list[str]:
    """Every device with a table, aliases left out."""
    return sorted({file.stem for file in _device_files().values()})


def device(name: str) -> Table:
    """The latency table of a device, by name, alias, or path of its ``.csv`` or ``.json`` file.

    A table whose files have changed is read anew.
    """
    known = _device_files()
    if not name:
        raise UsageError(f"a device has a name, such as {', '.join(sorted(known)[:3])}; not ''")
    path = Path(name)
    if not name.endswith((".csv", ".json")):
        if name not in known:
            raise _unknown_device(path, known)
        path = known[name]
    file = path.resolve()
    return _table(path, file, _stamps(file))


def _unknown_device(path: Path, known: Iterable[str]) -> UsageError:
    """The error for a device nobody knows; a table of that name that lies there is suggested."""
    file = path.with_name(f"{path.name}.csv")
    if not file.is_file():
        return unknown("device", path, known)
    return UsageError(
        f"no device named '{path}'. There is a table of that name: did you mean {file}?"
    )


def _stamps(file: Path) -> tuple[int, ...]:
    """When a table's files were last changed, in nanoseconds."""
    files = [file.with_suffix(".csv"), file.with_suffix(".json")]
    return tuple(file.stat().st_mtime_ns for file in files if file.exists())


@lru_cache(maxsize=32)
def _table(path: Path, file: Path, stamps: tuple[int, ...]) -> Table:
    """The cache goes by ``file`` and ``stamps``: a name may come to mean another file."""
    return Table.load(path)


# -- benchmarks -----------------------------------------------------------------------------------


def benchmark(spec: str) -> Callable[[int], Problem]:
    """The benchmark of a spec, ``name:variant,key=value,...``; it gives the problem of a seed.

    Its setting ``space`` is a space's name.
    """
    name, settings = parse_spec(spec)
    known = benchmarks.known()
    if name not in known:
        raise unknown("benchmark", name, known)
    accepted = set(inspect.signature(known[name]()).parameters) - {"seed"}
    for key in settings:
        if key not in accepted:
            raise unknown(f"setting of benchmark '{name}'", key, accepted)
    return partial(_problem, spec)


def _problem(spec: str, seed: int) -> Problem:
    name, settings = parse_spec(spec)
    if "space" in settings:
        settings["space"] = space(settings["space"])
    return benchmarks.known()[name]()(seed=seed, **settings)


# -- evaluators -----------------------------------------------------------------------------------


def evaluator(spec: str) -> EvaluatorKind:
    """The kind of evaluator that a spec, ``name:setting=value,...``, names.

    The shipped ones live on the torch side, so they are loaded by name, when needed. A function of
    the user's own, ``./mine.py:evaluate``, is one too.
    """
    own = spec_place(spec, OWN_FUNCTION)
    if own is not None:
        return own_evaluator(load(own, "evaluator"), own.short)
    if spec.startswith(GIVEN):
        name = spec.removeprefix(GIVEN)
        raise RunError(
            f"the run's evaluator is the function {name}, which was given from Python and stands "
            "in no file of its own: go on from Python, with evaluate="
        )
    name, _ = parse_spec(spec)
    known = _with_entry_points(EVALUATORS, "nas.evaluators", "evaluator")
    name = OLD_NAMES.get(name, name)
    if name not in known:
        raise unknown("evaluator", name, known)
    place = known[name]
    kind = importlib.import_module(place).KIND if isinstance(place, str) else place.load()
    if inspect.isfunction(kind):
        return own_evaluator(kind, name)
    if not isinstance(kind, EvaluatorKind) or kind.name != name:
        raise UsageError(
            f"evaluator '{name}' must be an EvaluatorKind of that name, or a function, "
            f"not {str(kind)[:80]}"
        )
    return kind


def own_evaluator(function: Callable[..., Any], name: str = "") -> EvaluatorKind:
    """A function of the user's own as a kind of evaluator, on the torch side as all are."""
    kind: EvaluatorKind = importlib.import_module(OWN).kind(function, name)
    return kind


def own_data(
    thing: object, kind: EvaluatorKind, *, groups: str | None = None, watch: Watch = ignore
) -> Data:
    """A data set given from Python, as that kind of evaluator takes it.

    Functions of the user's own get its items as they are, our trainings as images of classes.
    """
    if kind.takes_items:
        return kind.open_data(thing, groups=groups, watch=watch)  # type: ignore[arg-type]
    data: Data = importlib.import_module(OWN_DATA).images_given(thing, groups=groups, watch=watch)
    return data


def data_not_given(spec: str) -> RunError:
    """The error for a run whose data was given from Python, and is not given again."""
    return RunError(
        f"the run's data was given from Python ({spec.removeprefix(GIVEN)}), and lies in no file: "
        "go on from Python, with data="
    )


def retraining() -> Retrain:
    """What trains the networks of a confirmation, on the torch side too."""
    retrain: Retrain = importlib.import_module(RETRAINING).retraining
    return retrain


def full_retraining() -> RetrainFully:
    """What trains them whole, as ``nas train`` does."""
    retrain: RetrainFully = importlib.import_module(RETRAINING).full_retraining
    return retrain


def accelerators() -> tuple[str, ...]:
    """What networks can be computed on here: `nas.train.accelerator.present`."""
    here: tuple[str, ...] = importlib.import_module(ACCELERATOR).present()
    return here


def fitting() -> Fitting:
    """What fits coefficients of scaling, on the torch side as evaluators are."""
    fit: Fitting = importlib.import_module(FITTING).fitting
    return fit


def not_here(table: Table) -> str:
    """Why a table is not of this machine, so that no network can be timed for it; empty if it is.

    Shipped tables, and those of other runtimes, are told without loading torch.
    """
    runtime = str(table.info.conditions.get("runtime", "not stated"))
    if not runtime.startswith("onnxruntime"):
        return f"its runtime is {runtime}"
    reason: str = importlib.import_module(FRONT).not_here(table)
    return reason


def time_here(table: Table, networks: Sequence[Architecture], watch: Watch) -> TimedHere:
    """Time whole networks here under a table's conditions: `nas.measure.front.time_here`."""
    timed: TimedHere = importlib.import_module(FRONT).time_here(table, networks, watch)
    return timed


def differentiable() -> Learn:
    """What trains the distribution of strategy ``differentiable``, on the torch side too."""
    learn: Learn = importlib.import_module(DIFFERENTIABLE).learn
    return learn
