"""``nas front``: show the Pareto front of a run, finished or still going, and draw it."""

from pathlib import Path

import click

from nas.cli._options import json_option, print_json, run_argument
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
    """Print the front of RUN (default: the newest in ./runs) and write its front.csv and front.png anew."""
    found = Run(run)
    if not found.front_trials:
        raise RunError(
            f"no network of '{run}' has finished{found.failures_text()}: there is no front yet"
        )
    found.save_reports()
    if as_json:
        fronts = {
            device: [trial.number for trial in trials]
            for device, trials in found.device_fronts().items()
        }
        print_json({"run": str(run), "front": found.front_rows(), "device_fronts": fronts})
        return
    click.echo(found.front_text())
    if len(found.devices) > 1:
        click.echo(f"\n{found.devices_text()}")
    click.echo(
        f"\n{counted(len(found.trials), 'trial')}, {len(found.front_trials)} on the front{found.failures_text()}; {run}/front.png, {run}/front.csv"
    )
