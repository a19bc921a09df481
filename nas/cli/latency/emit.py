"""``nas latency emit``: ONNX files of every row, to time on a device out of reach."""

from pathlib import Path

import click

from nas import catalog
from nas.cli._options import Sizes, seed_option
from nas.measure.emit import MANIFEST, emit
from nas.progress import Progress
from nas.size import Size
from nas.units import counted

__all__ = ["command"]

SAY_EVERY = 100


@click.command(
    epilog="""\b
Examples:
  nas latency emit --space fbnet --out models
  nas latency collect --models models --timings timings.csv --device my_board"""
)
@click.option(
    "--space",
    "spaces",
    multiple=True,
    required=True,
    metavar="NAME",
    help="Search space; repeatable.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for the files; must be empty.",
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
@seed_option
def command(
    spaces: tuple[str, ...],
    out: Path,
    resolution: Size | tuple[Size, ...] | None,
    classes: int | None,
    in_channels: int | None,
    seed: int,
) -> None:
    """Write an ONNX file for every layer of the spaces and a grid of kernels, and a manifest.

    Time each in random order, several times over, and hand file,latency_ms to nas latency collect.
    """
    made = [
        catalog.space(name, resolution=resolution, classes=classes, in_channels=in_channels)
        for name in spaces
    ]
    total = emit(made, out, seed=seed, watch=_say)
    click.echo(
        f"{out / MANIFEST}: {counted(len(list(out.glob('*.onnx'))), 'file')}, {total / 1e6:.0f} MB"
    )


def _say(progress: Progress[object]) -> None:
    if progress.done % SAY_EVERY == 0:
        click.echo(f"{progress.what} {progress.done}/{progress.planned}", err=True)
