"""A file of JSON lines that only grows: a line is on the disk when `append` returns, and a torn one counts for nothing."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.errors import RunError
from nas.files import check_size, one_line, parse_json, sync
from nas.record.journal import repair

__all__ = ["append", "read"]

LARGEST_FILE_BYTES = 256 << 20


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Add one line, after cutting what a kill left of an unfinished one. The caller holds the folder's lock."""
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
    """All finished lines, in order; none where there is no file. Foreign content raises `RunError`."""
    try:
        check_size(path, LARGEST_FILE_BYTES, "not a file of ours")
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    try:
        rows = [parse_json(line) for line in lines]
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"{path} is damaged: {one_line(error, 120)}. Remove it to make it anew"
        ) from None
    if not all(isinstance(row, dict) and isinstance(row.get("kind"), str) for row in rows):
        raise RunError(f"{path} is damaged: a line without a kind. Remove it to make it anew")
    return rows
