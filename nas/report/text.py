"""Plain text tables for the terminal: numbers right-aligned, no line ever cut."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from nas.arch import Architecture
from nas.cost.confidence import sure_latency_ms
from nas.domain import Domain
from nas.family import Member
from nas.latency.table import Estimate, Table
from nas.lint import Report
from nas.objectives import Objectives
from nas.space import SearchSpace
from nas.trial import Trial
from nas.units import amount, counted, text_table

__all__ = [
    "choices",
    "costs",
    "device_page",
    "devices",
    "family",
    "front",
    "layers",
    "lint",
    "milliseconds",
    "networks",
    "shown_share",
    "spaces",
    "spread",
]


def milliseconds(estimate: Estimate) -> str:
    """``60.1 ± 3.9 ms``."""
    return f"{estimate.latency_ms:.4g} ± {estimate.latency_sd_ms:.2g} ms"


def _shares(estimate: Estimate) -> str:
    shares = estimate.to_json()
    return ", ".join(
        f"{100 * shares[name]:.0f} % {name}"
        for name in ("measured", "summed", "predicted")
        if shares[name] > 0.0005
    )


def layers(architecture: Architecture, tables: Sequence[Table]) -> str:
    """One line per layer, with its latency on each device."""
    latencies = {
        f"{table.name} ms": [
            f"{table.layer(layer).latency_ms:.3f}" for layer in architecture.layers
        ]
        for table in tables
    }
    return architecture.layer_table(latencies)


def costs(
    name: str, architecture: Architecture, tables: Sequence[Table], confidence: float | None = None
) -> str:
    """Totals of one network; with a ``confidence`` also the latency that is kept with that probability."""
    lines = [
        f"{name}  input {architecture.input}  digest {architecture.digest}",
        f"params  {architecture.params:,}  ({architecture.size_bytes / 1e6:.2f} MB as float32)",
        f"macs    {architecture.macs / 1e6:,.1f} M",
        f"memory  {architecture.peak_memory_bytes / 1e6:.2f} MB of activations at the peak",
    ]
    for entry in tables:
        estimate = entry.estimate(architecture)
        kept = (
            ""
            if confidence is None
            else f"; within {sure_latency_ms(estimate, confidence):.4g} ms with probability {confidence:g}"
        )
        lines.append(f"{entry.name}  {milliseconds(estimate)}  ({_shares(estimate)}){kept}")
        for name in entry.columns:
            other = entry.column(name).estimate(architecture)
            unit = name.rpartition("_")[2].replace("mj", "mJ")
            lines.append(
                f"{entry.name}  {name}: {other.latency_ms:.4g} ± {other.latency_sd_ms:.2g} {unit}  ({_shares(other)})"
            )
    return "\n".join(lines)


def spaces(found: Sequence[SearchSpace]) -> str:
    """One line per space."""
    rows = [
        [
            s.name,
            str(s.input),
            str(len(s.choices)),
            f"{s.cardinality:.3g}",
            f"{s.distinct:,}",
            s.paper,
        ]
        for s in found
    ]
    return text_table(
        ["space", "input", "choices", "gene tuples", "distinct networks", "paper"], rows
    )


SHARES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95)


def spread(domain: Domain, metric: str) -> str:
    """How a latency is spread over all gene tuples: exact ends, and what shares of them stay under."""
    low, high = domain.compiled.extreme(metric)[0], domain.compiled.extreme(metric, largest=True)[0]
    found = domain.quantiles(metric, SHARES)
    under = ", ".join(
        f"{100 * share:g} % under {ms:.4g}" for share, ms in zip(SHARES, found, strict=True)
    )
    return f"{low:.4g} to {high:.4g} ms; {under}"


def shown_share(share: float) -> str:
    """A share as people read it: ``12.3 %``, ``4e-09``."""
    return f"{100 * share:.3g} %" if share >= 1e-4 else f"{share:.2g}"


def choices(space: SearchSpace) -> str:
    """Every choice of a space."""
    rows = [
        [name, "ordinal" if choice.ordinal else "", ", ".join(choice.labels)]
        for name, choice in zip(space.gene_names, space.choices, strict=True)
    ]
    return text_table([f"choice of {space.name}", "", "options"], rows)


def devices(rows: Sequence[Mapping[str, Any]]) -> str:
    """A few lines per device."""
    lines = []
    for row in rows:
        aliases = f" ({', '.join(row['aliases'])})" if row.get("aliases") else ""
        error = ", ".join(
            f"{name} {100 * value:.1f} %" for name, value in list(row["known_error"].items())[:2]
        )
        lines += [
            f"{row['name']}{aliases}: {row.get('title', row['name'])}",
            f"  kind        {row['kind']}",
            f"  conditions  {_conditions(row)}",
            f"  rows for    {_coverage(row)}",
            f"  error       {error or 'not known'}",
            "",
        ]
    return "\n".join(
        [*lines, "More of one: nas devices NAME. A table file of yours: --device my_board.csv"]
    )


def _coverage(row: Mapping[str, Any]) -> str:
    found = [
        f"{100 * share:.0f} % of {name}'s layers at {resolution}"
        for name, shares in row["coverage"].items()
        for resolution, share in shares.items()
        if share >= 0.005
    ]
    return ", ".join(found) + (
        "; the rest is predicted" if found else "nothing here: all predicted"
    )


def _conditions(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.get("conditions", {}).items())


def device_page(row: Mapping[str, Any]) -> str:
    """Everything known of one table."""
    lines = [
        f"{row['name']}: {row.get('title', row['kind'])}",
        f"  kind        {row['kind']}",
        f"  conditions  {_conditions(row)}",
    ]
    for source in row.get("sources", ()):
        lines.append("  source      " + ", ".join(str(value) for value in source.values()))
    lines.append(f"  fitted      {row.get('fitted', 'nothing')}")
    lines += [f"  error       {name}: {value}" for name, value in row["known_error"].items()]
    lines += [f"  caveat      {caveat}" for caveat in row.get("caveats", ())]
    lines.append(f"  rows for    {_coverage(row)}")
    return "\n".join(lines)


def front(
    found: Sequence[Trial],
    space: SearchSpace,
    tables: Sequence[Table],
    objectives: Objectives,
    confirmed: Mapping[str, float] = MappingProxyType({}),
) -> str:
    """One line per network of the front; ``confirmed``: score on the test set by digest, a column if there are any."""
    marked = ["confirmed"] if confirmed else []
    quality = [objective.name for objective in objectives.each if objective.direction == "maximize"]
    others = [
        objective.name
        for objective in objectives.each
        if objective.direction == "minimize"
        and objective.name.partition("@")[0] not in ("latency_ms", "params", "macs")
    ]
    header = [
        "trial",
        *quality,
        *marked,
        *(f"{table.name} ms" for table in tables),
        *others,
        "params (M)",
        "macs (M)",
        "digest",
    ]
    rows = []
    for trial in found:
        network = space.decode(trial.genes)
        times = [table.estimate(network) for table in tables]
        rows.append(
            [
                str(trial.number),
                *(f"{trial.metrics[name]:.4f}" for name in quality),
                *(
                    f"{confirmed[trial.digest]:.4f}" if trial.digest in confirmed else ""
                    for _ in marked
                ),
                *(
                    f"{estimate.latency_ms:.2f} ± {estimate.latency_sd_ms:.2f}"
                    for estimate in times
                ),
                *(f"{trial.metrics[name]:.4g}" for name in others),
                f"{network.params / 1e6:.2f}",
                f"{network.macs / 1e6:.0f}",
                trial.digest,
            ]
        )
    return text_table(header, rows)


def networks(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line per published network; counts as its authors count."""
    cells = [
        [
            row["name"],
            str(row["resolution"]),
            f"{row['params']:,}",
            f"{row['macs'] / 1e6:,.1f}",
            row["macs_rule"],
            row["space"],
            row["membership"]["verdict"],
        ]
        for row in rows
    ]
    return text_table(
        ["network", "input", "params", "macs (M)", "counted as", "space", "membership"], cells
    )


def family(
    members: Sequence[Member], tables: Sequence[Table], costs: Sequence[float] = (), unit: str = ""
) -> str:
    """One line per member, then what was rounded to make it; ``costs``: what was planned for, where there is a plan."""
    header = ["member", "depth", "width", "input", "params", "macs (M)"]
    for entry in tables:
        header += [f"{entry.name} ms", "predicted"]
    header += [f"planned {unit}", "off"] if costs else []
    rows, notes = [], []
    for number, member in enumerate(members):
        network = member.network
        row = [
            member.name,
            *("" if value is None else f"{value:.3f}" for value in (member.depth, member.width)),
            str(network.input),
            f"{network.params:,}",
            f"{network.macs / 1e6:,.4g}" if network.macs < 1e9 else f"{network.macs / 1e6:,.0f}",
        ]
        for entry in tables:
            estimate = entry.estimate(network)
            row += [
                f"{estimate.latency_ms:.4g} ± {float(f'{estimate.latency_sd_ms:.2g}'):g}",
                f"{100 * estimate.to_json()['predicted']:.0f} %",
            ]
        if costs and member.target is not None:
            row += [amount(member.target), f"{100 * (costs[number] / member.target - 1):+.1f} %"]
        rows.append(row)
        remarks = [*filter(None, [member.note]), *map(str, member.roundings)]
        if remarks:
            notes.append(f"{member.name}: {'; '.join(remarks)}")
    return "\n".join([text_table(header, rows), *(["", "rounded:"] if notes else []), *notes])


def lint(report: Report) -> str:
    """Sizes, ranges, coverage, findings."""
    lines = [
        f"{report.space}: {report.gene_tuples:,} gene tuples, {report.distinct:,} networks, {report.layers:,} distinct layers",
        "",
        text_table(
            ["cost", "least", "greatest"],
            [
                [name, amount(found.least), amount(found.greatest)]
                for name, found in report.ranges.items()
            ],
        ),
    ]
    if report.coverage:
        rows = [
            [name, *map(str, (c.measured, c.summed, c.predicted))]
            for name, c in report.coverage.items()
        ]
        lines += ["", text_table(["device", "layers measured", "summed", "predicted"], rows)]
    lines += ["", *(str(found) for found in report.findings)]
    errors, warnings = (
        sum(f.severity == kind for f in report.findings) for kind in ("error", "warning")
    )
    return "\n".join([*lines, f"{counted(errors, 'error')}, {counted(warnings, 'warning')}"])
