"""``nas latency verify``: hold a table against whole networks, and correct it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from nas import catalog
from nas.cli._options import Sizes, json_option, print_json, seed_option
from nas.cli.latency import say
from nas.errors import TableError, UsageError
from nas.latency.audit import Audit, Band
from nas.latency.table import Table
from nas.measure.verify import SECONDS, Verdict, verify_on
from nas.progress import ignore
from nas.reading import to_json
from nas.record.identity import space_digest
from nas.report import plots
from nas.run.run import Run
from nas.size import Size
from nas.space import SearchSpace
from nas.trial import Genes
from nas.units import text_table

__all__ = ["command", "draw_picture", "verdict_text"]

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
  nas latency verify --device ./my_cpu.csv --space fbnet --correct --run runs/photos
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
    help="Networks of each space, spread over its latencies.",
)
@click.option(
    "--correct",
    is_flag=True,
    help="Learn a correction from the networks; audit it on networks left out.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Store a correction that was learnt under load, or that is worse than none somewhere.",
)
@click.option(
    "--run",
    "run",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Take a third of the networks of its space near the front of this run.",
)
@click.option(
    "--training", is_flag=True, help="Whole training steps, against the table's train_ms."
)
@click.option(
    "--resolution",
    type=Sizes(),
    help="Input size, such as 224 or 240x320, or several.  [default: the space's]",
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
    default=SECONDS,
    show_default=True,
    help="What a network may take in all.",
)
@seed_option
@json_option
def command(
    device: str,
    spaces: tuple[str, ...],
    networks: int,
    correct: bool,
    force: bool,
    run: Path | None,
    training: bool,
    resolution: Size | tuple[Size, ...] | None,
    classes: int | None,
    in_channels: int | None,
    threads: int | None,
    runner: str | None,
    seconds: float,
    seed: int,
    as_json: bool,
) -> None:
    """Hold a table against whole networks of each space, from its fastest to its slowest.

    Each is timed twice. Prints errors and rank correlation beside those of the two measurements,
    draws NAME.verify.png, and stores the audit in the table's JSON, where nas search reads it. A
    verify that was killed goes on when called again.
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
        force=force,
        near=_front_genes(run, named),
        training=training,
        command=runner,
        threads=threads,
        seconds=seconds,
        seed=seed,
        watch=ignore if as_json else say,
    )
    picture = draw_picture(verdict)
    if as_json:
        print_json(_document(verdict))
    else:
        stored = verdict.table.path.with_suffix(".json")
        click.echo(f"{verdict_text(verdict)}\nstored in {stored}   {picture}")
    if verdict.refused:
        raise TableError(
            "the correction was not stored, for the reasons above; --force stores the next one "
            "all the same"
        )


def _front_genes(folder: Path | None, spaces: Mapping[str, SearchSpace]) -> dict[str, list[Genes]]:
    """By the name of its space as it was given, the genes of a run's front."""
    if folder is None:
        return {}
    run = Run(folder)
    for name, space in spaces.items():
        if space_digest(space) == run.identity.space.digest:
            return {name: [trial.genes for trial in run.front_trials]}
    raise UsageError(
        f"run '{folder}' is of space {run.space.name} at {run.space.input}, which is none of the "
        "spaces here: give its --space and --resolution, --classes and --in-channels as it has them"
    )


def draw_picture(verdict: Verdict) -> str:
    """Draw estimates over measurements beside the table; the file, or why there is none."""
    table = verdict.table
    picture = table.path.with_suffix(".verify.png")
    points: dict[str, list[tuple[float, float]]] = {}
    for one, estimate in zip(verdict.held, verdict.estimates, strict=True):
        points.setdefault(one.space, []).append((one.latency_ms, estimate.latency_ms))
    title = f"{table.name}: whole networks"
    missing = plots.draw(lambda: plots.audit_figure(points, title=title), picture)
    return missing or str(picture)


def _document(verdict: Verdict) -> dict[str, Any]:
    return {
        **to_json(verdict.table.info.audit),
        "before": None if verdict.before is None else verdict.before.to_json(),
        "correction": to_json(verdict.table.correction),
        "refused": list(verdict.refused),
    }


def verdict_text(verdict: Verdict) -> str:
    """The audit, by space, over all and by latency, and what speaks against it."""
    rows = [_row(name, audit) for name, audit in verdict.spaces.items()]
    rows.append(_row("all", verdict.every))
    if verdict.before is not None:
        rows.append(_row("all, uncorrected", verdict.before))
    lines = [text_table(HEADER, rows), ""]
    lines += [_band_line(band) for band in verdict.bands]
    if verdict.before is not None:
        correction = verdict.table.correction or "none: no form was better on networks left out"
        lines.append(f"correction  {correction}")
    lines += [f"unreliable  {remark}" for remark in verdict.unreliable]
    lines += [f"not stored  the correction: {reason}" for reason in verdict.refused]
    return "\n".join(lines)


def _band_line(band: Band) -> str:
    text = (
        f"{band.low_ms:.3g} to {band.high_ms:.3g} ms: off by {100 * band.audit.mape:.1f} % in the "
        f"mean of {band.audit.networks}, {100 * band.audit.coverage_90:.0f} % in their intervals"
    )
    if band.before is not None:
        text += f"; {100 * band.before:.1f} % without the correction"
    return f"band        {text}"


def _row(name: str, audit: Audit) -> list[str]:
    shares = (audit.mape, audit.bias, audit.within_5, audit.within_10, audit.coverage_90)
    taus = (audit.tau, audit.tau_repeat, audit.tau_band, audit.tau_repeat_band)
    percent = [f"{100 * share:.1f}" for share in shares]
    agreement = ["-" if tau is None else f"{tau:.3f}" for tau in taus]
    return [name, str(audit.networks), *percent, *agreement]
