"""Timing elsewhere: ONNX files and a manifest go out, a CSV of timings comes back."""

import csv
import hashlib
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from nas.errors import TableError
from nas.latency.files import write_table
from nas.latency.fitting import COMMON_SD, FITTED, fit_model
from nas.latency.info import TableInfo
from nas.latency.rows import Row
from nas.latency.table import Table
from nas.measure.build import keys_of, subject
from nas.progress import Pace, Watch, ignore
from nas.space import SearchSpace

__all__ = ["collect", "emit"]

MANIFEST = "manifest.json"


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
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
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
        lines = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"cannot read {path}: {error}") from None
    header = lines[0] if lines else []
    if not {"file", "latency_ms"} <= set(header) <= {"file", "latency_ms", "sd_ms", "count"}:
        raise TableError(
            f"{path} line 1: the columns must be file, latency_ms, and sd_ms and count if known"
        )
    rows: dict[str, Row] = {}
    # A person counts lines from one, and the first holds the names.
    for number, fields in enumerate(lines[1:], 2):
        where = f"{path} line {number}"
        columns = dict(zip(header, fields, strict=False))
        # The other machine may have kept the files in another folder.
        file = Path(columns.get("file", "")).name
        if file not in keys:
            raise TableError(f"{where}: the manifest has no file '{file[:80]}'")
        if keys[file] in rows:
            raise TableError(f"{where}: {file} has a timing already. Keep one")
        rows[keys[file]] = _row(where, columns)
    return rows


def _row(where: str, columns: dict[str, str]) -> Row:
    try:
        row = Row(
            latency_ms=float(columns["latency_ms"]),
            sd_ms=float(columns.get("sd_ms", 0)),
            count=int(columns.get("count", 1)),
        )
    except (KeyError, ValueError) as error:
        raise TableError(f"{where}: {error!r}") from None
    positive = math.isfinite(row.latency_ms) and row.latency_ms > 0
    if not (positive and row.sd_ms >= 0 and row.count >= 1):
        raise TableError(
            f"{where}: latency_ms must be above 0, sd_ms at least 0 and count at least 1, "
            f"not {columns}"
        )
    return row
