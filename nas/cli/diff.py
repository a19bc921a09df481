"""``nas diff``: what tells two networks apart, layer by layer, and what it costs."""

import click

from nas import catalog
from nas.cli._options import SIZE, Pixels, json_option, print_json, small_images_option
from nas.latency.table import Table
from nas.report.difference import difference
from nas.run.network import Placed, placed_network
from nas.size import Size

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas diff runs/photos:12 runs/photos:30
  nas diff mnasnet_a1 mnasnet_b1 --device pixel --device raspi4
  nas diff runs/photos:12 fbnet_c --resolution 224 --classes 10 --all
  nas diff best.json mobilenet_v2 --device pixel --json"""
)
@click.argument("network")
@click.argument("network2")
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    help="A device, or the file of a table; may be given again.  [default: a run's]",
)
@click.option("--resolution", type=Pixels(), help=f"{SIZE} Of both.")
@click.option("--classes", type=click.IntRange(1, 65536), help="Output classes, of both.")
@small_images_option
@click.option("--all", "every", is_flag=True, help="Show also the layers that both have.")
@json_option
def command(
    network: str,
    network2: str,
    devices: tuple[str, ...],
    resolution: Size | None,
    classes: int | None,
    small_images: bool,
    every: bool,
    as_json: bool,
) -> None:
    """Show where NETWORK2 differs from NETWORK: genes, layers, and what the difference costs.

    A network is a published name (nas networks), an architecture.json, or RUN[:TRIAL].
    """
    first, second = (
        placed_network(name, resolution=resolution, classes=classes, small_images=small_images)
        for name in (network, network2)
    )
    found = difference(
        (network, network2),
        first.network,
        second.network,
        _tables(first, second, devices),
        _genes(first, second),
    )
    if as_json:
        print_json(found.to_json())
        return
    click.echo(found.text(every=every))


def _tables(first: Placed, second: Placed, devices: tuple[str, ...]) -> tuple[Table, ...]:
    """The devices asked for, or those of the run that either is of."""
    if devices:
        return tuple(catalog.device(name) for name in devices)
    return first.tables or second.tables


def _genes(first: Placed, second: Placed) -> dict[str, tuple[str, str]]:
    """Both labels of each gene that differs; none unless both are points of one space."""
    if first.nearest or second.nearest:
        return {}
    if first.space is None or second.space is None or not (first.genes and second.genes):
        return {}
    if first.space.gene_names != second.space.gene_names:
        return {}
    ours, theirs = first.space.describe(first.genes), second.space.describe(second.genes)
    return {gene: (ours[gene], theirs[gene]) for gene in ours if ours[gene] != theirs[gene]}
