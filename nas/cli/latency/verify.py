"""``nas latency verify``: hold a table against whole networks, and correct it."""

from pathlib import Path
from typing import Any

import click

from nas import catalog
from nas.cli._options import Sides, json_option, print_json, seed_option
from nas.cli.latency import say
from nas.errors import UsageError
from nas.latency.audit import Audit
from nas.latency.table import Table
from nas.measure.verify import Verdict, verify_on
from nas.progress import ignore
from nas.reading import to_json
from nas.report import plots
from nas.units import text_table

__all__ = ["command"]

HEADER = [
    "networks of",
    "number",
    "MAPE %",
    "bias %",
    "within 5 %",
    "within 10 %",
    "in 90 % interval",
    "tau",
    "of 2 runs",
    "tau in ±10 %",
    "of 2 runs",
]


@click.command(
    epilog="""\b
Examples:
  nas latency verify --device ./my_cpu.csv --space fbnet
  nas latency verify --device ./my_cpu.csv --space fbnet --space uninet --networks 40 --correct
  nas latency verify --device ./my_cpu.csv --space fbnet --training --correct"""
)
@click.option(
    "--device",
    required=True,
    metavar="FILE",
    help="The table, a .csv file; its audit is stored with it.",
)
@click.option(
    "--space",
    "spaces",
    multiple=True,
    required=True,
    metavar="NAME",
    help="Search space; repeatable.",
)
@click.option(
    "--networks",
    type=click.IntRange(4, 10_000),
    default=20,
    show_default=True,
    help="Random networks of each space.",
)
@click.option(
    "--correct",
    is_flag=True,
    help="Learn a correction from half of the networks; audit the other half.",
)
@click.option(
    "--training", is_flag=True, help="Whole training steps, against the table's train_ms."
)
@click.option("--resolution", type=Sides(), help="Input size, or several.  [default: the space's]")
@click.option("--classes", type=click.IntRange(2, 65536), help="Classes.  [default: the space's]")
@click.option(
    "--in-channels",
    type=click.IntRange(1, 1024),
    help="Channels of the input.  [default: the space's]",
)
@click.option(
    "--threads", type=click.IntRange(1), help="Threads inside an operator.  [default: the table's]"
)
@click.option("--runner", metavar="CMD", help="Time with a command instead, as the table was.")
@click.option(
    "--seconds",
    type=click.FloatRange(0.001, 600),
    default=1.0,
    show_default=True,
    help="Budget of a network.",
)
@seed_option
@json_option
def command(
    device: str,
    spaces: tuple[str, ...],
    networks: int,
    correct: bool,
    training: bool,
    resolution: int | tuple[int, ...] | None,
    classes: int | None,
    in_channels: int | None,
    threads: int | None,
    runner: str | None,
    seconds: float,
    seed: int,
    as_json: bool,
) -> None:
    """Hold a table against random whole networks of each space, each timed twice.

    Prints errors and rank correlation beside those of the two measurements, draws NAME.verify.png,
    and stores the audit in the table's JSON, where nas search reads it.
    """
    if not device.endswith((".csv", ".json")):
        raise UsageError(
            "--device must be the .csv file of a table you own, "
            f"as its audit is written there, not '{device}'"
        )
    table = Table.load(device)
    named = {}
    for name in spaces:
        named[name] = catalog.space(
            name, resolution=resolution, classes=classes, in_channels=in_channels
        )
    verdict = verify_on(
        table,
        named,
        networks=networks,
        correct=correct,
        training=training,
        command=runner,
        threads=threads,
        seconds=seconds,
        seed=seed,
        watch=ignore if as_json else say,
    )
    picture = table.path.with_suffix(".verify.png")
    figure = plots.audit_figure(_points(verdict), title=f"{table.name}: whole networks")
    plots.save(figure, picture)
    if as_json:
        print_json(_document(verdict))
    else:
        click.echo(_summary(verdict, picture))


def _points(verdict: Verdict) -> dict[str, list[tuple[float, float]]]:
    """(measured, estimated) by space."""
    points: dict[str, list[tuple[float, float]]] = {}
    for one in verdict.held:
        estimate = verdict.table.estimate(one.network)
        points.setdefault(one.space, []).append((one.latency_ms, estimate.latency_ms))
    return points


def _document(verdict: Verdict) -> dict[str, Any]:
    return {
        **to_json(verdict.table.info.audit),
        "before": None if verdict.before is None else verdict.before.to_json(),
        "correction": to_json(verdict.table.correction),
    }


def _summary(verdict: Verdict, picture: Path) -> str:
    rows = [_row(name, audit) for name, audit in verdict.spaces.items()]
    rows.append(_row("all", verdict.every))
    if verdict.before is not None:
        rows.append(_row("all, uncorrected", verdict.before))
    lines = [text_table(HEADER, rows), ""]
    if verdict.before is not None:
        correction = to_json(verdict.table.correction)
        lines.append(f"correction  {correction or 'none: no form was better on networks left out'}")
    lines += [f"unreliable  {remark}" for remark in verdict.unreliable]
    stored = verdict.table.path.with_suffix(".json")
    return "\n".join([*lines, f"stored in {stored}   {picture}"])


def _row(name: str, audit: Audit) -> list[str]:
    shares = (audit.mape, audit.bias, audit.within_5, audit.within_10, audit.coverage_90)
    taus = (audit.tau, audit.tau_repeat, audit.tau_band, audit.tau_repeat_band)
    percent = [f"{100 * share:.1f}" for share in shares]
    agreement = ["-" if tau is None else f"{tau:.3f}" for tau in taus]
    return [name, str(audit.networks), *percent, *agreement]
