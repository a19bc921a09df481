"""``nas latency adapt``: a table for a new device from another one's and a few timed networks."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from nas import catalog
from nas.arch import Architecture, Layer
from nas.cli._options import json_option, print_json
from nas.errors import ExistsError, NasError, TableError, UsageError
from nas.latency.adapt import Adapted, adapt
from nas.latency.files import write_table
from nas.latency.fitting import fit_model
from nas.latency.info import TableInfo
from nas.latency.table import Table
from nas.run.network import named_network
from nas.space import SearchSpace
from nas.units import counted

__all__ = ["command"]

CONDITIONS = ("runtime", "dtype", "threads", "hardware")
COLUMNS = (("genes", "latency_ms"), ("network", "latency_ms"))


@click.command(
    epilog="""\b
Examples:
  nas latency adapt --from pixel --space fbnet --measurements timed.csv --device my_phone
  nas latency adapt --from ./my_cpu.csv --space mnasnet --measurements timed.csv --device my_cpu_2 --out tables"""
)
@click.option(
    "--from", "source", required=True, metavar="NAME", help="Device or table file to start from."
)
@click.option("--space", "name", required=True, help="The space whose layers get a row.")
@click.option(
    "--measurements", required=True, type=click.Path(path_type=Path), metavar="FILE",
    help="CSV of whole networks: genes,latency_ms (genes with spaces between) or network,latency_ms.",
)  # fmt: skip
@click.option("--device", required=True, metavar="NAME", help="Name of the table to write.")
@click.option(
    "--resolution", type=click.IntRange(8, 4096), help="Input size.  [default: the space's]"
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
    resolution: int | None,
    classes: int | None,
    in_channels: int | None,
    out: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Learn a device's table from 20 to 100 whole networks timed on it, and the table of another device.

    What the other device does not teach is dropped. The error printed, and stored as the table's,
    is of timed networks that were left out.
    """
    if not device.isidentifier():
        raise UsageError(f"a table's name is letters, digits and _, not '{device[:80]}'")
    if (out / f"{device}.csv").exists() and not force:
        raise ExistsError(
            f"{out / device}.csv exists: choose another --device or --out, or overwrite it with --force"
        )
    space = catalog.space(name, resolution=resolution, classes=classes, in_channels=in_channels)
    table = catalog.device(source)
    timed = list(_read(measurements, space))
    every = [layer for layer in space.layers if layer.kernels]
    found = adapt(
        table,
        [_layers(network) for network, _ in timed],
        [ms for _, ms in timed],
        sorted(every, key=str),
    )
    out.mkdir(parents=True, exist_ok=True)
    made = Table.load(
        write_table(found.rows, _info(device, table, len(timed), measurements, found), out)
    )
    if as_json:
        print_json({"table": str(made.path), "rows": len(made.rows), **made.to_json()})
        return
    click.echo(
        f"{made.path}: {counted(len(made.rows), 'row')} from {len(timed)} networks and {table.name}"
    )
    click.echo(
        f"left out    MAPE {100 * found.mape:.1f} %, tau {'-' if found.tau is None else f'{found.tau:.3f}'}"
    )
    click.echo(f"terms       {', '.join(found.used) or 'the slope alone'}")


def _layers(network: Architecture) -> list[Layer]:
    return [layer for layer in network.layers if layer.kernels]


def _read(path: Path, space: SearchSpace) -> Iterator[tuple[Architecture, float]]:
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"cannot read {path}: {error}") from None
    if not lines or tuple(lines[0]) not in COLUMNS:
        raise TableError(
            f"{path} line 1: the columns must be genes,latency_ms or network,latency_ms"
        )
    for number, fields in enumerate(lines[1:], 2):
        try:
            text, ms = fields
            spelt = lines[0][0] == "genes"
            yield (
                space.decode([int(gene) for gene in text.split()])
                if spelt
                else named_network(text),
                float(ms),
            )
        except (ValueError, NasError) as error:
            raise TableError(f"{path} line {number}: {error}") from None


def _info(device: str, source: Table, count: int, file: Path, found: Adapted) -> TableInfo:
    fit = fit_model(found.rows)
    spread = round(min(found.rms, 0.99), 4)
    terms = ", ".join(found.used) or "slope"
    return TableInfo(
        name=device,
        title=f"{device}, adapted from {source.name}",
        kind=(
            f"learnt from {count} whole networks and the table of {source.name}; no layer was timed"
        ),
        conditions=dict.fromkeys(CONDITIONS, "as the networks were timed"),
        sources=(
            {"what": f"{count} whole networks of {file.name}"},
            {"what": f"table {source.name} {source.digest}"},
        ),
        fitted=f"Layer times by a Gaussian model with the terms: {terms}.",
        model=replace(fit.model, common_sd=max(spread, 0.1)),
        rows_common_sd=spread,
        known_error={
            "left_out_networks_mape": round(found.mape, 4),
            "left_out_networks_rms": spread,
        },
        caveats=("Rows are what whole networks teach of layers: sums hold, a single row may not.",),
    )
