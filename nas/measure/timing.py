"""Many graphs timed beside each other in random interleaved rounds, and whether it was quiet.

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
# Visits thrown away for each that counts, before one that was interrupted counts too.
MOST_DISTURBED = 4
LOOPED = 3  # times a row's seconds, for a whole network
MOST_ROUNDS = 201  # odd: the median is then a time that was seen
# Relative standard error of a median: at which to stop, above which a row is marked.
PRECISE, NOISY = 0.01, 0.05
RESOLUTION_MS = 5e-4  # no row is free once the time of a call is taken off
# All graphs of a block are open at once.
BLOCK_ROWS, BLOCK_BYTES = 128, 512 << 20
REFERENCE_EVERY = 24  # rows: five times in a round of a full block


@dataclass(frozen=True)
class Subject:
    """Something to time."""

    key: str
    graph: Callable[[], bytes]
    """Makes its graph."""
    looped: bool = False
    """Whether it is timed as a loop runs it."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What was timed of a subject."""

    latency_ms: float
    """Median of ``count`` runs."""
    sd_ms: float
    """Their robust standard deviation: the quartiles' distance over 1.349."""
    count: int
    noisy: bool = False
    warm_ms: float | None = None
    """Median of the runs straight after them; None if a command was the runner."""
    energy_mj: float | None = None
    """Median of a run; None if the runner does not tell."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How quiet the machine was during a block."""

    lost: float
    """Share of the wall time that this process did not get."""
    reference_ms: float
    """Median of the reference graph; 0 if there was none."""
    reference_spread: float
    """Its standard deviation over the median."""
    load: float
    """The system's load average."""
    call_ms: float
    """An empty call into the runtime."""


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
        interrupted = self.settled and _interruptions() > before
        if interrupted and self.disturbed <= MOST_DISTURBED * (1 + len(self.times)):
            # Another process ran in between, and left its own content in the caches.
            self.disturbed += 1
            return
        self.times.append(runs[-1] if self.looped else runs[0])
        if self.settled and not self.looped:
            self.warm.append(runs[-1])

    @property
    def error(self) -> float:
        """Relative standard error of the median."""
        middle, sd = _spread(self.times)
        # A median of normal values varies by the root of pi / 2 more than their mean.
        return 1.2533 * sd / (math.sqrt(len(self.times)) * middle)


def _interruptions() -> int:
    """How often the scheduler took this thread off its core for another process."""
    if not hasattr(resource, "RUSAGE_THREAD"):
        return 0
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


def _spread(times: Sequence[float]) -> tuple[float, float]:
    # By quartiles, 1.349 deviations apart for normal values: outliers are another process at work.
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
    """Time all subjects, in blocks of a random mix that memory holds.

    A subject gets at most twice ``seconds_per_row``.
    """
    rng = np.random.default_rng(seed)
    waiting = [subjects[i] for i in rng.permutation(len(subjects))]
    with pinned(threads) if runner.in_process else nullcontext():
        while waiting:
            rows = _open_rows(waiting, runner)
            yield _block(rows, runner, seconds_per_row, rng)


def _open_rows(waiting: list[Subject], runner: Runner) -> list[_Row]:
    """Take as many subjects off the end of the list as a block holds, and open their graphs."""
    rows: list[_Row] = []
    size_bytes = 0
    while waiting and len(rows) < BLOCK_ROWS and size_bytes < BLOCK_BYTES:
        subject = waiting.pop()
        model = subject.graph()
        size_bytes += len(model)
        rows.append(_Row(subject.key, runner.open(model), subject.looped, runner.in_process))
    return rows


def _block(rows: list[_Row], runner: Runner, seconds: float, rng: np.random.Generator) -> Block:
    empty: _Row | None = None
    reference: _Row | None = None
    if runner.in_process:
        call_graph, reference_graph = runner.aside()
        if call_graph is not None:
            empty = _Row("call", runner.open(call_graph), settled=True)
        reference = _Row("reference", runner.open(reference_graph), settled=True)
    aside = [row for row in (empty, reference) if row is not None]
    if runner.in_process:
        _warm_up([*rows, *aside])
    cpu, wall = time.process_time(), time.perf_counter()
    # A collection would be timed as part of whichever row it falls into.
    gc.collect()
    gc.disable()
    try:
        _rounds(rows, aside, seconds, runner.fewest_rounds, rng)
    finally:
        gc.enable()
    lost = 0.0
    if runner.in_process:
        lost = 1 - (time.process_time() - cpu) / (time.perf_counter() - wall)
    call_ms = warm_call_ms = middle = spread = 0.0
    if empty is not None:
        call_ms = statistics.median(empty.times)
        warm_call_ms = statistics.median(empty.warm)
    if reference is not None:
        middle, spread = _spread(reference.times)
    quality = Quality(
        lost=max(0.0, lost),
        reference_ms=middle,
        reference_spread=spread / middle if middle else 0.0,
        load=os.getloadavg()[0],
        call_ms=call_ms,
    )
    return Block({row.key: _timing(row, call_ms, warm_call_ms) for row in rows}, quality)


def _warm_up(rows: Sequence[_Row]) -> None:
    for row in rows:
        for _ in range(WARM_UPS):
            row.run()


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
    rounds = len(row.times)
    spent = row.spent_ms / 1e3
    share = LOOPED if row.looped else 1
    # A slow row ends after three rounds, so that one large network does not hold up a block.
    if rounds < fewest:
        return spent >= 2 * share * seconds and rounds >= 3
    error = row.error
    # Twice the time for a row that would be marked as noisy otherwise.
    budget = 2 * share if error > NOISY else share
    return error <= PRECISE or rounds >= budget * MOST_ROUNDS or spent >= budget * seconds


def _timing(row: _Row, call_ms: float, warm_call_ms: float) -> Timing:
    middle, sd = _spread(row.times)
    latency = middle if row.looped else max(middle - call_ms, RESOLUTION_MS)
    warm = None
    if row.warm:
        warm = max(statistics.median(row.warm) - warm_call_ms, RESOLUTION_MS)
    return Timing(
        latency_ms=latency,
        sd_ms=sd,
        count=len(row.times),
        noisy=row.error > NOISY,
        warm_ms=warm,
        energy_mj=_energy(row.times),
    )


def _energy(times: Sequence[float]) -> float | None:
    readings = [time for time in times if isinstance(time, Reading)]
    energies = [reading.energy_mj for reading in readings if reading.energy_mj is not None]
    return statistics.median(energies) if energies else None


# -- was the machine quiet ------------------------------------------------------------------------

LOST, SPREAD, DRIFT = 0.05, 0.10, 0.05


def remarks(blocks: Sequence[Quality], *, threads: int = 1, cores: int | None = None) -> list[str]:
    """What makes these timings unreliable, a line each; empty for a quiet machine."""
    cores = cores or os.cpu_count() or 1
    return [*_load_remarks(blocks, threads, cores), *_reference_remarks(blocks)]


def _load_remarks(blocks: Sequence[Quality], threads: int, cores: int) -> list[str]:
    lost = max((block.lost for block in blocks), default=0.0)
    load = max((block.load for block in blocks), default=0.0)
    if lost > LOST:
        return [
            f"another load took {100 * lost:.0f} % of this process's time "
            f"(load average {load:.1f} on {cores} cores): stop it and measure again"
        ]
    # This process is part of the load itself.
    if load > cores + 0.5 * threads:
        return [f"the load average was {load:.1f} on {cores} cores: other processes ran"]
    return []


def _reference_remarks(blocks: Sequence[Quality]) -> list[str]:
    lines = []
    spread = max((block.reference_spread for block in blocks), default=0.0)
    if spread > SPREAD:
        lines.append(
            f"the reference kernel's time spread by {100 * spread:.0f} % within a block, above 10 %"
        )
    references = [block.reference_ms for block in blocks if block.reference_ms]
    drift = max(references) / min(references) - 1 if references else 0.0
    if drift > DRIFT:
        lines.append(
            f"the reference kernel drifted by {100 * drift:.0f} % between blocks: "
            "clock or load changed"
        )
    return lines
