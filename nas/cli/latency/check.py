"""``nas latency check``: time a sample of a table's rows again."""

import click

from nas.cli._options import json_option, print_json, seed_option
from nas.errors import TableError
from nas.latency.table import Table
from nas.measure.check import Report, check
from nas.measure.runners import runner_for
from nas.measure.verify import threads_of

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas latency check --device ./my_cpu.csv
  nas latency check --device ./my_cpu.csv --sample 60 --json"""
)
@click.option("--device", required=True, metavar="FILE", help="The table, a .csv file.")
@click.option(
    "--sample",
    type=click.IntRange(4, 100_000),
    default=20,
    show_default=True,
    help="Rows to time again.",
)
@click.option(
    "--threads", type=click.IntRange(1), help="Threads inside an operator.  [default: the table's]"
)
@click.option("--runner", metavar="CMD", help="Time with a command instead, as the table was.")
@click.option(
    "--seconds-per-row", type=click.FloatRange(0.001, 600), default=0.25, show_default=True
)
@seed_option
@json_option
def command(
    device: str,
    sample: int,
    threads: int | None,
    runner: str | None,
    seconds_per_row: float,
    seed: int,
    as_json: bool,
) -> None:
    """Name rows that are plainly wrong, and what has drifted: runtime, threads, CPU, pace.

    Half of the sample are rows that the table's own device model finds oddest. Exit code 1 where a
    row is off by a factor of 2 or all rows by 10 %.
    """
    if not device.endswith((".csv", ".json")):
        raise TableError(
            "--device must be the .csv file of a table that was measured here, "
            f"such as ./my_cpu.csv, not '{device}'"
        )
    table = Table.load(device)
    count = threads or threads_of(table)
    timer = runner_for(table.info.conditions, command=runner, threads=threads)
    report = check(
        table, timer, sample=sample, threads=count, seconds_per_row=seconds_per_row, seed=seed
    )
    if as_json:
        print_json(report.to_json())
    else:
        click.echo(_summary(table, report))
    if not report.ok:
        raise TableError(
            f"table {table.path} cannot be relied on: {len(report.wrong)} of {len(report.rows)} "
            "rows are off by a factor of 2 or more, "
            f"all of them by {100 * report.drift:+.1f} % in the median. "
            "Build it anew, or correct the rows named"
        )


def _summary(table: Table, report: Report) -> str:
    lines = [
        f"{table.path}: {len(report.rows)} of {len(table.rows)} rows timed again, "
        f"{100 * report.drift:+.1f} % in the median"
    ]
    for row in report.wrong:
        factor = max(row.now_ms / row.then_ms, row.then_ms / row.now_ms)
        lines.append(
            f"wrong       {row.key}: {row.then_ms:.4g} ms in the table, {row.now_ms:.4g} ms now "
            f"({factor:.1f} times off)"
        )
    lines += [f"note        {remark}" for remark in report.remarks]
    return "\n".join(lines)
