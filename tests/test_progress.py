"""Where a long job stands, and how long it will still take."""

import io
import sys

import pytest
from rich.console import Console

from nas.progress import Pace, Progress
from nas.record.status import Stage
from nas.report.live import Live
from nas.report.screen import Screen
from nas.study.progress import StudyProgress
from nas.trial import Trial


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


def trial(number, state="complete", reason="", **metrics):
    return Trial(number=number, genes=(), digest="d", state=state, metrics=metrics, reason=reason)


BEST = trial(6, **{"accuracy": 0.9597, "latency_ms@pixel3": 14.2, "params": 1.9e6})
STAND = StudyProgress(
    what="trials",
    done=7,
    planned=12,
    seconds=560.0,
    eta_seconds=400.0,
    last=BEST,
    figures={"front": 3, "hypervolume": 0.7, "best": 0.9597, "failed": 1},
    objectives=("accuracy", "latency_ms@pixel3", "params"),
    stages=(Stage(name="trials", done=7, planned=12), Stage(name="rung 2", done=0, planned=4)),
    best=BEST,
    recent=(trial(5, "failed", "out of memory [1]"), BEST),
    running=(7,),
    doing="proposes by a model of 7 networks",
)


def drawn(screen, width=100, **settings):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, **settings)
    console.print(screen)
    return console.file.getvalue()


def test_a_terminal_sees_what_is_done_what_is_best_and_what_is_left():
    clock = Clock()
    screen = Screen("fbnet  ·  pixel3", "runs/a", clock=clock)
    screen.stand(STAND)
    clock.now += 100
    text = drawn(screen, no_color=True, color_system=None)
    for part in (
        "7/12",
        "0/4",
        "trial 6  accuracy 0.9597  14.20 ms on pixel3  params 1.9 M",
        "3 networks, hypervolume 0.7000; 1 failed",
        "trial 5  failed: out of memory [1]",
        "trial 7 in training; proposes by a model of 7 networks",
        "11 min 00 s gone, about 5 min 00 s left",
    ):
        assert part in text
    # Without colours nothing but the text is sent.
    assert "\x1b[" not in text
    assert max(map(len, text.splitlines())) == 100


def test_a_narrow_terminal_wraps_and_cuts_nothing():
    screen = Screen("fbnet", "runs/a")
    screen.stand(STAND)
    text = drawn(screen, width=44, no_color=True, color_system=None)
    assert max(map(len, text.splitlines())) <= 44
    words = text.split()
    assert all(word in words for word in STAND.doing.split())


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("kind", "redrawn"), [("xterm", True), ("dumb", False)])
def test_a_terminal_that_cannot_redraw_gets_lines(monkeypatch, kind, redrawn):
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("TERM", kind)
    with Live().about("fbnet", "runs/a") as live:
        live.watch(STAND)
        live.watch(STAND)
    assert ("\x1b[" in stderr.getvalue()) is redrawn
    line = "trial 7/12  best 0.9597  front 3  hypervolume 0.7000  9 min 20 s gone, 6 min 40 s left"
    assert stderr.getvalue().count(line) == (0 if redrawn else 1)
