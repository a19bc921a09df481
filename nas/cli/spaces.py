"""``nas spaces``: the search spaces that are installed, with their papers and sizes."""

from collections.abc import Sequence

import click

from nas import catalog, units
from nas.cli._options import SIZE, Sizes, json_option, print_json
from nas.cost.costs import space_costs
from nas.cost.metric import Metric
from nas.domain import Domain
from nas.errors import UsageError
from nas.report import text
from nas.report.listing import choices_text, space_json, spaces_text
from nas.size import Size
from nas.space import SearchSpace

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas spaces
  nas spaces fbnet --resolution 32 --classes 10
  nas spaces fbnet mnasnet --device pixel --latency 60ms
  nas spaces ./my_space.py"""
)
@click.argument("names", nargs=-1)
@click.option("--resolution", type=Sizes(), help=f"{SIZE} Or several, as in 160,192.")
@click.option(
    "--classes",
    type=click.IntRange(2, 65536),
    help="Classes, as your data has: with few the head is smaller.  [default: the space's]",
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    help="Print how latency on a device is spread; may be given again.",
)
@click.option(
    "--latency", metavar="MS", help="Print the share of networks below this, on each device."
)
@json_option
def command(
    names: tuple[str, ...],
    resolution: Size | tuple[Size, ...] | None,
    classes: int | None,
    devices: tuple[str, ...],
    latency: str | None,
    as_json: bool,
) -> None:
    """List search spaces: paper, choices, gene tuples, distinct networks.

    With NAMES, their choices too. With --device, the exact least and greatest latency of every
    space, and what shares of its gene tuples stay under.
    """
    if latency and not devices:
        raise UsageError("--latency is a latency on a device: name it with --device")
    upper_ms = units.milliseconds(latency) if latency else None
    spaces = [
        catalog.space(name, resolution=resolution, classes=classes)
        for name in names or catalog.space_names()
    ]
    if as_json:
        print_json([space_json(space, _latencies(space, devices, upper_ms)) for space in spaces])
        return
    click.echo(spaces_text(spaces))
    for space in spaces if devices else ():
        click.echo("")
        for device in devices:
            click.echo(_spread(space, device, upper_ms))
    for space in spaces if names else ():
        click.echo(f"\n{choices_text(space)}")


def _latencies(
    space: SearchSpace, devices: Sequence[str], upper_ms: float | None
) -> dict[str, object]:
    """How latency is spread, by device as it was named."""
    spreads: dict[str, object] = {}
    for device in devices:
        domain, metric = _priced(space, device)
        spreads[device] = text.spread_json(domain, str(metric), upper_ms)
    return spreads


def _spread(space: SearchSpace, device: str, upper_ms: float | None) -> str:
    domain, metric = _priced(space, device)
    line = f"{space.name} on {metric.device}: {text.spread(domain, str(metric))}"
    if upper_ms is None:
        return line
    share = text.shown_share(domain.share_within(str(metric), upper_ms))
    return f"{line}; {share} of all gene tuples within {upper_ms:g} ms"


def _priced(space: SearchSpace, device: str) -> tuple[Domain, Metric]:
    """The space priced on one device, without bounds, and the metric that is its latency."""
    table = catalog.device(device)
    return Domain(space, space_costs(space, [table])), Metric.latency(table.name)
