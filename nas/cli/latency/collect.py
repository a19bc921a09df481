"""``nas latency collect``: a table from the timings of emitted files."""

from pathlib import Path

import click

from nas.cli._options import json_option, print_json
from nas.latency.naming import check_free, check_name
from nas.measure.emit import collect
from nas.units import counted

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas latency collect --models models --timings timings.csv --device my_board \\
      --hardware 'i.MX 8M, one A53'"""
)
@click.option(
    "--models",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder of nas latency emit.",
)
@click.option(
    "--timings",
    required=True,
    type=click.Path(path_type=Path),
    help="CSV: file,latency_ms; sd_ms and count if known.",
)
@click.option("--device", required=True, metavar="NAME", help="Name of the table to write.")
@click.option("--hardware", default="not stated", help="What it was timed on, for the record.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder of the table.  [default: .]",
)
@click.option("--force", is_flag=True, help="Overwrite a table of that name.")
@json_option
def command(
    models: Path, timings: Path, device: str, hardware: str, out: Path, force: bool, as_json: bool
) -> None:
    """Read the timings of emitted files back, and write NAME.csv and NAME.json."""
    check_name(device)
    if not force:
        check_free(device, out)
    table = collect(models, timings, device, out, hardware=hardware)
    if as_json:
        print_json({"table": str(table.path), "rows": len(table.rows), **table.to_json()})
    else:
        click.echo(
            "\n".join(
                [
                    f"{table.path}: {counted(len(table.rows), 'row')}",
                    *table.info.caveats,
                ]
            )
        )
