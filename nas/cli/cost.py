"""``nas cost``: what a network costs: params, macs, memory, and latency per device and layer."""

from typing import Any

import click

from nas import catalog
from nas.arch import Architecture
from nas.cli._options import json_option, print_json
from nas.cost.confidence import sure_latency_ms
from nas.latency.table import Estimate, Table
from nas.report import text
from nas.run.network import named_network

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas cost mobilenet_v2 --device pixel
  nas cost mnasnet_a1 --width 0.5 --resolution 160 --device pixel --device pixel3
  nas cost runs/fbnet:12 --device raspi4 --confidence 0.95 --json"""
)
@click.argument("network")
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    help="Device or table file; may be given again.",
)
@click.option(
    "--width",
    type=click.FloatRange(0.05, 20),
    default=1.0,
    help="Channel multiplier, as published.",
)
@click.option("--resolution", type=click.IntRange(8, 4096), help="Input size in pixels.")
@click.option("--classes", type=click.IntRange(1, 65536), help="Output classes.")
@click.option("--layers/--no-layers", default=True, help="Show every layer.")
@click.option(
    "--confidence",
    type=float,
    metavar="P",
    help="Also the latency that is kept with this probability, such as 0.95.",
)
@json_option
def command(
    network: str,
    devices: tuple[str, ...],
    width: float,
    resolution: int | None,
    classes: int | None,
    layers: bool,
    confidence: float | None,
    as_json: bool,
) -> None:
    """Print params, macs, memory and latency of NETWORK.

    NETWORK is a published name (nas networks), an architecture.json, or RUN[:TRIAL].
    """
    architecture = named_network(network, width=width, resolution=resolution, classes=classes)
    tables = [catalog.device(name) for name in devices]
    if as_json:
        print_json(costs(architecture, tables, confidence))
        return
    if layers:
        click.echo(text.layers(architecture, tables))
        click.echo()
    click.echo(text.costs(network, architecture, tables, confidence))


def costs(
    architecture: Architecture, tables: list[Table], confidence: float | None = None
) -> dict[str, Any]:
    """The JSON document."""
    return {
        "digest": architecture.digest,
        "input": [architecture.input.channels, architecture.input.size, architecture.input.size],
        "params": architecture.params,
        "macs": architecture.macs,
        "size_bytes": architecture.size_bytes,
        "peak_memory_bytes": architecture.peak_memory_bytes,
        "devices": {
            table.name: _latency(table.estimate(architecture), confidence) for table in tables
        },
        "columns": {
            f"{name}@{table.name}": table.column(name).estimate(architecture).latency_ms
            for table in tables
            for name in table.columns
        },
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


def _latency(estimate: Estimate, confidence: float | None) -> dict[str, float]:
    kept = (
        {}
        if confidence is None
        else {"kept_latency_ms": sure_latency_ms(estimate, confidence), "confidence": confidence}
    )
    return {**estimate.to_json(), **kept}
