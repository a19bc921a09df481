"""A file of JSON lines that only grows, and the jobs that leave one line per step.

A line is on the disk when `append` returns. A line that a kill tore counts for nothing.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from nas.errors import RunError
from nas.files import UNREADABLE, check_size, one_line, parse_json, sync
from nas.progress import Pace, Progress, ignore
from nas.record.journal import repair
from nas.units import counted

__all__ = [
    "Row",
    "append",
    "append_opening",
    "complete",
    "left_out",
    "left_out_text",
    "openings",
    "read",
]

LARGEST_FILE_BYTES = 256 << 20

Row = Mapping[str, Any]
"""One line: plain JSON by name. Its ``kind`` says what it records."""
Key = TypeVar("Key")


def append(path: Path, row: Row) -> None:
    """Add one line, after cutting what a kill left of an unfinished one.

    The caller holds the folder's lock. Raises `RunError` if the disk does not take it.
    """
    # A NaN would be written, and refused by every later reading.
    line = json.dumps(row, allow_nan=False, separators=(",", ":")) + "\n"
    try:
        repair(path)
        with path.open("ab") as file:
            file.write(line.encode())
            sync(file)
    except OSError as error:
        raise RunError(
            f"cannot write '{path}': {error.strerror}. Mend that, then give the same command again"
        ) from None


def read(path: Path) -> list[dict[str, Any]]:
    """All finished lines, in order; none if there is no file. Foreign content raises `RunError`."""
    try:
        check_size(path, LARGEST_FILE_BYTES, "not a file of ours")
        lines = path.read_bytes().split(b"\n")[:-1]  # the last is empty, or torn by a kill
    except FileNotFoundError:
        return []
    try:
        rows = [parse_json(line) for line in lines]
    except UNREADABLE as error:
        raise _damaged(path, one_line(error, 120)) from None
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("kind"), str):
            raise _damaged(path, "a line without a kind")
    return rows


def _damaged(path: Path, why: str) -> RunError:
    return RunError(f"{path} is damaged: {why}. Remove it to make it anew")


def _alike(key: object) -> float:
    """The work of a step in a job whose steps all take about the same time."""
    return 1.0


def complete(
    path: Path,
    what: str,
    wanted: Sequence[Key],
    done: Collection[Key],
    step: Callable[[Key], Row],
    *,
    watch: Callable[[Progress[Row]], None] = ignore,
    work: Callable[[Key], float] = _alike,
) -> list[Row]:
    """Do the steps of a job that are missing, in order, and append the row of each.

        rows = ledger.read(path)
        done = {row["digest"] for row in rows}
        rows += ledger.complete(path, "trainings", digests, done, train, watch=watch)

    So a job that is killed goes on with the step that it was at. ``step`` does what a key names and
    returns its row. ``what`` names the steps to ``watch``, which is called after each with the row.
    ``work``: what a step takes, in any unit, for the time that is left. Returns the new rows. The
    caller holds the folder's lock.
    """
    missing = [key for key in wanted if key not in done]
    before = len(wanted) - len(missing)
    # What earlier sessions did is done, and says nothing of how fast this one is.
    pace = Pace(what, len(wanted), done=before)
    left = sum(work(key) for key in missing)
    worked = 0.0
    rows: list[Row] = []
    for key in missing:
        row = step(key)
        append(path, row)
        rows.append(row)
        worked += work(key)
        left -= work(key)
        progress = pace.at(before + len(rows), row)
        # Not the pace's own estimate, which takes all steps for equal.
        eta_seconds = progress.seconds / worked * left
        watch(replace(progress, eta_seconds=eta_seconds))
    return rows


# -- openings of the test set ---------------------------------------------------------------------


def append_opening(path: Path, images: int, unreadable: Sequence[str] = ()) -> None:
    """Count an opening of the test set of so many images, before a score of it is known.

    ``unreadable``: names of images that were left out of it.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    # Their number is kept because it says what one image is worth in a score.
    row: dict[str, object] = {"kind": "opening", "time": now, "images": images}
    if unreadable:
        row |= {"unreadable": len(unreadable), "such_as": unreadable[0]}
    append(path, row)


def left_out(path: Path) -> str:
    """For people, what the last opening of the test set left out; empty if it was nothing."""
    opened = [row for row in read(path) if row["kind"] == "opening"]
    last = opened[-1] if opened else {}
    return left_out_text(last.get("unreadable", 0), last.get("such_as", ""))


def left_out_text(unreadable: int, such_as: str) -> str:
    """See `left_out`."""
    if not unreadable:
        return ""
    images = counted(unreadable, "unreadable image")
    return f"{images} left out of the test set, such as {such_as}"


def openings(path: Path) -> int:
    """How many times the test set was opened, by the rows of a ledger."""
    return sum(row["kind"] == "opening" for row in read(path))
