"""Many graphs timed beside each other in random interleaved rounds, and whether it was quiet.

One graph after the other would meet warm caches that no layer meets inside a network, and would put
a slow minute of the machine on a few rows. So every round visits all graphs of a block once, in
random order. A visit in this process runs a graph five times: the first run meets cold caches, and
is its latency; three settle it; the last is its warm time. What holds inside a network lies
between, and `nas.latency.correction` learns where. The time of an empty call, cold and warm, is
measured in the same rounds and taken off. A whole network is ``looped``: only the last run counts,
nothing is taken off, which is what a loop over images, or a benchmark tool, sees. (Seen here: small
networks take 1.5 times as long in the first run, 1.4 in the second, 1.13 in the third, 1.03 in the
fourth.)

Times are divided by how slow the machine was at that moment, as `nas.measure.reference` saw it. A
visit is disturbed if the scheduler gave the core to another process meanwhile, or if the machine
was far too slow. It does not count, and is repeated in later rounds, as far as the time of a row
allows.
"""

import gc
import math
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import numpy as np

from nas.measure.reference import MOST_SLOWDOWN, Reference
from nas.measure.runners import Reading, Runner, pinned

__all__ = [
    "Block",
    "Quality",
    "Subject",
    "Timing",
    "disturbed_share",
    "measure",
    "measure_twice",
    "remarks",
    "slowdown_line",
]

WARM_UPS = 2
RUNS = 5  # of a visit: cold, three to settle, warm
# Rounds, in times of the fewest, after which a row without a quiet visit is given up.
MOST_DISTURBED = 4
FEWEST_QUIET = 3
SETTLED_MS = 20.0  # a graph that takes so long needs no more than three runs to settle
LOOPED = 3  # times a row's seconds, for a whole network
MOST_ROUNDS = 201  # odd: the median is then a time that was seen
# Relative standard error of a median: at which to stop, above which a row is marked.
PRECISE, NOISY = 0.01, 0.05
RESOLUTION_MS = 5e-4  # no row is free once the time of a call is taken off
# All graphs of a block are open at once.
BLOCK_ROWS, BLOCK_BYTES = 128, 512 << 20
BLOCK_NETWORKS = 12  # whole networks: a kill costs at most a minute
LOOK_SECONDS = 0.02
"""How often the reference is looked at, in time or, beside slow rows, before each of them."""

Tick = Callable[[float, int], None]
"""Is called while a block is timed with the share that is done, 0..1, and its number of rows."""


def _no_tick(share: float, rows: int) -> None:
    """Shows nothing."""


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
    loaded: bool = False
    """Whether another load ran beside all of its visits, so that disturbed ones had to count."""

    def scaled(self, factor: float) -> "Timing":
        """The same on a machine that takes so many times as long."""
        warm_ms = None if self.warm_ms is None else factor * self.warm_ms
        return replace(
            self,
            latency_ms=factor * self.latency_ms,
            sd_ms=factor * self.sd_ms,
            warm_ms=warm_ms,
        )


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How quiet the machine was during a block."""

    lost: float
    """Share of the wall time of the visits that count which this process did not get."""
    reference_ms: float
    """The reference kernel at the machine's best pace, in which times are stated; 0 for none."""
    load: float
    """The system's load average."""
    call_ms: float
    """An empty call into the runtime."""
    visits: int = 0
    """How many visits there were."""
    disturbed: float = 0.0
    """Share of the visits that another load disturbed, 0..1."""
    loaded: float = 0.0
    """Share of the rows for which no quiet time was found, 0..1."""
    slowdown: float = 1.0
    """How many times slower than its best the machine was, in the median."""
    slowdown_90: float = 1.0
    """What nine of ten moments stayed below."""


@dataclass(frozen=True)
class Block:
    """What was timed beside each other."""

    timings: Mapping[str, Timing]
    quality: Quality


@dataclass(frozen=True)
class _Visit:
    """Some runs of a graph in a row."""

    ms: float
    """Of the run that counts."""
    warm_ms: float | None
    look: int
    """The look at the reference before it; the next one came after it."""
    interrupted: bool
    wall_seconds: float
    cpu_seconds: float


@dataclass
class _Row:
    key: str
    run: Callable[[], float]
    looped: bool = False
    settled: bool = False
    visits: list[_Visit] = field(default_factory=list)
    spent_ms: float = 0.0

    def visit(self, look: int = 0) -> None:
        before, cpu, wall = _interruptions(), time.process_time(), time.perf_counter()
        runs = [self.run()]
        count = 1
        if self.settled:
            count = RUNS if runs[0] < SETTLED_MS else 3
        runs += [self.run() for _ in range(count - 1)]
        self.spent_ms += sum(runs)
        visit = _Visit(
            ms=runs[-1] if self.looped else runs[0],
            warm_ms=runs[-1] if self.settled and not self.looped else None,
            look=look,
            interrupted=self.settled and _interruptions() > before,
            wall_seconds=time.perf_counter() - wall,
            cpu_seconds=time.process_time() - cpu,
        )
        self.visits.append(visit)

    def quiet(self, reference: Reference) -> list[_Visit]:
        """The visits that nothing disturbed."""
        kept = [visit for visit in self.visits if not visit.interrupted]
        return [visit for visit in kept if reference.slowdown(visit.look) <= MOST_SLOWDOWN]

    def counting(self, reference: Reference) -> list[_Visit]:
        """The half of the quiet visits at the better pace; of all if hardly any was quiet."""
        quiet = self.quiet(reference)
        visits = quiet if len(quiet) >= FEWEST_QUIET else self.visits
        slowdowns = [reference.slowdown(visit.look) for visit in visits]
        # The less a time has to be divided by, the less it matters by what.
        most = sorted(slowdowns)[max(len(visits) // 2, min(FEWEST_QUIET, len(visits)) - 1)]
        return [visit for visit, slow in zip(visits, slowdowns, strict=True) if slow <= most]

    def times_ms(self, reference: Reference) -> list[float]:
        """Of the visits that count, at the machine's best pace."""
        return [visit.ms / reference.slowdown(visit.look) for visit in self.counting(reference)]

    def warm_times_ms(self, reference: Reference) -> list[float]:
        """The same of their warm runs; empty without such."""
        times = []
        for visit in self.counting(reference):
            if visit.warm_ms is not None:
                times.append(visit.warm_ms / reference.slowdown(visit.look))
        return times


def _error(times: Sequence[float]) -> float:
    """Relative standard error of the median."""
    middle, sd = _spread(times)
    # A median of normal values varies by the root of pi / 2 more than their mean.
    return 1.2533 * sd / (math.sqrt(len(times)) * middle)


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
    tick: Tick = _no_tick,
    until: float | None = None,
) -> Iterator[Block]:
    """Time all subjects, in blocks of a random mix that memory holds.

    A subject gets at most twice ``seconds_per_row``. ``until``: a time of `time.monotonic` after
    which no block begins; those subjects are timed first, then, that stand first.
    """
    rng = np.random.default_rng(seed)
    waiting = [subjects[i] for i in rng.permutation(len(subjects))]
    if until is not None:
        waiting = [*reversed(subjects)]
    with pinned(threads) if runner.in_process else nullcontext():
        reference = Reference(runner)
        slowest = 0.0
        while waiting and (until is None or time.monotonic() + slowest <= until):
            start = time.monotonic()
            models = _models(waiting, BLOCK_ROWS, tick)
            rows = _open_rows(models, runner)
            block = _block(rows, runner, _Limits(seconds_per_row), rng, reference)
            slowest = max(slowest, time.monotonic() - start)
            yield block


def measure_twice(
    subjects: Sequence[Subject],
    runner: Runner,
    *,
    threads: int = 1,
    seconds: float,
    seed: int = 0,
    tick: Tick = _no_tick,
) -> Iterator[tuple[Block, Block]]:
    """Measure whole networks twice, in blocks of a random mix; each time they are opened anew.

    ``seconds``: what a network may take in all: to make its graph, to open it, to warm up, and both
    measurements. At least three visits are made all the same.
    """
    rng = np.random.default_rng(seed)
    waiting = [subjects[i] for i in rng.permutation(len(subjects))]
    with pinned(threads) if runner.in_process else nullcontext():
        reference = Reference(runner)
        while waiting:
            start = time.monotonic()
            models = _models(waiting, BLOCK_NETWORKS, tick)
            blocks = []
            for left in (2, 1):
                opening = time.monotonic()
                rows = _open_rows(models, runner)
                # Opening once more, and its warm-up, will take as long again.
                opening = time.monotonic() - opening
                used = time.monotonic() - start + (left - 1) * opening
                each = (seconds - used / len(rows)) / left
                limits = _Limits(max(each, 0.0), strict=True)
                blocks.append(_block(rows, runner, limits, rng, reference))
                tick(1.0 if left == 1 else 0.7, len(rows))
            yield blocks[0], blocks[1]


def _models(waiting: list[Subject], count: int, tick: Tick) -> list[tuple[Subject, bytes]]:
    """Take as many subjects off the end of the list as a block holds, and make their graphs."""
    models: list[tuple[Subject, bytes]] = []
    planned = min(count, len(waiting))
    size_bytes = 0
    while waiting and len(models) < count and size_bytes < BLOCK_BYTES:
        subject = waiting.pop()
        model = subject.graph()
        size_bytes += len(model)
        models.append((subject, model))
        # Graphs take longer to make than to time.
        tick(0.4 * len(models) / planned, planned)
    return models


def _open_rows(models: Sequence[tuple[Subject, bytes]], runner: Runner) -> list[_Row]:
    rows = []
    for subject, model in models:
        rows.append(_Row(subject.key, runner.open(model), subject.looped, runner.in_process))
    return rows


@dataclass(frozen=True)
class _Limits:
    """How long a row is timed."""

    seconds: float
    strict: bool = False
    """Whether a row that stays noisy gets no more than that."""


def _block(
    rows: list[_Row],
    runner: Runner,
    limits: _Limits,
    rng: np.random.Generator,
    reference: Reference,
) -> Block:
    empty: _Row | None = None
    if runner.in_process:
        call_graph, _ = runner.aside()
        if call_graph is not None:
            empty = _Row("call", runner.open(call_graph), settled=True)
        _warm_up([*rows] if empty is None else [*rows, empty])
    first_look = reference.looks
    # A collection would be timed as part of whichever row it falls into.
    gc.collect()
    gc.disable()
    try:
        _rounds(rows, empty, limits, runner.fewest_rounds, rng, reference)
    finally:
        gc.enable()
    call_ms = warm_call_ms = 0.0
    if empty is not None:
        call_ms = statistics.median(empty.times_ms(reference))
        warm_call_ms = statistics.median(empty.warm_times_ms(reference))
    timings = {row.key: _timing(row, call_ms, warm_call_ms, reference) for row in rows}
    visits = sum(len(row.visits) for row in rows)
    quiet = sum(len(row.quiet(reference)) for row in rows)
    slowdown, slowdown_90 = reference.slowdowns(first_look)
    quality = Quality(
        lost=_lost(rows, reference) if runner.in_process else 0.0,
        reference_ms=reference.best_ms,
        load=os.getloadavg()[0],
        call_ms=call_ms,
        visits=visits,
        disturbed=1 - quiet / visits,
        loaded=statistics.mean(timing.loaded for timing in timings.values()),
        slowdown=slowdown,
        slowdown_90=slowdown_90,
    )
    return Block(timings, quality)


def _lost(rows: Sequence[_Row], reference: Reference) -> float:
    """Share of the wall time of visits that count which this process did not get."""
    cpu = wall = 0.0
    for row in rows:
        for visit in row.counting(reference):
            cpu += visit.cpu_seconds
            wall += visit.wall_seconds
    return max(0.0, 1 - cpu / wall)


def _warm_up(rows: Sequence[_Row]) -> None:
    for row in rows:
        for _ in range(WARM_UPS):
            row.run()


def _rounds(
    rows: list[_Row],
    empty: _Row | None,
    limits: _Limits,
    fewest: int,
    rng: np.random.Generator,
    reference: Reference,
) -> None:
    active = rows
    while active:
        look, looked_at = 0, 0.0
        for i in rng.permutation(len(active)):
            if time.perf_counter() - looked_at > LOOK_SECONDS:
                look, looked_at = reference.look(), time.perf_counter()
                if empty is not None:
                    empty.visit(look)
            active[i].visit(look)
        # What came last is judged by the look after it, too.
        reference.look()
        active = [row for row in active if not _done(row, limits, fewest, reference)]


def _done(row: _Row, limits: _Limits, fewest: int, reference: Reference) -> bool:
    share = LOOPED if row.looped and not limits.strict else 1
    allowed = share * limits.seconds
    spent = row.spent_ms / 1e3
    rounds = len(row.visits)
    quiet = len(row.quiet(reference))
    if limits.strict and spent >= allowed and rounds >= 3:
        return True
    # A slow row ends after three rounds, so that one large network does not hold up a block.
    if quiet < fewest:
        late = spent >= 2 * allowed and rounds >= 3
        return late or rounds >= MOST_DISTURBED * fewest
    error = _error(row.times_ms(reference))
    # Twice the time for a row that would be marked as noisy otherwise.
    factor = 2 if error > NOISY else 1
    return error <= PRECISE or rounds >= factor * share * MOST_ROUNDS or spent >= factor * allowed


def _timing(row: _Row, call_ms: float, warm_call_ms: float, reference: Reference) -> Timing:
    times = row.times_ms(reference)
    middle, sd = _spread(times)
    latency = middle if row.looped else max(middle - call_ms, RESOLUTION_MS)
    warm_times = row.warm_times_ms(reference)
    warm = None
    if warm_times:
        warm = max(statistics.median(warm_times) - warm_call_ms, RESOLUTION_MS)
    return Timing(
        latency_ms=latency,
        sd_ms=sd,
        count=len(times),
        noisy=_error(times) > NOISY,
        warm_ms=warm,
        energy_mj=_energy([visit.ms for visit in row.counting(reference)]),
        loaded=len(row.quiet(reference)) < FEWEST_QUIET,
    )


def _energy(times: Sequence[float]) -> float | None:
    readings = [time for time in times if isinstance(time, Reading)]
    energies = [reading.energy_mj for reading in readings if reading.energy_mj is not None]
    return statistics.median(energies) if energies else None


# -- was the machine quiet ------------------------------------------------------------------------

LOST, LOADED = 0.05, 0.2
STEADY = 1.1
"""A slowdown that is not worth a line."""


def disturbed_share(blocks: Sequence[Quality]) -> float:
    """Share of all visits that another load disturbed, 0..1."""
    visits = sum(block.visits for block in blocks)
    return sum(block.disturbed * block.visits for block in blocks) / visits if visits else 0.0


def slowdown_line(blocks: Sequence[Quality]) -> str:
    """How slow the machine was while it timed, in a phrase; empty if it kept its pace."""
    blocks = [block for block in blocks if block.reference_ms]
    if not blocks:
        return ""
    middle = statistics.median(block.slowdown for block in blocks)
    high = statistics.median(block.slowdown_90 for block in blocks)
    if high <= STEADY:
        return ""
    return (
        f"the machine took {middle:.2f} times its best time in the median, up to {high:.2f} in "
        "nine of ten moments; latencies are stated at its best"
    )


def remarks(blocks: Sequence[Quality]) -> list[str]:
    """What makes these timings unreliable, a line each; empty for a quiet machine."""
    lines = []
    lost = max((block.lost for block in blocks), default=0.0)
    if lost > LOST:
        load = max(block.load for block in blocks)
        lines.append(
            f"another load took {100 * lost:.0f} % of this process's time "
            f"(load average {load:.1f}): stop it and measure again"
        )
    loaded = statistics.mean(block.loaded for block in blocks) if blocks else 0.0
    if loaded > LOADED:
        lines.append(
            f"another load ran beside {100 * disturbed_share(blocks):.0f} % of the timings, and "
            f"{100 * loaded:.0f} % of the rows found no quiet time: stop it and measure again"
        )
    return lines
