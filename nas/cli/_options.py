"""Options and output that several commands share."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from nas import units
from nas.run.run import newest

__all__ = [
    "Sides",
    "groups_option",
    "in_milliseconds",
    "in_seconds",
    "json_option",
    "print_json",
    "run_argument",
    "seed_option",
    "small_images_option",
    "tell",
]

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


class Sides(click.ParamType["int | tuple[int, ...]"]):
    """``224``, or several sides in pixels such as ``160,192,224``: an int, or a tuple of them."""

    name = "PIXELS[,PIXELS...]"
    LEAST, GREATEST = 8, 4096

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | tuple[int, ...]:
        """One side, or several in ascending order."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        sides = sorted({self._side(part.strip(), param, ctx) for part in value.split(",")})
        return sides[0] if len(sides) == 1 else tuple(sides)

    def _side(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if not (text.isascii() and text.isdigit()):
            self.fail(f"sizes are pixels a side, such as 224 or 160,192,224, not {text!r}")
        side = int(text)
        if not self.LEAST <= side <= self.GREATEST:
            self.fail(f"{side} is not in the range {self.LEAST}<=x<={self.GREATEST}.")
        return side


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


def tell(remarks: Sequence[str]) -> None:
    """What has not worked and is no reason to stop, on stderr."""
    for remark in remarks:
        click.echo(f"nas: {remark}", err=True)


def print_json(document: object) -> None:
    """The document on stdout; NaN and infinity are a bug, not JSON."""
    click.echo(json.dumps(document, indent=1, allow_nan=False))
