"""``nas front``: show the Pareto front of a run, finished or still going, and draw it."""

from pathlib import Path

import click

from nas.cli._options import json_option, print_json, run_argument, tell
from nas.errors import RunError
from nas.run.run import Run
from nas.units import counted

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas front runs/fbnet-pixel1-20260101-120000
  nas front runs/photos --json"""
)
@run_argument
@json_option
def command(run: Path, as_json: bool) -> None:
    """Print the front of RUN (default: the newest in ./runs).

    Its front.csv and front.png are written anew, where that is possible.
    """
    opened = Run(run)
    failures = opened.failures_text()
    if not opened.front_trials:
        raise RunError(f"no network of '{run}' has finished{failures}: there is no front yet")
    unwritten = opened.save_reports()
    tell(unwritten)
    if as_json:
        fronts = {}
        for device, trials in opened.device_fronts().items():
            fronts[device] = [trial.number for trial in trials]
        print_json(
            {
                "run": str(run),
                "rungs": opened.rungs_json(),
                "front": opened.front_rows(),
                "device_fronts": fronts,
            }
        )
        return
    click.echo(opened.front_text())
    if len(opened.devices) > 1:
        click.echo(f"\n{opened.devices_text()}")
    if opened.race_text():
        click.echo(f"\n{opened.race_text()}")
    sizes = f"{counted(len(opened.trials), 'trial')}, {len(opened.front_trials)} on the front"
    files = "" if unwritten else f"; {run}/front.png, {run}/front.csv"
    click.echo(f"\n{sizes}{failures}{files}")
    tell(filter(None, [opened.unfinished_text]))
