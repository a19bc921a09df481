"""``nas pick``: one network of a front: within a latency, at the knee, or by weights."""

from pathlib import Path

import click

from nas import units
from nas.cli._options import json_option, print_json, run_argument, tell
from nas.errors import ExistsError, UsageError
from nas.reading import to_json
from nas.report.costs import costs_text
from nas.run.contest import Outcome, winner
from nas.run.run import Run
from nas.units import uncertain

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas pick runs/photos --latency 60ms
  nas pick runs/photos --latency 60ms --confidence 0.95
  nas pick runs/photos --knee --out architecture.json
  nas pick runs/photos --all-devices
  nas pick runs/photos --weight accuracy=1,latency_ms=0.2"""
)
@run_argument
@click.option(
    "--latency", metavar="MS", help="Upper bound on the first device's latency, such as 60ms."
)
@click.option(
    "--confidence",
    type=float,
    metavar="P",
    help="Keep --latency with this probability, such as 0.95.",
)
@click.option(
    "--knee",
    is_flag=True,
    help="Weigh all objectives alike, each scaled to 0..1 over the candidates.",
)
@click.option(
    "--weight",
    metavar="METRIC=W,..",
    help="Weigh these metrics, each scaled to 0..1 over the candidates.",
)
@click.option(
    "--all-devices",
    is_flag=True,
    help="Pick what is least behind the best, in that sum, on its worst device of the run.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the network there as architecture.json."
)
@click.option("--force", is_flag=True, help="Let --out overwrite a file.")
@json_option
def command(
    run: Path,
    latency: str | None,
    confidence: float | None,
    knee: bool,
    weight: str | None,
    all_devices: bool,
    out: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Pick one network of RUN (default: the newest in ./runs), and say which score decided.

    Confirmed networks come first. Without a rule it is the best in the first objective. Scores on
    the selection set decide; the test score is told of the network picked. Nothing is written
    unless --out names a file.
    """
    if out is not None and out.exists() and not force:
        raise ExistsError(f"{out} exists: choose another --out, or overwrite it with --force")
    opened = Run(run)
    pick = opened.pick(
        latency_ms=units.milliseconds(latency) if latency is not None else None,
        confidence=confidence,
        knee=knee,
        preferences=_preferences(weight or ""),
        all_devices=all_devices,
    )
    confirmed = opened.confirmed
    better = None
    if confirmed is not None:
        better = winner(confirmed.contest, confirmed.outcomes, pick.trial.number)
    if out is not None:
        pick.save(out)
    if as_json:
        print_json(
            {
                "run": str(run),
                "trial": pick.trial.number,
                "digest": pick.trial.digest,
                "metric": pick.metric,
                "score": pick.score,
                "confirmed": pick.confirmed,
                "test": pick.test,
                "reason": pick.reason,
                "better_published": None if better is None else to_json(better.opponent),
                # Latencies that were timed stand for their estimates.
                "metrics": dict(pick.trial.metrics),
                "timed": {
                    device: by_digest[pick.trial.digest].to_json()
                    for device, by_digest in opened.timed.items()
                    if pick.trial.digest in by_digest
                },
            }
        )
        return
    click.echo(f"{pick}\n")
    if better is not None:
        click.echo(_offer(better, opened))
    for device, by_digest in opened.timed.items():
        if pick.trial.digest in by_digest:
            timed = by_digest[pick.trial.digest]
            ms = uncertain(timed.latency_ms, timed.latency_sd_ms)
            click.echo(f"timed on {device} as a whole: {ms} ms")
    click.echo(costs_text(f"{run}:{pick.trial.number}", pick.network, opened.tables, confidence))
    if out is not None:
        click.echo(f"written to {out}")
    tell(filter(None, [opened.unfinished_text]))


def _offer(better: Outcome, run: Run) -> str:
    """The published network that won, and how to have it."""
    opponent = better.opponent
    return (
        f"a published network of the same latency is better on the test set: {better}. To price "
        f"it: nas cost {opponent.name} --width {opponent.width:g} "
        f"--resolution {run.space.input.size} --small-images --device {run.devices[0]}\n"
    )


def _preferences(text: str) -> dict[str, float]:
    """``METRIC=W,..`` as weights by metric."""
    preferences = {}
    for part in filter(None, text.split(",")):
        name, _, weight = part.partition("=")
        try:
            preferences[name.strip()] = float(weight)
        except ValueError:
            raise UsageError(
                "weights are metric=number, such as --weight accuracy=1,latency_ms=0.2, "
                f"not '{part}'"
            ) from None
    return preferences
