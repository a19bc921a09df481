"""The main job: from a space, a device and a data set to a run folder with a Pareto front."""

import math
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from nas import catalog, progress, strategies
from nas.cost.compiled import Compiled
from nas.cost.confidence import Margin, check_confidence, margin
from nas.cost.costs import latency_metric, space_costs, sure_metric
from nas.cost.metric import Metric
from nas.domain import Bound, Domain
from nas.errors import BoundError, DataError, ExistsError, NasError, RunError, UsageError, unknown
from nas.latency import audit
from nas.latency.table import Table
from nas.metadata import Metadata
from nas.objectives import QUALITY, UNTRAINED, Objectives, Reward, parse_objectives
from nas.progress import ignore
from nas.record import identity as capsule
from nas.record.journal import LOCK
from nas.record.store import Store, check_space
from nas.report.text import shown_share, spread
from nas.run.copies import copy_space, copy_tables
from nas.run.run import Run
from nas.space import SearchSpace
from nas.strategies.differentiable import Differentiable
from nas.study import ray
from nas.study.board import Board
from nas.study.evaluator import Data, Evaluator, EvaluatorKind
from nas.study.ray import Cluster
from nas.study.study import Outcome, Study, Watch
from nas.study.workers import Processes

__all__ = ["Plan", "Search", "check_free", "evaluator", "search"]

DEFAULT_TRIALS = 32


@dataclass(frozen=True, kw_only=True)
class Search:
    """Everything that ``nas search`` can be told, as plain values.

    ``space``: a name, ``name:setting=value`` or a ``.py`` file. ``devices``: names, aliases or
    table files; the first one is what ``latency_ms`` means. ``data``, ``groups``: see
    ``nas.data.load``. ``objectives``: metric names. ``maxima``: largest allowed value by cost
    metric. ``confidence``: the probability with which every upper bound on a latency is to be kept,
    0.5 to below 1; without one, bounds are on the estimate itself. ``reward``: a scalar that the
    strategy learns from instead of the objectives, a name of `nas.objectives.REWARDS`, with
    ``target_ms`` on the first device, by default ``latency_ms``. ``proxy``: settings of the short
    training, empty for the preset. ``teacher``: a network with its ``teacher_weights``, or an ONNX
    file, that has a share in the short trainings' loss. ``workers``: networks trained at a time, in
    processes of their own where there are several or a trial has a limit
    (``trial_timeout_seconds``); with ``ray``, an address, on a Ray cluster, with ``scheduler`` and
    ``gpus`` a trial. ``storage``: a database URL where drivers of one ``study`` hear of each other,
    see `nas.study.board`. ``hopeless``: stop trainings that can no longer reach the front, see
    `nas.study.stopping`. Budget: ``trials`` new evaluations, or ``seconds``, or both.
    ``resolution``, ``classes`` and ``in_channels`` describe the network that is priced and shipped;
    the last two default to the data's.
    """

    space: str = "fbnet"
    devices: tuple[str, ...] = ("pixel1",)
    data: str = "digits"
    strategy: str = "gp"
    evaluator: str = "training"
    objectives: tuple[str, ...] = ("accuracy", "latency_ms")
    reward: str = ""
    target_ms: float | None = None
    latency_ms: float | None = None
    latency_min_ms: float | None = None
    confidence: float | None = None
    maxima: Mapping[str, float] = field(default_factory=dict)
    resolution: int | None = None
    classes: int | None = None
    in_channels: int | None = None
    proxy: str = ""
    groups: str | None = None
    teacher: str | None = None
    teacher_weights: str | None = None
    teacher_temperature: float = 4.0
    teacher_weight: float = 0.5
    strict: bool = False
    threads: int = 1
    workers: int = 1
    trial_timeout_seconds: float | None = None
    hopeless: bool = False
    ray: str | None = None
    scheduler: str | None = None
    gpus: float = 0.0
    storage: str | None = None
    study: str = "nas"
    trials: int | None = None
    seconds: float | None = None
    seed: int = 0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Search":
        """The settings that ``run.json`` holds."""
        known = {
            f.name: f.type.__name__ if isinstance(f.type, type) else str(f.type)
            for f in fields(cls)
        }
        given: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in data.items()}
        if set(given) - set(known):
            raise RunError(
                f"run.json holds settings this version does not know: {', '.join(sorted(set(given) - set(known)))}"
            )
        for name, value in given.items():
            if not _of_type(value, known[name]):
                raise RunError(
                    f"run.json was edited: setting {name} must be {known[name]}, not {str(value)[:60]}"
                )
        return cls(**given)


def _of_type(value: Any, kind: str) -> bool:
    """Whether a value that was read from JSON is of a field's type, by its name."""
    if kind.endswith("| None"):
        return value is None or _of_type(value, kind.removesuffix("| None").strip())
    if kind.startswith("tuple"):
        return isinstance(value, tuple) and all(isinstance(part, str) for part in value)
    if kind.startswith("collections.abc.Mapping"):
        return isinstance(value, Mapping) and all(
            _of_type(part, "float") for part in value.values()
        )
    if kind == "float":
        return type(value) in (int, float) and math.isfinite(value)
    return type(value).__name__ == kind


class Plan:
    """A search made ready: bounds are known to be reachable, data is split, nothing is trained yet.

    Raises a `NasError` in one line for whatever cannot be: a name, a bound, a data set, a setting.
    """

    def __init__(self, settings: Search) -> None:
        settings = replace(
            settings, space=_absolute(settings.space), data=_absolute(settings.data),
            teacher=_file(settings.teacher), teacher_weights=_file(settings.teacher_weights),
        )  # fmt: skip
        self.settings = settings
        self.remarks: list[str] = []
        self.tables = tuple(catalog.device(name) for name in settings.devices)
        kind = catalog.evaluator(settings.evaluator)
        if settings.ray is None and (settings.scheduler is not None or settings.gpus):
            raise UsageError("--scheduler and --gpus are Ray's: they need --ray ADDRESS")
        self.data = _open_data(kind, settings)
        self.arguments = {
            "spec": settings.space,
            "resolution": settings.resolution,
            "classes": settings.classes or len(self.data.classes),
            "in_channels": settings.in_channels or self.data.in_channels,
        }
        self.space: SearchSpace = catalog.space(
            settings.space,
            **{name: value for name, value in self.arguments.items() if name != "spec"},
        )
        self.margins = _margins(self.space, self.tables, settings)
        self.domain = _domain(self.space, self.tables, settings, self.margins)
        self.objectives = Objectives(
            parse_objectives(
                [_metric(name, self.tables) for name in settings.objectives],
                self.domain.compiled.names,
            ),
            _reward(self.tables, settings),
        )
        self.strategy = strategies.make(
            settings.strategy,
            self.domain,
            seed=settings.seed,
            objectives=len(settings.objectives) if self.objectives.reward is None else 1,
        )
        self.evaluator = _evaluator(kind, self.data, settings)
        if isinstance(self.strategy, Differentiable) and not self.evaluator.trains:
            raise UsageError(
                "strategy 'differentiable' has a supernet of its own and trains the best networks: "
                f"leave out --evaluator {kind.name}"
            )
        _check_measured(self.objectives, self.evaluator.qualities, kind.name)
        self.identity = capsule.identity(
            self.domain,
            self.objectives,
            strategy=settings.strategy,
            seed=settings.seed,
            arguments=self.arguments,
            tables={table.name: table.digest for table in self.tables},
            data=self.evaluator.describe_data(),
            proxy=self.evaluator.describe_training(),
            margins=self.margins,
        )

    def lines(self) -> list[str]:
        """What will be done, a line each, for people."""
        costs = self.domain.compiled
        found = [
            f"space      {self.space}, {self.space.distinct:,} networks",
            *(
                f"device     {table.name}: {table.info['kind']}; {_range(costs.extreme(name)[0], costs, name)} ms"
                for table in self.tables
                for name in [latency_metric(table.name)]
            ),
            *(
                f"spread     {table.name}: {spread(self.domain, latency_metric(table.name))}"
                for table in self.tables
            ),
            *(f"audit      {table.name}: {audit.told(table.info)}" for table in self.tables),
            *self.evaluator.lines(),
            f"strategy   {self.settings.strategy}, seed {self.settings.seed}",
            f"objectives {', '.join(str(name) for name in self.objectives.names)}",
        ]
        if self.objectives.reward is not None:
            found.append(f"reward     {self.objectives.reward}")
        if self.domain.bounds:
            share = (
                ""
                if self.domain.share is None
                else f": {shown_share(self.domain.share)} of all gene tuples"
            )
            found.append(f"bounds     {self.domain.bounds_text}{share}")
        for device, given in self.margins.items():
            found.append(
                f"confidence {given.confidence:g} on {device}: mean + {given.z:.3g} standard deviations, held by a bound that adds up over layers"
            )
        return found

    def run(
        self,
        out: str | Path | None,
        *,
        resume: bool = False,
        watch: Watch = ignore,
        preparing: progress.Watch = ignore,
    ) -> "Result":
        """Train networks until the budget is used, recording each, and write the reports.

        What is trained once, before the first of them (a supernet), tells ``preparing`` where it
        stands.
        """
        trials = self.settings.trials
        if trials is None and self.settings.seconds is None:
            trials = getattr(self.strategy, "trials", DEFAULT_TRIALS)
        if not resume:
            out = out or self.default_folder()
        if self.settings.ray is not None:
            ray.require_ray()
        board = None if out is None else self._board(Path(out).resolve())
        with self._store(out, resume) as store:
            try:
                self._prepare(store.folder, preparing)
            except (
                UsageError,
                DataError,
                BoundError,
            ):  # refused before any training: as if it had not been begun
                if not resume and not list(store.folder.glob("*.pt")):
                    store.close()
                    shutil.rmtree(store.folder)
                raise
            study = Study(
                self.domain, self.strategy, self.evaluator, store, watch=watch, hopeless=self.settings.hopeless,
                board=board,
            )  # fmt: skip
            outcome = self._evaluated(study, trials)
        run = Run(store.folder)
        run.save_reports()
        return Result(run, outcome, (*self.remarks, *self.evaluator.remarks))

    def _prepare(self, folder: Path, watch: progress.Watch) -> None:
        if self.evaluator.prepares:
            self.evaluator.prepare(self.domain, folder, seed=self.settings.seed, watch=watch)
        if isinstance(self.strategy, Differentiable):
            self.remarks += catalog.differentiable().learn(
                self.strategy, self.data, folder, proxy_text=self.settings.proxy, thread_count=self.settings.threads,
                watch=watch,
            )  # fmt: skip

    def _board(self, folder: Path) -> Board | None:
        if self.settings.storage is None:
            return None
        driver = f"{platform.node()}:{folder}"
        return Board(self.settings.storage, self.identity, driver, study=self.settings.study)

    def _evaluated(self, study: Study, trials: int | None) -> Outcome:
        """Here, in processes beside this one, or on a ray."""
        given, make = self.settings, partial(evaluator, self.settings)
        if given.ray is not None:
            where = Cluster(
                address=given.ray, workers=given.workers, cpus=given.threads, gpus=given.gpus,
                scheduler=given.scheduler, timeout_seconds=given.trial_timeout_seconds,
            )  # fmt: skip
            return ray.run(study, make, where, trials=trials, seconds=given.seconds)
        if given.workers == 1 and given.trial_timeout_seconds is None:
            return study.run(trials=trials, seconds=given.seconds)
        with Processes(make, given.workers, timeout_seconds=given.trial_timeout_seconds) as workers:
            return study.run(trials=trials, seconds=given.seconds, workers=workers)

    def _store(self, out: str | Path | None, resume: bool) -> Store:
        if out is None:
            raise RunError("a resume needs the run's folder")
        if resume:
            store = Store.resume(out, self.space, self.identity)
        else:
            store = Store.create(
                out,
                self.space,
                self.identity,
                command=sys.argv,
                settings=asdict(self.settings),
                metadata=Metadata(classes=tuple(map(str, self.data.classes))).to_json(),
            )
        try:
            check_space(store.folder, self.space, store.opened.trials)
            copy_space(store.folder, self.settings.space)
            copy_tables(
                store.folder, self.tables
            )  # on a resume too: a kill may have come between the two
        except RunError:
            store.close()
            raise
        except OSError as error:
            store.close()
            raise RunError(
                f"cannot write into run folder '{store.folder}': {error.strerror}"
            ) from None
        return store

    def default_folder(self) -> Path:
        """``runs/SPACE-DEVICE-TIME``."""
        return (
            Path("runs") / f"{self.space.name}-{self.tables[0].name}-{datetime.now():%Y%m%d-%H%M%S}"
        )


def _open_data(kind: EvaluatorKind, settings: Search) -> Data:
    return kind.open_data(settings.data, strict=settings.strict, groups=settings.groups)


def _evaluator(kind: EvaluatorKind, data: Data, settings: Search) -> Evaluator:
    made = kind.make(
        data,
        settings.proxy,
        threads=settings.threads,
        teacher=_teacher(kind, data, settings),
        settings=strategies.parse_spec(settings.evaluator)[1],
    )
    elsewhere = settings.workers > 1 or settings.ray or settings.trial_timeout_seconds
    if made.prepares and elsewhere:
        raise UsageError(
            f"evaluator '{kind.name}' is made ready once, in this process: "
            "leave out --workers, --trial-timeout and --ray"
        )
    if settings.hopeless and not made.trains:
        raise UsageError(
            f"evaluator '{kind.name}' trains no network that could be stopped: "
            "leave out --stop-hopeless"
        )
    return made


def _check_measured(objectives: Objectives, given: Sequence[str], evaluator: str) -> None:
    for name in objectives.names:
        if name in QUALITY + UNTRAINED and name not in given:
            others = [
                given[0],
                *(other for other in objectives.names if other not in QUALITY + UNTRAINED),
            ]
            raise UsageError(
                f"evaluator '{evaluator}' gives no {name}: try --objective {','.join(others)}"
            )


def evaluator(settings: Search) -> Evaluator:
    """The evaluator of a search, as each worker builds its own."""
    kind = catalog.evaluator(settings.evaluator)
    return _evaluator(kind, _open_data(kind, settings), settings)


@dataclass(frozen=True)
class Result:
    """A run, how it ended, and what its evaluator and strategy have to say, a line each."""

    run: Run
    outcome: Outcome
    remarks: tuple[str, ...] = ()


def search(out: str | Path | None = None, *, watch: Watch = ignore, **settings: Any) -> Run:
    """Search and return the run; settings as in `Search`, ``device`` may name a single one.

    ``nas.search(space="fbnet", device="pixel1", trials=32).front()``
    """
    if "device" in settings:
        settings["devices"] = (settings.pop("device"),)
    return Plan(Search(**settings)).run(out, watch=watch).run


def check_free(folder: Path) -> None:
    """Raise `ExistsError` unless a new run may be made there: a folder that is new or empty."""
    if folder.exists() and not folder.is_dir():
        raise ExistsError(f"'{folder}' is a file: choose another --out")
    if (folder / "run.json").exists():
        raise ExistsError(
            f"'{folder}' holds a run already: go on with --resume {folder}, or choose another --out"
        )
    ours = (LOCK, ".run.json.")  # all that a run killed in its first moment leaves behind
    if folder.is_dir() and not all(path.name.startswith(ours) for path in folder.iterdir()):
        raise ExistsError(f"'{folder}' holds other files: choose an --out that is new or empty")


def _file(path: str | None) -> str | None:
    """A file's whole path; a name that is no file stays."""
    return str(Path(path).resolve()) if path is not None and Path(path).exists() else path


def _teacher(kind: EvaluatorKind, data: Data, settings: Search) -> object:
    """The teacher that has a share in each training's loss; None if none is asked for."""
    if settings.teacher is None:
        if settings.teacher_weights is not None:
            raise UsageError("--teacher-weights needs --teacher NETWORK")
        return None
    return kind.teacher(
        settings.teacher,
        settings.teacher_weights,
        data,
        settings.teacher_temperature,
        settings.teacher_weight,
    )


def _absolute(spec: str) -> str:
    """A spec whose file or folder can be found from wherever the run is opened."""
    if spec.endswith(".py"):
        return str(Path(spec).resolve())
    kind, colon, place = spec.partition(":")
    if colon and kind in ("folder", "npz", "fashion-mnist"):
        parts = (
            part if part.startswith("size=") else str(Path(part).resolve())
            for part in place.split(",")
        )
        return f"{kind}:{','.join(parts)}"
    return spec


def _metric(name: str, tables: Sequence[Table]) -> str:
    """``latency_ms`` alone is the first device's, as is what else its table prices; a device goes by its alias too."""
    metric = Metric.parse(name)
    if metric.device in (table.name for table in tables):
        return name
    if metric.device:
        return str(replace(metric, device=catalog.device(metric.device).name))
    if metric.is_latency or metric.name in tables[0].columns:
        return str(replace(metric, device=tables[0].name))
    return name


def _reward(tables: Sequence[Table], settings: Search) -> Reward | None:
    """Of the first quality objective and the first device's latency."""
    if not settings.reward:
        if settings.target_ms is not None:
            raise UsageError("--target is what a reward aims at: it needs --reward NAME")
        return None
    quality = next((name for name in settings.objectives if name in QUALITY), QUALITY[0])
    target = settings.latency_ms if settings.target_ms is None else settings.target_ms
    return Reward(
        name=settings.reward, cost=latency_metric(tables[0].name), target=target, quality=quality
    )


def _latency_bounds(tables: Sequence[Table], settings: Search) -> dict[str, Bound]:
    """By device, the bounds on latencies as they were asked for, the first device's own first."""
    names = {latency_metric(table.name): table.name for table in tables}
    found = {}
    if settings.latency_ms is not None or settings.latency_min_ms is not None:
        upper = math.inf if settings.latency_ms is None else settings.latency_ms
        lower = -math.inf if settings.latency_min_ms is None else settings.latency_min_ms
        found[tables[0].name] = Bound(latency_metric(tables[0].name), upper, lower)
    for name, upper in settings.maxima.items():
        device = names.get(_metric(name, tables))
        if device is None:
            continue
        if device in found:
            raise UsageError(
                f"the latency on '{device}' is bounded twice: by --latency and by --max. Keep one"
            )
        found[device] = Bound(latency_metric(device), upper)
    return found


def _margins(space: SearchSpace, tables: Sequence[Table], settings: Search) -> dict[str, Margin]:
    """What the confidence adds to each latency that has an upper bound."""
    if settings.confidence is None:
        return {}
    check_confidence(settings.confidence)
    bounds = {
        device: bound
        for device, bound in _latency_bounds(tables, settings).items()
        if bound.upper < math.inf
    }
    if not bounds:
        raise UsageError(
            "--confidence says how surely a latency is kept, so it needs --latency (or --max latency_ms@DEVICE=..)"
        )
    known = {table.name: table for table in tables}
    return {
        device: margin(space, known[device], bound.upper, settings.confidence)
        for device, bound in bounds.items()
    }


def _domain(
    space: SearchSpace, tables: Sequence[Table], settings: Search, margins: Mapping[str, Margin]
) -> Domain:
    latencies = _latency_bounds(tables, settings)
    bounds = [
        replace(bound, metric=sure_metric(device, margins[device].confidence))
        if device in margins
        else bound
        for device, bound in latencies.items()
    ]
    costs = space_costs(space, tables, margins)
    for name, upper in settings.maxima.items():
        metric = _metric(name, tables)
        if metric not in costs.names:
            raise unknown("bound", metric, costs.names)
        if metric not in (bound.metric for bound in latencies.values()):
            bounds.append(Bound(metric, upper))
    for table in tables:
        if table.name in margins:
            _check_sure(space, table, costs, latencies[table.name].upper, margins[table.name])
    try:
        return Domain(space, costs, bounds)
    except BoundError as error:
        raise _explained(error, space, tables, settings) from None


def _check_sure(
    space: SearchSpace, table: Table, costs: Compiled, upper_ms: float, given: Margin
) -> None:
    """Refuse a bound that no network keeps so surely, with the least that one does: the margin depends on the bound."""
    name = sure_metric(table.name, given.confidence)
    least = costs.extreme(name)[0]
    if least <= upper_ms:
        return
    reach = upper_ms
    while least > reach:
        reach = float(f"{1.0005 * least:.4g}")
        found = margin(space, table, reach, given.confidence)
        least = space_costs(space, [table], {table.name: found}).extreme(name)[0]
    mean, _ = costs.extreme(latency_metric(table.name))
    raise BoundError(
        f"no network of space '{space.name}' keeps {upper_ms:g} ms on '{table.name}' with probability {given.confidence:g}: "
        f"the fastest takes {mean:.4g} ms in the mean. Try {reach:g} ms, or a lower confidence"
    )


def _explained(
    error: BoundError, space: SearchSpace, tables: Sequence[Table], settings: Search
) -> NasError:
    """The same refusal, with the spaces that do reach the latency asked for."""
    if settings.latency_ms is None:
        return error
    given, reach = space.input, []
    for name in catalog.space_names():
        if name == space.name:
            continue
        classes = space.chain[-1].words[0][0][-1].out_shape.channels
        other = catalog.space(
            name, resolution=settings.resolution, classes=classes, in_channels=given.channels
        )
        fastest = space_costs(other, tables[:1]).extreme(latency_metric(tables[0].name))[0]
        if fastest <= settings.latency_ms:
            reach.append(f"--space {name} (fastest {fastest:.3g} ms)")
    return BoundError(f"{error}{', or ' + ', '.join(reach) if reach else ''}")


def _range(low: float, costs: Any, name: str) -> str:
    return f"{low:.4g} to {costs.extreme(name, largest=True)[0]:.4g}"
