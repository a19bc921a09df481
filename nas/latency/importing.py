"""Latency tables of other toolkits: their rows as ours, each line checked, nothing executed.

YAML: once-for-all and ProxylessNAS (``expanded_conv-input:56x56x24-output:..``;
https://github.com/mit-han-lab/once-for-all, ``latency_lookup_table.py``), in ms. JSON: a key and a
number each, keys as above, as HW-NAS-Bench writes them (``ConvBlock_H56_W56_Cin24_..``;
https://github.com/GATECH-EIC/HW-NAS-Bench) or as our own tables do. JSON lines: FBNet's operator
records (``op_type``, ``input_shapes``, ``runtime_us_p50``;
https://github.com/facebookresearch/mobile-vision). CSV: ``key``, or ``op``, ``in_channels``,
``in_size``; ``latency_ms``, ``latency_us`` or ``latency_s``; ``count`` if known.

A key that names nothing we have is left out and told. A wrong number is refused with its line.
"""

import csv
import json
import math
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.arch import Layer
from nas.errors import NasError, TableError
from nas.files import read_text
from nas.latency.files import LARGEST_FILE_BYTES
from nas.latency.keys import kernel_from_key, kernel_key, layer_from_key, layer_key
from nas.latency.rows import PLAUSIBLE_MACS_PER_MS, Row
from nas.ops import blocks
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Kernel, Shape

__all__ = ["Imported", "read_foreign"]

UNITS_MS = {"ms": 1.0, "us": 1e-3, "µs": 1e-3, "s": 1e3}
PROGRAMS = (".pkl", ".pickle", ".pt", ".pth", ".npy", ".npz", ".joblib")
ODD = 100.0  # times the file's median rate of work
LEAST_MACS = 100_000  # below, a rate says nothing
Named = Layer | Kernel


@dataclass(frozen=True)
class Imported:
    """Rows by our keys, and the keys that name nothing we have."""

    rows: Mapping[str, Row]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Entry:
    line: int
    key: str
    named: Named | None
    latency_ms: float
    count: int = 1


def read_foreign(path: Path, *, unit: str | None = None) -> Imported:
    """Read a table; ``unit`` (ms, us, s) if the file does not state one.

    Raises `TableError` with file and line.
    """
    text = _text(path)
    if unit is not None and unit not in UNITS_MS:
        raise TableError(f"unit must be one of {', '.join(UNITS_MS)}, not '{unit[:40]}'")
    readers: Mapping[str, Callable[[Path, str, str | None], Iterator[_Entry]]] = {
        ".yaml": _yaml,
        ".yml": _yaml,
        ".json": _json,
        ".jsonl": _records,
        ".csv": _csv,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise TableError(
            f"{path}: a table to import is a .yaml, .json, .jsonl or .csv file, not '{path.suffix}'"
        )
    if reader is _json and text.lstrip().startswith("{") and '"op_type"' in text.partition("\n")[0]:
        reader = _records
    entries = list(reader(path, text, unit))
    known = [entry for entry in entries if entry.named is not None]
    if not known:
        raise TableError(
            f"{path}: none of {len(entries)} rows names an operator we know. "
            f"Formats: {(__doc__ or '')[:60]}.."
        )
    _check_plausible(path, known)
    return Imported(
        _rows(path, known), tuple(entry.key for entry in entries if entry.named is None)
    )


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(2)
        if path.suffix.lower() in PROGRAMS or start[:1] == b"\x80" or start == b"PK":
            raise TableError(
                f"{path} is a pickle or an archive of one: reading it runs whatever its maker put "
                "in, so it is not read. "
                "Where you trust it, write its keys and numbers as JSON, and import that"
            )
        return read_text(path, LARGEST_FILE_BYTES, "not a latency table", TableError)
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"cannot read {path}: {error}") from None


def _rows(path: Path, entries: Iterable[_Entry]) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    lines: dict[str, int] = {}
    for entry in entries:
        named = entry.named
        assert named is not None
        key = (
            kernel_key(named)
            if isinstance(named, Kernel)
            else layer_key(named.op.at(named.shape), named.shape)
        )
        if key in rows:
            raise TableError(
                f"{path} line {entry.line}: {key} has a row already, in line {lines[key]}. Keep one"
            )
        rows[key], lines[key] = Row(latency_ms=entry.latency_ms, count=entry.count), entry.line
    return rows


def _check_plausible(path: Path, entries: Iterable[_Entry]) -> None:
    rates = [
        (entry, entry.named.macs / entry.latency_ms)
        for entry in entries
        if entry.named is not None and entry.named.macs >= LEAST_MACS
    ]
    if not rates:
        return
    middle = statistics.median(rate for _, rate in rates)
    low, high = PLAUSIBLE_MACS_PER_MS
    if not low <= middle <= high:
        raise TableError(
            f"{path}: the median row runs {middle:.3g} macs per ms, outside {low:.0e} to "
            f"{high:.0e}: the unit is wrong. State it with --unit"
        )
    for entry, rate in rates:
        if not middle / ODD <= rate <= middle * ODD:
            raise TableError(
                f"{path} line {entry.line}: {entry.key} in {entry.latency_ms:g} ms is "
                f"{rate / middle:.2g} times the file's median rate of work: "
                "implausible. Correct or remove it"
            )


def _number(where: str, value: object, what: str = "latency") -> float:
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = math.nan
    if not (math.isfinite(found) and found > 0) or isinstance(value, bool):
        raise TableError(f"{where}: {what} must be a number above 0, not {str(value)[:40]!r}")
    return found


def _need(path: Path, unit: str | None) -> float:
    if unit is None:
        raise TableError(f"{path} does not state the unit of its numbers: say --unit ms, us or s")
    return UNITS_MS[unit]


# -- files ----------------------------------------------------------------------------------------


def _yaml(path: Path, text: str, unit: str | None) -> Iterator[_Entry]:
    """Nodes only: no object is built, and keys that stand twice are seen."""
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise TableError(f"{path} is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(root, yaml.MappingNode):
        raise TableError(f"{path} must be a mapping of keys to mean and count")
    keys = [key.value for key, _ in root.value]
    v3 = any("-hs:" in str(key) for key in keys)
    for key, value in root.value:
        line = key.start_mark.line + 1
        where = f"{path} line {line}"
        inner = (
            {k.value: v.value for k, v in value.value}
            if isinstance(value, yaml.MappingNode)
            else {"mean": value.value}
        )
        latency = _number(where, inner.get("mean"), "mean") * UNITS_MS[unit or "ms"]
        count = int(_number(where, inner.get("count", 1), "count"))
        yield _Entry(
            line, str(key.value), _foreign(where, str(key.value), v3=v3), latency, max(1, count)
        )


def _json(path: Path, text: str, unit: str | None) -> Iterator[_Entry]:
    scale = _need(path, unit)
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError) as error:
        raise TableError(f"{path} is not JSON: {error}") from None
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        raise TableError(f"{path} must be one object of keys and numbers")
    place = 0
    for key, value in pairs:
        place = max(text.find(json.dumps(key), place), place)
        line = text.count("\n", 0, place) + 1
        place += 1
        where = f"{path} line {line}"
        yield _Entry(line, key, _foreign(where, key), _number(where, value) * scale)


def _csv(path: Path, text: str, unit: str | None) -> Iterator[_Entry]:
    try:
        lines = list(csv.reader(text.splitlines()))
    except csv.Error as error:
        raise TableError(f"{path} is not CSV: {error}") from None
    header = [name.strip() for name in lines[0]] if lines else []
    column, scale = _csv_unit(path, header, unit)
    if not ("key" in header or {"op", "in_channels", "in_size"} <= set(header)):
        raise TableError(
            f"{path} line 1: the columns must hold key, or op, in_channels and in_size, "
            f"not {','.join(header)}"
        )
    for number, fields in enumerate(lines[1:], 2):
        where = f"{path} line {number}"
        if len(fields) != len(header):
            raise TableError(f"{where}: {len(fields)} columns where {len(header)} are due")
        given = dict(zip(header, fields, strict=True))
        key = given["key"] if "key" in given else _own_key(given)
        latency = _number(where, given[column]) * scale
        yield _Entry(
            number,
            key,
            _foreign(where, key),
            latency,
            int(_number(where, given.get("count", 1), "count")),
        )


def _csv_unit(path: Path, header: list[str], unit: str | None) -> tuple[str, float]:
    found = [name for name in header if name == "latency" or name.startswith("latency_")]
    if len(found) != 1:
        raise TableError(
            f"{path} line 1: one column must be latency_ms, latency_us or latency_s, "
            f"not {','.join(header)}"
        )
    stated = found[0].partition("_")[2]
    if stated and stated not in UNITS_MS:
        raise TableError(
            f"{path} line 1: unknown unit '{stated[:40]}': one of {', '.join(UNITS_MS)}"
        )
    return found[0], UNITS_MS[stated] if stated else _need(path, unit)


def _own_key(given: Mapping[str, str]) -> str:
    size = given["in_size"]
    return (
        f"{given['op']}@{given['in_channels']}x{size}x{size}"
        if given["in_channels"]
        else given["op"]
    )


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
        latency = _number(where, runtime, "runtime_us_p50") * UNITS_MS["us"]
        yield _Entry(number, name, _record_kernel(where, record), latency)


# -- keys -----------------------------------------------------------------------------------------

_OFA = re.compile(
    r"(?P<kind>\w+)-input:(?P<input>[\dx]+)-output:(?P<output>[\dx]+)(?P<rest>(?:-\w+:\d+)*)"
)
_BENCH = re.compile(
    r"(?P<kind>[A-Za-z]+)_H(\d+)_W(\d+)_Cin(\d+)_Cout(\d+)(?P<rest>(?:_[a-z]+\d+)*)"
)


def _foreign(where: str, key: str, *, v3: bool = False) -> Named | None:
    """What a key of any format names; None for nothing we have."""
    try:
        if found := kernel_from_key(key):
            return found
        if "@" in key:
            return layer_from_key(key)
        if match := _OFA.fullmatch(key):
            return _once_for_all(match, v3=v3)
        if match := _BENCH.fullmatch(key):
            return _hw_nas_bench(match)
    except KeyError as error:
        raise TableError(f"{where}: {key[:120]} does not state its {error.args[0]}") from None
    except (NasError, ValueError) as error:
        raise TableError(f"{where}: {key[:120]}: {error}") from None
    return None


def _square(text: str) -> Shape:
    """``HxWxC``."""
    height, width, channels = (int(n) for n in text.split("x"))
    return _squared(height, width, channels)


def _squared(height: int, width: int, channels: int) -> Shape:
    if height != width:
        raise ValueError(f"feature maps are square here, not {height}x{width}")
    return Shape(channels, height)


def _once_for_all(match: re.Match[str], *, v3: bool) -> Named | None:
    kind, shape = match["kind"], _square(match["input"])
    channels = int(match["output"].rpartition("x")[2])
    given = {
        name: int(value)
        for name, value in (pair.split(":") for pair in match["rest"].split("-") if pair)
    }
    act = "hswish" if v3 else "relu"
    if kind == "expanded_conv":
        return _inverted(shape, channels, given, v3=v3)
    if kind == "Conv":
        return Layer(Conv(kernel=3, channels=channels, stride=2, act=act), shape)
    if kind == "Conv_1":
        return Layer(Conv(channels=channels, act=act), shape)
    if kind == "AvgPool2D":
        return blocks.global_pool(shape)
    if kind == "Conv_2":
        return blocks.linear(shape, channels, act)
    if kind == "Logits":
        return blocks.linear(shape, channels) if v3 else Layer(Classifier(classes=channels), shape)
    return None


def _inverted(shape: Shape, channels: int, given: Mapping[str, int], *, v3: bool) -> Layer | None:
    """With MobileNetV3's keys, ``expand`` is the number of channels between.

    Its squeeze follows from them.
    """
    settings: dict[str, Any] = {"act": "hswish" if v3 and given["hs"] else "relu"}
    if v3 and given["se"]:
        settings |= {"se": 0.25, "se_base": "expanded", "se_gate": "hsigmoid", "se_act": "relu"}
    op = MBConv(
        kernel=given["kernel"],
        expand=given["expand"] / shape.channels if v3 else given["expand"],
        channels=channels,
        stride=given["stride"],
        skip="identity" if given["idskip"] else "none",
        **settings,
    )
    return None if v3 and op.middle(shape) != given["expand"] else Layer(op.at(shape), shape)


def _hw_nas_bench(match: re.Match[str]) -> Named | None:
    height, width, inside, channels = (int(match[i]) for i in (2, 3, 4, 5))
    shape = _squared(height, width, inside)
    given = {name: int(value) for name, value in re.findall(r"_([a-z]+)(\d+)", match["rest"])}
    if match["kind"] == "ConvBlock":
        op = MBConv(
            kernel=given["kernel"],
            expand=given["exp"],
            groups=given["group"],
            channels=channels,
            stride=given["stride"],
            pointwise=given["exp"] == 1,
        )
        return Layer(op.at(shape), shape)
    if match["kind"] == "ConvNorm":
        return Layer(
            Conv(
                kernel=given["kernel"],
                channels=channels,
                stride=given["stride"],
                groups=given["group"],
            ),
            shape,
        )
    if match["kind"] == "Skip" and shape != shape.strided(given["stride"], channels):
        return Layer(Conv(channels=channels, stride=given["stride"]), shape)
    return None


def _record_kernel(where: str, record: Mapping[str, Any]) -> Kernel | None:
    """Convolutions and fully connected layers; shapes are those of input, weights, bias."""
    kind, act = re.subn("Relu$", "", str(record["op_type"]).removeprefix("Int8"))
    if kind not in ("Conv", "FC"):
        return None
    try:
        (batch, channels, *sizes), weights = record["input_shapes"][0], record["input_shapes"][1]
        if batch != 1:
            raise ValueError(f"batch must be 1, not {batch}")
        if kind == "FC":
            return blocks.linear(Shape(channels, 1), weights[0], "relu" * act)
        args = dict(
            re.findall(r'name: "(\w+)"\s+i: (\d+)', " ".join(map(str, record.get("op_args", ()))))
        )
        height, width = sizes
        shape, stride, groups = (
            _squared(height, width, channels),
            int(args.get("stride", 1)),
            int(args.get("group", 1)),
        )
        out = shape.strided(stride, weights[0])
        return Kernel(
            kind="dwconv" if groups == channels > 1 else "conv",
            in_channels=channels,
            out_channels=weights[0],
            in_size=shape.size,
            out_size=out.size,
            kernel=weights[-1],
            stride=stride,
            groups=groups,
            act="relu" * act,
        )
    except (KeyError, IndexError, TypeError, ValueError, NasError) as error:
        raise TableError(f"{where}: {error}") from None
