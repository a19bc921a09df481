"""A search's bounds, compiled into its domain; refusals say what can be asked for instead."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from nas import catalog
from nas.cost.compiled import Compiled
from nas.cost.confidence import Margin, check_confidence, margin
from nas.cost.costs import latency_metric, space_costs, sure_metric
from nas.cost.metric import Metric
from nas.domain import Bound, Domain
from nas.errors import BoundError, UsageError, unknown
from nas.latency.table import Table
from nas.objectives import QUALITY, UNTRAINED
from nas.run.settings import Bounds
from nas.space import SearchSpace

__all__ = ["AIMS", "aimed", "bounded_domain", "full_metric", "latency_margins"]

AIMS = ("budget", "front")
"""What a bound on the latency is for, see `aimed`."""
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


def aimed(
    space: SearchSpace,
    tables: Sequence[Table],
    bounds: Bounds,
    margins: Mapping[str, Margin],
    objectives: Sequence[str],
) -> Bounds:
    """The bounds of a search for the best network that a latency allows.

    Whoever has 60 ms wants the best network of 60 ms. A search of the whole range does not find it:
    short trainings prefer small networks, which learn sooner, and fronts have room for all sizes.
    So with the aim ``budget`` the latency also gets a lower bound, a tenth below the upper one.

    Unchanged if there is no upper bound, one that every network keeps, or a lower one was asked
    for, if the objectives are others than a quality and the first device's latency, and if no
    network lies in the last part.
    """
    if bounds.aim not in AIMS:
        raise unknown("aim", bounds.aim, AIMS)
    latency = latency_metric(tables[0].name)
    plain = {latency, *QUALITY, *UNTRAINED}
    if bounds.latency_ms is None or bounds.latency_min_ms is not None or bounds.aim == "front":
        return bounds
    names = {full_metric(name, tables) for name in objectives}
    if not names <= plain or names == {latency}:
        return bounds
    slowest_ms = space_costs(space, tables[:1]).extreme(latency, largest=True)[0]
    if bounds.latency_ms >= slowest_ms:
        return bounds
    narrowed = replace(bounds, latency_min_ms=(1 - LAST_PART) * bounds.latency_ms)
    try:
        bounded_domain(space, tables, narrowed, margins, None)
    except BoundError:
        # Other bounds may leave out all that is slow; what cannot be met at all is told later.
        return bounds
    return narrowed


def bounded_domain(
    space: SearchSpace,
    tables: Sequence[Table],
    bounds: Bounds,
    margins: Mapping[str, Margin],
    resolution: int | None,
) -> Domain:
    """The space inside its bounds.

    Raises `UsageError` for a bound on no cost, `BoundError` for one that no network meets;
    ``resolution`` is that of the other spaces which are then looked at.
    """
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
    try:
        return Domain(space, costs, sure + others)
    except BoundError as error:
        if bounds.latency_ms is None:
            raise
        faster = _faster_spaces(space, tables[0], bounds.latency_ms, resolution)
        hint = f", or {', '.join(faster)}" if faster else ""
        raise BoundError(f"{error}{hint}") from None


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
    space: SearchSpace, table: Table, latency_ms: float, resolution: int | None
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
