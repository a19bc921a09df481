"""Timing elsewhere: ONNX files and a manifest go out, a CSV of timings comes back."""

import hashlib
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePath

from nas.errors import TableError
from nas.files import read_json, read_text
from nas.latency.files import LARGEST_FILE_BYTES, write_table
from nas.latency.fitting import COMMON_SD, FITTED, fit_model
from nas.latency.info import TableInfo
from nas.latency.rows import Row
from nas.latency.table import Table
from nas.measure.build import keys_of, subject
from nas.progress import Pace, Watch, ignore
from nas.sheets import Sheet, SheetRow, read_sheet
from nas.space import SearchSpace

__all__ = ["collect", "emit"]

MANIFEST = "manifest.json"
NEEDED, OPTIONAL = {"file", "latency_ms"}, {"sd_ms", "count"}
"""Columns of a file of timings."""


def emit(
    spaces: Sequence[SearchSpace],
    folder: Path,
    *,
    seed: int = 0,
    watch: Watch = ignore,
) -> int:
    """Write an ONNX file for every row of a table, and ``manifest.json``, which names them.

    Returns bytes written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise TableError(
            f"{folder} is not empty: files of two tables must not mix. Choose another --out"
        )
    files = {}
    total_bytes = 0
    keys = keys_of(spaces, seed=seed)
    pace = Pace("file", len(keys))
    for number, key in enumerate(keys):
        model = subject(key).graph()
        # A number: not every file system takes the brackets and commas of a key.
        name = f"{number:05d}.onnx"
        (folder / name).write_bytes(model)
        files[name] = {"key": key, "sha256": hashlib.sha256(model).hexdigest()}
        total_bytes += len(model)
        watch(pace.at(number + 1, key))
    manifest = {"spaces": [f"{space.name} {space.input_text}" for space in spaces], "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return total_bytes


def collect(
    folder: Path, timings: Path, name: str, out: Path, *, hardware: str = "not stated"
) -> Table:
    """Write the table that timings make.

    ``timings``: a CSV with the columns ``file`` and ``latency_ms``, with ``sd_ms`` and ``count`` if
    they are known. Raises `TableError` with the line at fault.
    """
    try:
        manifest = read_json(folder / MANIFEST, LARGEST_FILE_BYTES, "not a manifest", TableError)
        keys = {file: str(entry["key"]) for file, entry in manifest["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TableError(
            f"{folder / MANIFEST} is no manifest of nas latency emit: {error!r}"
        ) from None
    rows = _read(timings, keys)
    missing = len(keys) - len(rows)
    fit = fit_model(rows)
    caveats = [
        f"rows_common_sd is {COMMON_SD}, a judgement, until whole networks are timed beside the "
        "table."
    ]
    if missing:
        caveats.append(f"{missing} of {len(keys)} files came back without a timing.")
    source = {
        "what": f"{len(rows)} timings of {timings.name}",
        "who": "nas latency emit and collect",
    }
    info = TableInfo(
        name=name,
        title=f"{hardware}, timed outside",
        kind="measured outside from emitted ONNX files; device model fitted to the rows",
        conditions={
            "runtime": "not stated",
            "hardware": hardware,
            "batch": 1,
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
        },
        spaces=tuple(manifest.get("spaces", ())),
        sources=(source,),
        fitted=FITTED,
        model=fit.model,
        rows_common_sd=COMMON_SD,
        known_error=fit.known_error,
        caveats=tuple(caveats),
    )
    out.mkdir(parents=True, exist_ok=True)
    return Table.load(write_table(rows, info, out))


def _read(path: Path, keys: dict[str, str]) -> dict[str, Row]:
    try:
        text = read_text(path, LARGEST_FILE_BYTES, "not timings", TableError)
        sheet = read_sheet(text, partial(_check_columns, path))
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise TableError(f"cannot read {path}: {error}") from None
    rows: dict[str, Row] = {}
    for cells in sheet.rows:
        where = f"{path} line {cells.line}"
        # The other machine may have kept the files in another folder.
        file = PurePath(cells["file"].replace("\\", "/")).name
        if file not in keys:
            raise TableError(f"{where}: the manifest has no file '{file[:80]}'")
        if keys[file] in rows:
            raise TableError(f"{where}: {file} has a timing already. Keep one")
        rows[keys[file]] = _row(where, sheet, cells)
    return rows


def _check_columns(path: Path, columns: tuple[str, ...]) -> None:
    if not NEEDED <= set(columns) <= NEEDED | OPTIONAL:
        raise TableError(
            f"{path} line 1: the columns must be file, latency_ms, and sd_ms and count if known, "
            f"not '{','.join(columns)[:80]}'"
        )


def _row(where: str, sheet: Sheet, cells: SheetRow) -> Row:
    try:
        row = Row(
            latency_ms=sheet.number(cells, "latency_ms"),
            sd_ms=sheet.number(cells, "sd_ms") if "sd_ms" in sheet.columns else 0.0,
            count=int(cells["count"]) if "count" in sheet.columns else 1,
        )
    except ValueError as error:
        raise TableError(f"{where}: {error}") from None
    positive = math.isfinite(row.latency_ms) and row.latency_ms > 0
    if not (positive and row.sd_ms >= 0 and row.count >= 1):
        raise TableError(
            f"{where}: latency_ms must be above 0, sd_ms at least 0 and count at least 1, "
            f"not {dict(cells.cells)}"
        )
    return row
