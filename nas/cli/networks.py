"""``nas networks``: published networks, rebuilt to the last parameter, and their spaces."""

import click

from nas import catalog, networks
from nas.cli._options import json_option, print_json
from nas.report.listing import PublishedNetwork, networks_text

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
    """List published networks: params and multiply-adds as their authors count, and membership.

    Membership says whether a network is a point of the space it came from: in, near (which genes
    differ), or outside (something differs that the space does not search). --json holds the genes.
    """
    rows = [_published(name, width, resolution) for name in names or networks.names()]
    if as_json:
        print_json([row.to_json() for row in rows])
        return
    click.echo(networks_text(rows))
    for row in rows if names else ():
        click.echo(f"\n{row.text()}")


def _published(name: str, width: float, resolution: int | None) -> PublishedNetwork:
    published = networks.published(name)
    network = networks.get(name, width=width, resolution=resolution)
    space = None
    if published.space:
        space = catalog.space(
            published.space, resolution=network.input.size, classes=1000, in_channels=3
        )
    return PublishedNetwork.of(published, network, space)
