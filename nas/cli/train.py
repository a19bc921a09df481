"""``nas train``: train one network in full on your data; goes on exactly where a kill stopped it."""

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

import click

from nas import catalog, units
from nas.cli._options import groups_option, json_option, print_json, seed_option
from nas.cli._progress import LOG_EVERY_SECONDS, Live, duration
from nas.data import load
from nas.errors import RunError
from nas.train.full import FullTraining, Recipe, Watched

__all__ = ["command"]

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@click.command(
    epilog="""\b
Examples:
  nas train runs/photos:12 --data folder:photos --out trained/photos
  nas train mobilenet_v2 --data fashion-mnist --resolution 32 --epochs 20 --out trained/fashion
  nas train architecture.json --data npz:scans.npz --groups patients.txt --weights old/weights.pt --out trained/scans"""
)
@click.argument("network")
@click.option("--data", required=True, help="digits, fashion-mnist[:DIR], npz:FILE, folder:DIR, hf:NAME.")
@groups_option
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the training.")
@click.option("--epochs", type=click.FloatRange(0, min_open=True), default=60.0, show_default=True, help="Passes.")
@click.option("--steps", type=click.IntRange(1), help="Batches to train on, instead of --epochs.")
@click.option("--batch-size", type=click.IntRange(2), default=64, show_default=True, help="Images a step.")
@click.option("--lr", type=click.FloatRange(0, min_open=True), default=0.05, show_default=True, help="Peak rate.")
@click.option("--resolution", type=click.IntRange(1, 4096), help="Input size in pixels.  [default: the network's]")
@click.option("--weights", type=click.Path(path_type=Path), help="Weights to start from: a state dict, or a folder.")
@click.option("--partial", is_flag=True, help="Take of --weights what fits, as from a smaller member of a family.")
@click.option("--threads", type=click.IntRange(1), default=CORES, show_default="all cores", help="CPU threads.")
@click.option("--checkpoint", default="60s", metavar="TIME", show_default=True, help="Time between checkpoints.")
@click.option("--strict", is_flag=True, help="Refuse a data set with a corrupt image instead of leaving it out.")
@seed_option
@json_option
def command(
    network: str,
    data: str,
    groups: str | None,
    out: Path,
    weights: Path | None,
    partial: bool,
    threads: int,
    checkpoint: str,
    strict: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Train NETWORK, whole and at full resolution, and score it once on the test set.

    NETWORK is a published name, an architecture.json, or RUN[:TRIAL]. Given again, the command goes on from the last
    checkpoint, to the same bits as if it had never stopped. Training reads the weights and search sets; selection
    is watched. The folder ends with weights.pt, architecture.json and result.json.
    """
    live = Live(quiet=as_json)
    training = FullTraining(
        catalog.network(network), load(data, strict=strict, groups=groups), out, Recipe(**given),
        weights=weights, partial=partial, thread_count=threads,
    )  # fmt: skip
    live.lines(training.lines())
    try:
        result = training.run(checkpoint_seconds=units.seconds(checkpoint), watch=_Lines(live))
    except KeyboardInterrupt:
        raise RunError("interrupted; go on from the last checkpoint by the same command") from None
    if as_json:
        weights_read = None if training.loaded is None else dataclasses.asdict(training.loaded)
        print_json({"out": str(out), **result, "weights": weights_read})
        return
    times = "once" if result["test_openings"] == 1 else f"{result['test_openings']} times"
    click.echo(
        f"test accuracy {result['test']['accuracy']:.4f} on {units.counted(result['test_images'], 'image')} (test set opened {times}), "
        f"selection {result['selection']['accuracy']:.4f}; {result['core_seconds']:.0f} core-seconds\n"
        f"{out}/weights.pt   {out}/architecture.json   {out}/result.json"
    )


class _Lines:
    """A line of progress now and then."""

    def __init__(self, live: Live) -> None:
        self._live, self._last = live, time.monotonic()

    def __call__(self, watched: Watched) -> None:
        now = time.monotonic()
        if now - self._last < LOG_EVERY_SECONDS and watched.done < watched.steps:
            return
        self._last = now
        selection = "" if watched.selection is None else f"  selection {watched.selection:.4f}"
        self._live.step(
            f"step {watched.done}/{watched.steps}  loss {watched.loss:.4f}{selection}  {duration(watched.eta_seconds)} left"
        )
