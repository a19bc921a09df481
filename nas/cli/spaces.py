"""``nas spaces``: the search spaces that are installed, with their papers and sizes."""

from typing import Any

import click

from nas import catalog, units
from nas.cli._options import json_option, print_json
from nas.cost.costs import latency_metric, space_costs
from nas.domain import Domain
from nas.errors import UsageError
from nas.report import text
from nas.space import SearchSpace

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas spaces
  nas spaces fbnet --resolution 32
  nas spaces fbnet mnasnet --device pixel --latency 60ms
  nas spaces ./my_space.py"""
)
@click.argument("names", nargs=-1)
@click.option("--resolution", type=click.IntRange(8, 4096), help="Input size in pixels.")
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    help="How latency on a device is spread; repeatable.",
)
@click.option(
    "--latency", metavar="MS", help="Also the share of networks under this, on each device."
)
@json_option
def command(
    names: tuple[str, ...],
    resolution: int | None,
    devices: tuple[str, ...],
    latency: str | None,
    as_json: bool,
) -> None:
    """List search spaces: paper, choices, gene tuples, distinct networks. With NAMES, their choices too.

    With --device, the exact least and greatest latency of every space, and what shares of its gene
    tuples stay under.
    """
    if latency and not devices:
        raise UsageError("--latency is a latency on a device: name it with --device")
    upper = units.milliseconds(latency) if latency else None
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
                    "devices": {name: _latencies(space, name, upper) for name in devices},
                }
                for space in spaces
            ]
        )
        return
    click.echo(text.spaces(spaces))
    for space in spaces if devices else ():
        click.echo("")
        for name in devices:
            click.echo(_spread(space, name, upper))
    for space in spaces if names else ():
        click.echo("\n" + text.choices(space))


def _domain(space: SearchSpace, device: str) -> tuple[Domain, str]:
    table = catalog.device(device)
    return Domain(space, space_costs(space, [table])), latency_metric(table.name)


def _spread(space: SearchSpace, device: str, upper_ms: float | None) -> str:
    domain, metric = _domain(space, device)
    line = f"{space.name} on {metric.partition('@')[2]}: {text.spread(domain, metric)}"
    if upper_ms is None:
        return line
    return f"{line}; {text.shown_share(domain.share_within(metric, upper_ms))} of all gene tuples within {upper_ms:g} ms"


def _latencies(space: SearchSpace, device: str, upper_ms: float | None) -> dict[str, Any]:
    domain, metric = _domain(space, device)
    return {
        "least_ms": domain.compiled.extreme(metric)[0],
        "greatest_ms": domain.compiled.extreme(metric, largest=True)[0],
        "quantiles_ms": dict(
            zip(map(str, text.SHARES), domain.quantiles(metric, text.SHARES), strict=True)
        ),
        "share_within": None if upper_ms is None else domain.share_within(metric, upper_ms),
    }
