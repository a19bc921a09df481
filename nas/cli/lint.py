"""``nas lint``: what is odd about a search space, what it reaches, and which tables cover it."""

from importlib import import_module
from typing import TYPE_CHECKING

import click

from nas import catalog
from nas.cli._options import SIZE, Sizes, json_option, print_json
from nas.errors import SpaceError
from nas.lint import lint
from nas.report import text
from nas.size import Size
from nas.space import SearchSpace
from nas.units import counted

if TYPE_CHECKING:
    from nas.evaluate.visibility import Visibility

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas lint fbnet
  nas lint uninet --resolution 224 --device pixel
  nas lint mnasnet --proxy
  nas lint ./my_space.py --json"""
)
@click.argument("space")
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    help="A device whose table is looked at; may be given again.  [default: all]",
)
@click.option("--resolution", type=Sizes(), help=f"{SIZE} Or several, as in 160,192.")
@click.option(
    "--proxy",
    is_flag=True,
    help="Also count the one-gene changes that a search's short training cannot see.",
)
@json_option
def command(
    space: str,
    devices: tuple[str, ...],
    resolution: Size | tuple[Size, ...] | None,
    proxy: bool,
    as_json: bool,
) -> None:
    """Check SPACE: dead and duplicate options, distinct networks, ranges of cost, coverage, memory.

    A warning is for the space's author; an error would break a run, and ends with exit code 1.
    """
    tables = [catalog.device(name) for name in devices or catalog.device_names()]
    built = catalog.space(space, resolution=resolution)
    report = lint(built, tables, must_price=bool(devices))
    seen = _visibility(built) if proxy else {}
    if as_json:
        hidden = {preset: visibility.to_json() for preset, visibility in seen.items()}
        print_json(report.to_json() | ({"proxy": hidden} if proxy else {}))
    else:
        for preset, visibility in seen.items():
            click.echo(f"short training '{preset}': {visibility}")
        click.echo(text.lint(report))
    # After the report, which says what is to be mended.
    errors = report.of("error")
    if errors:
        raise SpaceError(
            f"space '{space}' has {counted(len(errors), 'error')}, the first: {errors[0]}"
        )


def _visibility(space: SearchSpace) -> "dict[str, Visibility]":
    """What each preset of the short training cannot see."""
    # By name, as it brings torch, which a look at a space does without.
    module = import_module("nas.evaluate.visibility")
    return {name: module.hidden_changes(space, recipe) for name, recipe in module.PRESETS.items()}
