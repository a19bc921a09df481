"""``nas report``: one HTML page of a run: its verdict, its front, its pick, what to distrust."""

from contextlib import suppress
from functools import partial
from pathlib import Path

import click
from click.core import ParameterSource

from nas.cli._options import json_option, print_json, run_argument
from nas.errors import ExistsError, UsageError
from nas.files import write_text
from nas.record import race
from nas.record.journal import JOURNAL
from nas.report.page.content import Content, Moment
from nas.report.page.html import render
from nas.report.page.serve import Server
from nas.run import confirmation, timings
from nas.run.follow import look
from nas.run.report import content
from nas.run.run import Run

__all__ = ["command"]

PORT = 8765
RESULTS = (confirmation.FILE, race.FILE, timings.LEDGER)
"""Files of a run that grow with what a page tells."""


@click.command(
    epilog="""\b
Examples:
  nas report runs/photos -o photos.html
  nas report runs/photos --compare runs/photos-random -o both.html --force
  nas report runs/photos --family family -o photos.html
  nas report runs/photos --serve
  nas report runs/photos --serve --port 9000
  nas report runs/photos --json"""
)
@run_argument
@click.option(
    "-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="The page to write."
)
@click.option(
    "--compare",
    type=click.Path(path_type=Path),
    metavar="RUN2",
    help="Another run, shown beside it.",
)
@click.option(
    "--family",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="A family that nas scale made of it.  [default: RUN/family, if it is there]",
)
@click.option(
    "--serve",
    is_flag=True,
    help="Serve the page to browsers on this machine, until Ctrl-C; it follows a search.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="Port of --serve; 0 for any that is free.",
)
@click.option("--force", is_flag=True, help="Let --out overwrite a file.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    run: Path,
    out: Path | None,
    compare: Path | None,
    family: Path | None,
    serve: bool,
    port: int,
    force: bool,
    as_json: bool,
) -> None:
    """Write one HTML page about RUN (default: the newest in ./runs), finished or still going.

    The page needs no network and no other file. It tells the verdict first, then the front, the
    search's course, which choices mattered, the pick layer by layer, what it cost, what to distrust
    and how it was run. Nothing in RUN is changed.

    With --serve the page is at an address of this machine alone, and is made anew whenever a
    network has finished.
    """
    if serve and (out is not None or as_json):
        raise UsageError("--serve writes no file and prints no document: leave out -o and --json")
    if not serve and ctx.get_parameter_source("port") is ParameterSource.COMMANDLINE:
        raise UsageError("--port is that of --serve, which is not given")
    if out is None and not as_json and not serve:
        raise UsageError(
            "a page needs a file: give -o, such as -o report.html (or --serve, or --json)"
        )
    if out is not None and out.exists() and not force:
        raise ExistsError(f"{out} exists: choose another -o, or overwrite it with --force")
    gather = partial(_contents, run, compare, family)
    if serve:
        _serve(Server(partial(_moment, run, compare), lambda now: render(gather(), now), port))
        return
    contents = gather()
    if out is not None:
        write_text(out, render(contents))
    if as_json:
        print_json([each.to_json() for each in contents])
    else:
        click.echo(f"written to {out}")


def _contents(run: Path, compare: Path | None, family: Path | None) -> list[Content]:
    contents = [content(Run(run), family)]
    if compare is not None:
        contents.append(content(Run(compare)))
    return contents


def _moment(run: Path, compare: Path | None) -> Moment:
    """What the page is of: it is made anew for a result, not for each step on the way to one."""
    seen = look(run)
    parts: list[object] = [seen.state]
    if seen.progress is not None:
        parts += [stage.done for stage in seen.progress.stages]
    for folder in (run, *([] if compare is None else [compare])):
        parts += [_size(folder / name) for name in RESULTS]
    if compare is not None:
        parts.append(_size(compare / JOURNAL))
    return Moment(stamp=" ".join(map(str, parts)), line=seen.line)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _serve(server: Server) -> None:
    """Answer until Ctrl-C, which is the end that is meant."""
    with server:
        # Before anybody is told to look: what cannot be read is told here.
        server.page()
        click.echo(f"{server.address}    (Ctrl-C ends it)")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
