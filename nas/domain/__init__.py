"""A space under a run's bounds: the ground a strategy works on. Everything it hands out is inside.

Bounds are on additive costs, or on maxima such as peak memory. Under one additive bound or band,
`Domain.sample` is uniform over the feasible gene tuples: they are counted by dynamic programming in
integer ticks, and drawn slot by slot in proportion. Under several it takes sweeps of conditional
draws (Gibbs sampling) from such a start, which is uniform in the limit.
"""

from nas.domain.bound import Bound
from nas.domain.domain import Domain

__all__ = ["Bound", "Domain"]
