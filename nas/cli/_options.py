"""Options and output that several commands share."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from nas import units
from nas.compute import PRECISIONS
from nas.errors import UsageError
from nas.run.run import newest
from nas.size import Size, area, by_area, longer, parse_size, shorter

__all__ = [
    "SIZE",
    "Pixels",
    "Sizes",
    "compute_options",
    "groups_option",
    "in_milliseconds",
    "in_seconds",
    "json_option",
    "log_option",
    "print_json",
    "run_argument",
    "seed_option",
    "small_images_option",
    "tell",
]

SIZE = "Input size in pixels: a side, or height x width as in 240x320."
"""What an option that takes a size says of it."""

Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    """``--json``: one document on stdout, nothing else there."""
    option = click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="Print one JSON document on stdout.",
    )
    return option(command)


def run_argument(command: Command) -> Command:
    """``RUN``: a run folder, by default the newest in ./runs."""
    argument = click.argument(
        "run",
        type=click.Path(path_type=Path),
        required=False,
        callback=lambda ctx, param, folder: folder or newest(),
    )
    return argument(command)


def compute_options(command: Command) -> Command:
    """``--accelerator`` and ``--precision``."""
    accelerator = click.option(
        "--accelerator",
        default="auto",
        show_default=True,
        metavar="NAME",
        help="What networks are trained on: auto (CUDA, else the CPU), cpu, cuda, cuda:N or mps.",
    )
    precision = click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default="auto",
        show_default=True,
        help="Numbers of products; auto: bfloat16 on CUDA, else float32.",
    )
    return accelerator(precision(command))


def log_option(command: Command) -> Command:
    """``--log``, of a search and of a training."""
    option = click.option(
        "--log",
        multiple=True,
        metavar="NAME,..",
        callback=_loggers,
        help="Tell curves and figures to tensorboard, mlflow or wandb, too; repeatable.",
    )
    return option(command)


def _loggers(ctx: click.Context, param: click.Parameter, texts: Sequence[str]) -> tuple[str, ...]:
    names = [name.strip() for name in ",".join(texts).split(",")]
    return tuple(filter(None, names))


def groups_option(command: Command) -> Command:
    """``--groups FILE``."""
    option = click.option(
        "--groups",
        metavar="FILE",
        help="A group id per image, or filename,group: no split cuts a group.",
    )
    return option(command)


def seed_option(command: Command) -> Command:
    """``--seed``."""
    option = click.option(
        "--seed",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Seed of everything random.",
    )
    return option(command)


class Pixels(click.ParamType["Size"]):
    """A size such as ``224``, or ``240x320``, height x width.

    A square has ``least`` to 4096 pixels a side, a rectangle 1 to 4096, and as many in all as the
    least square.
    """

    name = "SIZE"
    GREATEST = 4096

    def __init__(self, least: int = 8) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Size:
        """The size."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        return self.size(value)

    def size(self, text: str) -> Size:
        """The size that a text spells."""
        try:
            size = parse_size(text)
        except UsageError as error:
            self.fail(str(error))
        if isinstance(size, int) and not self.least <= size <= self.GREATEST:
            self.fail(f"{size} is not in the range {self.least}<=x<={self.GREATEST}.")
        if not 1 <= shorter(size) <= longer(size) <= self.GREATEST:
            self.fail(f"sides have 1 to {self.GREATEST} pixels, not {size}")
        if area(size) < self.least**2:
            self.fail(f"a size has at least {self.least**2} pixels in all, not {size}")
        return size


class Sizes(Pixels):
    """``224``, ``240x320``, or several such as ``160,192,224``: a size, or a tuple of them."""

    name = "SIZE[,SIZE...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """One size, or several in ascending order."""
        if not isinstance(value, str):
            return value
        sizes = sorted({self.size(part) for part in value.split(",")}, key=by_area)
        return sizes[0] if len(sizes) == 1 else tuple(sizes)


def small_images_option(command: Command) -> Command:
    """``--small-images``."""
    option = click.option(
        "--small-images",
        is_flag=True,
        help="Drop early strides at resolutions below 128, as the spaces do.",
    )
    return option(command)


def in_milliseconds(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    """Callback of an option that takes a latency such as ``60ms``."""
    return None if text is None else units.milliseconds(text)


def in_seconds(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    """Callback of an option that takes a time such as ``5m``."""
    return None if not text else units.seconds(text)


def tell(remarks: Iterable[str]) -> None:
    """What has not worked and is no reason to stop, on stderr."""
    for remark in remarks:
        click.echo(f"nas: {remark}", err=True)


def print_json(document: object) -> None:
    """The document on stdout; NaN and infinity are a bug, not JSON."""
    click.echo(json.dumps(document, indent=1, allow_nan=False))
