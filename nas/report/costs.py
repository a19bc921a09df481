"""What a network costs: for the terminal, and as the document of ``nas cost --json``."""

from collections.abc import Sequence

from nas.arch import Architecture
from nas.cost.confidence import sure_latency_ms
from nas.cost.metric import Metric
from nas.latency.estimate import Estimate
from nas.latency.table import Table
from nas.units import uncertain

__all__ = ["costs_json", "costs_text", "latency_text", "layers_text"]

LEAST_SHARE = 0.0005
"""Shares below it are rounding errors, and not named."""


def latency_text(estimate: Estimate) -> str:
    """``60.1 ± 3.9 ms``."""
    return f"{_with_sd(estimate)} ms"


def layers_text(architecture: Architecture, tables: Sequence[Table]) -> str:
    """One line per layer, with its latency on each device."""
    latencies = {}
    for table in tables:
        estimates = map(table.layer, architecture.layers)
        latencies[f"{table.name} ms"] = [f"{estimate.latency_ms:.3f}" for estimate in estimates]
    return architecture.layer_table(latencies)


def costs_text(
    name: str, architecture: Architecture, tables: Sequence[Table], confidence: float | None = None
) -> str:
    """Totals of one network, and a line per device and what else its table prices.

    ``confidence``: a probability, 0 to 1; adds the latency that is kept with it.
    """
    lines = [
        f"{name}  input {architecture.input}  digest {architecture.digest}",
        f"params  {architecture.params:,}  ({architecture.size_bytes / 1e6:.2f} MB as float32)",
        f"macs    {architecture.macs / 1e6:,.1f} M",
        f"memory  {architecture.peak_memory_bytes / 1e6:.2f} MB of activations at the peak",
    ]
    for table in tables:
        estimate = table.estimate(architecture)
        line = f"{table.name}  {latency_text(estimate)}  ({_shares(estimate)})"
        if confidence is not None:
            kept_ms = sure_latency_ms(estimate, confidence)
            line += f"; within {kept_ms:.4g} ms with probability {confidence:g}"
        lines.append(line + _beyond(table, estimate))
        for column in table.columns:
            estimate = table.column(column).estimate(architecture)
            figure = f"{_with_sd(estimate)} {_unit(column)}"
            lines.append(f"{table.name}  {column}: {figure}  ({_shares(estimate)})")
    return "\n".join(lines)


def costs_json(
    architecture: Architecture, tables: Sequence[Table], confidence: float | None = None
) -> dict[str, object]:
    """The same as plain JSON, with every layer."""
    columns = {}
    for table in tables:
        for name in table.columns:
            estimate = table.column(name).estimate(architecture)
            # Any column is priced as a latency is, whatever its unit.
            columns[str(Metric(name, table.name))] = estimate.latency_ms
    return {
        "digest": architecture.digest,
        "input": [architecture.input.channels, *architecture.input.sides],
        "params": architecture.params,
        "macs": architecture.macs,
        "size_bytes": architecture.size_bytes,
        "peak_memory_bytes": architecture.peak_memory_bytes,
        "devices": {
            table.name: _latency_json(table.estimate(architecture), confidence) for table in tables
        },
        "columns": columns,
        "layers": [
            {
                "op": layer.op.signature,
                "input": str(layer.shape),
                "params": layer.params,
                "macs": layer.macs,
                "latency_ms": {table.name: table.layer(layer).latency_ms for table in tables},
            }
            for layer in architecture.layers
        ],
    }


def _beyond(table: Table, estimate: Estimate) -> str:
    """A remark where the table's correction has seen no network so fast, or so slow."""
    correction = table.correction
    if correction is None or table.stretch(estimate.latency_ms) == 1:
        return ""
    return (
        f"; outside the {correction.low_ms:.3g} to {correction.high_ms:.3g} ms that its correction "
        "was fitted to, so known less well"
    )


def _latency_json(estimate: Estimate, confidence: float | None) -> dict[str, float]:
    latency = estimate.to_json()
    if confidence is not None:
        latency |= {
            "kept_latency_ms": sure_latency_ms(estimate, confidence),
            "confidence": confidence,
        }
    return latency


def _with_sd(estimate: Estimate) -> str:
    return uncertain(estimate.latency_ms, estimate.latency_sd_ms)


def _unit(column: str) -> str:
    """The unit at the end of a column's name: ``ms`` of ``train_ms``, ``mJ`` of ``energy_mj``."""
    return column.rpartition("_")[2].replace("mj", "mJ")


def _shares(estimate: Estimate) -> str:
    """How the figure is known: ``90 % measured, 10 % predicted``."""
    shares = estimate.to_json()
    known = [name for name in ("measured", "summed", "predicted") if shares[name] > LEAST_SHARE]
    return ", ".join(f"{100 * shares[name]:.0f} % {name}" for name in known)
