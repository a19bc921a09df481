"""A table's two files of one name: ``NAME.csv`` with the numbers, ``NAME.json`` with the rest."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nas.errors import TableError
from nas.files import UNREADABLE, read_text, write_json, write_text
from nas.latency.info import TableInfo, info_document, read_info
from nas.latency.rows import Row, check_plausible, parse_rows, rows_text

__all__ = [
    "LARGEST_FILE_BYTES",
    "TableFiles",
    "digest_of",
    "read_table",
    "table_document",
    "write_table",
]

LARGEST_FILE_BYTES = 64 << 20
DIGEST_CHARACTERS = 20


@dataclass(frozen=True, kw_only=True)
class TableFiles:
    """What two files of a table hold."""

    path: Path
    """The CSV file."""
    rows: Mapping[str, Row]
    info: TableInfo
    digest: str
    """Follows numbers and provenance, not the layout of the JSON."""


def read_table(path: Path) -> TableFiles:
    """Read ``path`` (``.csv`` or ``.json``) and its sibling.

    Anything doubtful raises `TableError`, with the line.
    """
    numbers, provenance = path.with_suffix(".csv"), path.with_suffix(".json")
    text = _read(numbers)
    document = _read_document(provenance)
    try:
        info = read_info(document)
    except TableError as error:
        raise TableError(f"{provenance}: {error}") from None
    rows = parse_rows(numbers, text)
    declared = document.get("rows")
    # A CSV cut off at a line's end is valid by itself; only the count gives it away.
    if declared != len(rows):
        raise TableError(
            f"table {numbers} has {len(rows)} rows but {provenance.name} says {declared}: "
            "it is truncated or edited"
        )
    check_plausible(numbers, rows)
    return TableFiles(path=numbers, rows=rows, info=info, digest=_digest(text, document))


def digest_of(numbers: Path, document: Mapping[str, object]) -> str:
    """The digest of a table with the numbers of a CSV file, and another JSON than lies beside it.

    Raises `TableError` for a file that is gone.
    """
    return _digest(_read(numbers), document)


def _digest(text: str, document: Mapping[str, object]) -> str:
    content = text.encode() + json.dumps(document, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:DIGEST_CHARACTERS]


def _read(path: Path) -> str:
    try:
        return read_text(path, LARGEST_FILE_BYTES, "not a latency table", TableError)
    except FileNotFoundError:
        raise TableError(
            f"no file {path}: a latency table is a .csv of numbers and a .json of that name which "
            "says where they come from; nas latency makes both"
        ) from None
    except (OSError, ValueError) as error:
        raise TableError(f"cannot read latency table {path}: {error}") from None


def _read_document(path: Path) -> Mapping[str, object]:
    text = _read(path)
    try:
        document = json.loads(text)
    except UNREADABLE as error:
        raise TableError(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise TableError(f"{path} must be an object with at least name, unit and rows")
    return document


def table_document(rows: Mapping[str, Row], info: TableInfo) -> dict[str, object]:
    """The JSON of a table."""
    return {**info_document(info), "rows": len(rows)}


def write_table(rows: Mapping[str, Row], info: TableInfo, folder: Path) -> Path:
    """Write ``NAME.csv`` and ``NAME.json``, and return the path of the first."""
    path = folder / f"{info.name}.csv"
    write_text(path, rows_text(rows))
    write_json(path.with_suffix(".json"), table_document(rows, info))
    return path
