"""``nas lint``: what is odd about a search space, what it reaches, and which tables cover it."""

import click

from nas import catalog
from nas.cli._options import json_option, print_json
from nas.errors import SpaceError
from nas.lint import lint
from nas.report import text
from nas.units import counted

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas lint fbnet
  nas lint uninet --resolution 224 --device pixel
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
@click.option("--resolution", type=click.IntRange(8, 4096), help="Input size in pixels.")
@json_option
def command(space: str, devices: tuple[str, ...], resolution: int | None, as_json: bool) -> None:
    """Check SPACE: dead and duplicate options, distinct networks, ranges of cost, coverage, memory.

    A warning is for the space's author; an error would break a run, and ends with exit code 1.
    """
    tables = [catalog.device(name) for name in devices or catalog.device_names()]
    report = lint(catalog.space(space, resolution=resolution), tables)
    if as_json:
        print_json(report.to_json())
    else:
        click.echo(text.lint(report))
    # After the report, which says what is to be mended.
    errors = report.of("error")
    if errors:
        raise SpaceError(
            f"space '{space}' has {counted(len(errors), 'error')}, the first: {errors[0]}"
        )
