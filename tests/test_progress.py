"""Where a long job stands, and how long it will still take."""

from nas.progress import Pace, Progress
from nas.report.live import Live


class Clock:
    """Time that passes only when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_goes_by_the_steps_of_this_session():
    clock = Clock()
    pace = Pace("row", 10, done=4, seconds=30.0, clock=clock)
    clock.now += 6
    assert pace.at(6, "conv") == Progress(
        what="row", done=6, planned=10, seconds=36.0, eta_seconds=12.0, last="conv"
    )


def test_nothing_is_said_of_the_time_left_before_a_step_is_timed():
    assert Pace("row", 10, done=4).at(4).eta_seconds is None


def test_no_time_is_left_at_the_end():
    clock = Clock()
    pace = Pace("row", 2, clock=clock)
    clock.now += 3
    assert pace.at(2, figures={"loss": 0.5}).eta_seconds == 0.0


def test_a_job_that_stops_at_a_time_is_told_to_last_no_longer():
    clock = Clock()
    pace = Pace("row", 10_000, until=160.0, clock=clock)
    clock.now += 10
    assert pace.at(100).eta_seconds == 50.0


def test_reading_that_takes_long_is_told_with_the_time_left(capsys):
    clock = Clock()
    pace, live = Pace("index", 1000, clock=clock), Live()
    clock.now += 1
    live.read(pace.at(100))
    assert capsys.readouterr().err == ""
    clock.now += 2
    live.read(pace.at(300))
    live.read(pace.at(400))
    assert capsys.readouterr().err == "index 300/1000  7 s left\n"
    live.read(pace.at(1000))
    assert capsys.readouterr().err == "index 1000/1000  0 s left\n"
    Live(quiet=True).read(pace.at(300))
    assert capsys.readouterr().err == ""
