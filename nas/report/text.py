"""Plain text tables for the terminal: numbers right-aligned, no line ever cut."""

from collections.abc import Mapping, Sequence
from typing import Any

from nas.arch import Architecture
from nas.cost.table import Estimate, Table
from nas.space import SearchSpace

__all__ = ["choices", "costs", "device_page", "devices", "layers", "milliseconds", "spaces", "table"]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart; a column of numbers is right-aligned."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numeric = [bool(rows) and all(not cell or cell[0] in "-+.0123456789" for cell in column[1:]) for column in columns]
    lines = []
    for row in (header, ["-" * width for width in widths], *rows):
        cells = [c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, numeric, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def milliseconds(estimate: Estimate) -> str:
    """``60.1 ± 3.9 ms``."""
    return f"{estimate.latency_ms:.4g} ± {estimate.latency_sd_ms:.2g} ms"


def _shares(estimate: Estimate) -> str:
    shares = estimate.to_json()
    return ", ".join(
        f"{100 * shares[name]:.0f} % {name}" for name in ("measured", "summed", "predicted") if shares[name] > 0.0005
    )


def layers(architecture: Architecture, tables: Sequence[Table]) -> str:
    """One line per layer."""
    header = ["layer", "op", "input", "params", "macs (M)", *(f"{table.name} ms" for table in tables)]
    rows, stage_of = [], [stage.name for stage in architecture.stages for _ in stage.ops]
    for name, layer in zip(stage_of, architecture.layers, strict=True):
        times = [f"{table.layer(layer).latency_ms:.3f}" for table in tables]
        rows.append(
            [name, layer.op.signature, str(layer.shape), f"{layer.params:,}", f"{layer.macs / 1e6:.2f}", *times]
        )
    return table(header, rows)


def costs(name: str, architecture: Architecture, tables: Sequence[Table]) -> str:
    """Totals of one network."""
    lines = [
        f"{name}  input {architecture.input}  digest {architecture.digest}",
        f"params  {architecture.params:,}  ({architecture.size_bytes / 1e6:.2f} MB as float32)",
        f"macs    {architecture.macs / 1e6:,.1f} M",
        f"memory  {architecture.peak_memory_bytes / 1e6:.2f} MB of activations at the peak",
    ]
    for entry in tables:
        estimate = entry.estimate(architecture)
        lines.append(f"{entry.name}  {milliseconds(estimate)}  ({_shares(estimate)})")
    return "\n".join(lines)


def spaces(found: Sequence[SearchSpace]) -> str:
    """One line per space."""
    rows = [
        [s.name, str(s.input), str(len(s.choices)), f"{s.cardinality:.3g}", f"{s.distinct:,}", s.paper] for s in found
    ]
    return table(["space", "input", "choices", "gene tuples", "distinct networks", "paper"], rows)


def choices(space: SearchSpace) -> str:
    """Every choice of a space."""
    rows = [
        [name, "ordinal" if choice.ordinal else "", ", ".join(choice.labels)]
        for name, choice in zip(space.gene_names, space.choices, strict=True)
    ]
    return table([f"choice of {space.name}", "", "options"], rows)


def devices(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line per device."""
    cells = []
    for row in rows:
        covered = ", ".join(f"{name} {100 * share:.0f} %" for name, share in row["coverage"].items())
        error = ", ".join(f"{name} {value}" for name, value in list(row["known_error"].items())[:1])
        aliases = f" ({', '.join(row['aliases'])})" if row.get("aliases") else ""
        cells.append([row["name"] + aliases, row["kind"], _conditions(row), covered, error])
    return table(["device", "kind", "conditions", "layers with a row", "known error"], cells)


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
    lines += [f"  rows for    {name}: {100 * share:.0f} % of its layers" for name, share in row["coverage"].items()]
    return "\n".join(lines)
