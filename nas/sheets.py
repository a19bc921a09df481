"""Tables of text as people's spreadsheets and other programs write them.

    sheet = read_sheet(read_text(path, LARGEST_BYTES, "not a table"))
    for row in sheet.rows:
        latency_ms = sheet.number(row, "latency_ms")

Cells stand between commas, semicolons or tabs, as the first line has them; a first line ``sep=;``,
which Excel writes, says so. They may be quoted, and lines may end as on any system. Empty lines and
empty columns count for nothing. A number may have a decimal comma, where nothing else can be meant.
Byte order marks are seen to by `nas.files.read_text`.
"""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Line", "Sheet", "SheetRow", "read_lines", "read_names", "read_sheet"]

SEPARATORS = "\t;,"
"""In this order: where cells stand between tabs or semicolons, a comma may be part of a cell."""
NO_SEPARATOR = "\x1f"
ANNOUNCED = re.compile(r'"?sep=(\t|[^"\s])"?', re.IGNORECASE)
QUOTED = re.compile(r'"[^"]*"?')

COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+(e[+-]?\d+)?", re.IGNORECASE)
POINT_NUMBER = re.compile(r"[+-]?\d+\.\d+(e[+-]?\d+)?", re.IGNORECASE)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
"""Numbers that a program which groups digits would write too."""


@dataclass(frozen=True)
class Line:
    """Cells that stand side by side."""

    number: int
    """In the file, from 1."""
    cells: tuple[str, ...]


@dataclass(frozen=True)
class SheetRow:
    """A row below the header."""

    line: int
    """Its number in the file, from 1."""
    cells: Mapping[str, str]
    """By column."""

    def __getitem__(self, column: str) -> str:
        return self.cells[column]


@dataclass(frozen=True)
class Sheet:
    """A header and the rows below it."""

    columns: tuple[str, ...]
    """None in an empty file."""
    rows: Sequence[SheetRow]
    separator: str = ","

    def number(self, row: SheetRow, column: str) -> float:
        """A cell as a number, with a decimal point or comma.

        Raises `ValueError`, which says why it is none.
        """
        text = row[column]
        if not COMMA_NUMBER.fullmatch(text):
            return _plain_number(column, text)
        if column in self._with_points:
            raise ValueError(f"{column} has decimal points and commas, such as '{text}': use one")
        if column not in self._with_decimal_commas:
            raise ValueError(
                f"{column} '{text}' may be a fraction or thousands: write it with a decimal point"
            )
        return float(text.replace(",", "."))

    @cached_property
    def _with_points(self) -> set[str]:
        """Columns in which a number has a decimal point."""
        return self._columns_with(POINT_NUMBER)

    @cached_property
    def _with_decimal_commas(self) -> set[str]:
        """Columns in which a comma can only be a decimal one."""
        # Programs put semicolons between cells just where the comma is the decimal sign.
        if self.separator == ";":
            return set(self.columns)
        return self._columns_with(COMMA_NUMBER, but=THOUSANDS)

    def _columns_with(
        self, pattern: re.Pattern[str], but: re.Pattern[str] | None = None
    ) -> set[str]:
        """Columns with a cell that matches one pattern and not the other."""
        columns = set()
        for row in self.rows:
            for column, text in row.cells.items():
                if pattern.fullmatch(text) and not (but and but.fullmatch(text)):
                    columns.add(column)
        return columns


def _plain_number(column: str, text: str) -> float:
    try:
        # Python takes 1_000 for a number, and no other program does.
        if "_" not in text:
            return float(text)
    except ValueError:
        pass
    raise ValueError(f"{column} must be a number, not '{text[:40]}'")


def _any(columns: tuple[str, ...]) -> None:
    """The check of a reader that takes all columns."""


def read_sheet(text: str, check: Callable[[tuple[str, ...]], None] = _any) -> Sheet:
    """A table whose first line names its columns.

    ``check`` is given them before the rows are read, to raise an error of its own. Raises
    `ValueError` with the line: for cells that are missing or too many, for a column that stands
    twice, and for a quote that is never closed.
    """
    lines, separator = _lines(text)
    columns = _used_columns(lines)
    header = tuple(lines[0].cells[place] for place in columns)
    check(header)
    if not header:
        return Sheet((), ())
    for name in header:
        if header.count(name) > 1:
            raise ValueError(f"line {lines[0].number}: column '{name[:40]}' stands twice")
    width = len(lines[0].cells)
    rows = []
    for line in lines[1:]:
        if len(line.cells) != width:
            raise ValueError(_wrong_width(line, width, separator))
        cells = {name: line.cells[place] for name, place in zip(header, columns, strict=True)}
        rows.append(SheetRow(line.number, cells))
    return Sheet(header, tuple(rows), separator)


def _used_columns(lines: Sequence[Line]) -> list[int]:
    """Places of the columns that hold anything."""
    used = set()
    for line in lines:
        used |= {place for place, cell in enumerate(line.cells) if cell}
    width = len(lines[0].cells) if lines else 0
    return [place for place in range(width) if place in used]


def _wrong_width(line: Line, width: int, separator: str) -> str:
    text = f"line {line.number}: {len(line.cells)} columns where {width} are due"
    if separator == "," and len(line.cells) > width:
        return f"{text}; a comma inside a cell needs quotes around it"
    return text


def read_lines(text: str) -> list[Line]:
    """The lines of a table without a header, but for empty ones.

    Raises `ValueError` with the line for a quote that is never closed.
    """
    return _lines(text)[0]


def read_names(text: str) -> tuple[str, ...]:
    """A name per line, quoted or not, with any characters in it. Raises `ValueError`."""
    return tuple(line.cells[0] for line in _parsed(text, NO_SEPARATOR))


def _lines(text: str) -> tuple[list[Line], str]:
    """The lines, and what stands between their cells."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    announced = ANNOUNCED.fullmatch(first.strip("\r "))
    if announced:
        # An empty line in its place: those below keep their numbers.
        return _parsed(text.replace(first, "", 1), announced[1]), announced[1]
    separator = _separator(first)
    return _parsed(text, separator), separator


def _separator(line: str) -> str:
    """What stands between the cells of a line; a comma if nothing does."""
    outside = QUOTED.sub("", line)
    for separator in SEPARATORS:
        if separator in outside:
            return separator
    return ","


def _parsed(text: str, separator: str) -> list[Line]:
    # Strict: a quote that is never closed would swallow the rest of the file.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lines = []
    try:
        for row in reader:
            cells = tuple(cell.strip() for cell in row)
            if any(cells):
                lines.append(Line(reader.line_num, cells))
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from None
    return lines
