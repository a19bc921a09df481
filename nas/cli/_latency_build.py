"""``nas latency build``: time what spaces can reach, and write a table."""

from pathlib import Path

import click

from nas import catalog
from nas.cli._options import json_option, print_json, seed_option
from nas.cli._progress import duration
from nas.cost.table import Table
from nas.errors import UsageError
from nas.measure.build import Progress, build_table
from nas.measure.runners import Command, OnnxRuntime, Runner
from nas.units import counted

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas latency build --device my_cpu --space fbnet
  nas latency build --device my_cpu --space fbnet --space uninet --threads 2 --out tables
  nas latency build --device board --space fbnet --runner './time_on_board {model}'"""
)
@click.option("--device", required=True, metavar="NAME", help="Name of the table to write.")
@click.option("--space", "spaces", multiple=True, required=True, metavar="NAME", help="Search space; repeatable.")
@click.option("--resolution", type=click.IntRange(8, 4096), help="Input size.  [default: the space's]")
@click.option("--classes", type=click.IntRange(2, 65536), help="Classes.  [default: the space's]")
@click.option("--in-channels", type=click.IntRange(1, 1024), help="Channels of the input.  [default: the space's]")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads inside an operator.")
@click.option("--runner", metavar="CMD", help="Time with a command instead: {model} is the ONNX file, it prints ms.")
@click.option("--out", type=click.Path(path_type=Path), default=Path(), help="Folder of the table.  [default: .]")
@click.option(
    "--seconds-per-row", type=click.FloatRange(0.001, 600), default=0.25, show_default=True, help="Budget of a row."
)
@seed_option
@json_option
def command(
    device: str,
    spaces: tuple[str, ...],
    resolution: int | None,
    classes: int | None,
    in_channels: int | None,
    threads: int,
    runner: str | None,
    out: Path,
    seconds_per_row: float,
    seed: int,
    as_json: bool,
) -> None:
    """Time every layer that the spaces can use, and a grid of kernels, in onnxruntime on this machine.

    Writes NAME.csv and NAME.json, for --device ./NAME.csv. A build that was killed goes on when called again: what
    was timed stands in NAME.journal. Called with another space, it adds to the table.
    """
    if not device.isidentifier():
        raise UsageError(f"a table's name is letters, digits and _, not '{device[:80]}'")
    made = [catalog.space(name, resolution=resolution, classes=classes, in_channels=in_channels) for name in spaces]
    how: Runner = Command(runner) if runner else OnnxRuntime(threads)
    table = build_table(
        device, made, how, out, threads=threads, seconds_per_row=seconds_per_row, seed=seed,
        watch=lambda progress: _say(progress, as_json),
    )  # fmt: skip
    if as_json:
        print_json({"table": str(table.path), "rows": len(table.rows), "digest": table.digest, **table.info})
    else:
        click.echo(_summary(table))


def _say(progress: Progress, quiet: bool) -> None:
    if quiet:
        return
    left = "" if progress.eta_seconds is None else f", {duration(progress.eta_seconds)} left"
    click.echo(f"row {progress.done}/{progress.wanted}  {duration(progress.seconds)} gone{left}", err=True)


def _summary(table: Table) -> str:
    info = table.info
    lines = [f"{table.path}: {counted(len(table.rows), 'row')}, {len(info['noisy'])} of them noisy"]
    lines += [f"unreliable  {remark}" for remark in info["unreliable"]]
    lines += [f"model       {name} {100 * value:.1f} %" for name, value in info["known_error"].items()]
    lines.append(f"next        nas latency verify --device {table.path} --space NAME")
    return "\n".join(lines)
