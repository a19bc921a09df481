"""Whether another load ran beside what was timed, stretch by stretch.

Two reference graphs are run every few hundred milliseconds: a convolution that stays in a
second-level cache, and a product with a matrix that does not. Beside them stands what other
processes, or other guests of the same host, took of the processors meanwhile. A stretch between two
looks was quiet if both references kept to their own best and the others did little. References are
held against all looks so far: what began in a loaded minute is judged again by the quiet one after
it.
"""

import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.measure.runners import Runner

__all__ = ["Calm"]

SLOWER = (0.12, 0.25)
"""A reference that is slower than its best by more than that was disturbed.

Guests of one host share its last cache and its memory: the second reference is never as steady.
"""
OTHERS = 0.15
"""Share of all processors that other processes may take."""
RUNS = 4
FEWEST_QUIET = 3
BEST = 0.1
"""The quantile of all looks that is a reference's best: the least would be one lucky look."""
SHORTEST_SECONDS = 0.1
"""The system counts in hundredths of a second: over less, the others' share is not known."""
STAT = Path("/proc/stat")


@dataclass(frozen=True)
class _Look:
    times_ms: tuple[float, ...]
    """Of each reference, warm."""
    others: float
    """Share of the processors that others took since the last look that was long enough ago."""


class Calm:
    """Looks at the machine between the visits of rows. It is opened while nothing is timed."""

    def __init__(self, runner: Runner) -> None:
        _, references = runner.aside()
        self._references = [runner.open(graph) for graph in references]
        self._looks: list[_Look] = []
        self._cores = os.cpu_count() or 1
        self._since = _Used.now()
        self._others = 0.0
        self._quiet: dict[int, bool] = {}
        self._judged = 0

    @property
    def looks(self) -> int:
        """How many looks there were."""
        return len(self._looks)

    def look(self) -> int:
        """Run the references, and return the number of this look."""
        now = _Used.now()
        if now.wall - self._since.wall >= SHORTEST_SECONDS:
            self._others = now.others_since(self._since) / self._cores
            self._since = now
        times = []
        for run in self._references:
            # The first one meets whatever the row before it left in the caches.
            _, *warm = [run() for _ in range(RUNS)]
            times.append(statistics.median(warm))
        self._looks.append(_Look(tuple(times), self._others))
        return len(self._looks) - 1

    def reference_ms(self, first: int) -> list[float]:
        """Warm runs of the first reference from a look on: in quiet moments, if there were any."""
        looks = range(first, len(self._looks))
        quiet = [look for look in looks if self.was_quiet(look)]
        chosen = quiet if len(quiet) >= FEWEST_QUIET else looks
        return [self._looks[look].times_ms[0] for look in chosen]

    def was_quiet(self, look: int) -> bool:
        """Whether nothing else ran between a look and the next."""
        if self._judged != len(self._looks):
            self._quiet = self._judge()
            self._judged = len(self._looks)
        return self._quiet[look] and self._quiet.get(look + 1, True)

    def _judge(self) -> dict[int, bool]:
        """By look, whether it was quiet, by all that is known so far."""
        times = np.array([look.times_ms for look in self._looks])
        best = np.quantile(times, BEST, axis=0)
        allowed = (1 + np.array(SLOWER[: len(best)])) * best
        steady = (times <= allowed).all(axis=1)
        quiet = {}
        for number, look in enumerate(self._looks):
            quiet[number] = bool(steady[number]) and look.others <= OTHERS
        return quiet


@dataclass(frozen=True)
class _Used:
    """Processor time used so far, in seconds."""

    wall: float
    busy: float
    """By everybody, host included; 0 where the system does not say."""
    own: float

    @classmethod
    def now(cls) -> "_Used":
        return cls(wall=time.monotonic(), busy=_busy_seconds(), own=time.process_time())

    def others_since(self, before: "_Used") -> float:
        """Processors that others took, such as 0.9."""
        if not self.busy:
            return 0.0
        others = (self.busy - before.busy) - (self.own - before.own)
        return max(0.0, others / (self.wall - before.wall))


def _busy_seconds() -> float:
    try:
        with STAT.open() as file:
            fields = [int(field) for field in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return 0.0
    if len(fields) < 8:
        return 0.0
    user, nice, system, _, _, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / float(os.sysconf("SC_CLK_TCK"))
