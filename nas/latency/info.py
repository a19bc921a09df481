"""What a table's JSON file says: where the numbers come from, how they are priced, how far off."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, Literal

from nas.errors import TableError
from nas.latency.audit import StoredAudit
from nas.latency.calibration import Calibration
from nas.latency.correction import Correction
from nas.latency.device import DeviceModel
from nas.latency.interpolation import Interpolation
from nas.reading import LEFT_OUT, FormError, from_json, to_json

__all__ = ["ColumnInfo", "Provenance", "TableInfo", "info_document", "read_info"]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a table comes from."""

    name: str
    aliases: tuple[str, ...] = ()
    """Other names that the device goes by."""
    title: str = field(default="", metadata=LEFT_OUT)
    kind: str = field(default="not stated", metadata=LEFT_OUT)
    """How the rows came about: measured, imported, adapted."""
    unit: Literal["ms"] = "ms"
    conditions: Mapping[str, object] = field(default_factory=dict)
    """What a timing depends on: runtime, dtype, threads, batch, hardware, date."""
    unreliable: tuple[str, ...] | None = field(default=None, metadata=LEFT_OUT)
    """Why the machine was not quiet while the rows were timed; None if nobody looked."""
    spaces: tuple[str, ...] | None = field(default=None, metadata=LEFT_OUT)
    """The spaces whose layers have rows."""
    reference_ms: float | None = field(default=None, metadata=LEFT_OUT)
    """What the reference kernel took while the rows were timed."""
    noisy: tuple[str, ...] | None = field(default=None, metadata=LEFT_OUT)
    """Keys of rows whose timings scattered; None if nobody looked."""
    sources: tuple[Mapping[str, str], ...] = ()
    """Per source: what, who, where, licence."""
    fitted: str = field(default="", metadata=LEFT_OUT)
    """How the device model was fitted."""
    caveats: tuple[str, ...] = ()
    training: Mapping[str, object] | None = field(default=None, metadata=LEFT_OUT)
    """Conditions of the training steps, if some were timed."""


@dataclass(frozen=True, kw_only=True)
class ColumnInfo:
    """How a column is priced beyond its rows, and how far off that is."""

    OPEN: ClassVar[bool] = True
    """Tables are also written by hand: a remark on a column is no reason to refuse it."""

    model: DeviceModel | None = None
    """Prices what has no row."""
    predicts: tuple[str, ...] | None = field(default=None, metadata=LEFT_OUT)
    """Keys of the ops that may be priced without a row; None for all."""
    interpolation: Interpolation | None = field(default=None, metadata=LEFT_OUT)
    """What tells layers without a row by those that have one, where ops have rows enough."""
    rows_common_sd: float = 0.0
    """Relative error that all rows share, a fraction below 1."""
    known_error: Mapping[str, float] = field(default_factory=dict)
    """By name, errors that were found when the table was made."""
    correction: Correction | None = field(default=None, metadata=LEFT_OUT)
    """What `nas latency verify --correct` learnt from whole networks."""
    calibration: Calibration | None = field(default=None, metadata=LEFT_OUT)
    """How a search has corrected its copy of the table near one latency."""
    audit: StoredAudit | None = field(default=None, metadata=LEFT_OUT)
    """What `nas latency verify` found on whole networks, before any calibration."""

    def __post_init__(self) -> None:
        if not 0 <= self.rows_common_sd < 1:
            raise TableError(
                f"rows_common_sd must be a fraction below 1, not '{self.rows_common_sd}'"
            )

    def reliability(self, latency_ms: float | None = None) -> str:
        """What the audit says, in a phrase: first of all that there is none, or a poor one.

        It is of the table before any calibration. ``latency_ms``: where it will be relied on.
        """
        if self.audit is not None:
            return self.audit.phrase(latency_ms)
        text = "none on record, nas latency verify makes one"
        for name, error in self.known_error.items():
            return f"{text}; stated {name}: {100 * error:.1f} %"
        return text


@dataclass(frozen=True, kw_only=True)
class TableInfo(ColumnInfo, Provenance):
    """Everything that a table says beside its rows; as a `ColumnInfo`, what it says of latency."""

    columns: Mapping[str, ColumnInfo] = field(default_factory=dict, metadata=LEFT_OUT)
    """The same of the other columns that are priced, by name."""
    more: Mapping[str, object] = field(default_factory=dict, metadata=LEFT_OUT)
    """What else the maker of the table wrote down; kept, and not looked at."""

    @property
    def pricing(self) -> ColumnInfo:
        """What it says of latency, alone."""
        return ColumnInfo(**{name: getattr(self, name) for name in _COLUMN_FIELDS})

    def of_column(self, column: ColumnInfo) -> "TableInfo":
        """The same provenance with what is said of another column in place of the latency's."""
        own = {name: getattr(column, name) for name in _COLUMN_FIELDS}
        return replace(self, columns={}, **own)


_COLUMN_FIELDS = tuple(field.name for field in fields(ColumnInfo))
_KEYS = tuple(field.name for field in fields(TableInfo) if field.name != "more")


def read_info(document: Mapping[str, object]) -> TableInfo:
    """What the JSON of a table says; ``rows``, their number, is the reader's to check.

    Raises `TableError` with the rule that the document breaks.
    """
    if not isinstance(document.get("name"), str):
        raise TableError("must be an object with at least name, unit and rows")
    # Before the strict reader, for its words would not say what to do.
    if document.get("unit") != "ms":
        unit = document.get("unit")
        raise TableError(f"unit must be 'ms', not {unit!r}. Convert the numbers and say so")
    common = document.get("rows_common_sd", 0.0)
    if not isinstance(common, int | float) or not 0 <= common < 1:
        raise TableError(f"rows_common_sd must be a fraction below 1, not {str(common)[:40]!r}")
    stated = {key: value for key, value in document.items() if key in _KEYS}
    more = {key: value for key, value in document.items() if key not in (*_KEYS, "rows")}
    if "columns" in stated:
        stated["columns"] = _with_common_sd(stated["columns"], common)
    try:
        info = from_json(TableInfo, stated)
    except FormError as error:
        raise TableError(str(error)) from None
    return replace(info, more=more)


def _with_common_sd(columns: object, common_sd: float) -> object:
    """What the JSON says of columns, each with its rows' common error: its own, else the table's.

    Without that, a column written by hand would be taken for exact. Anything that is no object is
    left as it is, for the reader to refuse.
    """
    if not isinstance(columns, Mapping):
        return columns
    complete = dict(columns)
    for name, column in columns.items():
        if isinstance(column, Mapping):
            complete[name] = {"rows_common_sd": common_sd, **column}
    return complete


def info_document(info: TableInfo) -> dict[str, object]:
    """The JSON of a table, without the number of its rows."""
    document: dict[str, object] = to_json(info)
    # What its maker wrote down goes back beside our own keys, where it was read.
    document.pop("more", None)
    return document | dict(info.more)
