"""``nas explain``: where a network's time goes, and what each change of a gene costs or saves."""

import click

from nas import catalog
from nas.cli._options import SIZE, Pixels, json_option, print_json, small_images_option
from nas.errors import UsageError
from nas.latency.table import Table
from nas.report.explain import explain
from nas.run.network import Placed, placed_network
from nas.size import Size

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas explain mnasnet_a1 --device pixel
  nas explain runs/photos:12
  nas explain runs/photos:12 --all
  nas explain best.json --space fbnet --device pixel --json"""
)
@click.argument("network")
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    help="A device, or the file of a table; may be given again.  [default: its run's]",
)
@click.option(
    "--space",
    metavar="NAME",
    help="Space whose genes are changed.  [default: its run's, or its paper's]",
)
@click.option("--resolution", type=Pixels(), help=SIZE)
@click.option("--classes", type=click.IntRange(1, 65536), help="Output classes.")
@small_images_option
@click.option("--all", "every", is_flag=True, help="A line for each change, biggest saving first.")
@json_option
def command(
    network: str,
    devices: tuple[str, ...],
    space: str | None,
    resolution: Size | None,
    classes: int | None,
    small_images: bool,
    every: bool,
    as_json: bool,
) -> None:
    """Say where the time of NETWORK goes, and what each change of one gene would cost or save.

    NETWORK is a published name (nas networks), an architecture.json, or RUN[:TRIAL]. Changes are
    exact sums of the device's table; of a network that is no point of its space, they are those of
    the nearest point. What a change does to the accuracy is not known before a training.
    """
    placed = placed_network(
        network, space=space, resolution=resolution, classes=classes, small_images=small_images
    )
    explanations = [
        explain(
            network,
            placed.network,
            table,
            space=placed.space,
            genes=placed.genes,
            nearest=placed.nearest,
            unplaced=placed.unplaced,
        )
        for table in _tables(placed, devices)
    ]
    if as_json:
        print_json([each.to_json() for each in explanations])
        return
    click.echo("\n\n".join(each.text(every=every) for each in explanations))


def _tables(placed: Placed, devices: tuple[str, ...]) -> list[Table]:
    """The devices asked for, or those of the network's run."""
    if devices:
        return [catalog.device(name) for name in devices]
    if not placed.tables:
        raise UsageError("a time is of a device: give --device, such as --device pixel")
    return list(placed.tables)
