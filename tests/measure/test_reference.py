"""What a slow machine does to the reference, and what is made of it."""

import pytest

from nas.measure import timing
from nas.measure.reference import EXPONENT, Reference
from nas.measure.timing import Quality, Subject, measure, slowdown_line


class Machine:
    """Reference and rows take a millisecond, and more in the moments that a function names.

    Rows slow down as much less than the reference as is assumed of them.
    """

    in_process = True
    fewest_rounds = 7

    def __init__(self, slower):
        self.slower, self.runs = slower, 0

    def aside(self):
        return None, b"reference"

    def open(self, model):
        def once():
            self.runs += 1
            slower = self.slower(self.runs)
            return slower if model == b"reference" else slower**EXPONENT

        return once


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Whatever runs beside the tests is not seen, and no clock decides when to look."""
    monkeypatch.setattr(timing, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr("nas.measure.timing._interruptions", lambda: 0)


def test_a_slow_stretch_is_known_once_there_was_a_quick_one():
    reference = Reference(Machine(lambda run: 1.5 if run <= 8 else 1.0))
    first = [reference.look(), reference.look()]
    # Nothing was faster yet.
    assert [reference.slowdown(look) for look in first] == [1.0, 1.0]
    later = [reference.look() for _ in range(20)]
    assert reference.slowdown(first[0]) == pytest.approx(1.5**EXPONENT)
    assert reference.slowdown(later[-1]) == 1.0
    assert reference.best_ms == 1.0


def test_times_are_those_of_the_best_pace_however_slow_the_machine_was():
    machine = Machine(lambda run: 1.6 if run % 1000 < 700 else 1.0)
    rows = [Subject(name, name.encode) for name in "abcdefghijklmnopqrstuvwxyz"]
    (block,) = measure(rows, machine, seconds_per_row=0.1)
    for found in block.timings.values():
        assert found.latency_ms == pytest.approx(1.0, abs=0.02)
    assert block.quality.reference_ms == 1.0
    assert block.quality.slowdown_90 == pytest.approx(1.6**EXPONENT)
    assert block.quality.disturbed == 0
    assert "up to 1.46 in nine of ten moments" in slowdown_line([block.quality])


def test_what_was_far_too_slow_is_repeated_and_told():
    machine = Machine(lambda run: 3.0 if 300 <= run < 700 else 1.0)
    rows = [Subject(name, name.encode) for name in "abcdefghijklmnopqrstuvwxyz"]
    (block,) = measure(rows, machine, seconds_per_row=0.1)
    assert {found.latency_ms for found in block.timings.values()} == {1.0}
    assert 0.1 < block.quality.disturbed < 0.8
    assert block.quality.loaded == 0


def test_where_no_moment_is_quiet_the_rows_say_so(monkeypatch):
    monkeypatch.setattr(timing, "MOST_SLOWDOWN", 0.5)
    rows = [Subject(name, name.encode) for name in "abc"]
    (block,) = measure(rows, Machine(lambda run: 1.0))
    assert all(found.loaded for found in block.timings.values())
    assert block.quality.loaded == block.quality.disturbed == 1


def test_a_steady_machine_needs_no_line():
    quality = Quality(lost=0.0, reference_ms=1.0, load=0.0, call_ms=0.0)
    assert slowdown_line([quality]) == ""
    assert slowdown_line([]) == ""
