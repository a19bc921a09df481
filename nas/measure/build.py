"""A table of what the runner reaches: which rows, timed, journalled, fitted, written.

The journal lies beside the table. A build that was killed goes on from it, under the same
conditions only; a later build adds rows to it.
"""

import json
import math
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from nas.arch import Layer
from nas.errors import TableError
from nas.latency.files import write_table
from nas.latency.fitting import COMMON_SD, FEWEST_ROWS, FITTED, fit_model
from nas.latency.info import ColumnInfo, TableInfo
from nas.latency.interpolation import fit_interpolation
from nas.latency.keys import kernel_from_key, kernel_key, layer_from_key, layer_key
from nas.latency.rows import PRICED, Row
from nas.latency.table import Table
from nas.measure.graphs import kernel_graph, layer_graph
from nas.measure.journal import Journal
from nas.measure.runners import Runner, batch_of
from nas.measure.timing import Subject, Timing, disturbed_share, measure, remarks, slowdown_line
from nas.measure.training import TrainingStep, layer_document
from nas.progress import Pace, Watch, ignore
from nas.shape import Kernel, make_divisible
from nas.size import each_side, strided
from nas.space import SearchSpace

__all__ = [
    "build_table",
    "drawn_by_use",
    "grid",
    "keys_of",
    "layers_of",
    "subject",
    "table_of",
    "time_missing",
    "time_training",
    "uses_of",
]

KERNELS_PER_KIND = 24
TRAINING = ".training.journal"
TOLD_EVERY_SECONDS = 5.0
LARGEST_ELEMENTS = 1 << 24  # of a map or of weights: 64 MiB of float32
SPREAD_OUT = (
    "conv",
    "dwconv",
    "linear",
    "pool",
    "norm",
    "add",
    "mul",
    "scale",
    "shuffle",
    "concat",
)


def layers_of(spaces: Iterable[SearchSpace]) -> list[Layer]:
    """The distinct layers that the spaces reach, one for each row of a table."""
    layers: dict[str, Layer] = {}
    for space in spaces:
        for layer in space.layers:
            if layer.kernels:
                layers.setdefault(layer_key(layer.op, layer.shape), layer)
    return list(layers.values())


def grid(
    layers: Iterable[Layer], per_kind: int = KERNELS_PER_KIND, *, seed: int = 0
) -> list[Kernel]:
    """Kernels of these layers, evenly over their work, at most ``per_kind`` of each kind.

    Each is there once more, wider and on a larger map.
    """
    rng = random.Random(seed)
    picked: dict[str, Kernel] = {}
    for kernels in _by_kind(layers):
        for kernel in _spread(kernels, per_kind):
            wider = _scaled(kernel, rng.choice((1.0, 1.5)), rng.choice((1.0, 1.5)))
            _add_if_small(picked, kernel)
            if kernel.kind in SPREAD_OUT:
                _add_if_small(picked, wider)
    return list(picked.values())


def _by_kind(layers: Iterable[Layer]) -> list[list[Kernel]]:
    """The distinct kernels of each kind, by work."""
    kinds: dict[str, dict[str, Kernel]] = {}
    for layer in layers:
        for kernel in layer.kernels:
            plain = kernel_from_key(kernel_key(kernel))
            if plain is not None:
                kinds.setdefault(kernel.kind, {})[kernel_key(plain)] = plain
    return [sorted(kernels.values(), key=_work) for kernels in kinds.values()]


def _work(kernel: Kernel) -> tuple[int, int, str]:
    return kernel.macs, kernel.in_elements + kernel.out_elements, kernel_key(kernel)


def _spread(kernels: Sequence[Kernel], count: int) -> list[Kernel]:
    """So many of a row, evenly, with the first and the last."""
    count = min(count, len(kernels))
    steps = max(1, count - 1)
    return [kernels[place * (len(kernels) - 1) // steps] for place in range(count)]


def _add_if_small(picked: dict[str, Kernel], kernel: Kernel) -> None:
    if max(kernel.in_elements, kernel.out_elements, kernel.weights) <= LARGEST_ELEMENTS:
        picked[kernel_key(kernel)] = kernel


def keys_of(spaces: Iterable[SearchSpace], *, seed: int = 0) -> list[str]:
    """The rows of a table for these spaces: their layers, then the grid of kernels."""
    layers = layers_of(spaces)
    return [
        *(layer_key(layer.op, layer.shape) for layer in layers),
        *(kernel_key(kernel) for kernel in grid(layers, seed=seed)),
    ]


def drawn_by_use(keys: Sequence[str], spaces: Iterable[SearchSpace], *, seed: int = 0) -> list[str]:
    """Kernels first, as the device model needs them; then layers, drawn in proportion to their use.

    The most used ones alone would leave kinds of layers out that stand in for each other, and of
    these nothing would be known. Drawn without replacement as by Efraimidis and Spirakis 2006,
    https://doi.org/10.1016/j.ipl.2005.11.003.
    """
    uses: dict[str, float] = {}
    for space in spaces:
        for layer, share in uses_of(space).items():
            key = layer_key(layer.op, layer.shape)
            uses[key] = max(uses.get(key, 0.0), share)
    draws = random.Random(seed)
    waits = {key: draws.expovariate(share) for key, share in uses.items() if share}
    kernels = [key for key in keys if "@" not in key]
    layers = [key for key in keys if "@" in key]
    return kernels + sorted(layers, key=lambda key: waits.get(key, math.inf))


def uses_of(space: SearchSpace) -> dict[Layer, float]:
    """How often each layer stands in a random network, in the mean."""
    uses: dict[Layer, float] = {}
    states = {0: 1.0}
    for step in space.chain:
        following: dict[int, float] = {}
        for state, share in states.items():
            words = step.words[state]
            for word, after in zip(words, step.next[state].tolist(), strict=True):
                following[after] = following.get(after, 0.0) + share / len(words)
                for layer in word:
                    uses[layer] = uses.get(layer, 0.0) + share / len(words)
        states = following
    return uses


def _scaled(kernel: Kernel, width: float, size: float) -> Kernel:
    """The kernel in a wider network that sees a larger image; the image's own channels stay."""
    # Each group must have whole channels, a multiple of 8 as everywhere in these spaces.
    unit = 8 * kernel.groups if kernel.kind in ("conv", "shuffle") else 8

    def wide(channels: int) -> int:
        return channels if channels <= 3 else make_divisible(channels * width, unit)

    inside = wide(kernel.in_channels)
    outside = inside
    if kernel.in_channels != kernel.out_channels:
        outside = wide(kernel.out_channels)
    # A depthwise kernel stays one: as many groups as channels.
    depthwise = kernel.groups == kernel.in_channels > 1
    larger = each_side(kernel.in_size, lambda side: side if side == 1 else math.ceil(side * size))
    scaled = replace(
        kernel,
        in_channels=inside,
        out_channels=outside,
        groups=inside if depthwise else kernel.groups,
        in_size=larger,
        out_size=larger,
    )
    # A pool, or a convolution, over the whole map stays one on the larger map.
    if kernel.out_size == 1 and kernel.kernel == kernel.in_size:
        return replace(scaled, out_size=1, kernel=larger, stride=larger)
    assert isinstance(kernel.stride, int), (
        "only what covers the whole map has a stride of two sides"
    )
    return replace(scaled, out_size=strided(larger, kernel.stride))


def subject(key: str, *, batch: int = 1) -> Subject:
    """What a row's key names, ready to be timed; a layer's graph takes any batch."""
    kernel = kernel_from_key(key)
    if kernel is not None:
        return Subject(key, partial(kernel_graph, kernel, batch=batch))
    layer = layer_from_key(key)
    if layer is None:
        raise TableError(f"row {key} names an op that is not installed: it cannot be timed")
    return Subject(key, partial(layer_graph, layer))


# -- the build ------------------------------------------------------------------------------------


def build_table(
    name: str,
    spaces: Sequence[SearchSpace],
    runner: Runner,
    folder: Path,
    *,
    threads: int = 1,
    seconds_per_row: float = 0.25,
    minutes: float | None = None,
    seed: int = 0,
    watch: Watch = ignore,
) -> Table:
    """Time every layer of the spaces and a grid of kernels, and write their table.

    ``NAME.csv`` and ``NAME.json`` go into the folder. ``minutes``: time as many as that time
    allows, drawn by how many networks have them; the table interpolates the others between these.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with Journal(folder / f"{name}.journal", runner.conditions()) as journal:
        batch = batch_of(runner)
        keys = keys_of(spaces, seed=seed)
        until = None
        if minutes is not None:
            until = time.monotonic() + 60 * minutes
            keys = drawn_by_use(keys, spaces, seed=seed)
        subjects = [subject(key, batch=batch) for key in keys]
        time_missing(journal, subjects, runner, threads, seconds_per_row, seed, watch, until=until)
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
    """Write the table that the journal's rows make.

    Whatever else was timed beside them is left out. Training steps that were timed for a table of
    that name before are kept.
    """
    timings = journal.at_pace(journal.best_reference_ms())
    rows = {key: _row(timing) for key, timing in timings.items() if _is_row(key)}
    fit = fit_model(rows)
    interpolation, error = fit_interpolation(rows, fit.model)
    info = _info(name, spaces, journal, runner, threads)
    info = replace(
        info,
        model=fit.model,
        interpolation=interpolation,
        known_error={**error, **fit.known_error},
        caveats=(*info.caveats, *_not_timed(spaces, journal, interpolation is not None)),
    )
    training = folder / f"{name}{TRAINING}"
    if training.exists():
        rows, conditions = _with_training(rows, training)
        info = replace(info, training=conditions)
    present = {name for row in rows.values() for name in row.extra}
    columns = {name: _column(rows, name) for name in PRICED if name in present}
    return Table.load(write_table(rows, replace(info, columns=columns), folder))


def _column(rows: Mapping[str, Row], name: str) -> ColumnInfo:
    """What the table's JSON says of another column: its model, if its rows are enough for one."""
    own = {key: Row(latency_ms=row.extra[name]) for key, row in rows.items() if name in row.extra}
    if len(own) < FEWEST_ROWS:
        return ColumnInfo(rows_common_sd=COMMON_SD)
    fit = fit_model(own)
    return ColumnInfo(rows_common_sd=COMMON_SD, model=fit.model, known_error=fit.known_error)


def _with_training(rows: Mapping[str, Row], path: Path) -> tuple[dict[str, Row], dict[str, Any]]:
    """The rows with what the journal of training steps holds, and its conditions."""
    with path.open(encoding="utf-8") as file:
        conditions = dict(json.loads(file.readline())["conditions"])
    with Journal(path, conditions) as journal:
        steps = journal.at_pace(journal.best_reference_ms())
    trained = dict(rows)
    for key, step in steps.items():
        if key in rows:
            step_ms = step.warm_ms or step.latency_ms
            trained[key] = replace(rows[key], extra={**rows[key].extra, "train_ms": step_ms})
    return trained, conditions


def time_training(
    name: str,
    spaces: Sequence[SearchSpace],
    folder: Path,
    *,
    threads: int = 1,
    batch: int = 8,
    seconds_per_row: float = 0.25,
    seed: int = 0,
    watch: Watch = ignore,
) -> None:
    """Time a training step of every layer of the spaces, in torch.

    The next table of that name that is built in the folder takes them in.
    """
    folder.mkdir(parents=True, exist_ok=True)
    runner = TrainingStep(threads, batch=batch)
    with Journal(folder / f"{name}{TRAINING}", runner.conditions()) as journal:
        subjects = [
            Subject(layer_key(layer.op, layer.shape), partial(layer_document, layer))
            for layer in layers_of(spaces)
        ]
        time_missing(
            journal, subjects, runner, threads, seconds_per_row, seed, watch, "training step"
        )


def _is_row(key: str) -> bool:
    return kernel_from_key(key) is not None or layer_from_key(key) is not None


def _row(timing: Timing) -> Row:
    columns = {"warm_ms": timing.warm_ms, "energy_mj": timing.energy_mj}
    extra = {name: value for name, value in columns.items() if value is not None}
    return Row(latency_ms=timing.latency_ms, sd_ms=timing.sd_ms, count=timing.count, extra=extra)


def time_missing(
    journal: Journal,
    subjects: Sequence[Subject],
    runner: Runner,
    threads: int,
    seconds: float,
    seed: int,
    watch: Watch,
    what: str = "row",
    until: float | None = None,
) -> None:
    """Time the subjects that the journal has not, in a random mix, block by block.

    ``what`` names a subject to ``watch``, which is called before the first block too. ``until``: a
    time of `time.monotonic` at which to stop, with those first that stand first.
    """
    missing = [subject for subject in subjects if subject.key not in journal.rows]
    done = before = len(subjects) - len(missing)
    pace = Pace(what, len(subjects), done=before, until=until)
    watch(pace.at(done))
    ticking = _Ticking(watch, pace, done)
    blocks = measure(
        missing,
        runner,
        threads=threads,
        seconds_per_row=seconds,
        seed=seed + before,
        tick=ticking.tick,
        until=until,
    )
    for block in blocks:
        journal.add(block)
        done += len(block.timings)
        watch(pace.at(done))
        ticking.done = done


class _Ticking:
    """Tells every few seconds where a block stands, in rows that it will come to."""

    def __init__(self, watch: Watch, pace: Pace, done: int) -> None:
        self.done = done
        self._watch, self._pace = watch, pace
        self._last = time.monotonic()

    def tick(self, share: float, rows: int) -> None:
        """A share of a block of so many rows is done."""
        if time.monotonic() - self._last >= TOLD_EVERY_SECONDS:
            self._last = time.monotonic()
            self._watch(self._pace.at(self.done + int(share * rows)))


def _not_timed(
    spaces: Sequence[SearchSpace], journal: Journal, are_interpolated: bool
) -> list[str]:
    """How many layers have no timing, a line if there are any."""
    layers = layers_of(spaces)
    missing = [x for x in layers if layer_key(x.op, x.shape) not in journal.rows]
    if not missing:
        return []
    uses: dict[str, float] = {}
    for space in spaces:
        for layer, share in uses_of(space).items():
            key = layer_key(layer.op, layer.shape)
            uses[key] = uses.get(key, 0.0) + share
    absent = sum(uses[layer_key(x.op, x.shape)] for x in missing)
    share = absent / sum(uses[layer_key(x.op, x.shape)] for x in layers)
    how = "told by the device model"
    if are_interpolated:
        how = "interpolated between those that were"
    return [
        f"{len(missing)} of {len(layers)} layers were not timed, for want of time, and are {how}: "
        f"{100 * share:.0f} % of the layers of a random network. The same command times more"
    ]


def _quiet(journal: Journal) -> dict[str, object]:
    """How quiet the machine was, as the table's conditions state it."""
    if not any(block.visits for block in journal.blocks):
        return {}
    share = disturbed_share(journal.blocks)
    found: dict[str, object] = {
        "disturbed": f"{100 * share:.0f} % of the timings by another load, and repeated"
    }
    pace = slowdown_line(journal.blocks)
    if pace:
        found["pace"] = pace
    return found


def _info(
    name: str, spaces: Sequence[SearchSpace], journal: Journal, runner: Runner, threads: int
) -> TableInfo:
    noisy = sorted(key for key, timing in journal.rows.items() if timing.noisy and _is_row(key))
    unreliable = remarks(journal.blocks) if runner.in_process else []
    call_ms = max((block.call_ms for block in journal.blocks), default=0.0)
    caveats = [
        f"rows_common_sd and the model's common_sd are {COMMON_SD}, a judgement. "
        "The error of a correction takes their place: nas latency verify --correct",
        f"The time of an empty call into the runtime, {call_ms:.4f} ms, is taken off every row.",
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
        conditions={
            **runner.conditions(),
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            **_quiet(journal),
        },
        unreliable=tuple(unreliable),
        spaces=tuple(f"{space.name} {space.input_text}" for space in spaces),
        reference_ms=journal.best_reference_ms() or None,
        noisy=tuple(noisy),
        sources=(source,),
        fitted=FITTED,
        rows_common_sd=COMMON_SD,
        caveats=tuple(caveats),
    )
