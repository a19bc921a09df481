"""``nas latency import``: a table of another toolkit, or a CSV of yours, as a device."""

from dataclasses import replace
from pathlib import Path

import click

from nas.cli._options import json_option, print_json
from nas.errors import ExistsError, UsageError
from nas.latency.files import write_table
from nas.latency.fitting import COMMON_SD, FEWEST_ROWS, fit_model
from nas.latency.importing import Imported, read_foreign
from nas.latency.info import TableInfo
from nas.latency.table import Table
from nas.units import counted

__all__ = ["command"]

CONDITIONS = ("runtime", "dtype", "threads", "hardware")


@click.command(
    epilog="""\b
Examples:
  nas latency import mobile_trim.yaml --device pixel_trim
  nas latency import op_latency.json --unit ms --device edge_board
  nas latency import timings.csv --device my_board --out tables"""
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--device", required=True, metavar="NAME", help="Name of the table to write.")
@click.option("--unit", metavar="UNIT", help="ms, us or s, if the file does not state it.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder of the table.  [default: .]",
)
@click.option("--force", is_flag=True, help="Overwrite a table of that name.")
@json_option
def command(
    file: Path, device: str, unit: str | None, out: Path, force: bool, as_json: bool
) -> None:
    """Read FILE, a latency table of another toolkit or of yours.

    It is YAML of once-for-all or ProxylessNAS, JSON with HW-NAS-Bench's keys, FBNet's records, or
    CSV. Every line is checked; a pickle is refused. Keys that name nothing known here are left out
    and counted. With enough rows a device model is fitted, so that other networks can be priced
    too.
    """
    if not device.isidentifier():
        raise UsageError(f"a table's name is letters, digits and _, not '{device[:80]}'")
    if (out / f"{device}.csv").exists() and not force:
        raise ExistsError(
            f"{out / device}.csv exists: choose another --device or --out, "
            "or overwrite it with --force"
        )
    imported = read_foreign(file, unit=unit)
    out.mkdir(parents=True, exist_ok=True)
    table = Table.load(write_table(imported.rows, _info(file, device, imported), out))
    if as_json:
        print_json(
            {
                "table": str(table.path),
                "rows": len(table.rows),
                "left_out": imported.left_out,
                **table.to_json(),
            }
        )
        return
    remark = "" if table.model else "; too few for a device model"
    click.echo(f"{table.path}: {counted(len(table.rows), 'row')}{remark}")
    left_out = imported.left_out
    if left_out:
        click.echo(
            f"left out    {len(left_out)} keys that name nothing known here, "
            f"such as {left_out[0][:100]}"
        )


def _info(file: Path, device: str, imported: Imported) -> TableInfo:
    caveats = [
        f"rows_common_sd is {COMMON_SD}, a judgement, until whole networks are timed beside the "
        "table."
    ]
    if imported.left_out:
        caveats.append(f"{len(imported.left_out)} keys of the file were left out.")
    info = TableInfo(
        name=device,
        title=f"{device}, from {file.name}",
        kind="imported; no device model",
        conditions=dict.fromkeys(CONDITIONS, "not stated with the figures"),
        sources=({"what": f"{len(imported.rows)} rows of {file.name}"},),
        fitted="nothing",
        rows_common_sd=COMMON_SD,
        caveats=tuple(caveats),
    )
    if len(imported.rows) < FEWEST_ROWS:
        return info
    fit = fit_model(imported.rows)
    return replace(
        info,
        kind="imported; device model fitted to the rows",
        fitted="Non-negative prices by least squares on relative errors.",
        model=fit.model,
        known_error=fit.known_error,
    )
