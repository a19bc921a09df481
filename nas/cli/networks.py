"""``nas networks``: published networks, rebuilt to the last parameter, and their spaces."""

import click

from nas import catalog, networks
from nas.arch import Architecture
from nas.cli._options import (
    SIZE,
    Pixels,
    in_milliseconds,
    json_option,
    print_json,
    small_images_option,
)
from nas.errors import TableError, UsageError
from nas.latency.estimate import Estimate
from nas.latency.table import Table
from nas.networks.membership import membership
from nas.report.listing import PublishedNetwork, nearest_first, networks_text
from nas.size import Size

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas networks
  nas networks mnasnet_a1 fbnet_c
  nas networks mobilenet_v2 --width 0.75 --resolution 192 --json
  nas networks --near 20ms --device pixel
  nas networks --near 3ms --device pixel3 --resolution 32 --small-images"""
)
@click.argument("names", nargs=-1)
@click.option(
    "--width",
    type=click.FloatRange(0.05, 16),
    default=1.0,
    help="Channel multiplier, as published.",
)
@click.option(
    "--resolution",
    type=Pixels(),
    help=f"{SIZE}  [default: as published]",
)
@small_images_option
@click.option(
    "--device",
    metavar="NAME",
    help="Show latencies on this device, or by this table file.",
)
@click.option(
    "--near",
    "near_ms",
    metavar="TIME",
    callback=in_milliseconds,
    help="With --device: those nearest to this latency first.",
)
@json_option
def command(
    names: tuple[str, ...],
    width: float,
    resolution: Size | None,
    small_images: bool,
    device: str | None,
    near_ms: float | None,
    as_json: bool,
) -> None:
    """List published networks: params and multiply-adds as their authors count, and membership.

    Membership says whether a network is a point of the space it came from: in, near (which genes
    differ), or outside (something differs that the space does not search). --json holds the genes.
    The whole list is shown without it, as looking through all spaces takes a while.
    """
    if near_ms is not None and device is None:
        raise UsageError("--near is a latency on a device: give --device, such as --device pixel")
    table = None if device is None else catalog.device(device)
    placed = bool(names) or as_json
    rows = [
        _published(name, width, resolution, small_images, table, placed)
        for name in names or networks.names()
    ]
    if table is not None and not any(row.estimate for row in rows):
        table.estimate(rows[0].network)  # raises: it says what is missing
    if near_ms is not None:
        rows = nearest_first(rows, near_ms)
    if as_json:
        print_json([row.to_json() for row in rows])
        return
    click.echo(networks_text(rows, "" if table is None else table.name, placed=placed))
    for row in rows if names else ():
        click.echo(f"\n{row.text()}")


def _published(
    name: str,
    width: float,
    resolution: Size | None,
    small_images: bool,
    table: Table | None,
    placed: bool,
) -> PublishedNetwork:
    published = networks.published(name)
    network = networks.get(name, width=width, resolution=resolution, small_images=small_images)
    place = None
    if published.space and placed:
        space = catalog.space(
            published.space, resolution=network.input.size, classes=1000, in_channels=3
        )
        place = membership(network, space)
    return PublishedNetwork(
        published=published, network=network, place=place, estimate=_estimate(network, table)
    )


def _estimate(network: Architecture, table: Table | None) -> Estimate | None:
    """None without a table, or if it lacks a row that the network needs."""
    try:
        return None if table is None else table.estimate(network)
    except TableError:
        return None
