"""An audit compares the table with whole networks, and what it learns from half of them holds for
the other half."""

import numpy as np
import pytest
from made_up import ByName, Killed

from nas.errors import TableError
from nas.latency.table import Table
from nas.measure import build, timing, verify, whole
from nas.measure.build import build_table
from nas.measure.drawing import draw
from nas.measure.whole import Timed
from nas.run.plan import plan
from nas.run.settings import Search
from nas.testing.toys import toy_space

SPACE = toy_space(4)


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "subject", lambda key, **_: timing.Subject(key, key.encode))
    return build_table("board", [SPACE], ByName(), tmp_path)


def timed(table, truth, count=40):
    """Networks that take what ``truth`` makes of the table's sum and their number of layers."""
    found, rng = [], np.random.default_rng(0)
    for network in draw(SPACE, count, seed=0):
        ms = truth(table.estimate(network).latency_ms, len(network.layers)) * (
            1 + 0.02 * rng.normal()
        )
        found.append(Timed(space="toy", network=network, first_ms=ms, second_ms=1.001 * ms))
    return found


def test_networks_are_distinct_and_follow_the_seed():
    first = draw(SPACE, 30, seed=1)
    assert len({network.digest for network in first}) == 30
    assert first == draw(SPACE, 30, seed=1)
    assert first != draw(SPACE, 30, seed=2)
    assert len(draw(toy_space(1), 100, seed=0)) == 12


def test_an_audit_is_stored_with_the_table(table):
    found = verify.verify(table, timed(table, lambda ms, layers: 1.2 * ms))
    assert found.every.bias == pytest.approx(1 / 1.2 - 1, abs=0.02)
    assert found.before is None
    stored = Table.load(table.path)
    assert stored.info.audit.every == found.every
    assert stored.info.audit.spaces["toy"].networks == 40
    assert stored.rows == table.rows


def test_a_correction_is_audited_on_networks_it_has_not_seen(table):
    networks = timed(table, lambda ms, layers: 1.2 * ms + 0.02 * layers)
    found = verify.verify(table, networks, correct=True)
    assert found.before.mape > 0.1
    assert found.every.mape < 0.03
    assert found.every.networks == len(found.held) == 40
    assert found.every.coverage_90 >= 0.8
    assert [band.before > 0.1 > band.audit.mape for band in found.bands] == [True] * 3
    again = Table.load(table.path)
    assert again.info.audit.bands == found.bands
    assert again.estimate(networks[1].network).latency_ms == pytest.approx(
        networks[1].latency_ms, rel=0.1
    )


def test_a_correction_of_noise_finds_none_better_and_flatters_nobody(table):
    rng = np.random.default_rng(3)
    networks = timed(table, lambda ms, layers: ms * (1 + 0.1 * rng.normal()))
    found = verify.verify(table, networks, correct=True)
    assert found.every.mape > 0.06


def test_a_correction_that_was_fitted_under_load_is_not_stored(table):
    networks = timed(table, lambda ms, layers: 1.2 * ms)
    under = verify.Circumstances(loaded=["another load"], disturbed=0.4)
    found = verify.verify(table, networks, correct=True, under=under)
    assert found.refused == ["it was fitted under load: another load"]
    assert found.table.correction is None
    assert found.before is None
    assert found.every.mape > 0.1
    assert Table.load(table.path).info.audit.disturbed == 0.4
    forced = verify.verify(table, networks, correct=True, under=under, force=True)
    assert forced.table.correction is not None
    assert forced.refused == []


def test_a_price_below_the_least_that_was_timed_is_refused(table):
    """The fastest network of the space was not among those timed, and is priced far lower."""
    networks = sorted(timed(table, lambda ms, layers: 1.2 * ms), key=lambda one: one.latency_ms)[
        20:
    ]
    found = verify.verify(table, networks, correct=True, spaces={"toy": SPACE})
    assert any("the least that was timed is" in reason for reason in found.refused)
    assert Table.load(table.path).correction is None


def test_a_second_correction_replaces_the_first(table):
    networks = timed(table, lambda ms, layers: 1.3 * ms)
    once = verify.verify(table, networks, correct=True).table
    twice = verify.verify(once, networks, correct=True).table
    assert twice.correction == once.correction


def test_too_few_networks_are_refused(table):
    with pytest.raises(TableError, match="an audit needs at least 4 timed networks, not 2"):
        verify.verify(table, timed(table, lambda ms, layers: ms, count=2))


def test_other_conditions_are_told(table):
    assert verify.conditions_changed(table, ByName()) == []
    assert verify.conditions_changed(table, ByName(runtime="newer")) == [
        "runtime was made up, now newer"
    ]


def test_whole_networks_are_timed_twice(monkeypatch):
    monkeypatch.setattr(whole, "network_graph", lambda network: network.digest.encode())
    networks = [("toy", network) for network in draw(SPACE, 5, seed=0)]

    class Steady(ByName):
        def open(self, model):
            self.opened.append(model.decode())
            ms = float(len(self.opened))
            return lambda: ms

    runner = Steady()
    said = []
    found, blocks = whole.time_networks(
        networks, runner, threads=1, seconds=0.01, seed=0, watch=said.append
    )
    assert len(runner.opened) == 10
    assert sorted(one.first_ms for one in found) == [1, 2, 3, 4, 5]
    assert sorted(one.second_ms for one in found) == [6, 7, 8, 9, 10]
    assert len(blocks) == 2
    assert (said[0].done, said[0].eta_seconds) == (0, pytest.approx(0.05, abs=0.02))
    assert (said[-1].done, said[-1].eta_seconds) == (5, 0)


def test_what_was_timed_before_a_kill_is_not_timed_again(monkeypatch, tmp_path):
    monkeypatch.setattr(whole, "network_graph", lambda network: network.digest.encode())
    monkeypatch.setattr(timing, "BLOCK_NETWORKS", 2)
    networks = [("toy", network) for network in draw(SPACE, 6, seed=0)]

    class Named(ByName):
        def open(self, model):
            if self.stop_after is not None and len(self.opened) >= self.stop_after:
                raise Killed
            self.opened.append(model.decode())
            return lambda: 1.0

    settings = {"threads": 1, "seconds": 0.01, "seed": 0, "journal": tmp_path / "kept.journal"}
    with pytest.raises(Killed):
        whole.time_networks(networks, Named(stop_after=6), **settings)
    again = Named()
    found, blocks = whole.time_networks(networks, again, **settings)
    # Two of a block, each opened twice, were done; the torn block is timed anew.
    assert len(again.opened) == 8
    assert len(found) == 6
    assert len(blocks) == 6


def test_a_search_says_what_is_known_of_its_table(table):
    search = Search().changed(space="fbnet", devices=("pixel1",))
    assert any(
        line.startswith("audit      pixel1: none on record") for line in plan(search).lines()
    )
    verify.verify(table, timed(table, lambda ms, layers: 2 * ms))
    lines = plan(search.changed(devices=(str(table.path),))).lines()
    assert any(line.startswith("audit      board: POOR: 40 whole networks") for line in lines)
