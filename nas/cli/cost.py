"""``nas cost``: what a network costs: params, macs, memory, and latency per device and layer."""

import click

from nas import catalog
from nas.cli._options import json_option, print_json
from nas.report.costs import costs_json, costs_text, layers_text
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
    help="A device, or the file of a table; may be given again.",
)
@click.option(
    "--width",
    type=click.FloatRange(0.05, 20),
    default=1.0,
    help="Channel multiplier, as published.",
)
@click.option("--resolution", type=click.IntRange(8, 4096), help="Input size in pixels.")
@click.option("--classes", type=click.IntRange(1, 65536), help="Output classes.")
@click.option("--layers/--no-layers", default=True, help="Print a line per layer, too.")
@click.option(
    "--confidence",
    type=float,
    metavar="P",
    help="Print also the latency kept with this probability, such as 0.95.",
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
        print_json(costs_json(architecture, tables, confidence))
        return
    if layers:
        click.echo(layers_text(architecture, tables))
        click.echo()
    click.echo(costs_text(network, architecture, tables, confidence))
