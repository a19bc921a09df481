"""``nas watch``: follow a search from another shell: its trials, its best network, its end."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from nas.cli._options import run_argument
from nas.errors import InterruptError, RunError
from nas.record.runfile import FILE
from nas.report.live import Live
from nas.report.screen import best_text
from nas.run.follow import Seen, follow
from nas.units import counted, duration

__all__ = ["command"]

SHOWN = 8
"""Runs that are named beside one that is not there."""


@click.command(
    epilog="""\b
Examples:
  nas watch
  nas watch runs/photos
  nas watch runs/photos --json | jq .done
  nas watch runs/photos && nas confirm runs/photos"""
)
@run_argument
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON document a line on stdout, whenever something has changed.",
)
def command(run: Path, as_json: bool) -> None:
    """Show where the search of RUN (default: the newest in ./runs) stands, until it ends.

    A terminal shows what nas search shows; anything else gets a line now and then. A folder in
    which no run has begun is waited for. Nothing in RUN is changed. The exit code is 0 for a
    search that ended, and 1 for one that was killed, interrupted, or failed.
    """
    live = Live(quiet=as_json)
    seen = None
    try:
        for seen in _followed(run, live):
            if as_json:
                click.echo(json.dumps(seen.to_json(), allow_nan=False))
    except KeyboardInterrupt:
        if seen is None or seen.state == "waiting":
            raise InterruptError(f"no run has begun in '{run}'") from None
        raise InterruptError("no longer watched; the search goes on") from None
    assert seen is not None  # a run is looked at once at least
    _check_ended(seen)
    if not as_json:
        click.echo(_end(seen))


def _followed(run: Path, live: Live) -> Iterator[Seen]:
    """What is seen of the run, as it is shown."""
    told = False
    with live.about("", run):
        for seen in follow(run):
            live.about(seen.title or "waiting for a run to begin", run)
            if seen.state == "waiting" and not told:
                told = True
                live.step(f"no run has begun in '{run}' yet: waiting for one{_beside(run)}")
            # Its end is told when the view is gone.
            if seen.progress is not None and not seen.over:
                live.watch(seen.progress)
            if seen.step is not None:
                live.prepare(seen.step)
            yield seen


def _beside(run: Path) -> str:
    """The runs that lie in the same folder, for who misspelt a name."""
    names = sorted(record.parent.name for record in run.parent.glob(f"*/{FILE}"))
    if not names:
        return ""
    shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    return f". In '{run.parent}' there are {shown}"


def _check_ended(seen: Seen) -> None:
    """Raise `RunError` for a search that came to no end of its own."""
    stand = seen.progress
    done = "" if stand is None else f" after {counted(stand.stages[0].done, 'trial')}"
    ways = {
        "killed": f"was killed{done}",
        "interrupted": f"was interrupted{done}",
        "failed": f"failed{done}: {seen.reason.rstrip('.')}",
    }
    if seen.state in ways:
        again = shlex.join(["nas", "search", "--resume", str(seen.folder)])
        raise RunError(
            f"the search in '{seen.folder}' {ways[seen.state]}. Nothing finished is lost; "
            f"go on with: {again}"
        )


def _end(seen: Seen) -> str:
    """How a search ended, its best network, and where its front is."""
    stand = seen.progress
    assert stand is not None  # only a folder without a run has none, and that one is waited for
    reason = seen.reason or "no search goes on here"
    front = counted(int(stand.figures.get("front", 0)), "network")
    lines = [
        f"ended      {reason}; {counted(stand.stages[0].done, 'trial')} "
        f"in {duration(stand.seconds)}, {front} on the front"
    ]
    if stand.best is not None:
        lines.append(f"best       {best_text(stand.best, stand.objectives)}")
    lines.append(f"next       {shlex.join(['nas', 'front', str(seen.folder)])}")
    return "\n".join(lines)
