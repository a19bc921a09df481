"""Fronts, ranks and hypervolume. Losses: lower is better in every column.

A point dominates another if it is nowhere larger and somewhere smaller. Every function refuses NaN,
which compares false with everything and would sit on every front.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nas.errors import NasError

__all__ = ["RunningFront", "front", "hypervolume", "ranks"]

Floats = NDArray[np.float64]


def _checked(losses: ArrayLike) -> Floats:
    array = np.asarray(losses, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise NasError(f"losses must be (points, objectives), not of shape {array.shape}")
    is_nan = np.isnan(array).any(axis=1)
    if is_nan.any():
        raise NasError(f"losses must not be NaN: row {int(is_nan.argmax())} is")
    return array


def front(losses: ArrayLike) -> NDArray[np.bool_]:
    """losses: (n, m), no NaN. Which points no other dominates: (n,).

    Of equal points, the first only.
    """
    array = _checked(losses)
    keep = np.zeros(len(array), bool)
    if len(array):
        keep[_front_of_two(array) if array.shape[1] == 2 else _front_of_many(array)] = True
    return keep


def _front_of_two(losses: Floats) -> NDArray[np.int64]:
    """losses: (n, 2). Places of the front.

    Sorted by the first column, then the second, it is where the second falls below all before.
    """
    first, second = losses.T
    # Nothing beyond the two ends of the front can be on it; with correlated losses that spares most
    # of the sort.
    near = np.flatnonzero((first <= first[second.argmin()]) & (second <= second[first.argmin()]))
    order = near[np.lexsort((second[near], first[near]))]
    column = second[order]
    lowest_before = np.concatenate(([np.inf], np.minimum.accumulate(column)[:-1]))
    falls = column < lowest_before
    falls[0] = True  # an infinite loss is not below the infinity that stands before the first
    return np.asarray(order[falls])


def _front_of_many(losses: Floats) -> NDArray[np.int64]:
    """losses: (n, m). Places of the front.

    In lexicographic order a point is dominated only by earlier ones, so the first one left is on
    the front.
    """
    order = np.lexsort(losses.T[::-1])
    places = []
    while len(order):
        point = losses[order[0]]
        places.append(order[0])
        order = order[(losses[order] < point).any(axis=1)]
    return np.array(places)


def ranks(losses: ArrayLike) -> NDArray[np.int64]:
    """losses: (n, m), no NaN. 0 for the front, 1 for the front of the rest, and so on: (n,).

    Equal points share one.
    """
    array = _checked(losses)
    # Distinct, for `front` keeps one of equal points alone; sorted, as `_ranks_of_two` needs them.
    points, place = np.unique(array, axis=0, return_inverse=True)
    of_points = _ranks_of_two(points) if array.shape[1] == 2 else _ranks_by_peeling(points)
    return of_points[place.reshape(-1)]


def _ranks_of_two(points: Floats) -> NDArray[np.int64]:
    """points: (n, 2), distinct, in lexicographic order.

    The last point of each front decides (patience sorting).
    """
    of_points = np.zeros(len(points), np.int64)
    last: list[float] = []
    for place, value in enumerate(points[:, 1].tolist()):
        # A front whose last second loss is not above this one holds a point that dominates it.
        rank = bisect_right(last, value)
        of_points[place] = rank
        last[rank : rank + 1] = [value]
    return of_points


def _ranks_by_peeling(points: Floats) -> NDArray[np.int64]:
    """points: (n, m), distinct. Front after front is taken away."""
    of_points = np.zeros(len(points), np.int64)
    left = np.arange(len(points))
    rank = 0
    while len(left):
        best = front(points[left])
        of_points[left[best]] = rank
        left = left[~best]
        rank += 1
    return of_points


def hypervolume(losses: ArrayLike, reference: Sequence[float] | NDArray[Any]) -> float:
    """losses: (n, m), no NaN; reference: (m,), finite. The volume dominated below the reference.

    Exact: by sorting for two objectives, by slicing along the last one for more (n^(m-1) log n).
    """
    array, corner = _checked(losses), np.asarray(reference, dtype=np.float64)
    if corner.shape != array.shape[1:] or not np.isfinite(corner).all():
        raise NasError(
            f"a reference for {array.shape[1]} objectives takes as many finite numbers, "
            f"not {reference}"
        )
    # A point at or beyond the reference in one objective dominates no volume below it.
    inside = array[(array < corner).all(axis=1)]
    if np.isinf(inside).any():
        raise NasError("the hypervolume of an infinite loss is infinite")
    return _volume(inside[front(inside)], corner)


def _volume(points: Floats, corner: Floats) -> float:
    """points: a front inside the corner."""
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(corner[0] - points.min())
    points = points[points[:, -1].argsort(kind="stable")]
    if points.shape[1] == 2:
        heights = np.concatenate(([corner[0]], points[:-1, 0])) - points[:, 0]
        return float(heights @ (corner[1] - points[:, 1]))
    # Between two neighbours along the last objective, the points up to the first of them count.
    depths = np.diff(np.append(points[:, -1], corner[-1]))
    total = 0.0
    for i, depth in enumerate(depths.tolist(), 1):
        if depth > 0:
            slab = points[:i, :-1]
            total += depth * _volume(slab[front(slab)], corner[:-1])
    return total


class RunningFront:
    """A front that grows by one point at a time, and its hypervolume."""

    def __init__(self, reference: Sequence[float]) -> None:
        self.reference = tuple(reference)
        self.losses = np.empty((0, len(self.reference)))
        self.hypervolume = 0.0

    def __len__(self) -> int:
        return len(self.losses)

    def add(self, losses: Sequence[float]) -> bool:
        """Whether the point joins the front; the volume is computed anew only then."""
        point = _checked([losses])
        # An equal point is refused too, so the front has one network for a pair of losses.
        if (self.losses <= point).all(axis=1).any():
            return False
        beaten = (point <= self.losses).all(axis=1)
        self.losses = np.concatenate([self.losses[~beaten], point])
        self.hypervolume = hypervolume(self.losses, self.reference)
        return True
