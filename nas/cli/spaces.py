"""``nas spaces``: the search spaces that are installed, with their papers and sizes."""

import click

from nas import catalog
from nas.cli._options import json_option, print_json
from nas.report import text

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas spaces
  nas spaces fbnet --resolution 32
  nas spaces ./my_space.py"""
)
@click.argument("names", nargs=-1)
@click.option("--resolution", type=click.IntRange(8, 4096), help="Input size in pixels.")
@json_option
def command(names: tuple[str, ...], resolution: int | None, as_json: bool) -> None:
    """List search spaces: paper, choices, gene tuples, distinct networks. With NAMES, their choices too."""
    spaces = [catalog.space(name, resolution=resolution) for name in names or catalog.space_names()]
    if as_json:
        print_json(
            [
                {
                    "name": space.name,
                    "paper": space.paper,
                    "input": [space.input.channels, space.input.size, space.input.size],
                    "gene_tuples": space.cardinality,
                    "distinct_networks": space.distinct,
                    "choices": [
                        {"name": name, "options": list(choice.labels), "ordinal": choice.ordinal}
                        for name, choice in zip(space.gene_names, space.choices, strict=True)
                    ],
                }
                for space in spaces
            ]
        )
        return
    click.echo(text.spaces(spaces))
    for space in spaces if names else ():
        click.echo("\n" + text.choices(space))
