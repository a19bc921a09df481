"""``nas latency build``: time what spaces can reach, and write a table."""

from pathlib import Path

import click

from nas import catalog
from nas.cli._options import Sides, json_option, print_json, seed_option
from nas.cli.latency import say
from nas.errors import UsageError
from nas.latency.info import ColumnInfo
from nas.latency.naming import check_name
from nas.latency.table import Table
from nas.measure.build import build_table, time_training
from nas.measure.runners import Command, OnnxRuntime, Runner
from nas.progress import ignore
from nas.units import counted

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas latency build --device my_cpu --space fbnet
  nas latency build --device my_cpu --space fbnet --space uninet --threads 2 --out tables
  nas latency build --device my_cpu_int8 --space fbnet --dtype int8
  nas latency build --device my_cpu --space fbnet --training
  nas latency build --device board --space fbnet --runner './time_on_board {model}'"""
)
@click.option("--device", required=True, metavar="NAME", help="Name of the table to write.")
@click.option(
    "--space",
    "spaces",
    multiple=True,
    required=True,
    metavar="NAME",
    help="Search space; repeatable.",
)
@click.option("--resolution", type=Sides(), help="Input size, or several.  [default: the space's]")
@click.option("--classes", type=click.IntRange(2, 65536), help="Classes.  [default: the space's]")
@click.option(
    "--in-channels",
    type=click.IntRange(1, 1024),
    help="Channels of the input.  [default: the space's]",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Threads inside an operator.",
)
@click.option(
    "--provider",
    default="cpu",
    show_default=True,
    help="Execution provider of onnxruntime: cpu, cuda, ...",
)
@click.option(
    "--dtype",
    default="float32",
    show_default=True,
    help="float32 or int8 (static quantisation, for its speed only).",
)
@click.option(
    "--batch", type=click.IntRange(1, 4096), default=1, show_default=True, help="Images at a time."
)
@click.option(
    "--training",
    is_flag=True,
    help="Also time training steps of every layer in torch: the column train_ms.",
)
@click.option(
    "--training-batch",
    type=click.IntRange(1, 4096),
    default=8,
    show_default=True,
    help="Images of a step.",
)
@click.option(
    "--runner",
    metavar="CMD",
    help="Time with a command instead: {model} is the ONNX file, it prints ms.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder of the table.  [default: .]",
)
@click.option(
    "--seconds-per-row",
    type=click.FloatRange(0.001, 600),
    default=0.25,
    show_default=True,
    help="Budget of a row.",
)
@seed_option
@json_option
def command(
    device: str,
    spaces: tuple[str, ...],
    resolution: int | tuple[int, ...] | None,
    classes: int | None,
    in_channels: int | None,
    threads: int,
    provider: str,
    dtype: str,
    batch: int,
    training: bool,
    training_batch: int,
    runner: str | None,
    out: Path,
    seconds_per_row: float,
    seed: int,
    as_json: bool,
) -> None:
    """Time every layer that the spaces can use, and a grid of kernels.

    They run in onnxruntime on this machine, or wherever a --runner takes them. A table is of one
    provider, dtype, batch and number of threads: another is another device, with another name. An
    int8 graph is calibrated on random numbers: its speed is true, its outputs mean nothing. A
    --runner that ends in "MS ms MJ mJ" fills the column energy_mj.

    Writes NAME.csv and NAME.json, for --device ./NAME.csv. A build that was killed goes on when
    called again: what was timed stands in NAME.journal. Called with another space, it adds to the
    table.
    """
    check_name(device)
    built = [
        catalog.space(name, resolution=resolution, classes=classes, in_channels=in_channels)
        for name in spaces
    ]
    if runner and (provider, dtype, batch) != ("cpu", "float32", 1):
        raise UsageError(
            "--provider, --dtype and --batch are onnxruntime's here: a --runner sees to them itself"
        )
    timer: Runner
    if runner:
        timer = Command(runner)
    else:
        timer = OnnxRuntime(threads, provider=provider, dtype=dtype, batch=batch)
    watch = ignore if as_json else say
    if training:
        time_training(
            device,
            built,
            out,
            threads=threads,
            batch=training_batch,
            seconds_per_row=seconds_per_row,
            seed=seed,
            watch=watch,
        )
    table = build_table(
        device,
        built,
        timer,
        out,
        threads=threads,
        seconds_per_row=seconds_per_row,
        seed=seed,
        watch=watch,
    )
    if as_json:
        rows = len(table.rows)
        print_json(
            {"table": str(table.path), "rows": rows, "digest": table.digest, **table.to_json()}
        )
    else:
        click.echo(_summary(table))


def _summary(table: Table) -> str:
    info = table.info
    noisy = len(info.noisy or ())
    lines = [f"{table.path}: {counted(len(table.rows), 'row')}, {noisy} of them noisy"]
    lines += [f"unreliable  {remark}" for remark in info.unreliable or ()]
    lines += _error_lines("model", info)
    for name, column in info.columns.items():
        lines += _error_lines(name, column)
    lines.append(f"next        nas latency verify --device {table.path} --space NAME")
    return "\n".join(lines)


def _error_lines(name: str, column: ColumnInfo) -> list[str]:
    return [
        f"{name:11s} {measure} {100 * error:.1f} %" for measure, error in column.known_error.items()
    ]
