"""``nas latency build``: time what spaces can reach, and write a table."""

from collections.abc import Sequence
from pathlib import Path

import click

from nas import catalog
from nas.cli._options import Sizes, json_option, print_json, seed_option
from nas.cli.latency import say
from nas.cli.latency.verify import draw_picture, verdict_text
from nas.errors import UsageError
from nas.latency.info import ColumnInfo
from nas.latency.naming import check_name
from nas.latency.table import Table
from nas.measure.build import build_table, time_training
from nas.measure.runners import Command, OnnxRuntime, Runner
from nas.measure.verify import SECONDS, Verdict, verify_on
from nas.progress import ignore
from nas.size import Size
from nas.units import counted

__all__ = ["command"]

MINUTES = 5.0
ROWS_SHARE = 0.6
"""Of the time, for rows; the rest is for whole networks."""
FEWEST_NETWORKS, MOST_NETWORKS = 12, 40
FEWEST_NETWORKS_OF_A_SPACE = 6


@click.command(
    epilog="""\b
Examples:
  nas latency build --device my_cpu --space fbnet
  nas latency build --device my_cpu --space mobile --minutes 30
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
@click.option(
    "--resolution",
    type=Sizes(),
    help="Input size, such as 224 or 240x320, or several.  [default: the space's]",
)
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
    default=0.04,
    show_default=True,
    help="Budget of a row.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0.05),
    help="About how long it may take in all; the table interpolates layers that are not timed.  "
    "[default: 5; none with --runner]",
)
@click.option(
    "--verify/--no-verify",
    "verifies",
    default=True,
    show_default=True,
    help="Hold the table against whole networks at the end, and correct it.",
)
@seed_option
@json_option
def command(
    device: str,
    spaces: tuple[str, ...],
    resolution: Size | tuple[Size, ...] | None,
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
    minutes: float | None,
    verifies: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Time the layers that the spaces can use, and a grid of kernels; then whole networks.

    They run in onnxruntime on this machine, or wherever a --runner takes them. A table is of one
    provider, dtype, batch and number of threads: another is another device, with another name. An
    int8 graph is calibrated on random numbers: its speed is true, its outputs mean nothing. A
    --runner that ends in "MS ms MJ mJ" fills the column energy_mj.

    Writes NAME.csv and NAME.json, for --device ./NAME.csv. A build that was killed goes on when
    called again: what was timed stands in NAME.journal. Called once more, it times more of the
    layers; called with another space, it adds to the table.

    At the end some whole networks are timed, from the fastest of each space to the slowest. They
    say how far off the table is, and correct it.
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
    if minutes is None and runner is None:
        minutes = MINUTES
    table = build_table(
        device,
        built,
        timer,
        out,
        threads=threads,
        seconds_per_row=seconds_per_row,
        minutes=_row_minutes(minutes, verifies),
        seed=seed,
        watch=watch,
    )
    verdict = None
    if verifies:
        verdict = verify_on(
            table,
            dict(zip(spaces, built, strict=True)),
            networks=_networks(minutes, len(spaces)),
            correct=True,
            command=runner,
            seed=seed,
            watch=watch,
        )
        table = verdict.table
    if as_json:
        print_json(
            {
                "table": str(table.path),
                "rows": len(table.rows),
                "digest": table.digest,
                "refused": [] if verdict is None else list(verdict.refused),
                **table.to_json(),
            }
        )
    else:
        click.echo(_summary(table, verdict, spaces))


def _row_minutes(minutes: float | None, verifies: bool) -> float | None:
    """What of the time is for rows; the rest is for whole networks."""
    if minutes is None or not verifies:
        return minutes
    return ROWS_SHARE * minutes


def _networks(minutes: float | None, spaces: int) -> int:
    """Whole networks of each space that the rest of the time allows."""
    total = MOST_NETWORKS
    if minutes is not None:
        affordable = int((1 - ROWS_SHARE) * 60 * minutes / SECONDS)
        total = min(max(affordable, FEWEST_NETWORKS), MOST_NETWORKS)
    return max(-(-total // spaces), FEWEST_NETWORKS_OF_A_SPACE)


def _summary(table: Table, verdict: Verdict | None, spaces: Sequence[str]) -> str:
    info = table.info
    noisy = len(info.noisy or ())
    lines = []
    if verdict is not None:
        picture = draw_picture(verdict)
        lines += [verdict_text(verdict), f"audit       {info.reliability()}   {picture}"]
    timed = counted(len(table.rows), "timed row")
    lines.append(f"{table.path}: {timed}, {noisy} of them noisy")
    lines += [f"caveat      {caveat}" for caveat in info.caveats if "were not timed" in caveat]
    lines += [f"unreliable  {remark}" for remark in info.unreliable or ()]
    lines += _error_lines("model", info)
    for name, column in info.columns.items():
        lines += _error_lines(name, column)
    named = " ".join(f"--space {name}" for name in spaces)
    if verdict is None or verdict.refused:
        step = f"nas latency verify --device {table.path} {named} --correct"
    else:
        step = f"nas search --space {spaces[0]} --device {table.path}"
    lines.append(f"next        {step}")
    return "\n".join(lines)


def _error_lines(name: str, column: ColumnInfo) -> list[str]:
    return [
        f"{name:11s} {measure} {100 * error:.1f} %" for measure, error in column.known_error.items()
    ]
