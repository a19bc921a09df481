"""``nas train``: train one network in full; goes on exactly where a kill stopped it."""

import dataclasses
import math
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from nas import units
from nas.arch import Architecture
from nas.cli._options import (
    SIZE,
    Pixels,
    compute_options,
    groups_option,
    json_option,
    log_option,
    print_json,
    small_images_option,
    tell,
)
from nas.compute import Compute
from nas.data import Dataset, load
from nas.data.masks import load_masks
from nas.errors import InterruptError, UsageError
from nas.evaluate.inherit import has_supernet, supernet_weights
from nas.model.weights import Weights, read_weights
from nas.progress import Progress
from nas.report.live import LOG_EVERY_SECONDS, Live
from nas.run.network import named_network
from nas.size import Size
from nas.train.full import FullTraining, Recipe, Result
from nas.train.recipe import GROWTH, RECIPES, recipe
from nas.train.teacher import TEMPERATURE, WEIGHT, Teacher, load_teacher
from nas.units import duration

__all__ = ["command"]

LARGEST_MASK_VALUE = 255
# Those that this process may use; macOS does not tell.
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@click.command(
    epilog="""\b
Examples:
  nas train runs/photos:12 --data folder:photos --out trained/photos
  nas train mobilenet_v2 --data fashion-mnist --resolution 32 --epochs 20 --out trained/fashion
  nas train architecture.json --data npz:scans.npz --groups patients.txt --out trained/scans
  nas train runs/photos:12 --data folder:photos --weights runs/photos --out trained/on
  nas train mobilenet_v3_large --data folder:photos \\
      --weights timm:mobilenetv3_large_100.ra_in1k --out trained/tuned
  nas train resnet50 --data folder:photos --weights torchvision:resnet50 --out trained/resnet
  nas train winner.json --data folder:photos --recipe efficientnetv2-s --out trained/v2
  nas train winner.json --data folder:photos --progressive s --tensorboard --out trained/growing
  nas train small.json --data digits --teacher big.json --teacher-weights big --out trained/small
  nas train winner.json --task segmentation --data folder:streets --out trained/streets
  torchrun --nproc-per-node 4 -m nas train winner.json --data folder:photos --out trained/four"""
)
@click.argument("network")
@click.option(
    "--data", required=True, help="digits, fashion-mnist[:DIR], npz:FILE, folder:DIR, hf:NAME."
)
@groups_option
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder of the training."
)
@click.option(
    "--task",
    type=click.Choice(["classification", "segmentation"]),
    default="classification",
    show_default=True,
    help="What to learn. Segmentation reads folder:DIR with images/ and masks/.",
)
@click.option(
    "--mask-values",
    metavar="LIST",
    help="Of masks that hold other values than 0, 1, ..: those of the classes in order, as 0,255.",
)
@click.option(
    "--recipe",
    "recipe_name",
    default="default",
    show_default=True,
    help=f"Starts from a paper's recipe: {', '.join(RECIPES)}.",
)
@click.option(
    "--progressive",
    default="",
    metavar="PRESET",
    help=f"Trains at growing sizes, as EfficientNetV2: {', '.join(GROWTH)}.",
)
@click.option(
    "--set",
    "settings",
    default="",
    metavar="NAME=VALUE,..",
    help="Changes these settings of the recipe.",
)
@click.option(
    "--epochs",
    type=click.FloatRange(0, min_open=True),
    help="Passes over the weights and search sets.  [default: the recipe's]",
)
@click.option("--steps", type=click.IntRange(1), help="Batches to train on, instead of --epochs.")
@click.option(
    "--batch-size",
    type=click.IntRange(2),
    help="Images in each step, over all processes.  [default: the recipe's]",
)
@click.option(
    "--lr",
    type=click.FloatRange(0, min_open=True),
    help="Peak learning rate.  [default: the recipe's]",
)
@click.option(
    "--resolution",
    type=Pixels(1),
    help=f"{SIZE}  [default: the network's]",
)
@click.option(
    "--weights",
    metavar="WEIGHTS",
    help="Starts from a file, hf:REPO, timm:NAME, torchvision:NAME, a folder of nas train, or a "
    "run's supernet.",
)
@click.option(
    "--partial",
    is_flag=True,
    help="Takes of --weights what fits, as from a smaller member of a family.",
)
@click.option(
    "--teacher", metavar="NETWORK", help="Network, or ONNX file, whose logits to learn from."
)
@click.option(
    "--teacher-weights", type=click.Path(path_type=Path), help="State dict of the teacher."
)
@click.option(
    "--teacher-temperature",
    type=float,
    default=TEMPERATURE,
    show_default=True,
    help="Divides the teacher's logits.",
)
@click.option(
    "--teacher-weight",
    type=float,
    default=WEIGHT,
    show_default=True,
    help="Share of the teacher in the loss.",
)
@click.option(
    "--data-workers",
    type=click.IntRange(0),
    default=min(8, CORES // 2),
    show_default="half of the cores, at most 8",
    help="Processes that decode image files; 0: none beside this one. They change no bit.",
)
@click.option(
    "--show-batch",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.png",
    help="Draws the first batch as the network sees it, and trains nothing.",
)
@log_option
@click.option("--tensorboard", is_flag=True, help="The same as --log tensorboard.")
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=CORES,
    show_default="all cores",
    help="CPU threads.",
)
@compute_options
@click.option(
    "--checkpoint",
    default="60s",
    metavar="TIME",
    show_default=True,
    help="Time between checkpoints.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Refuses a data set with a corrupt image instead of leaving the image out.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of everything random.",
)
@small_images_option
@json_option
def command(
    network: str,
    data: str,
    groups: str | None,
    out: Path,
    task: str,
    weights: str | None,
    partial: bool,
    tensorboard: bool,
    data_workers: int,
    show_batch: Path | None,
    threads: int,
    checkpoint: str,
    strict: bool,
    small_images: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Train NETWORK, whole and at full resolution, and score it once on the test set.

    NETWORK is a published name, an architecture.json, or RUN[:TRIAL]. Given again, the command goes
    on from the last checkpoint, to the same bits as if it had never stopped. Training reads the
    weights and search sets; selection is watched. The folder ends with weights.pt,
    architecture.json and result.json.
    """
    if given["steps"] is not None and given["epochs"] is not None:
        raise UsageError("--steps and --epochs both say how long to train: give one of them")
    chosen = _recipe(given)
    # Strides are relaxed for the images at hand. Else the network keeps the size that it is for.
    size = chosen.resolution if small_images else None
    architecture = named_network(network, resolution=size, small_images=small_images)
    values = _mask_values(task, given["mask_values"])
    size = chosen.resolution or architecture.input.size
    # Before the images: what is refused of weights is told at once.
    start = _weights(weights, architecture)
    # Under torchrun every process runs this command, and one of them speaks.
    live = Live(quiet=as_json or os.environ.get("RANK", "0") != "0")
    dataset = _data(task, data, strict, groups, size, values, live)
    training = FullTraining(
        architecture,
        dataset,
        out,
        chosen,
        weights=start,
        partial=partial,
        thread_count=threads,
        teacher=_teacher(dataset, given),
        logs=[*given["log"], *(["tensorboard"] if tensorboard else [])],
        data_workers=data_workers,
        compute=Compute(accelerator=given["accelerator"], precision=given["precision"]),
    )
    live.lines(training.lines())
    if show_batch is not None:
        count = training.show_batch(show_batch)
        click.echo(f"{show_batch}  the first batch of {units.counted(count, 'image')}")
        return
    try:
        result = training.run(
            checkpoint_seconds=units.seconds(checkpoint), watch=_Lines(live, training.task.metric)
        )
    except KeyboardInterrupt:
        raise InterruptError(
            "interrupted; go on from the last checkpoint by the same command"
        ) from None
    if not training.processes.first:
        return
    tell(training.remarks)
    if as_json:
        weights_read = None if training.loaded is None else dataclasses.asdict(training.loaded)
        print_json({"out": str(out), **result, "weights": weights_read})
        return
    click.echo(_summary(result, training.task.metric))
    if _hardly_beats_chance(result, training.task.metric):
        tell(
            [
                f"it knows hardly more than chance, 1 of {len(result['classes'])}: it is not worth "
                "shipping yet. A training needs hundreds of steps at least: more --epochs"
            ]
        )
    # A training of an earlier version does not say.
    if result.get("test_left_out"):
        click.echo(result["test_left_out"])
    click.echo(f"{out}/weights.pt   {out}/architecture.json   {out}/result.json")


def _hardly_beats_chance(result: Result, metric: str) -> bool:
    """Whether one that guesses could score as well on the test images, within 3 deviations."""
    if metric != "accuracy" or not result["test_images"]:
        return False
    chance = 1 / len(result["classes"])
    deviation = math.sqrt(chance * (1 - chance) / result["test_images"])
    return float(result["test"][metric]) < chance + 3 * deviation


def _summary(result: Result, metric: str) -> str:
    openings = result["test_openings"]
    over = ""
    if "classes" in result["test"]:
        occurring = round(result["test"]["classes"])
        over = f" over the {occurring} of {len(result['classes'])} classes that occur,"
    times = "once" if openings == 1 else f"{openings} times"
    return (
        f"test {metric} {result['test'][metric]:.4f}{over} on "
        f"{units.counted(result['test_images'], 'image')} (test set opened {times}), "
        f"selection {result['selection'][metric]:.4f}; "
        f"{result['core_seconds']:.0f} core-seconds"
    )


def _weights(name: str | None, network: Architecture) -> Weights | None:
    """What `read_weights` takes, or for this network the supernet of a run."""
    if name is None:
        return None
    path = Path(name)
    return supernet_weights(path, network) if has_supernet(path) else read_weights(name)


def _recipe(given: dict[str, Any]) -> Recipe:
    """The recipe with --set, then with the settings that have options of their own."""
    base = recipe(given["recipe_name"], given["progressive"], given["settings"])
    own = {
        name: given[name]
        for name in ("epochs", "steps", "batch_size", "resolution")
        if given[name] is not None
    }
    if given["lr"] is not None:
        own |= {"lr": given["lr"], "lr_batch": 0}  # as it stands, whatever the batch
    # The default 0 must not undo a --set seed=7.
    if given["seed"] or "seed=" not in given["settings"]:
        own["seed"] = given["seed"]
    return replace(base, **own)


def _data(
    task: str,
    data: str,
    strict: bool,
    groups: str | None,
    size: Size,
    mask_values: tuple[int, ...] | None,
    live: Live,
) -> Dataset:
    if task == "classification":
        return load(data, strict=strict, groups=groups, watch=live.read)
    return load_masks(data, size=size, groups=groups, values=mask_values)


def _mask_values(task: str, text: str | None) -> tuple[int, ...] | None:
    """The values of masks that stand for the classes."""
    if text is None:
        return None
    if task != "segmentation":
        raise UsageError("--mask-values is of masks: give --task segmentation too")
    words = [word.strip() for word in text.split(",")]
    values = [int(word) for word in words if word.isascii() and word.isdecimal()]
    fit = len(values) == len(words) == len(set(values)) > 1 and max(values) <= LARGEST_MASK_VALUE
    if not fit:
        raise UsageError(
            "--mask-values are two or more different numbers of 0 to "
            f"{LARGEST_MASK_VALUE}, such as 0,255, not '{text[:40]}'"
        )
    return tuple(values)


def _teacher(dataset: Dataset, given: dict[str, Any]) -> Teacher | None:
    if given["teacher"] is None:
        if given["teacher_weights"] is not None:
            raise UsageError("--teacher-weights needs --teacher NETWORK")
        return None
    return load_teacher(
        given["teacher"],
        given["teacher_weights"],
        dataset,
        temperature=given["teacher_temperature"],
        weight=given["teacher_weight"],
    )


class _Lines:
    """A line of progress now and then."""

    def __init__(self, live: Live, metric: str) -> None:
        self._live, self._metric, self._last = live, metric, time.monotonic()

    def __call__(self, progress: Progress[object]) -> None:
        now = time.monotonic()
        if now - self._last < LOG_EVERY_SECONDS and progress.done != progress.planned:
            return
        self._last = now
        figures = progress.figures
        line = f"step {progress.done}/{progress.planned}  loss {figures['loss']:.4f}"
        if "selection" in figures:
            line += f"  selection {self._metric} {figures['selection']:.4f}"
        self._live.step(f"{line}  {duration(progress.eta_seconds or 0.0)} left")
