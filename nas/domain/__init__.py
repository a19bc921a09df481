"""A space under a run's bounds: the ground a strategy works on. Everything it hands out is inside.

Bounds are on additive costs, or on maxima such as peak memory. `Domain.sample` is uniform over the
feasible gene tuples. What meets the tightest additive bound, and hardly anything else, is counted
by dynamic programming in integer ticks, and drawn slot by slot in proportion; draws outside any
bound are left out. Where fewer than one in 1,000 is inside, it takes sweeps of conditional draws
(Gibbs sampling) from varied networks inside instead, which are uniform in the limit only.
"""

from nas.domain.bound import Bound
from nas.domain.domain import Domain

__all__ = ["Bound", "Domain"]
