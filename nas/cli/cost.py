"""``nas cost``: what a network costs: params, macs, memory, and latency per device and layer."""

import click

from nas import catalog
from nas.cli._options import (
    SIZE,
    Pixels,
    in_milliseconds,
    json_option,
    print_json,
    small_images_option,
    tell,
)
from nas.errors import UsageError
from nas.family.at_latency import at_latency
from nas.latency.table import Table
from nas.report.costs import costs_json, costs_text, layers_text
from nas.run.network import network_maker
from nas.size import Size

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas cost mobilenet_v2 --device pixel
  nas cost mnasnet_a1 --width 0.5 --resolution 160 --device pixel --device pixel3
  nas cost mobilenet_v2 --fit 20ms --device pixel
  nas cost fbnet_c --fit 20ms --fit-resolution --resolution 32 --small-images --device pixel3
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
    type=click.FloatRange(0.05, 16),
    help="Channel multiplier, as published.  [default: 1]",
)
@click.option("--resolution", type=Pixels(), help=SIZE)
@click.option("--classes", type=click.IntRange(1, 65536), help="Output classes.")
@small_images_option
@click.option(
    "--fit",
    "fit_ms",
    metavar="TIME",
    callback=in_milliseconds,
    help="Take the widest of its widths that keeps this latency on the device.",
)
@click.option(
    "--fit-resolution",
    is_flag=True,
    help="With --fit: the input grows or shrinks with the width, as in EfficientNet.",
)
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
    width: float | None,
    resolution: Size | None,
    classes: int | None,
    small_images: bool,
    fit_ms: float | None,
    fit_resolution: bool,
    layers: bool,
    confidence: float | None,
    as_json: bool,
) -> None:
    """Print params, macs, memory and latency of NETWORK.

    NETWORK is a published name (nas networks), an architecture.json, or RUN[:TRIAL].
    """
    tables = [catalog.device(name) for name in devices]
    make = network_maker(network, classes=classes, small_images=small_images)
    fit = None
    if fit_ms is None:
        if fit_resolution:
            raise UsageError(
                "--fit-resolution says how to fit: give --fit TIME, such as --fit 20ms"
            )
        architecture = make(width=1.0 if width is None else width, resolution=resolution)
    else:
        fit = at_latency(
            make,
            fit_ms,
            _fitted_table(tables, width),
            resolution=resolution,
            with_resolution=fit_resolution,
        )
        architecture = fit.network
    for table in tables:
        tell(table.doubts)
    if as_json:
        found = {} if fit is None else {"width": fit.width}
        print_json(found | costs_json(architecture, tables, confidence))
        return
    if layers:
        click.echo(layers_text(architecture, tables))
        click.echo()
    if fit is not None:
        click.echo(f"width {fit.width:g} is the widest within {fit_ms:g} ms on {tables[0].name}")
    click.echo(costs_text(network, architecture, tables, confidence))


def _fitted_table(tables: list[Table], width: float | None) -> Table:
    """The one device to fit to."""
    if width is not None:
        raise UsageError("--fit finds the width: leave --width out")
    if len(tables) != 1:
        raise UsageError(
            "--fit is to the latency on a device: give one --device (nas devices), "
            f"not {len(tables) or 'none'}"
        )
    return tables[0]
