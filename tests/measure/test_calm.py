"""What another load does to the references, and what is made of it."""

import pytest

from nas.measure import calm
from nas.measure.calm import Calm
from nas.measure.timing import Subject, measure


class Machine:
    """References and rows take a millisecond, and more in the moments that a function names."""

    in_process = True
    fewest_rounds = 7

    def __init__(self, slower):
        self.slower, self.runs = slower, 0

    def aside(self):
        return None, (b"reference",)

    def open(self, model):
        def once():
            self.runs += 1
            return self.slower(self.runs)

        return once


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Whatever runs beside the tests is not seen, and no clock decides when to look."""
    monkeypatch.setattr(calm, "STAT", calm.Path("/nowhere"))
    monkeypatch.setattr("nas.measure.timing._interruptions", lambda: 0)


def test_a_slow_stretch_is_known_once_there_was_a_quiet_one():
    looked = Calm(Machine(lambda run: 1.5 if run <= 8 else 1.0))
    first = [looked.look(), looked.look()]
    # Nothing was faster yet.
    assert [looked.was_quiet(look) for look in first] == [True, True]
    later = [looked.look() for _ in range(3)]
    assert [looked.was_quiet(look) for look in (*first, *later)] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_what_others_take_of_the_processors_is_seen(tmp_path, monkeypatch):
    stat = tmp_path / "stat"
    monkeypatch.setattr(calm, "STAT", stat)
    monkeypatch.setattr(calm, "SHORTEST_SECONDS", 0.0)
    stat.write_text("cpu 100 0 0 0 0 0 0 0 0 0\n")
    looked = Calm(Machine(lambda run: 1.0))
    assert looked.was_quiet(looked.look())
    # Guests of the same host count: 1,000 seconds of steal.
    stat.write_text("cpu 100 0 0 0 0 0 0 100000 0 0\n")
    assert not looked.was_quiet(looked.look())


def test_disturbed_visits_are_repeated_and_told():
    """A burst of load that makes all three times as slow."""
    machine = Machine(lambda run: 3.0 if 300 <= run < 700 else 1.0)
    rows = [Subject(name, name.encode) for name in "abcdefghijklmnopqrstuvwxyz"]
    (block,) = measure(rows, machine, seconds_per_row=0.1)
    assert {timing.latency_ms for timing in block.timings.values()} == {1.0}
    assert {timing.sd_ms for timing in block.timings.values()} == {0.0}
    assert 0.1 < block.quality.disturbed < 0.8
    assert block.quality.loaded == 0


def test_where_no_moment_is_quiet_the_rows_say_so(monkeypatch):
    monkeypatch.setattr(Calm, "was_quiet", lambda self, look: False)
    rows = [Subject(name, name.encode) for name in "abc"]
    (block,) = measure(rows, Machine(lambda run: 1.0))
    assert all(timing.loaded for timing in block.timings.values())
    assert block.quality.loaded == block.quality.disturbed == 1
