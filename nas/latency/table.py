"""Latency tables: measured rows, a device model for what was not measured, and where both come from.

A table is two files of one name: ``NAME.csv`` with the numbers and ``NAME.json`` with their
provenance. A row prices a whole op at one input shape, or one kernel. `Table.layer` says what a
layer takes and how that is known; nothing is ever priced at zero for want of a row.
"""

import csv
import hashlib
import io
import json
import math
import re
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nas.arch import Architecture, Layer
from nas.errors import NasError, TableError
from nas.files import read_text, write_text
from nas.latency.correction import Correction, Part
from nas.latency.device import DeviceModel
from nas.ops import op_from_signature, registry
from nas.shape import Kernel, Op, Shape

__all__ = [
    "EXTRA",
    "HEADER",
    "LATENCY_COLUMNS",
    "PRICED",
    "Estimate",
    "Row",
    "Table",
    "kernel_from_key",
    "kernel_key",
    "layer_from_key",
    "layer_key",
    "write_table",
]

HEADER = ("op", "in_channels", "in_size", "latency_ms", "sd_ms", "count", "source")
EXTRA = ("warm_ms", "train_ms", "energy_mj")
"""Columns that a table may have beside those, in this order: milliseconds of a run straight after itself, of a training
step, and energy. A row that lacks one has an empty cell."""
PRICED = ("train_ms", "energy_mj")
"""Those of them that are costs of their own."""
SOURCES = ("measured", "apportioned")
LATENCY_COLUMNS = ("measured_ms", "summed_ms", "predicted_ms", "variance_ms2", "common_sd_ms")
LARGEST_FILE_BYTES = 64 << 20
CACHED_WEIGHTS = 500_000  # about what a second-level cache of 2 MiB holds
LARGEST_MS = 1e9

# No device this is for runs the median layer below 0.02 or above 100,000 GMAC/s: outside, the unit
# is wrong.
PLAUSIBLE_MACS_PER_MS = (2e4, 1e11)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Milliseconds, how they are known, and how far they may be off.

    ``measured_ms`` come from rows of whole ops, ``summed_ms`` from rows of kernels,
    ``predicted_ms`` from the device model (or a row that the model apportioned). Independent errors
    add as ``variance_ms2``, common errors as ``common_sd_ms``.
    """

    measured_ms: float = 0.0
    summed_ms: float = 0.0
    predicted_ms: float = 0.0
    variance_ms2: float = 0.0
    common_sd_ms: float = 0.0

    @property
    def latency_ms(self) -> float:
        """The estimate."""
        return self.measured_ms + self.summed_ms + self.predicted_ms

    @property
    def latency_sd_ms(self) -> float:
        """Its standard deviation."""
        return math.sqrt(self.variance_ms2 + self.common_sd_ms**2)

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(
            **{name: getattr(self, name) + getattr(other, name) for name in LATENCY_COLUMNS}
        )

    @property
    def columns(self) -> tuple[float, ...]:
        """The five additive parts, in the order of `LATENCY_COLUMNS`."""
        return tuple(getattr(self, name) for name in LATENCY_COLUMNS)

    def to_json(self) -> dict[str, float]:
        """``latency_ms``, ``latency_sd_ms`` and the shares ``measured``, ``summed``, ``predicted``, which add to 1."""
        total = self.latency_ms or 1.0
        summed, predicted = self.summed_ms / total, self.predicted_ms / total
        return {
            "latency_ms": self.latency_ms,
            "latency_sd_ms": self.latency_sd_ms,
            "measured": 1.0 - summed - predicted,
            "summed": summed,
            "predicted": predicted,
        }


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one op or kernel takes: mean milliseconds over ``count`` timings and their standard deviation.

    ``extra``: by name of `EXTRA`, what else was measured, above 0.
    """

    latency_ms: float
    sd_ms: float = 0.0
    count: int = 1
    source: str = "measured"
    extra: Mapping[str, float] = field(default_factory=dict)


def layer_key(op: Op | str, shape: Shape) -> str:
    """How a table names an op at an input shape. ReLU and ReLU6 take the same time and share a row."""
    signature = op if isinstance(op, str) else op.signature
    return f"{signature.replace('act=relu6,', '').replace(',act=relu6', '').replace('act=relu6', '')}@{shape}"


def _as_run(kernels: Iterable[Kernel]) -> tuple[Kernel, ...]:
    return tuple(
        replace(kernel, act="relu") if kernel.act == "relu6" else kernel for kernel in kernels
    )


def kernel_key(kernel: Kernel) -> str:
    """How a table names a kernel."""
    return (
        f"{kernel.kind}:{kernel.in_channels}>{kernel.out_channels},{kernel.in_size}>{kernel.out_size},"
        f"k{kernel.kernel},s{kernel.stride},g{kernel.groups},{kernel.act}{f',r{kernel.rows}' * (kernel.rows > 1)}"
    )


_KERNEL = re.compile(
    r"(?P<kind>[a-z]+):(?P<in_channels>\d+)>(?P<out_channels>\d+),(?P<in_size>\d+)>(?P<out_size>\d+),"
    r"k(?P<kernel>\d+),s(?P<stride>\d+),g(?P<groups>\d+),(?P<act>[a-z0-9]*)(?:,r(?P<rows>\d+))?"
)


def kernel_from_key(key: str) -> Kernel | None:
    """The kernel that `kernel_key` named, without bias and norm, which a runtime folds in; None for another key."""
    found = _KERNEL.fullmatch(key)
    if found is None:
        return None
    given: dict[str, Any] = found.groupdict(default="1")
    text = {name: given.pop(name) for name in ("kind", "act")}
    numbers: dict[str, Any] = {name: int(value) for name, value in given.items()}
    return Kernel(**text, **numbers)


@dataclass(frozen=True, eq=False)
class Table:
    """A device's latencies. ``info`` is the JSON file's content: provenance, conditions, known error."""

    name: str
    rows: Mapping[str, Row]
    model: DeviceModel | None
    info: Mapping[str, Any]
    digest: str
    path: Path = Path()
    _known: dict[Layer, Estimate] = field(default_factory=dict, repr=False)
    _views: dict[str, "Table"] = field(default_factory=dict, repr=False)

    def row(self, layer: Layer) -> Row | None:
        """The row of a layer, or of an op that runs the very same kernels (``skip=none`` where nothing can be added)."""
        found = self.rows.get(layer_key(layer.op, layer.shape))
        return found or self._by_kernels.get(_as_run(layer.kernels))

    @cached_property
    def _by_kernels(self) -> dict[tuple[Kernel, ...], Row]:
        found = {
            _as_run(layer.kernels): row
            for key, row in self.rows.items()
            if (layer := layer_from_key(key))
        }
        found.pop((), None)
        return found

    def layer(self, layer: Layer) -> Estimate:
        """The time of one layer: its own row, else its kernels' rows, else the device model; else `TableError`."""
        if layer not in self._known:
            row = self.row(layer)
            found = self._from_row(row) if row is not None else self._from_kernels(layer)
            self._known[layer] = self._corrected(layer, found, row)
        return self._known[layer]

    def part(self, layer: Layer) -> Part:
        """The layer as a correction sees it: without one, whatever the table has."""
        row = self.row(layer)
        return self._part(
            layer, self._from_row(row) if row is not None else self._from_kernels(layer), row
        )

    def _part(self, layer: Layer, found: Estimate, row: Row | None) -> Part:
        warm = row.extra.get("warm_ms") if row is not None else None
        return Part(
            op=layer.op.key,
            ms=found.latency_ms,
            warm_ms=self._warm_share * found.latency_ms if warm is None else warm,
            weights=min(layer.params, CACHED_WEIGHTS) / 1e6,
            moved=(layer.shape.elements + layer.out_shape.elements) / 1e6,
        )

    @cached_property
    def _warm_share(self) -> float:
        """Of a layer's time where it has no row of its own: the median of the rows that say; 0 where none does."""
        shares = [
            row.extra["warm_ms"] / row.latency_ms
            for row in self.rows.values()
            if "warm_ms" in row.extra
        ]
        return statistics.median(shares) if shares else 0.0

    @cached_property
    def correction(self) -> Correction | None:
        """What `nas latency verify` learnt from whole networks, if it did."""
        given = self.info.get("correction")
        return None if given is None else Correction.from_json(given)

    @property
    def constant_ms(self) -> float:
        """What a network takes beyond its layers."""
        return 0.0 if self.correction is None else self.correction.constant_ms

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """What else the table prices, by the names metrics use: ``train_ms``, ``energy_mj``."""
        return tuple(
            name for name in PRICED if any(name in row.extra for row in self.rows.values())
        )

    def column(self, name: str) -> "Table":
        """Another column as a table of its own: its rows, model, correction and audit in place of the latency's."""
        if name not in self.columns:
            known = (
                f"it has {', '.join(self.columns)}" if self.columns else "it has latencies alone"
            )
            raise TableError(
                f"table '{self.name}' has no column {name}: {known}. See nas latency build --help"
            )
        if name not in self._views:
            found = {
                key: Row(latency_ms=row.extra[name])
                for key, row in self.rows.items()
                if name in row.extra
            }
            own = {
                "rows_common_sd": self.info.get("rows_common_sd", 0.0),
                **self.info.get("columns", {}).get(name, {}),
            }
            model = DeviceModel.from_json(own["model"]) if own.get("model") else None
            self._views[name] = Table(self.name, found, model, own, self.digest, self.path)
        return self._views[name]

    def uncorrected(self) -> "Table":
        """The same rows and model without the correction."""
        return replace(self, info={**self.info, "correction": None}, _known={}, _views={})

    def _corrected(self, layer: Layer, found: Estimate, row: Row | None) -> Estimate:
        if self.correction is None or not found.latency_ms:
            return found
        scale = self.correction.layer(self._part(layer, found, row)) / found.latency_ms
        return Estimate(
            measured_ms=scale * found.measured_ms,
            summed_ms=scale * found.summed_ms,
            predicted_ms=scale * found.predicted_ms,
            variance_ms2=scale**2 * found.variance_ms2,
            common_sd_ms=scale * found.latency_ms * self.correction.common_sd,
        )

    def _from_row(self, row: Row) -> Estimate:
        common = float(self.info.get("rows_common_sd", 0.0)) * row.latency_ms
        known = "measured_ms" if row.source == "measured" else "predicted_ms"
        spread = row.sd_ms / math.sqrt(row.count)
        return Estimate(**{known: row.latency_ms}, variance_ms2=spread**2, common_sd_ms=common)

    def _from_kernels(self, layer: Layer) -> Estimate:
        total, predicted = Estimate(), 0.0
        for kernel in layer.kernels:
            row = self.rows.get(kernel_key(kernel))
            if row is not None:
                found = self._from_row(row)
                total += Estimate(
                    summed_ms=found.latency_ms,
                    variance_ms2=found.variance_ms2,
                    common_sd_ms=found.common_sd_ms,
                )
            elif self.model is not None:
                predicted += self.model.latency_ms(kernel)
            else:
                raise TableError(
                    f"table '{self.name}' has no row for {layer} nor for its {kernel_key(kernel)}, and no device model. "
                    f"Measure it, or use a device that covers this network"
                )
        if self.model is not None and predicted:
            total += Estimate(
                predicted_ms=predicted,
                variance_ms2=(self.model.row_sd * predicted) ** 2,
                common_sd_ms=self.model.common_sd * predicted,
            )
        return total

    def estimate(self, architecture: Architecture) -> Estimate:
        """The time of a network, batch 1 unless the conditions say otherwise."""
        return self.sum(architecture.layers) + Estimate(predicted_ms=self.constant_ms)

    def sum(self, layers: Iterable[Layer]) -> Estimate:
        """The time of layers, one after the other."""
        return sum((self.layer(layer) for layer in layers), Estimate())

    @classmethod
    def load(cls, path: str | Path) -> "Table":
        """Read ``path`` (``.csv`` or ``.json``) and its sibling; anything doubtful raises `TableError` with the line."""
        numbers, provenance = Path(path).with_suffix(".csv"), Path(path).with_suffix(".json")
        text, info = _read(numbers), _parse_info(provenance)
        rows = _parse_rows(numbers, text)
        declared = info.get("rows")
        if declared != len(rows):
            raise TableError(
                f"table {numbers} has {len(rows)} rows but {provenance.name} says {declared}: it is truncated or edited"
            )
        model = DeviceModel.from_json(info["model"]) if info.get("model") is not None else None
        digest = hashlib.sha256(
            text.encode() + json.dumps(info, sort_keys=True).encode()
        ).hexdigest()[:20]
        table = cls(str(info["name"]), rows, model, info, digest, numbers)
        _ = table.correction  # a broken one raises here, not later
        _check_plausible(numbers, table)
        return table


def _read(path: Path) -> str:
    try:
        return read_text(path, LARGEST_FILE_BYTES, "not a latency table", TableError)
    except FileNotFoundError:
        raise TableError(
            f"no file {path}: a latency table is a .csv of numbers and a .json of that name which says where they come "
            f"from; nas latency makes both"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"cannot read latency table {path}: {error}") from None


def _parse_info(path: Path) -> dict[str, Any]:
    try:
        info = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise TableError(f"{path} is not JSON: {error}") from None
    if not isinstance(info, dict) or not isinstance(info.get("name"), str):
        raise TableError(f"{path} must be an object with at least name, unit and rows")
    if info.get("unit") != "ms":
        raise TableError(
            f"{path}: unit must be 'ms', not {info.get('unit')!r}. Convert the numbers and say so"
        )
    common = info.get("rows_common_sd", 0.0)
    if not isinstance(common, int | float) or not 0 <= common < 1:
        raise TableError(
            f"{path}: rows_common_sd must be a fraction below 1, not {str(common)[:40]!r}"
        )
    return info


def _parse_rows(path: Path, text: str) -> dict[str, Row]:
    try:
        lines = list(csv.reader(text.splitlines()))
    except csv.Error as error:
        raise TableError(f"{path} is not CSV: {error}") from None
    header = tuple(lines[0]) if lines else ()
    extra = header[len(HEADER) :]
    if header[: len(HEADER)] != HEADER or extra != tuple(name for name in EXTRA if name in extra):
        raise TableError(
            f"{path} line 1: the columns must be {','.join(HEADER)}, then any of {','.join(EXTRA)}"
        )
    if not text.endswith("\n"):
        raise TableError(
            f"{path} line {len(lines)}: the last line has no end, so the file is truncated"
        )
    rows: dict[str, Row] = {}
    for number, fields in enumerate(lines[1:], 2):
        where = f"{path} line {number}"
        if len(fields) != len(header):
            raise TableError(
                f"{where}: {len(fields)} columns where {len(header)} are due; the file is truncated or broken"
            )
        key, row = _parse_row(
            where, fields[: len(HEADER)], dict(zip(extra, fields[len(HEADER) :], strict=True))
        )
        if key in rows:
            raise TableError(f"{where}: {key} has a row already. Keep one")
        rows[key] = row
    return rows


def _parse_row(where: str, fields: list[str], more: Mapping[str, str]) -> tuple[str, Row]:
    op, channels, size, latency, sd, count, source = fields
    if not channels and "(" in op:
        raise TableError(
            f"{where}: the row of an op needs in_channels and in_size; only a kernel's row has none"
        )
    try:
        key = f"{op}@{Shape(int(channels), int(size))}" if channels else op
        extra = {name: float(value) for name, value in more.items() if value}
        row = Row(
            latency_ms=float(latency), sd_ms=float(sd), count=int(count), source=source, extra=extra
        )
        layer_from_key(key)
    except (ValueError, NasError) as error:
        raise TableError(f"{where}: {error}") from None
    if not 0 < row.latency_ms <= LARGEST_MS:
        raise TableError(f"{where}: latency_ms must be above 0 and finite, not {latency}")
    for name, value in row.extra.items():
        if not 0 < value <= LARGEST_MS:
            raise TableError(
                f"{where}: {name} must be above 0 and finite, or empty, not {more[name]}"
            )
    if not 0 <= row.sd_ms <= LARGEST_MS or row.count < 1:
        raise TableError(
            f"{where}: sd_ms must be 0 or more and count at least 1, not {sd} and {count}"
        )
    if source not in SOURCES:
        raise TableError(
            f"{where}: source must be one of {', '.join(SOURCES)}, not '{source[:40]}'"
        )
    return key, row


def _check_plausible(path: Path, table: Table) -> None:
    layers = ((layer_from_key(key), row) for key, row in table.rows.items())
    rates = [layer.macs / row.latency_ms for layer, row in layers if layer and layer.macs]
    if not rates:
        return
    rate = statistics.median(rates)
    low, high = PLAUSIBLE_MACS_PER_MS
    if not low <= rate <= high:
        raise TableError(
            f"table {path}: the median row runs {rate:.3g} macs per ms, outside {low:.0e} to {high:.0e}. "
            f"Are the latencies in {'microseconds' if rate < low else 'seconds'} and labelled ms?"
        )


def layer_from_key(key: str) -> Layer | None:
    """The layer a key names; None for a kernel's key or an op that is not installed."""
    signature, _, where = key.partition("@")
    if not where or signature.partition("(")[0] not in registry():
        return None
    channels, size, _ = where.split("x")
    return Layer(op_from_signature(signature), Shape(int(channels), int(size)))


def write_table(rows: Mapping[str, Row], info: Mapping[str, Any], folder: Path) -> Path:
    """Write ``NAME.csv`` and ``NAME.json``, ops before kernels; ``rows`` in ``info`` is set. Returns the CSV's path."""
    made = io.StringIO()
    out = csv.writer(made, lineterminator="\n")
    extra = [name for name in EXTRA if any(name in row.extra for row in rows.values())]
    out.writerow((*HEADER, *extra))
    for key in sorted(rows, key=lambda key: ("@" not in key, key)):
        op, _, shape = key.partition("@")
        channels, size = shape.split("x")[:2] if shape else ("", "")
        row = rows[key]
        more = (f"{row.extra[name]:.9g}" if name in row.extra else "" for name in extra)
        out.writerow(
            (
                op,
                channels,
                size,
                f"{row.latency_ms:.9g}",
                f"{row.sd_ms:.6g}",
                row.count,
                row.source,
                *more,
            )
        )
    path = folder / f"{info['name']}.csv"
    for file, text in (
        (path, made.getvalue()),
        (path.with_suffix(".json"), json.dumps({**info, "rows": len(rows)}, indent=1) + "\n"),
    ):
        write_text(file, text)
    return path
