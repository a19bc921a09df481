"""Latency tables of other toolkits: their rows as ours, each line checked, nothing executed.

YAML: keys of once-for-all and ProxylessNAS, in ms. JSON: a key and a number each, as HW-NAS-Bench
writes them or as our own tables do. JSON lines: FBNet's operator records (``op_type``,
``input_shapes``, ``runtime_us_p50``). CSV: ``key``, or ``op``, ``in_channels``, ``in_size``;
``latency_ms``, ``latency_us`` or ``latency_s``; ``count`` if known.

The keys are those of `nas.latency.foreign`. A key that names nothing we have is left out and told.
A wrong number is refused with its line.
"""

import json
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nas.errors import TableError
from nas.files import read_text
from nas.latency.files import LARGEST_FILE_BYTES
from nas.latency.foreign import Named, is_mobilenet_v3, named_by, recorded_kernel
from nas.latency.keys import kernel_key, layer_key
from nas.latency.rows import LEAST_MACS, ODD, PLAUSIBLE_MACS_PER_MS, Row
from nas.shape import Kernel
from nas.sheets import read_sheet

__all__ = ["Imported", "read_foreign"]

UNITS_MS = {"ms": 1.0, "us": 1e-3, "µs": 1e-3, "s": 1e3}
PROGRAMS = (".pkl", ".pickle", ".pt", ".pth", ".npy", ".npz", ".joblib")
"""Suffixes of pickles, and of archives that may hold one."""


@dataclass(frozen=True)
class Imported:
    """What could be read of a foreign table."""

    rows: Mapping[str, Row]
    """By our keys."""
    left_out: tuple[str, ...]
    """Foreign keys that name nothing we have."""


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A line of a foreign table."""

    line: int
    key: str
    named: Named | None
    latency_ms: float
    count: int = 1

    @property
    def macs(self) -> int:
        """Multiply-adds of what the key names, 0 for nothing we have."""
        return 0 if self.named is None else self.named.macs


Reader = Callable[[Path, str, str | None], Iterator[_Entry]]
"""``reader(path, text, unit)`` gives the entries of a file's text."""


def read_foreign(path: Path, *, unit: str | None = None) -> Imported:
    """Read a table; ``unit`` (ms, us, s) if the file does not state one.

    Raises `TableError` with file and line.
    """
    text = _text(path)
    if unit is not None and unit not in UNITS_MS:
        raise TableError(f"unit must be one of {', '.join(UNITS_MS)}, not '{unit[:40]}'")
    reader = _reader(path, text)
    entries = list(reader(path, text, unit))
    left_out = tuple(entry.key for entry in entries if entry.named is None)
    if len(left_out) == len(entries):
        raise TableError(
            f"{path}: none of {len(entries)} rows names an operator we know. "
            f"Formats: {(__doc__ or '')[:60]}.."
        )
    _check_plausible(path, entries)
    return Imported(_rows(path, entries), left_out)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(2)
        # By content too: a pickle of protocol 2 or later starts with 0x80, a zip archive with PK.
        if path.suffix.lower() in PROGRAMS or start[:1] == b"\x80" or start == b"PK":
            raise TableError(
                f"{path} is a pickle or an archive of one: reading it runs whatever its maker put "
                "in, so it is not read. "
                "Where you trust it, write its keys and numbers as JSON, and import that"
            )
        return read_text(path, LARGEST_FILE_BYTES, "not a latency table", TableError)
    except (OSError, ValueError) as error:
        raise TableError(f"cannot read {path}: {error}") from None


def _reader(path: Path, text: str) -> Reader:
    readers: Mapping[str, Reader] = {
        ".yaml": _yaml,
        ".yml": _yaml,
        ".json": _json,
        ".jsonl": _records,
        ".csv": _csv,
        ".tsv": _csv,
        ".txt": _csv,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise TableError(
            f"{path}: a table to import is a .yaml, .json, .jsonl, .csv or .tsv file, "
            f"not '{path.suffix}'"
        )
    # FBNet's database is named .json, though it holds a record a line.
    first_line = text.partition("\n")[0]
    if reader is _json and text.lstrip().startswith("{") and '"op_type"' in first_line:
        return _records
    return reader


def _rows(path: Path, entries: Iterable[_Entry]) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    lines: dict[str, int] = {}
    for entry in entries:
        if entry.named is None:
            continue
        key = _our_key(entry.named)
        if key in rows:
            raise TableError(
                f"{path} line {entry.line}: {key} has a row already, in line {lines[key]}. Keep one"
            )
        rows[key] = Row(latency_ms=entry.latency_ms, count=entry.count)
        lines[key] = entry.line
    return rows


def _our_key(named: Named) -> str:
    if isinstance(named, Kernel):
        return kernel_key(named)
    return layer_key(named.op.at(named.shape), named.shape)


def _check_plausible(path: Path, entries: Iterable[_Entry]) -> None:
    """Raise `TableError` if the unit seems wrong, or a single row."""
    heavy = [entry for entry in entries if entry.macs >= LEAST_MACS]
    if not heavy:
        return
    # By the median: a single wrong row must not pass for a wrong unit, nor hide one.
    middle = statistics.median(entry.macs / entry.latency_ms for entry in heavy)
    low, high = PLAUSIBLE_MACS_PER_MS
    if not low <= middle <= high:
        raise TableError(
            f"{path}: the median row runs {middle:.3g} macs per ms, outside {low:.0e} to "
            f"{high:.0e}: the unit is wrong. State it with --unit"
        )
    for entry in heavy:
        rate = entry.macs / entry.latency_ms
        if not middle / ODD <= rate <= middle * ODD:
            raise TableError(
                f"{path} line {entry.line}: {entry.key} in {entry.latency_ms:g} ms is "
                f"{rate / middle:.2g} times the file's median rate of work: "
                "implausible. Correct or remove it"
            )


def _number(where: str, value: object, what: str = "latency") -> float:
    """The value, or the text of it, as a finite number above 0."""
    number = math.nan
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            number = float(value)
    if not 0 < number < math.inf:
        raise TableError(f"{where}: {what} must be a number above 0, not {str(value)[:40]!r}")
    return number


def _stated(path: Path, unit: str | None) -> float:
    """Milliseconds of a unit. Raises `TableError` for None."""
    if unit is None:
        raise TableError(f"{path} does not state the unit of its numbers: say --unit ms, us or s")
    return UNITS_MS[unit]


# -- files ----------------------------------------------------------------------------------------


def _yaml(path: Path, text: str, unit: str | None) -> Iterator[_Entry]:
    """Nodes only: no object is built, and keys that stand twice are seen."""
    # Imported here: other formats do not need it.
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise TableError(f"{path} is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(root, yaml.MappingNode):
        raise TableError(f"{path} must be a mapping of keys to mean and count")
    # One key with an activation tells that the others are of MobileNetV3 too: its stem and head
    # have the same keys as MobileNetV2's.
    v3 = any(is_mobilenet_v3(str(key.value)) for key, _ in root.value)
    scale = UNITS_MS[unit or "ms"]
    for key, value in root.value:
        line = key.start_mark.line + 1
        where = f"{path} line {line}"
        numbers = {"mean": value.value}
        if isinstance(value, yaml.MappingNode):
            numbers = {name.value: number.value for name, number in value.value}
        latency = _number(where, numbers.get("mean"), "mean")
        count = int(_number(where, numbers.get("count", 1), "count"))
        yield _Entry(
            line=line,
            key=str(key.value),
            named=named_by(where, str(key.value), v3=v3),
            latency_ms=latency * scale,
            # A row's error is divided by the root of its count, which must not be 0.
            count=max(1, count),
        )


def _json(path: Path, text: str, unit: str | None) -> Iterator[_Entry]:
    scale = _stated(path, unit)
    try:
        # As pairs: a dictionary would keep the last of two equal keys without a word.
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise TableError(f"{path} is not JSON: {error}") from None
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        raise TableError(f"{path} must be one object of keys and numbers")
    # The parser does not tell lines. Keys stand in the text in the order of the pairs, so each is
    # looked for behind the one before it.
    place = 0
    for key, value in pairs:
        place = max(text.find(json.dumps(key), place), place)
        line = text.count("\n", 0, place) + 1
        place += 1
        where = f"{path} line {line}"
        named = named_by(where, key)
        latency_ms = _number(where, value) * scale
        yield _Entry(line=line, key=key, named=named, latency_ms=latency_ms)


def _csv(path: Path, text: str, unit: str | None) -> Iterator[_Entry]:
    try:
        sheet = read_sheet(text, partial(_check_csv_columns, path, unit))
    except ValueError as error:
        raise TableError(f"{path} {error}") from None
    column, scale = _csv_unit(path, sheet.columns, unit)
    for row in sheet.rows:
        where = f"{path} line {row.line}"
        key = _csv_key(row.cells)
        try:
            latency = sheet.number(row, column)
        except ValueError as error:
            raise TableError(f"{where}: {error}") from None
        yield _Entry(
            line=row.line,
            key=key,
            named=named_by(where, key),
            latency_ms=_number(where, latency) * scale,
            count=int(_number(where, row.cells.get("count", 1), "count")),
        )


def _check_csv_columns(path: Path, unit: str | None, columns: tuple[str, ...]) -> None:
    _csv_unit(path, columns, unit)
    if "key" not in columns and not {"op", "in_channels", "in_size"} <= set(columns):
        raise TableError(
            f"{path} line 1: the columns must hold key, or op, in_channels and in_size, "
            f"not {','.join(columns)}"
        )


def _csv_unit(path: Path, header: Sequence[str], unit: str | None) -> tuple[str, float]:
    """The column of latencies, and milliseconds of its unit."""
    columns = [name for name in header if name == "latency" or name.startswith("latency_")]
    if len(columns) != 1:
        raise TableError(
            f"{path} line 1: one column must be latency_ms, latency_us or latency_s, "
            f"not {','.join(header)}"
        )
    (column,) = columns
    in_header = column.partition("_")[2]
    if not in_header:
        return column, _stated(path, unit)
    if in_header not in UNITS_MS:
        raise TableError(
            f"{path} line 1: unknown unit '{in_header[:40]}': one of {', '.join(UNITS_MS)}"
        )
    return column, UNITS_MS[in_header]


def _csv_key(cells: Mapping[str, str]) -> str:
    """The row's key, or our own of its op and shape; a kernel's row has no channels."""
    if "key" in cells:
        return cells["key"]
    op, channels, size = cells["op"], cells["in_channels"], cells["in_size"]
    if not channels:
        return op
    # One number is a square's; a rectangle is written with both of its sides.
    return f"{op}@{channels}x{size}" if "x" in size else f"{op}@{channels}x{size}x{size}"


def _records(path: Path, text: str, unit: str | None) -> Iterator[_Entry]:
    """FBNet's records: one JSON object a line, medians in microseconds."""
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{path} line {number}"
        try:
            record = json.loads(line)
            name = f"{record['op_type']} {record['input_shapes']}"
            runtime = record["runtime_us_p50"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise TableError(
                f"{where}: not a record of op_type, input_shapes, runtime_us_p50: {error!r}"
            ) from None
        latency = _number(where, runtime, "runtime_us_p50")
        yield _Entry(
            line=number,
            key=name,
            named=recorded_kernel(where, record),
            latency_ms=latency * UNITS_MS["us"],
        )
