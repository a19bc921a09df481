"""``nas latency adapt``: a table for a new device from another one's and a few timed networks."""

from pathlib import Path

import click

from nas import catalog
from nas.cli._options import Pixels, json_option, print_json
from nas.latency.adapted import adapt_table, read_measurements
from nas.latency.naming import check_free, check_name
from nas.run.network import named_network
from nas.size import Size
from nas.units import counted

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas latency adapt --from pixel --space fbnet --measurements timed.csv --device my_phone
  nas latency adapt --from ./my_cpu.csv --space mnasnet \\
      --measurements timed.csv --device my_cpu_2 --out tables"""
)
@click.option(
    "--from", "source", required=True, metavar="NAME", help="Device or table file to start from."
)
@click.option("--space", "name", required=True, help="The space whose layers get a row.")
@click.option(
    "--measurements",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="CSV of whole networks: genes,latency_ms (spaces between genes) or network,latency_ms.",
)
@click.option("--device", required=True, metavar="NAME", help="Name of the table to write.")
@click.option(
    "--resolution",
    type=Pixels(),
    help="Input size, such as 224 or 240x320.  [default: the space's]",
)
@click.option("--classes", type=click.IntRange(2, 65536), help="Classes.  [default: the space's]")
@click.option(
    "--in-channels",
    type=click.IntRange(1, 1024),
    help="Channels of the input.  [default: the space's]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder of the table.  [default: .]",
)
@click.option("--force", is_flag=True, help="Overwrite a table of that name.")
@json_option
def command(
    source: str,
    name: str,
    measurements: Path,
    device: str,
    resolution: Size | None,
    classes: int | None,
    in_channels: int | None,
    out: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Learn a device's table from 20 to 100 networks timed on it and another device's table.

    What the other device does not teach is dropped. The error printed, and stored as the table's,
    is of timed networks that were left out.
    """
    check_name(device)
    if not force:
        check_free(device, out)
    space = catalog.space(name, resolution=resolution, classes=classes, in_channels=in_channels)
    start = catalog.device(source)
    timed = read_measurements(measurements, space, named_network)
    table, adapted = adapt_table(device, start, space, timed, out, measured_in=measurements.name)
    if as_json:
        print_json({"table": str(table.path), "rows": len(table.rows), **table.to_json()})
        return
    rows = counted(len(table.rows), "row")
    tau = "-" if adapted.tau is None else f"{adapted.tau:.3f}"
    click.echo(f"{table.path}: {rows} from {len(timed)} networks and {start.name}")
    click.echo(f"left out    MAPE {100 * adapted.mape:.1f} %, tau {tau}")
    click.echo(f"terms       {', '.join(adapted.used) or 'the slope alone'}")
