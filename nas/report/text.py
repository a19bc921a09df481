"""Tables for the terminal: a run's front, a family, what is odd about a space."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from nas.arch import Architecture
from nas.cost.metric import Metric
from nas.domain import Domain
from nas.family import Member
from nas.latency.estimate import Estimate
from nas.latency.measured import Measured
from nas.latency.table import Table
from nas.lint import Report
from nas.objectives import Objectives
from nas.report.frames import FrontRow
from nas.units import amount, counted, large, text_table, uncertain

__all__ = ["family", "front", "lint", "shown_share", "spread", "spread_json"]

SHARES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95)
"""Of all gene tuples: how a latency's spread is told."""
SHORT_DIGEST = 8
"""Digits of a digest that a screen shows; ``--json`` has them all."""
ALWAYS_SHOWN = ("latency_ms", "params", "macs")
"""Costs that a front's table shows whether or not they are objectives."""
WRITTEN_OUT_MACS = 1e9
"""From here on whole millions are written, not four digits."""


# -- spread ---------------------------------------------------------------------------------------


def spread(domain: Domain, metric: str) -> str:
    """How a latency is spread over all gene tuples: exact ends, and what shares stay under."""
    least, _ = domain.compiled.extreme(metric)
    greatest, _ = domain.compiled.extreme(metric, largest=True)
    quantiles_ms = domain.quantiles(metric, SHARES)
    under = []
    for share, ms in zip(SHARES, quantiles_ms, strict=True):
        under.append(f"{100 * share:g} % under {ms:.4g}")
    return f"{least:.4g} to {greatest:.4g} ms; {', '.join(under)}"


def spread_json(domain: Domain, metric: str, upper_ms: float | None) -> dict[str, object]:
    """The same as plain JSON; ``upper_ms``: a latency whose share is asked for."""
    quantiles_ms = domain.quantiles(metric, SHARES)
    return {
        "least_ms": domain.compiled.extreme(metric)[0],
        "greatest_ms": domain.compiled.extreme(metric, largest=True)[0],
        "quantiles_ms": dict(zip(map(str, SHARES), quantiles_ms, strict=True)),
        "share_within": None if upper_ms is None else domain.share_within(metric, upper_ms),
    }


def shown_share(share: float) -> str:
    """A share as people read it: ``12.3 %``, ``4e-09``."""
    return f"{100 * share:.3g} %" if share >= 1e-4 else f"{share:.2g}"


# -- fronts and families --------------------------------------------------------------------------


def front(
    rows: Sequence[FrontRow],
    devices: Sequence[str],
    objectives: Objectives,
    limits_ms: Mapping[str, float] = MappingProxyType({}),
) -> str:
    """One line per network of the front.

    Columns of confirmed scores, of latencies timed and of names stand there if there are any.
    ``limits_ms``: by device, what its latency should not exceed; a timed one that does is marked.
    """
    timed = {device for row in rows for device in row.measured}
    confirmed = any(row.confirmed is not None for row in rows)
    # The others have columns of their own already.
    costs = [name for name in objectives.costs if not _always_shown(name)]
    header = ["trial", *objectives.qualities]
    if confirmed:
        header.append("confirmed")
    for device in devices:
        header.append(f"{device} ms")
        if device in timed:
            header.append("timed ms")
    header += [*costs, "params (M)", "macs (M)", "digest"]
    warm = any(row.began_with for row in rows)
    if warm:
        header.append("began with")
    lines = []
    for row in rows:
        metrics = row.trial.metrics
        cells = [str(row.trial.number)]
        cells += [_quality(row, name) for name in objectives.qualities]
        if confirmed:
            cells.append(_score(row.confirmed))
        for device in devices:
            cells.append(_latency(row.estimates[device]))
            if device in timed:
                cells.append(_timed(row.measured.get(device), limits_ms.get(device, math.inf)))
        cells += [f"{metrics[name]:.4g}" for name in costs]
        cells.append(f"{row.network.params / 1e6:.2f}")
        cells.append(f"{row.network.macs / 1e6:.0f}")
        cells.append(row.trial.digest[:SHORT_DIGEST])
        if warm:
            cells.append(row.began_with)
        lines.append(cells)
    return text_table(header, lines)


def _always_shown(metric: str) -> bool:
    return Metric.parse(metric).name in ALWAYS_SHOWN


def _quality(row: FrontRow, name: str) -> str:
    """A quality; an accuracy with its deviation, where that is known."""
    if name != "accuracy" or row.accuracy_sd is None:
        return f"{row.trial.metrics[name]:.4f}"
    return uncertain(row.trial.metrics[name], row.accuracy_sd)


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.4f}"


def _latency(estimate: Estimate) -> str:
    return f"{estimate.latency_ms:.2f} ± {estimate.latency_sd_ms:.2f}"


def _timed(measured: Measured | None, limit_ms: float) -> str:
    """A latency that was measured, and how far it is above its limit."""
    if measured is None:
        return ""
    over = measured.latency_ms / limit_ms - 1
    text = f"{measured.latency_ms:.2f} ± {measured.latency_sd_ms:.2f}"
    return f"{text}, {100 * over:.1f} % over" if over > 0 else text


def family(
    members: Sequence[Member], tables: Sequence[Table], costs: Sequence[float] = (), unit: str = ""
) -> str:
    """One line per member, then what was rounded to make it.

    ``costs``: what each member costs, in ``unit``, if the family was planned for a cost.
    """
    header = ["member", "depth", "width", "input", "params", "macs (M)"]
    for table in tables:
        header += [f"{table.name} ms", "predicted"]
    if costs:
        header += [f"planned {unit}", "off"]
    rows, remarks = [], list[str]()
    for number, member in enumerate(members):
        row = [member.name, _factor(member.depth), _factor(member.width), *_sizes(member.network)]
        for table in tables:
            row += _priced(table.estimate(member.network))
        if costs:
            row += [_planned(member), _off(member, costs[number])]
        rows.append(row)
        remarks += _remarks(member)
    notes = ["", "rounded:", *remarks] if remarks else []
    return "\n".join([text_table(header, rows), *notes])


def _sizes(network: Architecture) -> list[str]:
    return [str(network.input), f"{network.params:,}", _millions(network.macs)]


def _priced(estimate: Estimate) -> list[str]:
    """A latency, and the share of it that is predicted."""
    latency = uncertain(estimate.latency_ms, estimate.latency_sd_ms)
    return [latency, f"{100 * estimate.to_json()['predicted']:.0f} %"]


def _factor(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _millions(macs: int) -> str:
    return f"{macs / 1e6:,.4g}" if macs < WRITTEN_OUT_MACS else f"{macs / 1e6:,.0f}"


def _planned(member: Member) -> str:
    return "" if member.target is None else amount(member.target)


def _off(member: Member, cost: float) -> str:
    return "" if member.target is None else f"{100 * (cost / member.target - 1):+.1f} %"


def _remarks(member: Member) -> list[str]:
    """One line on a member, if there is anything to say of it."""
    remarks = list(map(str, member.roundings))
    if member.note:
        remarks.insert(0, member.note)
    return [f"{member.name}: {'; '.join(remarks)}"] if remarks else []


# -- spaces ---------------------------------------------------------------------------------------


def lint(report: Report) -> str:
    """Sizes, ranges, coverage, findings."""
    ranges = []
    for name, extent in report.ranges.items():
        ranges.append([name, amount(extent.least), amount(extent.greatest)])
    lines = [
        f"{report.space}: {large(report.gene_tuples)} gene tuples, "
        f"{large(report.distinct)} networks, {report.layers:,} distinct layers",
        "",
        text_table(["cost", "least", "greatest"], ranges),
    ]
    if report.coverage:
        rows = []
        for name, layers in report.coverage.items():
            rows.append([name, *map(str, (layers.measured, layers.summed, layers.predicted))])
        lines += ["", text_table(["device", "layers measured", "summed", "predicted"], rows)]
    lines += ["", *map(str, report.findings)]
    errors = counted(len(report.of("error")), "error")
    warnings = counted(len(report.of("warning")), "warning")
    return "\n".join([*lines, f"{errors}, {warnings}"])
