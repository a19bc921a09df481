"""Rounds, medians and remarks, on a machine that is made up."""

import pytest

from nas.errors import TableError, UsageError
from nas.measure import timing
from nas.measure.graphs import kernel_graph
from nas.measure.runners import REFERENCE, Command, OnnxRuntime, as_built
from nas.measure.timing import Quality, Subject, measure, remarks

QUIET = Quality(lost=0.01, reference_ms=1.0, load=0.9, call_ms=0.01)


class Scripted:
    """A runner whose graphs are names; the n-th run of each takes what a function says."""

    in_process = False
    fewest_rounds = 7

    def __init__(self, ms):
        self.ms, self.visits = ms, []

    def open(self, model):
        count = iter(range(10**6))

        def once():
            self.visits.append(model.decode())
            return self.ms(model.decode(), next(count))

        return once

    def conditions(self):
        return {}


def subjects(names):
    return [Subject(name, name.encode) for name in names]


def timings(runner, names, **settings):
    return {
        key: t
        for block in measure(subjects(names), runner, **settings)
        for key, t in block.timings.items()
    }


def test_every_round_visits_all_rows_in_another_order():
    runner = Scripted(lambda name, run: 1.0)
    timings(runner, "abcdefgh")
    rounds = [runner.visits[i : i + 8] for i in range(0, len(runner.visits), 8)]
    assert all(sorted(seen) == list("abcdefgh") for seen in rounds)
    assert len(set(map(tuple, rounds))) > 1


def test_a_row_is_its_median_and_an_outlier_moves_nothing():
    found = timings(Scripted(lambda name, run: 100.0 if run == 3 else 2.0), "a")["a"]
    assert found.latency_ms == 2.0
    assert found.sd_ms == 0
    assert not found.noisy
    assert found.count == Scripted.fewest_rounds


def test_a_noisy_row_is_timed_longer_and_marked():
    jumps = Scripted(lambda name, run: 1.0 if name == "calm" else 1.0 + 5.0 * (run % 2))
    found = timings(jumps, ["calm", "wild"], seconds_per_row=0.05)
    assert not found["calm"].noisy
    assert found["wild"].noisy
    assert found["wild"].count > found["calm"].count


def test_rows_beyond_memory_go_into_blocks(monkeypatch):
    monkeypatch.setattr(timing, "BLOCK_ROWS", 3)
    blocks = list(measure(subjects("abcdefgh"), Scripted(lambda name, run: 1.0)))
    assert [len(block.timings) for block in blocks] == [3, 3, 2]


def test_the_same_seed_visits_in_the_same_order():
    first, second = (Scripted(lambda name, run: 1.0) for _ in range(2))
    timings(first, "abcdef", seed=4)
    timings(second, "abcdef", seed=4)
    assert first.visits == second.visits


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lost": 0.4}, "another load took 40 % of this process's time"),
        (
            {"loaded": 0.6, "disturbed": 0.7, "visits": 10**9},
            "another load ran beside 70 % of the timings, and 30 % of the rows found no quiet time",
        ),
    ],
)
def test_an_unquiet_machine_is_told(changes, message):
    import re

    assert remarks([QUIET, QUIET]) == []
    (found,) = remarks([QUIET, Quality(**{**vars(QUIET), **changes})])
    assert re.search(message, found)


def test_onnxruntime_times_kernels_and_takes_the_empty_call_off():
    subject = Subject("reference", lambda: kernel_graph(REFERENCE))
    (block,) = measure([subject], OnnxRuntime(), seconds_per_row=0.05)
    assert block.timings["reference"].latency_ms > 0
    assert 0 < block.quality.call_ms < block.quality.reference_ms
    assert 0 <= block.quality.lost < 1
    assert block.timings["reference"].warm_ms > 0


class Settling(Scripted):
    """Runs in this process: a graph's first run of a visit takes 3 ms, the others 1 ms; an empty
    call a tenth of that."""

    in_process = True

    def __init__(self):
        super().__init__(lambda name, run: 0.0)

    def aside(self):
        return b"empty", b"reference"

    def open(self, model):
        self.last = None

        def once():
            cold, self.last = self.last != model, model
            return (3.0 if cold else 1.0) * (0.1 if model == b"empty" else 1.0)

        return once


def test_a_row_is_timed_cold_and_warm_and_a_network_as_in_a_loop():
    both = [Subject("row", lambda: b"row"), Subject("network", lambda: b"network", looped=True)]
    (block,) = measure(both, Settling())
    row, network = block.timings["row"], block.timings["network"]
    assert row.latency_ms == pytest.approx(3.0 - 0.3)
    assert row.warm_ms == pytest.approx(1.0 - 0.1)
    assert network.latency_ms == 1.0
    assert network.warm_ms is None


# -- providers, eight bits ------------------------------------------------------------------------


def test_a_provider_that_is_not_here_is_refused_with_those_that_are():
    with pytest.raises(UsageError, match=r"no execution provider 'cuda', only .*cpu"):
        OnnxRuntime(provider="cuda")
    with pytest.raises(UsageError, match="no dtype named 'int9'"):
        OnnxRuntime(dtype="int9")


def test_eight_bits_and_batches_are_timed_and_stated():
    runner = OnnxRuntime(dtype="int8", batch=2)
    assert runner.open(kernel_graph(REFERENCE, batch=2))() > 0
    assert runner.conditions()["dtype"].startswith("int8, static QDQ as nas export --int8")
    assert as_built(runner.conditions()).conditions() == runner.conditions()
    assert as_built({}, threads=2).conditions()["threads"] == 2


# -- commands -------------------------------------------------------------------------------------


def test_a_commands_last_number_is_the_time():
    run = Command("printf 'warm 9.9\nmean 1.25 ms\n' {model}").open(b"model")
    assert run() == 1.25
    assert run().energy_mj is None


@pytest.mark.parametrize("line", ["1.25 ms 40.5 mJ", "1.25ms 40.5mJ", "mean 1.25 40.5 mJ"])
def test_a_command_may_tell_energy(line):
    found = Command(f"printf '{line}' {{model}}").open(b"model")()
    assert (found, found.energy_mj) == (1.25, 40.5)


def test_energy_of_nothing_is_refused():
    with pytest.raises(TableError, match="must end in milliseconds above 0"):
        Command("printf '1.25 ms 0 mJ' {model}").open(b"model")()


@pytest.mark.parametrize(
    ("command", "error", "message"),
    [
        ("bench it", UsageError, "a runner is a command with {model} where the ONNX file goes"),
        ("false {model}", TableError, "the runner failed with exit code 1 and said: nothing"),
        ("echo fast {model}", TableError, "last line must end in milliseconds above 0, not 'fast"),
        ("printf '0 ms' {model}", TableError, "must end in milliseconds above 0, not '0 ms'"),
        ("printf '-3' {model}", TableError, "must end in milliseconds above 0"),
        ("true {model}", TableError, "must end in milliseconds above 0, not ''"),
        (
            "no-such-command-here {model}",
            UsageError,
            "the runner does not start: no-such-command-here",
        ),
    ],
)
def test_a_command_that_does_not_time_is_told(command, error, message):
    with pytest.raises(error, match=message):
        Command(command).open(b"model")()
