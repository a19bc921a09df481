"""A table of what the runner reaches: which rows, timed, journalled, fitted, written.

The journal lies beside the table, one JSON line per timed row, made durable block by block. A build
that was killed goes on from it, under the same conditions only; a later build adds rows to it.
"""

import fcntl
import json
import math
import os
import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from nas.arch import Layer
from nas.errors import TableError
from nas.latency.files import write_table
from nas.latency.fitting import COMMON_SD, FEWEST_ROWS, FITTED, fit_model
from nas.latency.info import ColumnInfo, TableInfo
from nas.latency.keys import kernel_from_key, kernel_key, layer_from_key, layer_key
from nas.latency.rows import PRICED, Row
from nas.latency.table import Table
from nas.measure.graphs import kernel_graph, layer_graph
from nas.measure.runners import Runner
from nas.measure.timing import Block, Quality, Subject, Timing, measure, remarks
from nas.measure.training import TrainingStep, layer_document
from nas.record.journal import repair
from nas.shape import Kernel, make_divisible
from nas.space import SearchSpace

__all__ = [
    "Journal",
    "Progress",
    "build_table",
    "grid",
    "keys_of",
    "layers_of",
    "subject",
    "table_of",
    "time_missing",
    "time_training",
]

KERNELS_PER_KIND = 24
TRAINING = ".training.journal"
LARGEST_ELEMENTS = 1 << 24
SPREAD_OUT = ("conv", "dwconv", "linear", "pool", "norm", "add", "mul", "scale", "shuffle")


def layers_of(spaces: Iterable[SearchSpace]) -> list[Layer]:
    """The distinct layers that the spaces reach, one for each row of a table."""
    found: dict[str, Layer] = {}
    for space in spaces:
        for layer in space.layers:
            if layer.kernels:
                found.setdefault(layer_key(layer.op, layer.shape), layer)
    return list(found.values())


def grid(
    layers: Iterable[Layer], per_kind: int = KERNELS_PER_KIND, *, seed: int = 0
) -> list[Kernel]:
    """Kernels of these layers, at most so many of a kind, evenly over their work, and each once wider and on a larger map."""
    kinds: dict[str, dict[str, Kernel]] = {}
    for kernel in (kernel for layer in layers for kernel in layer.kernels):
        plain = kernel_from_key(kernel_key(kernel))
        if plain is not None:
            kinds.setdefault(kernel.kind, {})[kernel_key(plain)] = plain
    rng, picked = random.Random(seed), dict[str, Kernel]()
    for known in kinds.values():
        ordered = sorted(
            known.values(), key=lambda k: (k.macs, k.in_elements + k.out_elements, kernel_key(k))
        )
        count = min(per_kind, len(ordered))
        for kernel in (ordered[i * (len(ordered) - 1) // max(1, count - 1)] for i in range(count)):
            wider = (_scaled(kernel, rng.choice((1.0, 1.5)), rng.choice((1.0, 1.5))),)
            for each in (kernel, *(wider if kernel.kind in SPREAD_OUT else ())):
                if max(each.in_elements, each.out_elements, each.weights) <= LARGEST_ELEMENTS:
                    picked[kernel_key(each)] = each
    return list(picked.values())


def keys_of(spaces: Iterable[SearchSpace], *, seed: int = 0) -> list[str]:
    """The rows of a table for these spaces: their layers, then the grid of kernels."""
    layers = layers_of(spaces)
    return [
        *(layer_key(layer.op, layer.shape) for layer in layers),
        *(kernel_key(kernel) for kernel in grid(layers, seed=seed)),
    ]


def _scaled(kernel: Kernel, width: float, size: float) -> Kernel:
    """The kernel of a network that is wider and sees a larger image; the image's own channels stay."""
    unit = 8 * kernel.groups if kernel.kind in ("conv", "shuffle") else 8

    def wide(channels: int) -> int:
        return channels if channels <= 3 else make_divisible(channels * width, unit)

    inside = wide(kernel.in_channels)
    grouped = kernel.groups == kernel.in_channels > 1
    larger = kernel.in_size if kernel.in_size == 1 else math.ceil(kernel.in_size * size)
    pooled = kernel.out_size == 1 and kernel.kernel == kernel.in_size
    window: dict[str, Any] = {"kernel": larger, "stride": larger} if pooled else {}
    return replace(
        kernel,
        in_channels=inside,
        out_channels=inside
        if kernel.in_channels == kernel.out_channels
        else wide(kernel.out_channels),
        groups=inside if grouped else kernel.groups,
        in_size=larger,
        out_size=1 if pooled else -(-larger // kernel.stride),
        **window,
    )


def subject(key: str, *, batch: int = 1) -> Subject:
    """What a row's key names, ready to be timed; a layer's graph takes any batch."""
    kernel = kernel_from_key(key)
    if kernel is not None:
        return Subject(key, partial(kernel_graph, kernel, batch=batch))
    layer = layer_from_key(key)
    if layer is None:
        raise TableError(f"row {key} names an op that is not installed: it cannot be timed")
    return Subject(key, partial(layer_graph, layer))


# -- the journal ----------------------------------------------------------------------------------


class Journal:
    """Timed rows on disk, one line each; ``conditions`` stand first and must not change. Held by one process."""

    def __init__(self, path: Path, conditions: Mapping[str, Any]) -> None:
        self.path = path
        self.rows: dict[str, Timing] = {}
        self.blocks: list[Quality] = []
        self._file = path.open("a", encoding="utf-8")
        try:
            self._hold()
            repair(path)
            lines = path.read_text(encoding="utf-8").splitlines()
            if not lines:
                self._append([{"conditions": dict(conditions)}])
            for number, line in enumerate(lines, 1):
                self._read(number, line, conditions)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *problem: object) -> None:
        self._file.close()

    def _hold(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise TableError(
                f"{self.path} is in use by another build: wait for it, or choose another name"
            ) from None

    def _read(self, number: int, line: str, conditions: Mapping[str, Any]) -> None:
        try:
            found = json.loads(line)
            if number == 1:
                self._check(found["conditions"], conditions)
            elif "block" in found:
                self.blocks.append(Quality(**found["block"]))
            else:
                self.rows[str(found["key"])] = Timing(**found["timing"])
        except (ValueError, KeyError, TypeError) as error:
            raise TableError(
                f"{self.path} line {number} is damaged ({error!r}): remove the file to start anew"
            ) from None

    def _check(self, recorded: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        for name in dict.fromkeys((*recorded, *now)):
            if recorded.get(name) != now.get(name):
                raise TableError(
                    f"{self.path} was begun with {name} {recorded.get(name)}, now it is {now.get(name)}: rows of both "
                    "do not belong in one table. Go on under the old conditions, or remove the file to start anew"
                )

    def add(self, block: Block) -> None:
        """Keep a block's rows; they survive a kill from here on."""
        rows = [{"key": key, "timing": asdict(timing)} for key, timing in block.timings.items()]
        self._append([*rows, {"block": asdict(block.quality)}])
        self.rows.update(block.timings)
        self.blocks.append(block.quality)

    def _append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        self._file.write("".join(json.dumps(entry) + "\n" for entry in entries))
        self._file.flush()
        os.fsync(self._file.fileno())


# -- the build ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Rows done and wanted, seconds gone and left (None while unknown), rows that were there before."""

    done: int
    wanted: int
    seconds: float
    eta_seconds: float | None


def build_table(
    name: str,
    spaces: Sequence[SearchSpace],
    runner: Runner,
    folder: Path,
    *,
    threads: int = 1,
    seconds_per_row: float = 0.25,
    seed: int = 0,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Table:
    """Time every layer of the spaces and a grid of kernels, and write ``NAME.csv`` and ``NAME.json`` into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with Journal(folder / f"{name}.journal", runner.conditions()) as journal:
        batch = runner.conditions().get("batch", 1)
        subjects = [
            subject(key, batch=batch if isinstance(batch, int) else 1)
            for key in keys_of(spaces, seed=seed)
        ]
        time_missing(journal, subjects, runner, threads, seconds_per_row, seed, watch)
        return table_of(journal, name, spaces, runner, folder, threads=threads)


def table_of(
    journal: Journal,
    name: str,
    spaces: Sequence[SearchSpace],
    runner: Runner,
    folder: Path,
    *,
    threads: int = 1,
) -> Table:
    """Write the table that the journal's rows make; whatever else was timed beside them is left out.

    Training steps that were timed for a table of that name before are kept.
    """
    rows = {key: _row(timing) for key, timing in journal.rows.items() if _is_row(key)}
    fit = fit_model(rows)
    info = _info(name, spaces, journal, runner, threads)
    info = replace(info, model=fit.model, known_error=fit.known_error)
    training = folder / f"{name}{TRAINING}"
    if training.exists():
        rows, more = _with_training(rows, training)
        info = replace(info, training=more)
    columns = {
        each: _column(rows, each)
        for each in PRICED
        if any(each in row.extra for row in rows.values())
    }
    return Table.load(write_table(rows, replace(info, columns=columns), folder))


def _column(rows: Mapping[str, Row], name: str) -> ColumnInfo:
    """What the table's JSON says of another column: the model fitted to it, if the rows are enough for one."""
    found = {key: Row(latency_ms=row.extra[name]) for key, row in rows.items() if name in row.extra}
    if len(found) < FEWEST_ROWS:
        return ColumnInfo(rows_common_sd=COMMON_SD)
    fit = fit_model(found)
    return ColumnInfo(rows_common_sd=COMMON_SD, model=fit.model, known_error=fit.known_error)


def _with_training(rows: Mapping[str, Row], path: Path) -> tuple[dict[str, Row], dict[str, Any]]:
    """The rows with what the journal of training steps holds, and its conditions."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    times = {str(line["key"]): Timing(**line["timing"]) for line in lines if "key" in line}
    found = {
        key: replace(
            row, extra={**row.extra, "train_ms": times[key].warm_ms or times[key].latency_ms}
        )
        if key in times
        else row
        for key, row in rows.items()
    }
    return found, dict(lines[0]["conditions"])


def time_training(
    name: str,
    spaces: Sequence[SearchSpace],
    folder: Path,
    *,
    threads: int = 1,
    batch: int = 8,
    seconds_per_row: float = 0.25,
    seed: int = 0,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Time a training step of every layer of the spaces, in torch, for the table of that name to take in."""
    folder.mkdir(parents=True, exist_ok=True)
    runner = TrainingStep(threads, batch=batch)
    with Journal(folder / f"{name}{TRAINING}", runner.conditions()) as journal:
        subjects = [
            Subject(layer_key(layer.op, layer.shape), partial(layer_document, layer))
            for layer in layers_of(spaces)
        ]
        time_missing(journal, subjects, runner, threads, seconds_per_row, seed, watch)


def _is_row(key: str) -> bool:
    return kernel_from_key(key) is not None or layer_from_key(key) is not None


def _row(timing: Timing) -> Row:
    told = {"warm_ms": timing.warm_ms, "energy_mj": timing.energy_mj}
    extra = {name: value for name, value in told.items() if value is not None}
    return Row(latency_ms=timing.latency_ms, sd_ms=timing.sd_ms, count=timing.count, extra=extra)


def time_missing(
    journal: Journal,
    subjects: Sequence[Subject],
    runner: Runner,
    threads: int,
    seconds: float,
    seed: int,
    watch: Callable[[Progress], None],
) -> None:
    """Time the subjects that the journal has not, in a random mix, block by block."""
    missing = [each for each in subjects if each.key not in journal.rows]
    start, had, wanted = time.monotonic(), len(subjects) - len(missing), len(subjects)
    watch(Progress(done=had, wanted=wanted, seconds=0.0, eta_seconds=None))
    done = 0
    for block in measure(
        missing, runner, threads=threads, seconds_per_row=seconds, seed=seed + had
    ):
        journal.add(block)
        done += len(block.timings)
        gone = time.monotonic() - start
        left = gone / done * (len(missing) - done)
        watch(Progress(done=had + done, wanted=wanted, seconds=gone, eta_seconds=left))


def _info(
    name: str, spaces: Sequence[SearchSpace], journal: Journal, runner: Runner, threads: int
) -> TableInfo:
    noisy = sorted(key for key, timing in journal.rows.items() if timing.noisy and _is_row(key))
    unreliable = remarks(journal.blocks, threads=threads) if runner.in_process else []
    references = [block.reference_ms for block in journal.blocks if block.reference_ms]
    calls = [block.call_ms for block in journal.blocks]
    caveats = [
        f"rows_common_sd and the model's common_sd are {COMMON_SD}, a judgement, until whole networks are timed beside the "
        "table: nas latency verify",
        f"The time of an empty call into the runtime, {max(calls, default=0.0):.4f} ms, is taken off every row.",
        *unreliable,
    ]
    plural = "s" if threads > 1 else ""
    source = {
        "what": "medians of single runs, with robust standard deviations",
        "who": "nas latency build",
    }
    return TableInfo(
        name=name,
        title=f"{runner.conditions()['hardware']}, {threads} thread{plural}",
        kind="measured in random interleaved rounds; device model fitted to the rows",
        conditions={**runner.conditions(), "date": f"{datetime.now(UTC):%Y-%m-%d}"},
        unreliable=tuple(unreliable),
        spaces=tuple(f"{space.name} {space.input}" for space in spaces),
        reference_ms=statistics.median(references) if references else None,
        noisy=tuple(noisy),
        sources=(source,),
        fitted=FITTED,
        rows_common_sd=COMMON_SD,
        caveats=tuple(caveats),
    )
