"""Networks that a table is held against reach from the fastest to the slowest of a space."""

import numpy as np
import pytest

from nas import catalog
from nas.cost.costs import latency_metric, space_costs
from nas.measure.drawing import draw, draw_as_picked, draw_published, draw_spread
from nas.networks.membership import membership
from nas.strategies._warm import relatives
from nas.testing.toys import toy_space
from search_spaces import fbnet

SPACE = fbnet.space(resolution=32, classes=10)
TABLE = catalog.device("pixel3")


def latencies(networks):
    return [TABLE.estimate(network).latency_ms for network in networks]


def test_they_are_spread_and_hold_both_ends():
    found = latencies(draw_spread(SPACE, TABLE, 30, seed=0))
    costs = space_costs(SPACE, [TABLE])
    low = costs.extreme(latency_metric("pixel3"))[0]
    high = costs.extreme(latency_metric("pixel3"), largest=True)[0]
    assert found == sorted(found)
    assert np.allclose([found[0], found[-1]], [low, high])
    # No quarter of the range, by factors, is left out; random genes would all lie in the middle.
    counts, _ = np.histogram(found, np.geomspace(0.999 * low, 1.001 * high, 5))
    assert counts.min() >= 4


def test_they_are_distinct_and_follow_the_seed():
    first = draw_spread(SPACE, TABLE, 20, seed=1)
    assert len({network.digest for network in first}) == 20
    assert first == draw_spread(SPACE, TABLE, 20, seed=1)
    assert first != draw_spread(SPACE, TABLE, 20, seed=2)
    assert len(draw_spread(toy_space(1), TABLE, 100, seed=0)) == 12


def test_a_third_of_them_is_near_a_front():
    front = [(0,) * 22, (4,) * 22, (2, 3) * 11]
    found = draw_spread(SPACE, TABLE, 30, seed=0, near=front)
    digests = {network.digest for network in found}
    assert {SPACE.decode(genes).digest for genes in front} <= digests
    assert len(found) == 30


def test_picks_compute_most_at_their_latency():
    picks = draw_as_picked(SPACE, TABLE, 8, seed=0)
    assert len({network.digest for network in picks}) == 8
    assert latencies(picks) == sorted(latencies(picks))
    costs = space_costs(SPACE, [TABLE])
    assert latencies(picks)[0] == pytest.approx(costs.extreme(latency_metric("pixel3"))[0])
    others = draw(SPACE, 500, seed=0)
    compared = []
    for pick in picks:
        ms = TABLE.estimate(pick).latency_ms
        near = [one.macs for one in others if 0.9 * ms <= TABLE.estimate(one).latency_ms <= ms]
        compared += [macs <= pick.macs for macs in near]
    assert len(compared) > 100
    assert np.mean(compared) > 0.98


def test_picks_leave_out_what_is_known():
    picks = draw_as_picked(SPACE, TABLE, 8, seed=0)
    known = {network.digest for network in picks}
    others = draw_as_picked(SPACE, TABLE, 8, seed=0, known=known)
    assert others
    assert known.isdisjoint(network.digest for network in others)


def test_networks_near_published_ones_have_their_kind_of_layers_at_all_latencies():
    found = draw_published(SPACE, TABLE, 6, seed=0)
    costs = space_costs(SPACE, [TABLE])
    low = costs.extreme(latency_metric("pixel3"))[0]
    high = costs.extreme(latency_metric("pixel3"), largest=True)[0]
    wanted = low * (high / low) ** (np.arange(1, 7) / 7)
    assert latencies(found) == pytest.approx(wanted, rel=0.05)
    # Nearer to a published network than random ones are.
    points = np.array([genes for _, genes in relatives(SPACE)])

    def changed(networks):
        genes = [membership(network, SPACE).genes for network in networks]
        return np.mean([(points != np.array(each)).sum(axis=1).min() for each in genes])

    assert changed(found) < changed(draw(SPACE, 6, seed=0))
    assert found == draw_published(SPACE, TABLE, 6, seed=0)


def test_a_space_without_published_relatives_has_none_near_them():
    assert draw_published(toy_space(1), TABLE, 6, seed=0) == []
