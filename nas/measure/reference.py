"""How fast the machine is at the moment, by a reference kernel that is run again and again.

A core of a virtual machine is rarely alone: what guests on the same silicon do makes it 1.6 times
as slow for tenths of a second or for minutes, and no counter of the system shows it. So a reference
convolution is run every few hundredths of a second. What was timed between two looks is divided by
how much slower than its best the machine was at both. Times then are those of the machine at its
best pace, which repeat from hour to hour; medians of raw times do not.

What waits for memory slows down less than the reference, which does not: hence the exponent.
(On such a machine, medians of 10 networks and 50 layers over two halves of 200 s: raw ones differed
by 10 and 8 %, those of the moments of best pace by 3.1 and 2.8 %, divided ones by 3.5 and 3.6 %,
and those of the half at the better pace, divided, by 2.3 and 2.1 %: as it is done.
Networks slow down with powers of .4 to .9 of the reference's slowdown, layers with .6 to 1.)
"""

import math
import statistics

import numpy as np

from nas.measure.runners import Runner

__all__ = ["MOST_SLOWDOWN", "Reference"]

RUNS = 2
"""Of a look. The first one meets whatever the row before it left in the caches."""
BEST = 0.05
"""The quantile of all looks that is the best pace: the least would be one lucky look."""
EXPONENT = 0.8
"""Of the reference's slowdown, for what is timed beside it."""
MOST_SLOWDOWN = 2.0
"""What is timed while the machine is slower than that does not count."""


class Reference:
    """Looks at the pace of the machine between the visits of rows.

    A look is judged by all looks so far: what began in a slow minute is seen rightly after it.
    """

    def __init__(self, runner: Runner) -> None:
        graph: bytes | None = None
        # What pace a device keeps that a command reaches is the command's own affair.
        if runner.in_process:
            _, graph = runner.aside()
        self._run = None if graph is None else runner.open(graph)
        self._looks: list[float] = []
        self._best_ms = 0.0
        self._best_of = 0

    @property
    def looks(self) -> int:
        """How many looks there were."""
        return len(self._looks)

    @property
    def best_ms(self) -> float:
        """The reference at the machine's best pace; 0 before any look, or without a reference."""
        if self._run is None or not self._looks:
            return 0.0
        if self._best_of != len(self._looks):
            self._best_ms = float(np.quantile(self._looks, BEST))
            self._best_of = len(self._looks)
        return self._best_ms

    def look(self) -> int:
        """Run the reference, and return the number of this look."""
        times = [1.0]
        if self._run is not None:
            times = [self._run() for _ in range(RUNS)]
        self._looks.append(times[-1])
        return len(self._looks) - 1

    def slowdown(self, look: int) -> float:
        """How many times slower than its best the machine was between a look and the next."""
        if self._run is None:
            return 1.0
        after = min(look + 1, len(self._looks) - 1)
        between_ms = math.sqrt(self._looks[look] * self._looks[after])
        return float((between_ms / self.best_ms) ** EXPONENT)

    def slowdowns(self, first: int) -> tuple[float, float]:
        """The median slowdown from a look on, and what nine of ten stay below."""
        found = [self.slowdown(look) for look in range(first, len(self._looks))]
        if not found:
            return 1.0, 1.0
        return statistics.median(found), float(np.quantile(found, 0.9))
