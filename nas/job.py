"""The main job: from a space, a device and a data set to a run folder with a Pareto front."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from nas import capsule, catalog, strategies
from nas.cost import audit
from nas.cost.costs import latency_metric, space_costs
from nas.cost.table import Table
from nas.domain import Bound, Domain
from nas.errors import BoundError, NasError, RunError, UsageError, unknown
from nas.journal import LOCK
from nas.objectives import QUALITY, Objectives, Reward, parse_objectives
from nas.run import Run, freeze_space, freeze_tables
from nas.space import SearchSpace
from nas.store import Store
from nas.study import Outcome, Progress, Study

__all__ = ["Plan", "Search", "check_free", "search"]

DEFAULT_TRIALS = 32


@dataclass(frozen=True, kw_only=True)
class Search:
    """Everything that ``nas search`` can be told, as plain values.

    ``space``: a name, ``name:setting=value`` or a ``.py`` file. ``devices``: names, aliases or table files; the first
    one is what ``latency_ms`` means. ``data``, ``groups``: see ``nas.data.load``. ``objectives``: metric names. ``maxima``:
    largest allowed value by cost metric. ``reward``: a scalar that the strategy learns from instead of the objectives, a name of
    `nas.objectives.REWARDS`, with ``target_ms`` on the first device, by default ``latency_ms``. ``proxy``: settings of the short training, empty for the preset.
    Budget: ``trials`` new evaluations, or ``seconds``, or both. ``resolution``, ``classes`` and ``in_channels``
    describe the network that is priced and shipped; the last two default to the data's.
    """

    space: str = "fbnet"
    devices: tuple[str, ...] = ("pixel1",)
    data: str = "digits"
    strategy: str = "local-search"
    evaluator: str = "training"
    objectives: tuple[str, ...] = ("accuracy", "latency_ms")
    reward: str = ""
    target_ms: float | None = None
    latency_ms: float | None = None
    latency_min_ms: float | None = None
    maxima: Mapping[str, float] = field(default_factory=dict)
    resolution: int | None = None
    classes: int | None = None
    in_channels: int | None = None
    proxy: str = ""
    groups: str | None = None
    strict: bool = False
    threads: int = 1
    trials: int | None = None
    seconds: float | None = None
    seed: int = 0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Search":
        """The settings that ``run.json`` holds."""
        known = {f.name for f in fields(cls)}
        given: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in data.items()}
        if set(given) - known:
            raise RunError(
                f"run.json holds settings this version does not know: {', '.join(sorted(set(given) - known))}"
            )
        return cls(**given)


class Plan:
    """A search made ready: bounds are known to be reachable, data is split, nothing is trained yet.

    Raises a `NasError` in one line for whatever cannot be: a name, a bound, a data set, a setting.
    """

    def __init__(self, settings: Search) -> None:
        settings = replace(settings, space=_absolute(settings.space), data=_absolute(settings.data))
        self.settings = settings
        self.tables = tuple(catalog.device(name) for name in settings.devices)
        evaluators = catalog.evaluator(settings.evaluator)
        self.data = evaluators.open_data(settings.data, strict=settings.strict, groups=settings.groups)
        self.arguments = {
            "spec": settings.space,
            "resolution": settings.resolution,
            "classes": settings.classes or len(self.data.classes),
            "in_channels": settings.in_channels or self.data.in_channels,
        }
        self.space: SearchSpace = catalog.space(
            settings.space, **{name: value for name, value in self.arguments.items() if name != "spec"}
        )
        self.domain = _domain(self.space, self.tables, settings)
        self.objectives = Objectives(
            parse_objectives([_metric(name, self.tables) for name in settings.objectives], self.domain.compiled.names),
            _reward(self.tables, settings),
        )
        self.strategy = strategies.make(
            settings.strategy,
            self.domain,
            seed=settings.seed,
            objectives=len(settings.objectives) if self.objectives.reward is None else 1,
        )
        self.evaluator = evaluators.make(self.data, settings.proxy, threads=settings.threads)
        self.identity = capsule.identity(
            self.domain,
            self.objectives,
            strategy=settings.strategy,
            seed=settings.seed,
            arguments=self.arguments,
            tables={table.name: table.digest for table in self.tables},
            data=self.evaluator.describe_data(),
            proxy=self.evaluator.describe_training(),
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
            *(f"audit      {table.name}: {audit.told(table.info)}" for table in self.tables),
            *self.evaluator.lines(),
            f"strategy   {self.settings.strategy}, seed {self.settings.seed}",
            f"objectives {', '.join(str(name) for name in self.objectives.names)}",
        ]
        if self.objectives.reward is not None:
            found.append(f"reward     {self.objectives.reward}")
        if self.domain.bounds:
            found.append(f"bounds     {self.domain.bounds_text}")
        return found

    def run(self, out: str | Path | None, *, resume: bool = False, watch: "Watch" = lambda progress: None) -> "Result":
        """Train networks until the budget is used, recording each, and write the reports."""
        trials = self.settings.trials
        if trials is None and self.settings.seconds is None:
            trials = DEFAULT_TRIALS
        with self._store(out, resume) as store:
            study = Study(self.domain, self.strategy, self.evaluator, store, watch=watch)
            outcome = study.run(trials=trials, seconds=self.settings.seconds)
        run = Run(store.folder)
        run.save_reports()
        return Result(run, outcome)

    def _store(self, out: str | Path | None, resume: bool) -> Store:
        if resume:
            if out is None:
                raise RunError("a resume needs the run's folder")
            store = Store.resume(out, self.space, self.identity)
        else:
            store = Store.create(
                out or self.default_folder(),
                self.space,
                self.identity,
                command=sys.argv,
                settings=asdict(self.settings),
            )
        try:
            freeze_space(store.folder, self.settings.space)
            freeze_tables(store.folder, self.tables)  # on a resume too: a kill may have come between the two
        except OSError as error:
            store.close()
            raise RunError(f"cannot write into run folder '{store.folder}': {error.strerror}") from None
        return store

    def default_folder(self) -> Path:
        """``runs/SPACE-DEVICE-TIME``."""
        return Path("runs") / f"{self.space.name}-{self.tables[0].name}-{datetime.now():%Y%m%d-%H%M%S}"


Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Result:
    """A run, and how it ended."""

    run: Run
    outcome: Outcome


def search(out: str | Path | None = None, *, watch: Watch = lambda progress: None, **settings: Any) -> Run:
    """Search and return the run; settings as in `Search`, ``device`` may name a single one.

    ``nas.search(space="fbnet", device="pixel1", trials=32).front()``
    """
    if "device" in settings:
        settings["devices"] = (settings.pop("device"),)
    return Plan(Search(**settings)).run(out, watch=watch).run


def check_free(folder: Path) -> None:
    """Raise `RunError` unless a new run may be made there: a folder that is new or empty."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"'{folder}' is a file: choose another --out")
    if (folder / "run.json").exists():
        raise RunError(f"'{folder}' holds a run already: go on with --resume {folder}, or choose another --out")
    ours = (LOCK, ".run.json.")  # all that a run killed in its first moment leaves behind
    if folder.is_dir() and not all(path.name.startswith(ours) for path in folder.iterdir()):
        raise RunError(f"'{folder}' holds other files: choose an --out that is new or empty")


def _absolute(spec: str) -> str:
    """A spec whose file or folder can be found from wherever the run is opened."""
    if spec.endswith(".py"):
        return str(Path(spec).resolve())
    kind, colon, place = spec.partition(":")
    if colon and kind in ("folder", "npz", "fashion-mnist"):
        return f"{kind}:{','.join(str(Path(part).resolve()) for part in place.split(','))}"
    return spec


def _metric(name: str, tables: Sequence[Table]) -> str:
    """``latency_ms`` alone is the first device's, and a device goes by its alias too."""
    metric, _, device = name.partition("@")
    if metric != "latency_ms":
        return name
    return latency_metric(catalog.device(device).name if device else tables[0].name)


def _reward(tables: Sequence[Table], settings: Search) -> Reward | None:
    """Of the first quality objective and the first device's latency."""
    if not settings.reward:
        if settings.target_ms is not None:
            raise UsageError("--target is what a reward aims at: it needs --reward NAME")
        return None
    quality = next((name for name in settings.objectives if name in QUALITY), QUALITY[0])
    target = settings.latency_ms if settings.target_ms is None else settings.target_ms
    return Reward(name=settings.reward, cost=latency_metric(tables[0].name), target=target, quality=quality)


def _domain(space: SearchSpace, tables: Sequence[Table], settings: Search) -> Domain:
    bounds = [Bound(_metric(name, tables), upper) for name, upper in settings.maxima.items()]
    if settings.latency_ms is not None or settings.latency_min_ms is not None:
        upper = math.inf if settings.latency_ms is None else settings.latency_ms
        lower = -math.inf if settings.latency_min_ms is None else settings.latency_min_ms
        bounds.insert(0, Bound(latency_metric(tables[0].name), upper, lower))
    costs = space_costs(space, tables)
    for bound in bounds:
        if bound.metric not in costs.names:
            raise unknown("bound", bound.metric, costs.names)
    try:
        return Domain(space, costs, bounds)
    except BoundError as error:
        raise _explained(error, space, tables, settings) from None


def _explained(error: BoundError, space: SearchSpace, tables: Sequence[Table], settings: Search) -> NasError:
    """The same refusal, with the spaces that do reach the latency asked for."""
    if settings.latency_ms is None:
        return error
    given, reach = space.input, []
    for name in catalog.space_names():
        if name == space.name:
            continue
        classes = space.chain[-1].words[0][0][-1].out_shape.channels
        other = catalog.space(name, resolution=settings.resolution, classes=classes, in_channels=given.channels)
        fastest = space_costs(other, tables[:1]).extreme(latency_metric(tables[0].name))[0]
        if fastest <= settings.latency_ms:
            reach.append(f"--space {name} (fastest {fastest:.3g} ms)")
    return BoundError(f"{error}{', or ' + ', '.join(reach) if reach else ''}")


def _range(low: float, costs: Any, name: str) -> str:
    return f"{low:.4g} to {costs.extreme(name, largest=True)[0]:.4g}"
