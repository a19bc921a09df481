"""An audit compares the table with whole networks, and what it learns from half of them holds for
the other half."""

import numpy as np
import pytest
from made_up import ByName

from nas.errors import TableError
from nas.latency.table import Table
from nas.measure import build, timing, verify
from nas.measure.build import build_table
from nas.measure.verify import Timed, draw
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
    assert found.every.networks == len(found.held) == 20
    assert found.every.coverage_90 >= 0.8
    again = Table.load(table.path)
    assert again.estimate(networks[1].network).latency_ms == pytest.approx(
        networks[1].latency_ms, rel=0.1
    )


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
    monkeypatch.setattr(verify, "network_graph", lambda network: network.digest.encode())
    networks = [("toy", network) for network in draw(SPACE, 5, seed=0)]

    class Steady(ByName):
        def open(self, model):
            self.opened.append(model.decode())
            ms = float(len(self.opened))
            return lambda: ms

    runner = Steady()
    found, blocks = verify.time_networks(networks, runner, threads=1, seconds=0.01, seed=0)
    assert len(runner.opened) == 10
    assert sorted(one.first_ms for one in found) == [1, 2, 3, 4, 5]
    assert sorted(one.second_ms for one in found) == [6, 7, 8, 9, 10]
    assert len(blocks) == 2


def test_a_search_says_what_is_known_of_its_table(table):
    search = Search().changed(space="fbnet", devices=("pixel1",))
    assert any(
        line.startswith("audit      pixel1: none on record") for line in plan(search).lines()
    )
    verify.verify(table, timed(table, lambda ms, layers: 2 * ms))
    lines = plan(search.changed(devices=(str(table.path),))).lines()
    assert any(line.startswith("audit      board: POOR: 40 whole networks") for line in lines)
