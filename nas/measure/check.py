"""A table held against its device again: rows that are wrong, and what has changed since."""

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nas.errors import TableError
from nas.latency.keys import kernel_from_key, layer_from_key
from nas.latency.rows import Row
from nas.latency.table import Table
from nas.measure.build import subject
from nas.measure.runners import Runner, batch_of
from nas.measure.timing import Block, Timing, measure
from nas.measure.verify import all_remarks

__all__ = ["Checked", "Report", "check", "suspects"]

WRONG = 2.0  # a row this many times off, beside the drift of all, is named
DRIFT = 0.10
ROUNDS = 3  # at most: slow moments of a shared machine last seconds


@dataclass(frozen=True)
class Checked:
    """A row then and now: its warm times if both are known.

    How cold a row is depends on how many are timed beside it.
    """

    key: str
    then_ms: float
    now_ms: float


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a check saw."""

    rows: Sequence[Checked]
    drift: float
    """Median of now over then, minus one."""
    wrong: Sequence[Checked]
    """Rows off by a factor of 2 or more beside the drift."""
    remarks: Sequence[str]
    """What makes it doubtful, a line each."""

    @property
    def ok(self) -> bool:
        """Whether the table may be relied on as before.

        Remarks on the machine alone do not count.
        """
        return not self.wrong and abs(self.drift) <= DRIFT

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "rows": len(self.rows),
            "drift": self.drift,
            "wrong": [vars(row) for row in self.wrong],
            "remarks": list(self.remarks),
            "ok": self.ok,
        }


def suspects(table: Table, count: int) -> list[str]:
    """The timed rows that differ most from what the device model says, by factor, worst first."""
    model = table.model
    if model is None:
        return []

    def factor(key: str) -> float:
        kernel, layer = kernel_from_key(key), layer_from_key(key)
        kernels = (kernel,) if kernel else layer.kernels if layer else ()
        predicted = sum(map(model.latency_ms, kernels))
        return abs(math.log(table.rows[key].latency_ms / predicted)) if predicted else 0.0

    timed = [key for key, row in table.rows.items() if row.source != "interpolated"]
    return sorted(timed, key=lambda key: (-factor(key), key))[:count]


def check(
    table: Table,
    runner: Runner,
    *,
    sample: int = 20,
    threads: int = 1,
    seconds_per_row: float = 0.25,
    seed: int = 0,
) -> Report:
    """Time a sample of rows again: half at random, half those the device model finds oddest.

    What an empty call into the runtime takes was taken off each row, so no row is known better than
    that: differences below it are nobody's fault. A sample that is too slow is timed up to twice
    more and the least of each row held against the table: other programs only ever add time.
    """
    timeable = [
        key
        for key, row in table.rows.items()
        if row.source != "interpolated" and (kernel_from_key(key) or layer_from_key(key))
    ]
    if not timeable:
        raise TableError(
            f"table '{table.name}' has no row that can be timed here: its ops are not installed"
        )
    odd = [key for key in suspects(table, sample // 2) if key in timeable]
    rest = sorted(set(timeable) - set(odd))
    picked = odd + random.Random(seed).sample(rest, min(sample - len(odd), len(rest)))
    batch = batch_of(runner)
    ready = [subject(key, batch=batch) for key in picked]
    blocks: list[Block] = []
    for turn in range(ROUNDS):
        blocks += measure(
            ready, runner, threads=threads, seconds_per_row=seconds_per_row, seed=seed + turn
        )
        qualities = [block.quality for block in blocks]
        remarks = all_remarks(table, runner, qualities)
        report = _report(table, picked, blocks, remarks)
        # Faster than the table is no slow moment: more rounds could not explain it away.
        if report.ok or report.drift < -DRIFT:
            break
    return report


def _report(
    table: Table, picked: Sequence[str], blocks: Sequence[Block], remarks: Sequence[str]
) -> Report:
    rows = [_fastest(key, table.rows[key], blocks) for key in picked]
    blur_ms = max((block.quality.call_ms for block in blocks), default=0.0)
    # Rows below the time of a call would only add its noise to the median.
    clear = [row for row in rows if row.then_ms > blur_ms]
    middle = statistics.median(row.now_ms / row.then_ms for row in clear or rows)
    wrong = [row for row in rows if _is_wrong(row, middle, blur_ms)]
    return Report(rows=rows, drift=middle - 1, wrong=wrong, remarks=remarks)


def _is_wrong(row: Checked, middle: float, blur_ms: float) -> bool:
    """``middle``: what all rows are off by, as a factor."""
    factor = row.now_ms / row.then_ms / middle
    apart_ms = abs(row.now_ms - middle * row.then_ms)
    return not 1 / WRONG < factor < WRONG and apart_ms > blur_ms


def _fastest(key: str, row: Row, blocks: Sequence[Block]) -> Checked:
    """The row's least time in all blocks."""
    timings = [block.timings[key] for block in blocks if key in block.timings]
    checked = [_checked(key, row, timing) for timing in timings]
    return min(checked, key=lambda one: one.now_ms)


def _checked(key: str, row: Row, now: Timing) -> Checked:
    warm_ms = row.extra.get("warm_ms")
    if warm_ms is None or now.warm_ms is None:
        return Checked(key, row.latency_ms, now.latency_ms)
    return Checked(key, warm_ms, now.warm_ms)
