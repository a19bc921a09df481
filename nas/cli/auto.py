"""``nas auto``: from a folder of images to a checked file, by the commands of this tool."""

from pathlib import Path

import click

from nas import catalog, units
from nas.cli._auto import HERE, Asked, Auto
from nas.cli._options import (
    SIZE,
    Pixels,
    compute_options,
    in_milliseconds,
    in_seconds,
    seed_option,
)
from nas.compute import Compute
from nas.data import load
from nas.errors import UsageError
from nas.export.onnx import require_onnx
from nas.report.live import Live
from nas.size import Size
from nas.units import duration

__all__ = ["command"]

LEAST_SECONDS = 20.0


@click.command(
    epilog="""\b
Examples:
  nas auto folder:photos --latency 6ms --time 1h
  nas auto folder:photos --latency 6ms --time 1h --dry-run
  nas auto folder:photos --device pixel --latency 60ms --time 4h --out runs/photos
  nas auto folder:streets --space mobile --resolution 240x320 --latency 20ms --time 8h"""
)
@click.argument("data")
@click.option(
    "--device",
    default=HERE,
    show_default=True,
    help="Where the network will run: this machine (here), a device (nas devices), a table file.",
)
@click.option(
    "--latency",
    "latency_ms",
    required=True,
    metavar="MS",
    callback=in_milliseconds,
    help="What an image may take there, such as 6ms.",
)
@click.option(
    "--time",
    "seconds",
    required=True,
    metavar="TIME",
    callback=in_seconds,
    help="Time for everything, such as 1h; the parts are shared out, and about kept.",
)
@click.option(
    "--space", default="mobilenet_v3", show_default=True, help="Search space (nas spaces)."
)
@click.option("--resolution", type=Pixels(), help=f"{SIZE}  [default: the space's]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("auto"),
    show_default=True,
    help="Folder of everything that is made.",
)
@compute_options
@click.option("--dry-run", is_flag=True, help="Print the plan, with times, and do nothing.")
@seed_option
def command(
    data: str,
    device: str,
    latency_ms: float,
    seconds: float,
    space: str,
    resolution: Size | None,
    out: Path,
    accelerator: str,
    precision: str,
    dry_run: bool,
    seed: int,
) -> None:
    """From images to a checked ONNX file: table, search, confirmation, pick, training, export.

    DATA is folder:DIR, npz:FILE, hf:NAME, fashion-mnist or digits. Each step is a command of this
    tool, printed before it runs, so that you can change it and go on by hand. Stopped, the same
    command goes on where it was. A table of this machine is kept for the next time (NAS_CACHE).

    What is shipped is what was best: the search's pick, or a published network of the same latency
    if that was better in the confirmation.
    """
    if seconds < LEAST_SECONDS:
        raise UsageError(f"--time is at least {LEAST_SECONDS:g} seconds, not {seconds:g}")
    asked = Asked(
        data=data,
        space=space,
        device=device,
        latency_ms=latency_ms,
        resolution=resolution,
        seconds=seconds,
        seed=seed,
        compute=Compute(accelerator=accelerator, precision=precision),
    )
    live = Live()
    # Before an hour of work: the last steps need it.
    require_onnx()
    catalog.space(space, resolution=resolution)
    if device != HERE:
        catalog.device(device)
    dataset = load(data, watch=live.read)
    auto = Auto(out, asked, dataset)
    classes = units.counted(len(dataset.classes), "class", "classes")
    click.echo(f"data       {units.counted(len(dataset.images), 'image')} of {classes}")
    done = auto.done()
    for step in auto.plan():
        words = "" if step.seconds is None else f"about {duration(step.seconds)}"
        if step.name in done:
            words = "done"
        elif step.seconds == 0:
            words = "kept from before"
        click.echo(f"{step.name:10s} {words:16s} {step.text}")
    if dry_run:
        return
    out.mkdir(parents=True, exist_ok=True)
    auto.check_same()
    auto.perform()
    click.echo(f"\n{out}/shipped/model.onnx   {out}/shipped/model.py   {out}/run/front.png")
