"""A search made ready, step by step: everything that can be refused is refused here."""

import pickle
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path

from nas import catalog, logs, strategies
from nas.compute import spread
from nas.cost.confidence import Margin
from nas.cost.costs import latency_metric
from nas.domain import Bound, Domain
from nas.errors import UsageError
from nas.files import one_line
from nas.latency.table import Table
from nas.objectives import QUALITY, Objective, Objectives, Reward, parse_objectives
from nas.programs import NOTHING_GIVEN, Given
from nas.progress import Watch, ignore
from nas.record.identity import (
    Identity,
    SpaceArguments,
    identity,
    limits_text,
    space_digest,
    versions,
)
from nas.report import text
from nas.report.text import shown_share
from nas.run.bounds import (
    Aimed,
    aimed_domain,
    compiled_bounds,
    full_metric,
    latency_margins,
    measured_limits,
)
from nas.run.earlier import earlier_trainings
from nas.run.evaluation import check_measured, kind_of, make_evaluator, open_data
from nas.run.settings import Crew, Method, Problem, Search
from nas.space import SearchSpace
from nas.strategies._earlier import Earlier
from nas.strategies._warm import AUTO, Start, recorded, starts
from nas.strategies.base import Strategy
from nas.strategies.differentiable import Differentiable
from nas.study.budget import Budget
from nas.study.evaluator import Data, Evaluator, EvaluatorKind
from nas.study.race import Racing, check_raceable
from nas.units import counted, large

__all__ = ["DEFAULT_TRIALS", "Plan", "plan", "with_table"]

DEFAULT_TRIALS = 32
"""Of a search that was given neither trials nor seconds."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A search made ready: its bounds can be met, its data is split, nothing is trained yet."""

    settings: Search
    """With whole paths."""
    tables: tuple[Table, ...]
    """The devices' latencies, the first device's first."""
    data: Data
    space: SearchSpace
    domain: Domain
    """The space inside the bounds."""
    why_no_budget: str
    """Why a latency is not used up as a budget; empty if it is, or if nobody asked for that."""
    margins: Mapping[str, Margin]
    """By device, what the confidence adds to a latency."""
    objectives: Objectives
    strategy: Strategy
    warm: tuple[Start, ...]
    """What is proposed before any network of the strategy's."""
    asked_warm: str
    """What was asked for as such, where the settings name what was found."""
    earlier: Earlier | None
    """Earlier trainings that the strategy learns from; None for none."""
    evaluator: Evaluator
    places: tuple[str, ...]
    """What each worker computes on, see `nas.compute.spread`."""
    racing: Racing | None
    """How the better networks are trained for longer; None for all alike."""
    timed: tuple[Table, ...]
    """The tables that are of this machine, and for which the front is timed at the end."""
    calibrates: bool
    """Whether the first device's table is to be calibrated before the search."""
    identity: Identity
    """All that the result depends on; a resume must ask for the same."""
    given: Given = NOTHING_GIVEN
    """What was given from Python as it is."""
    why_not_calibrated: str = ""
    """What spoke against a calibration; empty if nothing did, or none was to be made."""

    def lines(self) -> list[str]:
        """What will be done, a line each, for people."""
        # First of all: hours are spent on a table that may be far off.
        lines = [f"audit      {table.name}: {self._reliability(table)}" for table in self.tables]
        for table in self.tables:
            if table.info.calibration is not None:
                lines.append(f"calibrated {table.name}: {table.info.calibration}")
        if self.why_not_calibrated:
            lines.append(f"calibrate  not done: {self.why_not_calibrated}")
        lines.append(f"space      {self.space}, {large(self.space.distinct)} networks")
        lines += [_device_line(table, self.domain) for table in self.tables]
        lines += [
            f"spread     {table.name}: {text.spread(self.domain, latency_metric(table.name))}"
            for table in self.tables
        ]
        for table in self.tables:
            lines += [f"doubt      {doubt}" for doubt in table.doubts]
        lines += self.evaluator.lines()
        if len(set(self.places)) > 1:
            each = counted(self.settings.crew.threads, "thread")
            lines.append(f"workers    on {', '.join(self.places)}; {each} each")
        lines.append(
            f"strategy   {self.settings.method.strategy}, seed {self.settings.method.seed}"
        )
        if self.warm:
            names = ", ".join(start.name for start in self.warm)
            lines.append(f"warm start {names}, or their nearest points inside; --warm none: none")
        if self.earlier is not None:
            lines.append(_earlier_line(self.earlier))
        lines.append(f"objectives {', '.join(self.objectives.names)}")
        if self.objectives.reward is not None:
            lines.append(f"reward     {self.objectives.reward}")
        if self.objectives.quality_alone:
            lines.append(_aim_line(self.objectives.quality, self.domain.bounds[0], self.margins))
        elif self.why_no_budget:
            lines.append(
                f"aim        all within the bounds, not the last tenth of --latency alone: "
                f"{self.why_no_budget}"
            )
        if self.settings.telling.log:
            lines.append(f"log        {', '.join(self.settings.telling.log)}")
        if self.racing is not None:
            lines.append(_race_line(self.racing, self.budget))
        if self.domain.bounds:
            lines.append(_bounds_line(self.domain))
        if self.identity.limits:
            lines.append(f"bounds     {limits_text(self.identity.limits)}, known after a training")
            lines += _misspelt_lines(self.identity.limits, self.domain.compiled.names)
        lines += [_margin_line(device, margin) for device, margin in self.margins.items()]
        return lines

    def _reliability(self, table: Table) -> str:
        """How far off the table is, at the latency that is asked for if it is the first device."""
        latency_ms = self.settings.bounds.latency_ms if table is self.tables[0] else None
        return table.info.reliability(latency_ms)

    @property
    def budget(self) -> Budget:
        """The settings' budget; without one, the strategy's own number of trials.

        What a strategy wants of its own networks comes on top of the warm start.
        """
        budget = self.settings.budget
        if budget != Budget():
            return budget
        if hasattr(self.strategy, "trials"):
            return Budget(trials=len(self.warm) + self.strategy.trials)
        return Budget(trials=DEFAULT_TRIALS)

    def default_folder(self) -> Path:
        """``runs/SPACE-DEVICE-TIME``."""
        now = f"{datetime.now():%Y%m%d-%H%M%S}"
        return Path("runs") / f"{self.space.name}-{self.tables[0].name}-{now}"


def plan(settings: Search, watch: Watch = ignore, given: Given = NOTHING_GIVEN) -> Plan:
    """Make a search ready. ``watch`` follows the reading of the data.

    ``given``: functions and data that the settings can only name. Raises a `NasError` in one line
    for whatever cannot be: a name, a bound, a data set, a setting.
    """
    # Workers, and whoever resumes the run, may be in another folder.
    settings.check()
    settings = settings.with_absolute_paths()
    problem, method = settings.problem, settings.method
    tables = tuple(catalog.device(name) for name in problem.devices)
    _check_distinct(tables)
    kind = kind_of(settings, given)
    # Before the data is read, which may take minutes.
    _check_crew(settings.crew)
    logs.check(settings.telling.log)
    racing = Racing.parse(method.race)
    if racing is not None:
        _check_alone(settings)
    # Before the space, which takes its classes and channels from the data.
    _check_given(settings.crew, given)
    data = open_data(kind, settings, watch, given)
    space = _space(_space_arguments(settings.problem, data))
    earlier = _earlier(method, space)
    return _plan(settings, tables, data, space, earlier, racing, given)


def with_table(plan: Plan, table: Table) -> Plan:
    """The same search with another table of its first device. Raises as `plan` does."""
    # The warm start is looked for anew: other published networks may lie inside the bounds.
    settings = plan.settings.changed(warm=plan.asked_warm)
    tables = (table, *plan.tables[1:])
    return _plan(settings, tables, plan.data, plan.space, plan.earlier, plan.racing, plan.given)


def _plan(
    settings: Search,
    tables: tuple[Table, ...],
    data: Data,
    space: SearchSpace,
    earlier: Earlier | None,
    racing: Racing | None,
    given: Given,
) -> Plan:
    problem, method = settings.problem, settings.method
    kind = kind_of(settings, given)
    limits = measured_limits(space, tables, settings.bounds, any_metric=kind.takes_objectives)
    bounds = compiled_bounds(settings.bounds, limits)
    margins = latency_margins(space, tables, bounds)
    aimed = aimed_domain(space, tables, bounds, margins, problem)
    domain = aimed.domain
    objectives = replace(
        _objectives(problem, tables, domain, settings.bounds.latency_ms),
        quality_alone=aimed.quality_alone,
    )
    strategy = strategies.make(
        method.strategy,
        domain,
        seed=method.seed,
        earlier=earlier,
        # A reward makes one number of all objectives, and that is what strategies are told.
        objectives=objectives.told_count,
    )
    warm = _warm_start(method, domain)
    asked_warm = method.warm
    settings = settings.changed(warm=recorded(asked_warm, warm))
    evaluator = make_evaluator(kind, data, settings, [*limits])
    _check_strategy(strategy, kind, evaluator)
    check_measured([*objectives.qualities, *limits], objectives, kind, evaluator)
    if racing is not None:
        check_raceable(objectives, kind.name, lengthens=evaluator.lengthens)
    return Plan(
        settings=settings,
        tables=tables,
        data=data,
        space=space,
        domain=domain,
        why_no_budget=aimed.why_not,
        margins=margins,
        objectives=objectives,
        strategy=strategy,
        warm=warm,
        asked_warm=asked_warm,
        earlier=earlier,
        evaluator=evaluator,
        places=_places(settings.crew, kind),
        racing=racing,
        timed=_timed_tables(settings.crew, tables),
        calibrates=_calibrates(settings, tables[0], space, aimed),
        identity=identity(
            domain,
            objectives,
            strategy=method.strategy,
            seed=method.seed,
            arguments=_space_arguments(problem, data),
            tables={table.name: table.digest for table in tables},
            data=evaluator.describe_data(),
            proxy=evaluator.describe_training(),
            margins=margins,
            warm=warm,
            limits=limits,
            versions=versions(domain, strategy),
            earlier=earlier.digest(space) if earlier else "",
        ),
        given=given,
    )


# -- its steps ------------------------------------------------------------------------------------


def _check_distinct(tables: Sequence[Table]) -> None:
    """One device may go by several names, and files of two tables may state one."""
    names = [table.name for table in tables]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"device '{name}' is named {names.count(name)} times: keep one")


def _check_crew(crew: Crew) -> None:
    if crew.ray is None and (crew.scheduler is not None or crew.gpus):
        raise UsageError("--scheduler and --gpus are Ray's: they need --ray ADDRESS")
    if crew.ray is not None and ":" in crew.compute.accelerator:
        raise UsageError(
            f"Ray hands out GPUs itself, so --accelerator {crew.accelerator} means nothing there: "
            "give --gpus 1 and leave it out"
        )


def _places(crew: Crew, kind: EvaluatorKind) -> tuple[str, ...]:
    """What each worker of the pool computes on."""
    # Of one worker it is what the evaluator in this process has found. Others are not asked.
    if crew.workers == 1 or crew.ray is not None or not kind.takes_compute:
        return (crew.accelerator,) * crew.workers
    return spread(crew.accelerator, crew.workers, catalog.accelerators())


def _check_given(crew: Crew, given: Given) -> None:
    """Workers of a pool are sent the data, and what cannot be sent is told before hours pass."""
    if crew.ray is not None or not crew.elsewhere or given.data is None:
        return
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    try:
        if script is None and type(given.data).__module__ == "__main__":
            # Of a notebook: another process finds no such class.
            raise pickle.PicklingError(f"{type(given.data).__name__} stands in no file")
        pickle.Pickler(_Nowhere()).dump(given.data)
    except Exception as error:
        raise UsageError(
            f"data cannot be sent to workers ({one_line(error, 120)}): give a function that makes "
            "it, written with def at the top of a .py file, or leave out workers and "
            "trial_timeout_seconds"
        ) from None


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, content: bytes) -> int:
        return len(content)


def _check_alone(settings: Search) -> None:
    """A race ends the worse trainings itself, and one driver decides which."""
    if settings.crew.scheduler is not None:
        raise UsageError(
            "--scheduler compares trainings of one schedule, and a race has several: "
            "leave out --scheduler or --race"
        )
    if settings.drivers.storage is not None:
        raise UsageError(
            "drivers that share a study would each race the same networks: "
            "leave out --storage or --race"
        )


def _timed_tables(crew: Crew, tables: Sequence[Table]) -> tuple[Table, ...]:
    """The tables for which a front can be timed here, if that is wanted."""
    if crew.time_front is False:
        return ()
    reasons = {table.name: catalog.not_here(table) for table in tables}
    here = tuple(table for table in tables if not reasons[table.name])
    if crew.time_front and not here:
        first = tables[0].name
        raise UsageError(
            f"--time-front times networks on this machine, and table '{first}' is not of it: "
            f"{reasons[first]}. Build one: nas latency build"
        )
    return here


def _calibrates(settings: Search, table: Table, space: SearchSpace, aimed: Aimed) -> bool:
    """Whether networks of the budget are timed first, to calibrate the table."""
    wanted = settings.crew.calibrate
    made = table.info.calibration
    budget = (settings.bounds.latency_ms, space_digest(space))
    if wanted is False or (made and (made.latency_ms, made.space) == budget):
        return False
    reason = ""
    if not aimed.quality_alone:
        reason = f"there is none: {aimed.why_not or 'it takes --latency, and --aim budget'}"
    elif settings.drivers.storage is not None:
        reason = "searches that share a study need one table: calibrate none of them"
    elif catalog.not_here(table):
        reason = f"table '{table.name}' is not of this machine: {catalog.not_here(table)}"
    if reason and wanted:
        raise UsageError(f"--calibrate times networks of a budget on this machine, and {reason}")
    return not reason


def _space_arguments(problem: Problem, data: Data) -> SpaceArguments:
    """What the space is built from, as the run's identity records it."""
    return {
        "spec": problem.space,
        "resolution": problem.resolution,
        # The network to ship may have other classes than the data at hand. Where nobody says, the
        # space does.
        "classes": problem.classes or len(data.classes) or None,
        "in_channels": problem.in_channels or data.in_channels or None,
    }


def _space(arguments: SpaceArguments) -> SearchSpace:
    return catalog.space(
        arguments["spec"],
        resolution=arguments["resolution"],
        classes=arguments["classes"],
        in_channels=arguments["in_channels"],
    )


def _objectives(
    problem: Problem, tables: Sequence[Table], domain: Domain, latency_ms: float | None
) -> Objectives:
    names = [full_metric(name, tables) for name in problem.objectives]
    each = parse_objectives(names, domain.compiled.names)
    return Objectives(each, _reward(problem, each, tables, latency_ms))


def _reward(
    problem: Problem,
    objectives: Sequence[Objective],
    tables: Sequence[Table],
    latency_ms: float | None,
) -> Reward | None:
    """Of the first quality among the objectives and the first device's latency."""
    if not problem.reward:
        if problem.target_ms is not None:
            raise UsageError("--target is what a reward aims at: it needs --reward NAME")
        return None
    qualities = []
    for objective in objectives:
        # Of a metric whose values may be anything, the published exponents mean nothing.
        if objective.name in QUALITY:
            qualities.append(objective.name)
    return Reward(
        name=problem.reward,
        cost=latency_metric(tables[0].name),
        target=latency_ms if problem.target_ms is None else problem.target_ms,
        quality=(*qualities, QUALITY[0])[0],
    )


def _warm_start(method: Method, domain: Domain) -> tuple[Start, ...]:
    """None by itself where the strategy has been given a warm start of its own."""
    _, of_strategy = strategies.parse_spec(method.strategy)
    own = method.warm == AUTO and "warm" in of_strategy
    return () if own else starts(method.warm, domain)


def _earlier(method: Method, space: SearchSpace) -> Earlier | None:
    """What the strategy learns from; None by itself where it cannot."""
    if strategies.learns_from_earlier(method.strategy):
        return earlier_trainings(method.learn_from, space)
    if method.learn_from:
        raise UsageError(
            f"strategy '{method.strategy}' cannot learn from earlier trainings: leave out "
            "--learn-from, or take --strategy gp or trust-region"
        )
    return None


def _check_strategy(strategy: Strategy, kind: EvaluatorKind, evaluator: Evaluator) -> None:
    if isinstance(strategy, Differentiable) and not evaluator.trains:
        raise UsageError(
            "strategy 'differentiable' has a supernet of its own and trains the best networks: "
            f"leave out --evaluator {kind.name}"
        )


# -- its lines ------------------------------------------------------------------------------------


def _device_line(table: Table, domain: Domain) -> str:
    name = latency_metric(table.name)
    fastest_ms = domain.compiled.extreme(name)[0]
    slowest_ms = domain.compiled.extreme(name, largest=True)[0]
    kind = table.info.kind
    return f"device     {table.name}: {kind}; {fastest_ms:.4g} to {slowest_ms:.4g} ms"


def _earlier_line(earlier: Earlier) -> str:
    count = counted(len(earlier.trainings), "earlier training")
    return (
        f"learns     from {count} too ({'; '.join(earlier.sources)}), for as much as the trials "
        "bear out"
    )


def _aim_line(quality: str, latency: Bound, margins: Mapping[str, Margin]) -> str:
    kept = {f"{margin.confidence:g}" for margin in margins.values()}
    surely = f" kept with probability {', '.join(kept)}" if kept else ""
    return (
        f"aim        the best {quality} at {latency.lower:.4g} to {latency.upper:.4g} ms{surely}; "
        "--aim front searches all that is faster, too"
    )


def _race_line(racing: Racing, budget: Budget) -> str:
    times = [racing.factor(rung) for rung in range(2, racing.rungs + 1)]
    apart = "scores of rungs never mix"
    if budget.trials is None:
        each = f"{(budget.seconds or 0) / racing.rungs:g} s"
        longer = ", ".join(map(str, times))
        return (
            f"race       {racing.rungs} rungs of about {each}; one network in {racing.eta} of each "
            f"goes on, to trainings {longer} times as long; {apart}"
        )
    first, *others = racing.counts(budget.trials)
    if not others:
        return f"race       {first} networks are too few to race: none is trained for longer"
    parts = []
    # Fewer rungs than asked for, if the last ones would have too few networks.
    for count, factor in zip(others, times, strict=False):
        parts.append(f"then the better {count} for {factor} times as long")
    return f"race       {first} networks, {', '.join(parts)}; {apart}"


def _misspelt_lines(limits: Iterable[str], costs: Iterable[str]) -> list[str]:
    """Of bounds on a function's own metrics, which are nearly named as a cost is."""
    lines = []
    for name in limits:
        near = get_close_matches(name, list(costs), n=1, cutoff=0.75)
        if near:
            lines.append(f"           {name} is of your function; did you mean the cost {near[0]}?")
    return lines


def _bounds_line(domain: Domain) -> str:
    line = f"bounds     {domain.bounds_text}"
    # Few draws are inside bounds that hardly meet, and few draws tell no share.
    if domain.share is None:
        return line
    # Several bounds are not counted, but tried.
    about = "about " if len(domain.bounds) > 1 else ""
    return f"{line}: {about}{shown_share(domain.share)} of all gene tuples"


def _margin_line(device: str, margin: Margin) -> str:
    return (
        f"confidence {margin.confidence:g} on {device}: mean + {margin.z:.3g} standard deviations, "
        "held by a bound that adds up over layers"
    )
