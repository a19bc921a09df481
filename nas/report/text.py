"""Tables for the terminal: a run's front, a family, what is odd about a space."""

from collections.abc import Sequence

from nas.cost.metric import Metric
from nas.domain import Domain
from nas.family import Member
from nas.latency.estimate import Estimate
from nas.latency.table import Table
from nas.lint import Report
from nas.objectives import Objectives
from nas.report.frames import FrontRow
from nas.units import Column, amount, column_table, counted, text_table

__all__ = ["family", "front", "lint", "shown_share", "spread", "spread_json"]

SHARES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95)
"""Of all gene tuples: how a latency's spread is told."""
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
    under = [
        f"{100 * share:g} % under {ms:.4g}" for share, ms in zip(SHARES, quantiles_ms, strict=True)
    ]
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


def front(rows: Sequence[FrontRow], devices: Sequence[str], objectives: Objectives) -> str:
    """One line per network of the front; a column of confirmed scores if there are any."""
    columns: list[Column] = [("trial", [str(row.trial.number) for row in rows])]
    for name in objectives.maximized:
        columns.append((name, [f"{row.trial.metrics[name]:.4f}" for row in rows]))
    if any(row.confirmed is not None for row in rows):
        columns.append(("confirmed", [_score(row.confirmed) for row in rows]))
    for device in devices:
        columns.append((f"{device} ms", [_latency(row.estimates[device]) for row in rows]))
    for name in objectives.minimized:
        if Metric.parse(name).name not in ALWAYS_SHOWN:
            columns.append((name, [f"{row.trial.metrics[name]:.4g}" for row in rows]))
    columns += [
        ("params (M)", [f"{row.network.params / 1e6:.2f}" for row in rows]),
        ("macs (M)", [f"{row.network.macs / 1e6:.0f}" for row in rows]),
        ("digest", [row.trial.digest for row in rows]),
    ]
    return column_table(columns)


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.4f}"


def _latency(estimate: Estimate) -> str:
    return f"{estimate.latency_ms:.2f} ± {estimate.latency_sd_ms:.2f}"


def family(
    members: Sequence[Member], tables: Sequence[Table], costs: Sequence[float] = (), unit: str = ""
) -> str:
    """One line per member, then what was rounded to make it.

    ``costs``: what each member costs, in ``unit``, if the family was planned for a cost.
    """
    networks = [member.network for member in members]
    columns: list[Column] = [
        ("member", [member.name for member in members]),
        ("depth", [_factor(member.depth) for member in members]),
        ("width", [_factor(member.width) for member in members]),
        ("input", [str(network.input) for network in networks]),
        ("params", [f"{network.params:,}" for network in networks]),
        ("macs (M)", [_millions(network.macs) for network in networks]),
    ]
    for table in tables:
        estimates = [table.estimate(network) for network in networks]
        predicted = [estimate.to_json()["predicted"] for estimate in estimates]
        columns += [
            (f"{table.name} ms", [_rounded(estimate) for estimate in estimates]),
            ("predicted", [f"{100 * share:.0f} %" for share in predicted]),
        ]
    if costs:
        planned = list(zip(members, costs, strict=True))
        columns += [
            (f"planned {unit}", [_planned(member) for member, _ in planned]),
            ("off", [_off(member, cost) for member, cost in planned]),
        ]
    remarks = [remark for member in members for remark in _remarks(member)]
    return "\n".join([column_table(columns), *(["", "rounded:"] if remarks else []), *remarks])


def _factor(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _millions(macs: int) -> str:
    return f"{macs / 1e6:,.4g}" if macs < WRITTEN_OUT_MACS else f"{macs / 1e6:,.0f}"


def _rounded(estimate: Estimate) -> str:
    """A latency and its deviation, the latter to two digits and never as a power of ten."""
    deviation_ms = float(f"{estimate.latency_sd_ms:.2g}")
    return f"{estimate.latency_ms:.4g} ± {deviation_ms:g}"


def _planned(member: Member) -> str:
    return "" if member.target is None else amount(member.target)


def _off(member: Member, cost: float) -> str:
    return "" if member.target is None else f"{100 * (cost / member.target - 1):+.1f} %"


def _remarks(member: Member) -> list[str]:
    """One line on a member, if there is anything to say of it."""
    remarks = [*filter(None, [member.note]), *map(str, member.roundings)]
    return [f"{member.name}: {'; '.join(remarks)}"] if remarks else []


# -- spaces ---------------------------------------------------------------------------------------


def lint(report: Report) -> str:
    """Sizes, ranges, coverage, findings."""
    ranges = [
        [name, amount(extent.least), amount(extent.greatest)]
        for name, extent in report.ranges.items()
    ]
    lines = [
        f"{report.space}: {report.gene_tuples:,} gene tuples, {report.distinct:,} networks, "
        f"{report.layers:,} distinct layers",
        "",
        text_table(["cost", "least", "greatest"], ranges),
    ]
    if report.coverage:
        rows = []
        for name, layers in report.coverage.items():
            rows.append([name, *map(str, (layers.measured, layers.summed, layers.predicted))])
        lines += ["", text_table(["device", "layers measured", "summed", "predicted"], rows)]
    lines += ["", *map(str, report.findings)]
    errors, warnings = (len(report.of(severity)) for severity in ("error", "warning"))
    return "\n".join([*lines, f"{counted(errors, 'error')}, {counted(warnings, 'warning')}"])
