"""``nas devices``: the devices with a latency table: where it comes from, what it covers, how far it is off."""

from collections.abc import Sequence
from typing import Any

import click

from nas import catalog
from nas.cli._options import json_option, print_json
from nas.latency.table import Table
from nas.report import text
from nas.space import SearchSpace

__all__ = ["command"]

RESOLUTIONS = (224, 32)


@click.command(
    epilog="""\b
Examples:
  nas devices
  nas devices pixel
  nas devices ./my_board.csv --resolution 96"""
)
@click.argument("names", nargs=-1)
@click.option(
    "--resolution", type=click.IntRange(8, 4096), help="Input size for the coverage of the spaces."
)
@json_option
def command(names: tuple[str, ...], resolution: int | None, as_json: bool) -> None:
    """List devices: kind of table, conditions, coverage per space, known error.

    Coverage is the share of a space's distinct layers that have a row of their own; the rest is
    predicted by the device model. With NAMES, print provenance and caveats in full.
    """
    tables = [catalog.device(name) for name in names or catalog.device_names()]
    sizes = (resolution,) if resolution else RESOLUTIONS
    spaces = [
        catalog.space(name, resolution=size) for name in catalog.space_names() for size in sizes
    ]
    rows = [describe(table, spaces) for table in tables]
    if as_json:
        print_json(rows)
    elif names:
        click.echo("\n\n".join(text.device_page(row) for row in rows))
    else:
        click.echo(text.devices(rows))


def describe(table: Table, spaces: Sequence[SearchSpace]) -> dict[str, Any]:
    """Provenance, coverage by space and resolution, and error of one table."""
    covered: dict[str, dict[int, float]] = {}
    for space in spaces:
        covered.setdefault(space.name, {})[space.input.size] = coverage(table, space)
    return {**table.info, "digest": table.digest, "coverage": covered}


def coverage(table: Table, space: SearchSpace) -> float:
    """Share of the space's distinct layers that the table has a row for."""
    covered = sum(table.row(layer) is not None for layer in space.layers)
    return covered / len(space.layers)
