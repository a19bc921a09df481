"""``nas latency time``: time given networks as a whole, beside what a table says."""

from typing import Any

import click

from nas import catalog
from nas.arch import Architecture
from nas.cli._options import SIZE, Pixels, json_option, print_json, seed_option
from nas.cli.latency import say
from nas.errors import UsageError
from nas.latency.audit import NINETY
from nas.latency.table import Table
from nas.measure.runners import runner_for
from nas.measure.verify import all_remarks, threads_of
from nas.measure.whole import Timed, time_networks
from nas.progress import ignore
from nas.run.network import named_network
from nas.size import Size
from nas.units import text_table

__all__ = ["command"]

HEADER = [
    "network",
    "measured ms",
    "again",
    "table ms",
    "sd",
    "table off by",
    "in 90 % interval",
]


@click.command(
    epilog="""\b
Examples:
  nas latency time runs/mine:12 --device ./my_cpu.csv
  nas latency time best.json mobilenet_v2 --device ./my_cpu.csv --seconds 5 --json"""
)
@click.argument("networks", nargs=-1, required=True, metavar="NETWORK...")
@click.option(
    "--device",
    required=True,
    metavar="NAME",
    help="Device or table file, whose conditions are kept.",
)
@click.option("--resolution", type=Pixels(), help=SIZE)
@click.option(
    "--threads", type=click.IntRange(1), help="Threads inside an operator.  [default: the table's]"
)
@click.option("--runner", metavar="CMD", help="Time with a command instead, as the table was.")
@click.option(
    "--seconds",
    type=click.FloatRange(0.001, 600),
    default=2.0,
    show_default=True,
    help="Budget of a network.",
)
@seed_option
@json_option
def command(
    networks: tuple[str, ...],
    device: str,
    resolution: Size | None,
    threads: int | None,
    runner: str | None,
    seconds: float,
    seed: int,
    as_json: bool,
) -> None:
    """Time each NETWORK as a whole, in turn and twice, beside the table's estimate.

    NETWORK is a published name (nas networks), an architecture.json, or RUN[:TRIAL]. Only a table
    made on this machine, or one given the --runner that reaches its device, says anything here.
    """
    table = catalog.device(device)
    runtime = str(table.info.conditions.get("runtime", "not stated"))
    if runner is None and not runtime.startswith("onnxruntime"):
        raise UsageError(
            f"the milliseconds of table '{table.name}' are of another runtime ({runtime}): "
            "nothing timed here can be held against it. Give the --runner that reaches the device, "
            "or build a table of this machine (nas latency build)"
        )
    count = threads or threads_of(table)
    timer = runner_for(table.info.conditions, command=runner, threads=threads)
    # Two names may be of one network.
    asked: dict[Architecture, list[str]] = {}
    for name in dict.fromkeys(networks):
        asked.setdefault(named_network(name, resolution=resolution), []).append(name)
    timed, blocks = time_networks(
        [(" = ".join(names), network) for network, names in asked.items()],
        timer,
        threads=count,
        seconds=seconds,
        seed=seed,
        reference_ms=table.info.reference_ms if threads is None else None,
        watch=ignore if as_json else say,
    )
    remarks = all_remarks(table, timer, blocks)
    rows = [_compared(one, table) for one in timed]
    if as_json:
        print_json({"device": table.name, "networks": rows, "unreliable": remarks})
        return
    click.echo(text_table(HEADER, [_row(row) for row in rows]))
    for remark in remarks:
        click.echo(f"unreliable  {remark}")


def _compared(one: Timed, table: Table) -> dict[str, Any]:
    estimate = table.estimate(one.network)
    off = estimate.latency_ms / one.latency_ms - 1
    return {
        "network": one.space,
        "digest": one.network.digest,
        "first_ms": one.first_ms,
        "second_ms": one.second_ms,
        "latency_ms": estimate.latency_ms,
        "latency_sd_ms": estimate.latency_sd_ms,
        "error": off,
        "inside": abs(estimate.latency_ms - one.latency_ms) <= NINETY * estimate.latency_sd_ms,
    }


def _row(compared: dict[str, Any]) -> list[str]:
    names = ("first_ms", "second_ms", "latency_ms", "latency_sd_ms")
    return [
        compared["network"],
        *(f"{compared[name]:.4g}" for name in names),
        f"{100 * compared['error']:+.1f} %",
        "yes" if compared["inside"] else "no",
    ]
