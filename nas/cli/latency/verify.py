"""``nas latency verify``: hold a table against whole networks, and correct it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from nas import catalog
from nas.cli._options import json_option, print_json, seed_option
from nas.errors import UsageError
from nas.latency.audit import Audit
from nas.latency.table import Table
from nas.measure.runners import Command, Runner, as_built
from nas.measure.training import TrainingStep
from nas.measure.verify import (
    Verdict,
    all_remarks,
    draw,
    threads_of,
    time_networks,
    training_subject,
    verify,
)
from nas.reading import to_json
from nas.report import plots
from nas.units import text_table

__all__ = ["command"]

TRAINING_BATCH = 8


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
@click.option(
    "--resolution", type=click.IntRange(8, 4096), help="Input size.  [default: the space's]"
)
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
    resolution: int | None,
    classes: int | None,
    in_channels: int | None,
    threads: int | None,
    runner: str | None,
    seconds: float,
    seed: int,
    as_json: bool,
) -> None:
    """Time random networks of each space as a whole, twice and interleaved, against what the table says.

    Prints errors and rank correlation beside those of the two measurements, draws NAME.verify.png,
    and stores the audit in the table's JSON, where nas search reads it.
    """
    if not device.endswith((".csv", ".json")):
        raise UsageError(
            f"--device must be the .csv file of a table you own, as its audit is written there, not '{device}'"
        )
    table = Table.load(device)
    count = threads or threads_of(table)
    if training and runner:
        raise UsageError("training steps are timed in torch here: --training goes without --runner")
    how: Runner = (
        _trainer(table, count)
        if training
        else Command(runner)
        if runner
        else as_built(table.info.conditions, threads=threads)
    )
    drawn = [
        (name, network)
        for name in spaces
        for network in draw(
            catalog.space(name, resolution=resolution, classes=classes, in_channels=in_channels),
            networks,
            seed=seed,
        )
    ]
    timed, blocks = time_networks(
        drawn, how, threads=count, seconds=seconds, seed=seed, subject=training_subject if training else None,
        watch=lambda line: None if as_json else click.echo(line, err=True),
    )  # fmt: skip
    column = "train_ms" if training else None
    made = _of_training(table) if training else table
    found = verify(
        table,
        timed,
        column=column,
        correct=correct,
        unreliable=all_remarks(made, how, blocks, threads=count),
    )
    picture = table.path.with_suffix(".verify.png")
    plots.save(plots.audit_figure(_points(found), title=f"{table.name}: whole networks"), picture)
    if as_json:
        print_json(_document(found))
    else:
        click.echo(_summary(found, picture))


def _trainer(table: Table, threads: int) -> TrainingStep:
    table.column("train_ms")
    batch = (table.info.training or {}).get("batch")
    return TrainingStep(threads, batch=batch if isinstance(batch, int) else TRAINING_BATCH)


def _of_training(table: Table) -> Table:
    """The table with the conditions of its training steps, which have no reference kernel."""
    info = replace(table.info, conditions=table.info.training or {}, reference_ms=None)
    return replace(table, info=info)


def _points(found: Verdict) -> dict[str, list[tuple[float, float]]]:
    """(measured, estimated) by space."""
    points: dict[str, list[tuple[float, float]]] = {}
    for one in found.held:
        points.setdefault(one.space, []).append(
            (one.latency_ms, found.table.estimate(one.network).latency_ms)
        )
    return points


def _document(found: Verdict) -> dict[str, Any]:
    return {
        **to_json(found.table.info.audit),
        "before": None if found.before is None else found.before.to_json(),
        "correction": to_json(found.table.correction),
    }


def _summary(found: Verdict, picture: Path) -> str:
    rows = [_row(name, each) for name, each in found.spaces.items()]
    rows.append(_row("all", found.every))
    if found.before is not None:
        rows.append(_row("all, uncorrected", found.before))
    header = ["networks of", "number", "MAPE %", "bias %", "within 5 %", "within 10 %", "in 90 % interval", "tau",
              "of 2 runs", "tau in ±10 %", "of 2 runs"]  # fmt: skip
    lines = [text_table(header, rows), ""]
    if found.before is not None:
        lines.append(
            f"correction  {to_json(found.table.correction) or 'none: no form was better on networks left out'}"
        )
    lines += [f"unreliable  {remark}" for remark in found.unreliable]
    return "\n".join([*lines, f"stored in {found.table.path.with_suffix('.json')}   {picture}"])


def _row(name: str, found: Audit) -> list[str]:
    percent = (found.mape, found.bias, found.within_5, found.within_10, found.coverage_90)
    taus = (found.tau, found.tau_repeat, found.tau_band, found.tau_repeat_band)
    cells = [f"{100 * value:.1f}" for value in percent] + [
        "-" if tau is None else f"{tau:.3f}" for tau in taus
    ]
    return [name, str(found.networks), *cells]
