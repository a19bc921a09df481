"""``nas report``: one HTML page of a run: its verdict, its front, its pick, what to distrust."""

from pathlib import Path

import click

from nas.cli._options import json_option, print_json, run_argument
from nas.errors import ExistsError, UsageError
from nas.files import write_text
from nas.report.page.html import render
from nas.run.report import content
from nas.run.run import Run

__all__ = ["command"]


@click.command(
    epilog="""\b
Examples:
  nas report runs/photos -o photos.html
  nas report runs/photos --compare runs/photos-random -o both.html --force
  nas report runs/photos --family family -o photos.html
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
@click.option("--force", is_flag=True, help="Let --out overwrite a file.")
@json_option
def command(
    run: Path,
    out: Path | None,
    compare: Path | None,
    family: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write one HTML page about RUN (default: the newest in ./runs), finished or still going.

    The page needs no network and no other file. It tells the verdict first, then the front, the
    search's course, which choices mattered, the pick layer by layer, what it cost, what to distrust
    and how it was run. Nothing in RUN is changed.
    """
    if out is None and not as_json:
        raise UsageError("a page needs a file: give -o, such as -o report.html (or --json)")
    if out is not None and out.exists() and not force:
        raise ExistsError(f"{out} exists: choose another -o, or overwrite it with --force")
    contents = [content(Run(run), family)]
    if compare is not None:
        contents.append(content(Run(compare)))
    if out is not None:
        write_text(out, render(contents))
    if as_json:
        print_json([each.to_json() for each in contents])
    else:
        click.echo(f"written to {out}")
