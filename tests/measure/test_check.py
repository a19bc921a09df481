"""A check finds the row that is ten times off, and tells drift from it."""

from dataclasses import replace

import pytest
from made_up import ByName

from nas.errors import TableError
from nas.measure import build, check, timing
from nas.measure.build import build_table
from nas.testing.toys import toy_space


@pytest.fixture
def table(tmp_path, monkeypatch):
    for module in (build, check):
        monkeypatch.setattr(module, "subject", lambda key, **_: timing.Subject(key, key.encode))
    return build_table("board", [toy_space(4)], ByName(), tmp_path)


def off(table, key, factor):
    row = table.rows[key]
    return replace(
        table, rows={**table.rows, key: replace(row, latency_ms=factor * row.latency_ms)}
    )


def heaviest(table):
    return max(
        (key for key in table.rows if "@" in key), key=lambda key: table.rows[key].latency_ms
    )


def test_a_sound_table_is_ok(table):
    found = check.check(table, ByName())
    assert found.ok
    assert len(found.rows) == 20
    assert found.drift == pytest.approx(0, abs=1e-6)
    assert found.remarks == []


@pytest.mark.parametrize("factor", [10.0, 0.1])
def test_a_row_ten_times_off_is_found_and_named(table, factor):
    key = heaviest(table)
    found = check.check(off(table, key, factor), ByName())
    assert [row.key for row in found.wrong] == [key]
    assert not found.ok


def test_a_slower_device_is_drift_not_wrong_rows(table):
    class Slower(ByName):
        def open(self, model):
            run = super().open(model)
            return lambda: 1.5 * run()

    found = check.check(table, Slower(runtime="newer"))
    assert found.drift == pytest.approx(0.5)
    assert found.wrong == []
    assert found.remarks == ["runtime was made up, now newer"]
    assert not found.ok


def test_a_slow_moment_is_timed_again(table, monkeypatch):
    class Slow(ByName):
        rounds = 0

        def open(self, model):
            run, slow = super().open(model), Slow.rounds == 1
            return lambda: (1.5 if slow else 1.0) * run()

    whole = check.measure

    def counted(*args, **kwargs):
        Slow.rounds += 1
        return whole(*args, **kwargs)

    monkeypatch.setattr(check, "measure", counted)
    found = check.check(table, Slow())
    assert Slow.rounds == 2
    assert found.ok
    assert found.drift == pytest.approx(0, abs=1e-6)


def test_differences_below_an_empty_call_are_nobodys_fault(table):
    class Here(ByName):
        in_process = True

        def open(self, model):
            if model in (b"call", b"reference"):
                return lambda: 1.0
            return super().open(model)

        def aside(self):
            return b"call", b"reference"

    key = min(table.rows, key=lambda key: table.rows[key].latency_ms)
    assert table.rows[key].latency_ms < 0.05
    found = check.check(off(table, key, 10.0), Here(), sample=len(table.rows))
    assert found.wrong == []


def test_how_cold_a_row_was_is_no_drift(table):
    rows = {
        key: replace(row, latency_ms=3 * row.latency_ms, extra={"warm_ms": row.latency_ms})
        for key, row in table.rows.items()
    }

    class Here(ByName):
        in_process = True

        def aside(self):
            return None, b"conv:8>8,8>8,k3,s1,g1,"

    assert check.check(replace(table, rows=rows), Here()).drift == pytest.approx(0, abs=1e-6)


def test_rows_of_ops_that_are_not_installed_cannot_be_timed(table):
    foreign = replace(table, rows={"warp(channels=8)@3x8x8": next(iter(table.rows.values()))})
    with pytest.raises(
        TableError, match="has no row that can be timed here: its ops are not installed"
    ):
        check.check(foreign, ByName())
