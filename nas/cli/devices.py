"""``nas devices``: the devices with a latency table, how far it is off, what it covers."""

from itertools import product

import click

from nas import catalog
from nas.cli._options import Pixels, json_option, print_json, tell
from nas.report.listing import Device, devices_text
from nas.size import Size

__all__ = ["command"]

RESOLUTIONS = (224, 32)
"""ImageNet's and CIFAR's."""


@click.command(
    epilog="""\b
Examples:
  nas devices
  nas devices pixel
  nas devices ./my_board.csv --resolution 96"""
)
@click.argument("names", nargs=-1)
@click.option(
    "--resolution",
    type=Pixels(),
    help="Input size, in pixels, at which the spaces' coverage is counted.  [default: 224 and 32]",
)
@json_option
def command(names: tuple[str, ...], resolution: Size | None, as_json: bool) -> None:
    """List devices: kind of table, conditions, known error.

    With NAMES, print provenance and caveats in full, and coverage of each space: the share of its
    distinct layers that have a row of their own; the rest is interpolated between these, or
    predicted by the device model. With --resolution, coverage of all devices.
    """
    tables = [catalog.device(name) for name in names or catalog.device_names()]
    for table in tables:
        tell(table.doubts)
    # Every layer of every space is looked up, which takes seconds: the overview does without.
    wanted = names or as_json or resolution is not None
    sizes = RESOLUTIONS if resolution is None else (resolution,)
    spaces = []
    for name, size in product(catalog.space_names() if wanted else (), sizes):
        spaces.append(catalog.space(name, resolution=size))
    devices = [Device.of(table, spaces) for table in tables]
    if as_json:
        print_json([device.to_json() for device in devices])
    elif names:
        click.echo("\n\n".join(device.page() for device in devices))
    else:
        click.echo(devices_text(devices))
