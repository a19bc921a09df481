"""Fronts, ranks and hypervolume against their definitions."""

import numpy as np
import pytest

from nas.errors import NasError
from nas.pareto import RunningFront, front, hypervolume, ranks


def dominates(a, b):
    return bool((a <= b).all() and (a < b).any())


def front_by_definition(points):
    return [
        not any(dominates(other, point) for other in points)
        and not any((other == point).all() for other in points[:i])
        for i, point in enumerate(points)
    ]


def clouds():
    """Small clouds, gridded so that ties and duplicates are common, of 1 to 4 objectives."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        shape = (int(rng.integers(0, 25)), int(rng.integers(1, 5)))
        yield rng.integers(0, int(rng.integers(1, 8)) + 1, shape).astype(float)
        yield rng.normal(size=shape)


def test_front_equals_its_definition():
    for points in clouds():
        assert front(points).tolist() == front_by_definition(points)


def test_front_keeps_the_first_of_equal_points():
    assert front([[1, 2], [1, 2], [0, 3], [1, 2]]).tolist() == [True, False, True, False]


def test_front_accepts_infinite_losses():
    assert front([[np.inf, np.inf], [np.inf, np.inf]]).tolist() == [True, False]
    assert front([[np.inf, 0.0], [1.0, 0.0]]).tolist() == [False, True]


def test_ranks_peel_fronts_and_equal_points_share_one():
    for points in clouds():
        found = ranks(points)
        left = np.arange(len(points))
        for rank in range(int(found.max()) + 1 if len(found) else 0):
            best = [not any(dominates(points[j], points[i]) for j in left) for i in left]
            assert left[best].tolist() == np.flatnonzero(found == rank).tolist()
            left = left[~np.array(best)]
        assert not len(left)


def test_hypervolume_counts_unit_cells():
    """On an integer grid the volume is the number of dominated unit cells."""
    for points in clouds():
        if not (points == points.round()).all():
            continue
        corner = np.full(points.shape[1], 6.0)
        cells = np.stack(np.meshgrid(*[np.arange(6)] * points.shape[1], indexing="ij"), axis=-1)
        cells = cells.reshape(-1, points.shape[1])
        covered = np.array([any((p <= cell).all() for p in points) for cell in cells])
        assert hypervolume(points, corner) == covered.sum()


def test_points_at_the_reference_or_beyond_add_nothing():
    assert hypervolume([[1, 1], [0, 2], [5, -9]], (2, 2)) == 1.0
    assert hypervolume(np.empty((0, 2)), (2, 2)) == 0.0


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_running_front_equals_the_front_of_all(objectives):
    points = np.random.default_rng(objectives).integers(0, 9, (60, objectives)).astype(float)
    running = RunningFront([9.0] * objectives)
    for i, point in enumerate(points, 1):
        joined = running.add(point)
        assert joined == front(points[:i])[i - 1]
        assert sorted(map(tuple, running.losses)) == sorted(
            map(tuple, points[:i][front(points[:i])])
        )
    assert running.hypervolume == pytest.approx(hypervolume(points, [9.0] * objectives))


def test_nan_is_refused():
    for function in (front, ranks, lambda losses: hypervolume(losses, (1, 1))):
        with pytest.raises(NasError, match="must not be NaN: row 1"):
            function([[0.0, 1.0], [np.nan, 0.0]])


def test_wrong_shapes_are_refused():
    with pytest.raises(NasError, match=r"must be \(points, objectives\)"):
        front([1.0, 2.0])
    with pytest.raises(NasError, match="takes as many finite numbers"):
        hypervolume([[0.0, 0.0]], (1.0,))
    with pytest.raises(NasError, match="infinite loss"):
        hypervolume([[0.0, -np.inf]], (1.0, 1.0))
