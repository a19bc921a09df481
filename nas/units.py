"""Quantities as people write them, such as ``60ms``, and tables for notebooks and terminals."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from nas.errors import UsageError

__all__ = [
    "Column",
    "amount",
    "column_table",
    "count",
    "counted",
    "duration",
    "html_table",
    "large",
    "milliseconds",
    "seconds",
    "text_table",
    "uncertain",
]

Column = tuple[str, Sequence[str]]
"""A heading and its cells."""

_MILLISECONDS = {"": 1.0, "ms": 1.0, "s": 1e3, "us": 1e-3, "µs": 1e-3}
_COUNT = {
    "": 1.0,
    "k": 1e3,
    "m": 1e6,
    "g": 1e9,
    "b": 1e9,
    "kb": 1e3,
    "mb": 1e6,
    "gb": 1e9,
    "kib": 1024.0,
    "mib": 1024.0**2,
}
LEGIBLE = 10**24
"""A number from here on is shown by its first digits."""
_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def _quantity(text: str, what: str, units: Mapping[str, float], example: str) -> float:
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Zµ]*)\s*", text)
    if match is None or match[2].lower() not in units:
        known = ", ".join(unit for unit in units if unit)
        raise UsageError(
            f"{what} must be a number with one of the units {known}, "
            f"such as {example}, not '{text}'"
        )
    value = float(match[1]) * units[match[2].lower()]
    # 1e999 is infinite, and 1e-999 is 0.
    if not (value > 0 and math.isfinite(value)):
        raise UsageError(f"{what} must be above 0, such as {example}, not '{text}'")
    return value


def milliseconds(text: str) -> float:
    """A latency; a bare number is in ms."""
    return _quantity(text, "a latency", _MILLISECONDS, "60ms")


def count(text: str) -> float:
    """A number of things or bytes, with k, M, G."""
    return _quantity(text, "a bound", _COUNT, "5M")


def seconds(text: str) -> float:
    """A length of time; a bare number is in seconds, ``m`` are minutes."""
    return _quantity(text, "a time", _SECONDS, "5m")


def amount(value: float) -> str:
    """A cost of any size: ``56,320,000`` or ``0.2269``."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def uncertain(value: float, sd: float | None, *, signed: bool = False) -> str:
    """A figure to the digits that its standard deviation leaves: ``0.91 ± 0.03``, ``59.9 ± 3.9``.

    The deviation has one digit, or two below 4, as physicists write it. Four digits without one.
    ``signed``: a plus stands before what is not negative.
    """
    sign = "+" if signed else ""
    if sd is None or not (sd > 0 and math.isfinite(sd)):
        return f"{value:{sign}.4g}"
    exponent = math.floor(math.log10(sd))
    leading = sd / 10.0**exponent
    decimals = max(0, -exponent + (1 if leading < 3.95 else 0))
    return f"{value:{sign}.{decimals}f} ± {sd:.{decimals}f}"


def html_table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table for a notebook; every text is escaped."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = ""
    for row in rows:
        cells = "".join(f"<td>{escape(str(cell))}</td>" for cell in row)
        body += f"<tr>{cells}</tr>"
    return f"<p><b>{escape(title)}</b></p><table><tr>{head}</tr>{body}</table>"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for the terminal: columns two spaces apart, those of numbers right-aligned."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numeric = [bool(rows) and all(map(_starts_a_number, column[1:])) for column in columns]
    lines = []
    for row in (header, ["-" * width for width in widths], *rows):
        cells = []
        for cell, width, right in zip(row, widths, numeric, strict=True):
            cells.append(cell.rjust(width) if right else cell.ljust(width))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def column_table(columns: Sequence[Column]) -> str:
    """The same from columns, each a heading and as many cells as the others."""
    cells = list(zip(*(column for _, column in columns), strict=True))
    return text_table([heading for heading, _ in columns], cells)


def _starts_a_number(cell: str) -> bool:
    return not cell or cell[0] in "-+.0123456789"


def large(count: int) -> str:
    """``3,969``, and ``2.45e+70`` for what has more digits than one reads."""
    return f"{count:,}" if count < LEGIBLE else f"{count:.3g}"


def duration(seconds: float) -> str:
    """``41 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def counted(count: int, noun: str, many: str = "") -> str:
    """``1 image``, ``3 images``; ``many`` is the plural where it takes more than an s."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {many or noun + 's'}"
