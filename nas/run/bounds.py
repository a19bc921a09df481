"""A search's bounds, compiled into its domain; refusals say what can be asked for instead."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from nas import catalog
from nas.cost.compiled import Compiled
from nas.cost.confidence import Margin, check_confidence, margin
from nas.cost.costs import latency_metric, space_costs, sure_metric
from nas.cost.metric import Metric
from nas.domain import Bound, Domain
from nas.errors import BoundError, UsageError, unknown
from nas.latency.table import Table
from nas.objectives import asked_quality
from nas.run.settings import Bounds, Problem
from nas.size import Size
from nas.space import SearchSpace

__all__ = [
    "AIMS",
    "Aimed",
    "Limits",
    "aimed_domain",
    "bounded_domain",
    "compiled_bounds",
    "full_metric",
    "latency_margins",
    "measured_limits",
]

Limits = Mapping[str, tuple[float | None, float | None]]
"""By metric that is measured, the least and the largest value that are allowed."""

AIMS = ("budget", "front")
"""What a bound on the latency is for, see `aimed_domain`."""
LAST_PART = 0.1
"""The part of a budget, at its end, in which the best network is looked for."""

STEP_UP = 1.0005
"""How far above the last refused latency the next one is tried."""


def full_metric(name: str, tables: Sequence[Table]) -> str:
    """A metric with its device, by the name of its table.

    What a table prices is the first device's if no device is named. Raises `UsageError` for a
    device that is not known.
    """
    metric = Metric.parse(name)
    # A table file of the user's has a name that the catalog does not know.
    if metric.device in [table.name for table in tables]:
        return name
    if metric.device:
        return str(replace(metric, device=catalog.device(metric.device).name))
    if metric.is_latency or metric.name in tables[0].columns:
        return str(replace(metric, device=tables[0].name))
    return name


def measured_limits(
    space: SearchSpace, tables: Sequence[Table], bounds: Bounds, *, any_metric: bool
) -> Limits:
    """The bounds on what a network shows only once it is trained.

    ``any_metric``: whether the evaluator measures whatever it is asked for. Raises `UsageError` for
    a least value of a cost, and for a name that cannot be a metric.
    """
    names = sorted({*bounds.maxima, *bounds.minima})
    if not names:
        return {}
    costs = space_costs(space, tables).names
    limits = {}
    for name in names:
        is_cost = full_metric(name, tables) in costs
        if is_cost and name in bounds.minima:
            raise UsageError(
                f"'{name}' is a cost, and only the latency has a least value: --latency-min"
            )
        is_quality = asked_quality(name) is not None
        if is_cost or not (any_metric or is_quality or name in bounds.minima):
            continue
        asked_quality(f"{name}:max")
        limits[name] = bounds.minima.get(name), bounds.maxima.get(name)
    return limits


def compiled_bounds(bounds: Bounds, limits: Limits) -> Bounds:
    """The other bounds: those that are known before a network is trained."""
    maxima = {name: upper for name, upper in bounds.maxima.items() if name not in limits}
    return replace(bounds, maxima=maxima, minima={})


def latency_margins(
    space: SearchSpace, tables: Sequence[Table], bounds: Bounds
) -> dict[str, Margin]:
    """By device, what the confidence adds to each latency that has an upper bound.

    Empty without a confidence. Raises `UsageError` for a confidence without such a latency.
    """
    if bounds.confidence is None:
        return {}
    check_confidence(bounds.confidence)
    by_name = {table.name: table for table in tables}
    margins = {}
    for device, bound in _latency_bounds(tables, bounds).items():
        # A margin is fitted at the bound: without one there is none.
        if bound.upper < math.inf:
            margins[device] = margin(space, by_name[device], bound.upper, bounds.confidence)
    if not margins:
        raise UsageError(
            "--confidence says how surely a latency is kept, so it needs --latency "
            "(or --max latency_ms@DEVICE=..)"
        )
    return margins


@dataclass(frozen=True)
class Aimed:
    """A space inside its bounds, and what a latency among them is for."""

    domain: Domain
    quality_alone: bool
    """Whether all its networks use the latency up, so that only their quality is compared."""
    why_not: str = ""
    """Why a budget is not used up, for people; empty if it is, or if nobody asked for that."""


def aimed_domain(
    space: SearchSpace,
    tables: Sequence[Table],
    bounds: Bounds,
    margins: Mapping[str, Margin],
    problem: Problem,
) -> Aimed:
    """The domain of a search for the best network that a latency allows.

    Whoever has 60 ms wants the best network of 60 ms. A search of the whole range does not find it:
    short trainings prefer small networks, which learn sooner, and fronts have room for all sizes.
    So with the aim ``budget`` the latency also gets a lower bound, a tenth below the upper one.

    The lower bound is left out if another was asked for, if a reward weighs the latency, if the
    objectives are others than a quality and the first device's latency, if every network is faster
    than the lower one, and if no network lies between the two. Raises as `bounded_domain` does.
    """
    if bounds.aim not in AIMS:
        raise unknown("aim", bounds.aim, AIMS)
    whole = partial(bounded_domain, space, tables, bounds, margins, problem.resolution)
    asked_otherwise = bounds.aim == "front" or bounds.latency_min_ms is not None or problem.reward
    if bounds.latency_ms is None or asked_otherwise:
        return Aimed(whole(), False)
    least_ms = (1 - LAST_PART) * bounds.latency_ms
    narrowed = replace(bounds, latency_min_ms=least_ms)
    costs, limits = _costs_and_bounds(space, tables, narrowed, margins)
    why_not = _why_no_budget(costs, tables, least_ms, problem.objectives)
    if why_not:
        return Aimed(whole(), False, why_not)
    try:
        return Aimed(Domain(space, costs, limits), True)
    except BoundError:
        # Other bounds may leave out all that is slow; what cannot be met at all is told now.
        why_not = f"no network inside the bounds takes {least_ms:g} to {bounds.latency_ms:g} ms"
        return Aimed(whole(), False, why_not)


def _why_no_budget(
    costs: Compiled, tables: Sequence[Table], least_ms: float, objectives: Sequence[str]
) -> str:
    """Why a latency is a limit and not a budget to be used up; empty if it is one.

    ``least_ms``: where its last part begins.
    """
    latency = latency_metric(tables[0].name)
    asked = [name for name in objectives if asked_quality(name) is None]
    others = sorted({full_metric(name, tables) for name in asked} - {latency})
    if others:
        return f"{', '.join(others)} is an objective, too"
    if len(asked) == len(objectives):
        return "no quality is an objective"
    slowest_ms = costs.extreme(latency, largest=True)[0]
    if least_ms >= slowest_ms:
        return f"every network takes at most {slowest_ms:.4g} ms"
    return ""


def bounded_domain(
    space: SearchSpace,
    tables: Sequence[Table],
    bounds: Bounds,
    margins: Mapping[str, Margin],
    resolution: Size | tuple[Size, ...] | None,
) -> Domain:
    """The space inside its bounds.

    Raises `UsageError` for a bound on no cost, `BoundError` for one that no network meets;
    ``resolution`` is that of the other spaces which are then looked at.
    """
    costs, limits = _costs_and_bounds(space, tables, bounds, margins)
    try:
        return Domain(space, costs, limits)
    except BoundError as error:
        if bounds.latency_ms is None:
            raise
        faster = _faster_spaces(space, tables[0], bounds.latency_ms, resolution)
        hint = f", or {', '.join(faster)}" if faster else ""
        raise BoundError(f"{error}{hint}") from None


def _costs_and_bounds(
    space: SearchSpace,
    tables: Sequence[Table],
    bounds: Bounds,
    margins: Mapping[str, Margin],
) -> tuple[Compiled, list[Bound]]:
    """What a domain is made of. Raises as `bounded_domain` does for what needs no domain to see."""
    costs = space_costs(space, tables, margins)
    latencies = _latency_bounds(tables, bounds)
    others = _other_bounds(tables, bounds)
    for bound in others:
        if bound.metric not in costs.names:
            raise unknown("bound", bound.metric, costs.names)
    # Before the domain, whose own refusal would name a metric that nobody asked for.
    for table in tables:
        if table.name in margins:
            _check_sure(space, table, costs, latencies[table.name].upper, margins[table.name])
    sure = [_sure_bound(bound, device, margins) for device, bound in latencies.items()]
    return costs, sure + others


def _latency_bounds(tables: Sequence[Table], bounds: Bounds) -> dict[str, Bound]:
    """By device, the bounds on latencies as they were asked for; the first device's own first."""
    latencies: dict[str, Bound] = {}
    for bound in _asked_bounds(tables, bounds):
        device = _latency_device(bound, tables)
        if device in latencies:
            raise UsageError(
                f"the latency on '{device}' is bounded twice: by --latency and by --max. Keep one"
            )
        if device is not None:
            latencies[device] = bound
    return latencies


def _other_bounds(tables: Sequence[Table], bounds: Bounds) -> list[Bound]:
    asked = _asked_bounds(tables, bounds)
    return [bound for bound in asked if _latency_device(bound, tables) is None]


def _asked_bounds(tables: Sequence[Table], bounds: Bounds) -> list[Bound]:
    asked = []
    if bounds.latency_ms is not None or bounds.latency_min_ms is not None:
        upper = math.inf if bounds.latency_ms is None else bounds.latency_ms
        lower = -math.inf if bounds.latency_min_ms is None else bounds.latency_min_ms
        asked.append(Bound(latency_metric(tables[0].name), upper, lower))
    for name, upper in bounds.maxima.items():
        asked.append(Bound(full_metric(name, tables), upper))
    return asked


def _latency_device(bound: Bound, tables: Sequence[Table]) -> str | None:
    """The device whose latency is bounded; None for a bound on something else."""
    metric = Metric.parse(bound.metric)
    priced = metric.device in [table.name for table in tables]
    return metric.device if metric.is_latency and priced else None


def _sure_bound(bound: Bound, device: str, margins: Mapping[str, Margin]) -> Bound:
    """The bound on the latency that is kept with the confidence, if there is one."""
    if device not in margins:
        return bound
    return replace(bound, metric=sure_metric(device, margins[device].confidence))


def _check_sure(
    space: SearchSpace, table: Table, costs: Compiled, upper_ms: float, asked: Margin
) -> None:
    """Refuse a latency that no network keeps so surely, and name the least that one does."""
    least_ms = costs.extreme(sure_metric(table.name, asked.confidence))[0]
    if least_ms <= upper_ms:
        return
    # The margin depends on the bound, so a bound at the least latency may be out of reach again.
    reach_ms = upper_ms
    while least_ms > reach_ms:
        # Four digits as they are shown: what the message names must itself be in reach.
        reach_ms = float(f"{STEP_UP * least_ms:.4g}")
        wider = margin(space, table, reach_ms, asked.confidence)
        reached = space_costs(space, [table], {table.name: wider})
        least_ms = reached.extreme(sure_metric(table.name, wider.confidence))[0]
    fastest_ms = costs.extreme(latency_metric(table.name))[0]
    raise BoundError(
        f"no network of space '{space.name}' keeps {upper_ms:g} ms on '{table.name}' with "
        f"probability {asked.confidence:g}: the fastest takes {fastest_ms:.4g} ms in the mean. "
        f"Try {reach_ms:g} ms, or a lower confidence"
    )


def _faster_spaces(
    space: SearchSpace, table: Table, latency_ms: float, resolution: Size | tuple[Size, ...] | None
) -> list[str]:
    """The spaces that do reach a latency, as options to ask for."""
    # What the last layer gives: the classes that the space was built for.
    classes = space.chain[-1].words[0][0][-1].out_shape.channels
    options = []
    for name in catalog.space_names():
        if name == space.name:
            continue
        other = catalog.space(
            name, resolution=resolution, classes=classes, in_channels=space.input.channels
        )
        fastest_ms = space_costs(other, [table]).extreme(latency_metric(table.name))[0]
        if fastest_ms <= latency_ms:
            options.append(f"--space {name} (fastest {fastest_ms:.3g} ms)")
    return options
