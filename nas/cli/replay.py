"""``nas replay``: make every proposal of a run again; name the first that differs, and why."""

import time
from dataclasses import asdict
from pathlib import Path

import click

from nas.cli._options import json_option, print_json, run_argument
from nas.report.live import LOG_EVERY_SECONDS, Live
from nas.run.replay import replay, require
from nas.run.run import Run
from nas.units import duration

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas replay runs/photos
  nas replay runs/photos --json"""
)
@run_argument
@json_option
def command(run: Path, as_json: bool) -> None:
    """Reproduce every proposal of RUN (default: the newest in ./runs) from what its claim records.

    Trains nothing. The first proposal that comes out otherwise is named with its likely cause:
    another version, a changed seed, an edited space, table or record. Exit code 1 then.
    """
    result = replay(Run(run), _Lines(Live(quiet=as_json)))
    if as_json:
        print_json({"run": str(run), **asdict(result)})
    # After the document: with --json it is wanted beside the exit code.
    require(result)
    if not as_json:
        click.echo(f"all {result.proposals} proposals of {run} are reproduced")


class _Lines:
    """A line of progress now and then."""

    def __init__(self, live: Live) -> None:
        self._live, self._begun = live, time.monotonic()
        self._last = self._begun

    def __call__(self, done: int, count: int) -> None:
        now = time.monotonic()
        if now - self._last >= LOG_EVERY_SECONDS:
            self._last = now
            left = (now - self._begun) / max(done, 1) * (count - done)
            self._live.step(f"proposal {done}/{count}  {duration(left)} left")
