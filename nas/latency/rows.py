"""The rows of a table, and its CSV: read line by line, anything doubtful refused with its line."""

import csv
import io
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from nas.errors import NasError, TableError
from nas.latency.keys import layer_from_key
from nas.shape import Shape
from nas.sheets import Sheet, SheetRow, read_sheet
from nas.size import parse_size, size_of

__all__ = [
    "EXTRA",
    "HEADER",
    "LEAST_MACS",
    "ODD",
    "PRICED",
    "Row",
    "check_plausible",
    "implausible",
    "parse_rows",
    "rows_text",
]

HEADER = ("op", "in_channels", "in_size", "latency_ms", "sd_ms", "count", "source")
EXTRA = ("warm_ms", "train_ms", "energy_mj")
"""Columns that a table may have beside those, in this order.

Milliseconds of a run straight after itself, those of a training step, and energy. A row that lacks
one has an empty cell.
"""
PRICED = ("train_ms", "energy_mj")
"""Those of them that are costs of their own."""
SOURCES = ("measured", "apportioned", "interpolated")
LARGEST_MS = 1e9

ODD = 100.0
"""A row this many times faster or slower than the median is taken for an error."""
LEAST_MACS = 100_000
"""Below, a row's time is mostly the cost of a call, and its rate says nothing."""

# No device this is for runs the median layer below 0.02 or above 100,000 GMAC/s. Outside, the unit
# is wrong.
PLAUSIBLE_MACS_PER_MS = (2e4, 1e11)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one op or kernel takes."""

    latency_ms: float
    """The mean over ``count`` timings."""
    sd_ms: float = 0.0
    """Standard deviation of a single timing."""
    count: int = 1
    source: str = "measured"
    """``measured``; or ``apportioned``: a share of something larger that was measured; or
    ``interpolated`` between measured layers."""
    extra: Mapping[str, float] = field(default_factory=dict)
    """By name of `EXTRA`, what else was measured, above 0."""


# -- reading --------------------------------------------------------------------------------------


def parse_rows(path: Path, text: str) -> dict[str, Row]:
    """The rows of a CSV file by their keys. Raises `TableError` with the line."""
    try:
        sheet = read_sheet(text, partial(_check_header, path))
    except ValueError as error:
        raise TableError(f"{path} {error}; the file is truncated or broken") from None
    # A file that is cut off inside its last cell would read as another, valid number.
    if not text.endswith("\n"):
        last = 1 + text.count("\n")
        raise TableError(
            f"{path} line {last}: the last line has no end, so the file is truncated. "
            "If it is whole, add a newline"
        )
    rows: dict[str, Row] = {}
    for cells in sheet.rows:
        where = f"{path} line {cells.line}"
        key, row = _parse_row(where, sheet, cells)
        if key in rows:
            raise TableError(f"{where}: {key} has a row already. Keep one")
        rows[key] = row
    return rows


def _check_header(path: Path, header: tuple[str, ...]) -> None:
    extra = header[len(HEADER) :]
    in_order = tuple(name for name in EXTRA if name in extra)
    if header[: len(HEADER)] != HEADER or extra != in_order:
        raise TableError(
            f"{path} line 1: the columns must be {','.join(HEADER)}, then any of "
            f"{','.join(EXTRA)}, not {_shown(header)}"
        )


def _shown(header: tuple[str, ...]) -> str:
    return f"'{','.join(header)[:80]}'" if header else "none"


def _parse_row(where: str, sheet: Sheet, cells: SheetRow) -> tuple[str, Row]:
    present = [name for name in EXTRA if name in sheet.columns and cells[name]]
    try:
        key = _key(where, cells)
        row = Row(
            latency_ms=sheet.number(cells, "latency_ms"),
            sd_ms=sheet.number(cells, "sd_ms"),
            count=int(cells["count"]),
            source=cells["source"],
            extra={name: sheet.number(cells, name) for name in present},
        )
        layer_from_key(key)  # raises for settings that the op does not have
    except TableError:
        raise
    except (ValueError, NasError) as error:
        raise TableError(f"{where}: {error}") from None
    _check_row(where, row, cells)
    return key, row


def _key(where: str, cells: SheetRow) -> str:
    op, channels, size = cells["op"], cells["in_channels"], cells["in_size"]
    if channels:
        return f"{op}@{Shape(int(channels), parse_size(size))}"
    if "(" in op:
        raise TableError(
            f"{where}: the row of an op needs in_channels and in_size; only a kernel's row has none"
        )
    return op


def _check_row(where: str, row: Row, cells: SheetRow) -> None:
    if not 0 < row.latency_ms <= LARGEST_MS:
        raise TableError(
            f"{where}: latency_ms must be above 0 and finite, not {cells['latency_ms']}"
        )
    for name, value in row.extra.items():
        if not 0 < value <= LARGEST_MS:
            raise TableError(
                f"{where}: {name} must be above 0 and finite, or empty, not {cells[name]}"
            )
    if not 0 <= row.sd_ms <= LARGEST_MS or row.count < 1:
        raise TableError(
            f"{where}: sd_ms must be 0 or more and count at least 1, "
            f"not {cells['sd_ms']} and {cells['count']}"
        )
    if row.source not in SOURCES:
        raise TableError(
            f"{where}: source must be one of {', '.join(SOURCES)}, not '{row.source[:40]}'"
        )


def check_plausible(path: Path, rows: Mapping[str, Row]) -> None:
    """Raise `TableError` if the latencies seem to be in another unit."""
    rates = list(_macs_per_ms(rows))
    if not rates:
        return
    rate = statistics.median(rates)
    low, high = PLAUSIBLE_MACS_PER_MS
    if not low <= rate <= high:
        unit = "microseconds" if rate < low else "seconds"
        raise TableError(
            f"table {path}: the median row runs {rate:.3g} macs per ms, "
            f"outside {low:.0e} to {high:.0e}. Are the latencies in {unit} and labelled ms?"
        )


def implausible(rows: Mapping[str, Row]) -> list[str]:
    """What is told of rows whose rate of work is far from the table's, a line each."""
    heavy = []
    for key, row in rows.items():
        layer = layer_from_key(key)
        if layer is not None and layer.macs >= LEAST_MACS:
            heavy.append((key, row.latency_ms, layer.macs / row.latency_ms))
    if not heavy:
        return []
    # By the median: a single wrong row must not pass for the rule.
    middle = statistics.median(rate for _, _, rate in heavy)
    return [
        f"{key} in {latency_ms:g} ms is {rate / middle:.2g} times the median rate of work: "
        "implausible"
        for key, latency_ms, rate in heavy
        if not middle / ODD <= rate <= middle * ODD
    ]


def _macs_per_ms(rows: Mapping[str, Row]) -> Iterator[float]:
    """The rate of work of every row of an op that has any."""
    for key, row in rows.items():
        layer = layer_from_key(key)
        if layer is not None and layer.macs:
            yield layer.macs / row.latency_ms


# -- writing --------------------------------------------------------------------------------------


def rows_text(rows: Mapping[str, Row]) -> str:
    """The CSV of the rows: ops before kernels, each in the order of their keys."""
    present: set[str] = set()
    for row in rows.values():
        present.update(row.extra)
    extra = [name for name in EXTRA if name in present]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*HEADER, *extra))
    for key in sorted(rows, key=lambda key: ("@" not in key, key)):
        writer.writerow(_cells(key, rows[key], extra))
    return text.getvalue()


def _channels_and_size(shape: str) -> tuple[str, str]:
    """Of a shape such as ``3x32x32``: ``3`` and ``32``, or ``24x32`` where the sides differ."""
    channels, height, width = shape.split("x")
    return channels, str(size_of(int(height), int(width)))


def _cells(key: str, row: Row, extra: Sequence[str]) -> list[object]:
    op, _, shape = key.partition("@")
    channels, size = _channels_and_size(shape) if shape else ("", "")
    cells = [op, channels, size, f"{row.latency_ms:.9g}", f"{row.sd_ms:.6g}", row.count, row.source]
    for name in extra:
        cells.append(f"{row.extra[name]:.9g}" if name in row.extra else "")
    return cells
