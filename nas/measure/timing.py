"""Many graphs timed beside each other: random interleaved rounds, medians, and whether the machine was quiet.

One graph after the other would meet warm caches that no layer meets inside a network, and would put
a slow minute of the machine on a few rows. So every round visits all graphs of a block once, in
random order. A visit in this process runs a graph five times: the first run meets cold caches, and
is its latency; three settle it; the last is its warm time. What holds inside a network lies
between, and `nas.latency.correction` learns where. The time of an empty call, cold and warm, is
measured in the same rounds and taken off. A visit during which the scheduler gave the core to
another process is thrown away. A whole network is ``looped``: only the last run counts, nothing is
taken off, which is what a loop over images, or a benchmark tool, sees. (Seen here: small networks
take 1.5 times as long in the first run, 1.4 in the second, 1.13 in the third, 1.03 in the fourth.)
"""

import gc
import math
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np

from nas.measure.runners import Reading, Runner, pinned

__all__ = ["Block", "Quality", "Subject", "Timing", "measure", "remarks"]

WARM_UPS = 2
RUNS = 5  # of a visit: cold, three to settle, warm
MOST_DISTURBED = (
    4  # visits thrown away for each that counts, before one that was interrupted counts too
)
LOOPED = 3  # times a row's seconds, for a whole network
MOST_ROUNDS = 201
PRECISE, NOISY = (
    0.01,
    0.05,
)  # relative standard error of a median: at which to stop, above which a row is marked
RESOLUTION_MS = 5e-4
BLOCK_ROWS, BLOCK_BYTES = 128, 512 << 20
REFERENCE_EVERY = 24


@dataclass(frozen=True)
class Subject:
    """Something to time: its name, how to make its graph, and whether it is timed as a loop runs it."""

    key: str
    graph: Callable[[], bytes]
    looped: bool = False


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Median of ``count`` runs, their robust standard deviation (the quartiles' distance over 1.349).

    ``warm_ms``: median of the runs straight after them, None where a command was the runner.
    ``energy_mj``: median of a run, None where the runner does not tell.
    """

    latency_ms: float
    sd_ms: float
    count: int
    noisy: bool = False
    warm_ms: float | None = None
    energy_mj: float | None = None


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How quiet the machine was: share of the wall time this process did not get, reference kernel, load average."""

    lost: float
    reference_ms: float
    reference_spread: float
    load: float
    call_ms: float


@dataclass(frozen=True)
class Block:
    """What was timed beside each other."""

    timings: Mapping[str, Timing]
    quality: Quality


@dataclass
class _Row:
    key: str
    run: Callable[[], float]
    looped: bool = False
    settled: bool = False
    times: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    spent_ms: float = 0.0
    disturbed: int = 0

    def visit(self) -> None:
        before = _interruptions()
        runs = [self.run() for _ in range(RUNS if self.settled else 1)]
        self.spent_ms += sum(runs)
        if (
            self.settled
            and _interruptions() > before
            and self.disturbed <= MOST_DISTURBED * (1 + len(self.times))
        ):
            self.disturbed += (
                1  # another process ran in between, and left its own content in the caches
            )
            return
        self.times.append(runs[-1] if self.looped else runs[0])
        if self.settled and not self.looped:
            self.warm.append(runs[-1])

    @property
    def error(self) -> float:
        """Relative standard error of the median."""
        middle, sd = _spread(self.times)
        return 1.2533 * sd / (math.sqrt(len(self.times)) * middle)


def _interruptions() -> int:
    """How often the scheduler took this thread off its core for another process."""
    return (
        resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
        if hasattr(resource, "RUSAGE_THREAD")
        else 0
    )


def _spread(times: Sequence[float]) -> tuple[float, float]:
    low, middle, high = np.quantile(times, (0.25, 0.5, 0.75))
    return float(middle), float(high - low) / 1.349


def measure(
    subjects: Sequence[Subject],
    runner: Runner,
    *,
    threads: int = 1,
    seconds_per_row: float = 0.25,
    seed: int = 0,
) -> Iterator[Block]:
    """Time all subjects, in blocks of a random mix that memory holds. A row gets at most twice its seconds."""
    rng = np.random.default_rng(seed)
    waiting = [subjects[i] for i in rng.permutation(len(subjects))]
    with pinned(threads) if runner.in_process else nullcontext():
        while waiting:
            rows: list[_Row] = []
            held = 0
            while waiting and len(rows) < BLOCK_ROWS and held < BLOCK_BYTES:
                subject = waiting.pop()
                model = subject.graph()
                held += len(model)
                rows.append(
                    _Row(subject.key, runner.open(model), subject.looped, runner.in_process)
                )
            yield _block(rows, runner, seconds_per_row, rng)


def _block(rows: list[_Row], runner: Runner, seconds: float, rng: np.random.Generator) -> Block:
    empty: list[_Row] = []
    reference: list[_Row] = []
    if runner.in_process:
        call_graph, reference_graph = runner.aside()
        empty = [] if call_graph is None else [_Row("call", runner.open(call_graph), settled=True)]
        reference = [_Row("reference", runner.open(reference_graph), settled=True)]
        for row in (*rows, *empty, *reference):
            for _ in range(WARM_UPS):
                row.run()
    cpu, wall = time.process_time(), time.perf_counter()
    gc.collect()
    gc.disable()
    try:
        _rounds(rows, [*empty, *reference], seconds, runner.fewest_rounds, rng)
    finally:
        gc.enable()
    lost = (
        1 - (time.process_time() - cpu) / (time.perf_counter() - wall) if runner.in_process else 0.0
    )
    call = statistics.median(empty[0].times) if empty else 0.0
    warm_call = statistics.median(empty[0].warm) if empty else 0.0
    middle, spread = _spread(reference[0].times) if reference else (0.0, 0.0)
    quality = Quality(
        lost=max(0.0, lost),
        reference_ms=middle,
        reference_spread=spread / middle if middle else 0.0,
        load=os.getloadavg()[0],
        call_ms=call,
    )
    return Block({row.key: _timing(row, call, warm_call) for row in rows}, quality)


def _rounds(
    rows: list[_Row], aside: list[_Row], seconds: float, fewest: int, rng: np.random.Generator
) -> None:
    active = rows
    while active:
        for place, i in enumerate(rng.permutation(len(active))):
            if place % REFERENCE_EVERY == 0:
                for row in aside:
                    row.visit()
            active[i].visit()
        active = [row for row in active if not _done(row, seconds, fewest)]


def _done(row: _Row, seconds: float, fewest: int) -> bool:
    rounds, spent = len(row.times), row.spent_ms / 1e3
    if rounds < fewest:
        return spent >= 2 * (LOOPED if row.looped else 1) * seconds and rounds >= 3
    error = row.error
    budget = (2 if error > NOISY else 1) * (LOOPED if row.looped else 1)
    return error <= PRECISE or rounds >= budget * MOST_ROUNDS or spent >= budget * seconds


def _timing(row: _Row, call: float, warm_call: float) -> Timing:
    middle, sd = _spread(row.times)
    latency = middle if row.looped else max(middle - call, RESOLUTION_MS)
    warm = max(statistics.median(row.warm) - warm_call, RESOLUTION_MS) if row.warm else None
    return Timing(
        latency_ms=latency, sd_ms=sd, count=len(row.times), noisy=row.error > NOISY, warm_ms=warm,
        energy_mj=_energy(row.times),
    )  # fmt: skip


def _energy(times: Sequence[float]) -> float | None:
    told = [
        time.energy_mj for time in times if isinstance(time, Reading) and time.energy_mj is not None
    ]
    return statistics.median(told) if told else None


# -- was the machine quiet ------------------------------------------------------------------------

LOST, SPREAD, DRIFT = 0.05, 0.10, 0.05


def remarks(blocks: Sequence[Quality], *, threads: int = 1, cores: int | None = None) -> list[str]:
    """What makes these timings unreliable, a line each; empty for a quiet machine."""
    found = []
    lost = max((block.lost for block in blocks), default=0.0)
    spread = max((block.reference_spread for block in blocks), default=0.0)
    load = max((block.load for block in blocks), default=0.0)
    cores = cores or os.cpu_count() or 1
    if lost > LOST:
        found.append(
            f"another load took {100 * lost:.0f} % of this process's time (load average {load:.1f} on {cores} cores): "
            "stop it and measure again"
        )
    elif load > cores + 0.5 * threads:
        found.append(f"the load average was {load:.1f} on {cores} cores: other processes ran")
    if spread > SPREAD:
        found.append(
            f"the reference kernel's time spread by {100 * spread:.0f} % within a block, above 10 %"
        )
    references = [block.reference_ms for block in blocks if block.reference_ms]
    drift = max(references) / min(references) - 1 if references else 0.0
    if drift > DRIFT:
        found.append(
            f"the reference kernel drifted by {100 * drift:.0f} % between blocks: clock or load changed"
        )
    return found
