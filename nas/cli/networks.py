"""``nas networks``: published networks by name, rebuilt to the last parameter, and their place in the spaces."""

from typing import Any

import click

from nas import catalog, networks
from nas.cli._options import json_option, print_json
from nas.networks.membership import membership
from nas.report import text

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas networks
  nas networks mnasnet_a1 fbnet_c
  nas networks mobilenet_v2 --width 0.75 --resolution 192 --json"""
)
@click.argument("names", nargs=-1)
@click.option(
    "--width",
    type=click.FloatRange(0.05, 16),
    default=1.0,
    help="Channel multiplier, as published.",
)
@click.option(
    "--resolution",
    type=click.IntRange(8, 4096),
    help="Input size in pixels.  [default: as published]",
)
@json_option
def command(names: tuple[str, ...], width: float, resolution: int | None, as_json: bool) -> None:
    """List published networks: params and multiply-adds as their authors count them, and membership.

    Membership says whether a network is a point of the space it came from: in, near (which genes
    differ), or outside (something differs that the space does not search). --json holds the genes.
    """
    rows = [describe(name, width, resolution) for name in names or networks.names()]
    if as_json:
        print_json(rows)
        return
    click.echo(text.networks(rows))
    for row in rows if names else ():
        click.echo(f"\n{row['name']}: {row['source']}")
        for difference in row["membership"]["differences"]:
            click.echo(f"  differs from {row['space']} in {difference}")


def describe(name: str, width: float, resolution: int | None) -> dict[str, Any]:
    """One network as ``--json`` prints it."""
    published = networks.published(name)
    network = networks.get(name, width=width, resolution=resolution)
    found: dict[str, Any] = {"verdict": "no space", "genes": None, "differences": []}
    if published.space:
        space = catalog.space(
            published.space, resolution=network.input.size, classes=1000, in_channels=3
        )
        place = membership(network, space)
        found = {
            "verdict": place.verdict,
            "genes": place.genes,
            "differences": [d.text for d in place.differences],
        }
    return {
        "name": name,
        "resolution": network.input.size,
        **published.counts(network),
        "all_params": network.params,
        "all_macs": network.macs,
        "space": published.space,
        "membership": found,
        "digest": network.digest,
        "source": published.source,
    }
