"""Races: who is promoted, that rungs never mix, and that a kill changes nothing."""

import json
from dataclasses import replace

import pytest

from nas.errors import RunError, UsageError
from nas.objectives import Objective, Objectives, parse_objectives
from nas.record import race as record
from nas.record.identity import identity
from nas.record.race import FILE, first_of_each
from nas.record.store import Store, canonical, read
from nas.strategies import make
from nas.study.race import Racing, promoted, promotion_seed
from nas.study.study import Study, evaluation_seed
from nas.testing.toys import HashEvaluator, toy_domain
from nas.trial import Trial

DOMAIN = toy_domain()
OBJECTIVES = Objectives(parse_objectives(["accuracy", "params"], DOMAIN.compiled.names))
IDENTITY = identity(DOMAIN, OBJECTIVES, strategy="random", seed=1)
RACING = Racing()


class Clock:
    """Seconds that only an evaluation takes."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Timed(HashEvaluator):
    """A trial takes one second, a longer training as many as its factor."""

    def __init__(self, clock, failing=0.0):
        super().__init__(failing=failing)
        self.clock = clock

    def evaluate(self, architecture, seed):
        self.clock.now += self.factor
        return super().evaluate(architecture, seed)


class Killed(HashEvaluator):
    """Dies at the evaluation of that number."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def evaluate(self, architecture, seed):
        # As a signal would: it is no error that a trial could fail by.
        if len(self.calls) == self.at:
            raise KeyboardInterrupt
        return super().evaluate(architecture, seed)


def opened(folder):
    there = (folder / "run.json").exists()
    return (Store.resume if there else Store.create)(folder, DOMAIN.space, IDENTITY)


def raced(folder, evaluator=None, *, racing=RACING, clock=None, watch=None, **budget):
    with opened(folder) as store:
        strategy = make("random", DOMAIN, seed=1, objectives=2)
        study = Study(
            DOMAIN,
            strategy,
            evaluator or HashEvaluator(),
            store,
            racing=racing,
            **({} if clock is None else {"clock": clock}),
            **({} if watch is None else {"watch": watch}),
        )
        return study.run(**(budget or {"trials": 20}))


def standings(folder):
    return record.read(folder).standings(read(folder).trials, OBJECTIVES)


def trial(number, accuracy, ms, objectives):
    metrics = {"accuracy": accuracy, "latency_ms@a": ms}
    return Trial(
        number=number,
        genes=(number,),
        digest=f"d{number}",
        state="complete",
        metrics=metrics,
        losses=objectives.told(metrics),
    )


LATENCY = Objectives((Objective("accuracy", "maximize"), Objective("latency_ms@a", "minimize")))
ALONE = Objectives(LATENCY.each, quality_alone=True)


def test_each_rung_trains_a_third_of_the_one_below_for_three_times_as_long(tmp_path):
    evaluator = HashEvaluator()
    outcome = raced(tmp_path, evaluator)
    first, second, third = standings(tmp_path)
    assert [len(first.trials), len(second.trials), len(third.trials)] == [20, 7, 3]
    assert [rung.factor for rung in (first, second, third)] == [1, 3, 9]
    assert len(evaluator.calls) == 30
    assert outcome.reason == "raced in 3 rungs of 20, 7 and 3 networks"
    assert outcome.evaluated == 20
    chosen = promoted(first.trials, 7, OBJECTIVES)
    assert {t.number for t in second.trials} == {t.number for t in chosen}
    assert {t.digest for t in third.trials} <= {t.digest for t in second.trials}
    for longer in (second, third):
        for found in longer.trials:
            network = DOMAIN.space.decode(found.genes)
            seed = promotion_seed(1, found.digest, longer.factor)
            assert seed != evaluation_seed(1, found.digest, 0)
            own = HashEvaluator().longer(longer.factor).evaluate(network, seed)
            assert own.items() <= dict(found.metrics).items()


def test_the_strategy_is_told_the_trials_alone(tmp_path):
    raced(tmp_path / "raced", trials=20)
    raced(tmp_path / "flat", racing=None, trials=20)
    assert canonical(tmp_path / "raced").startswith(canonical(tmp_path / "flat"))


def test_a_race_killed_at_any_training_ends_as_the_unbroken_one(tmp_path):
    raced(tmp_path / "unbroken")
    expected = record.read(tmp_path / "unbroken")
    for at in range(0, 30, 3):
        folder = tmp_path / f"killed{at}"
        with pytest.raises(KeyboardInterrupt):
            raced(folder, Killed(at))
        evaluator = HashEvaluator()
        raced(folder, evaluator)
        assert len(evaluator.calls) == 30 - at
        assert canonical(folder) == canonical(tmp_path / "unbroken")
        chosen = [rung.trials for rung in record.read(folder).rungs]
        assert chosen == [rung.trials for rung in expected.rungs]


def test_a_torn_last_line_is_trained_again_and_nothing_else(tmp_path):
    raced(tmp_path)
    expected = canonical(tmp_path)
    text = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(text[:-20])
    evaluator = HashEvaluator()
    raced(tmp_path, evaluator)
    assert len(evaluator.calls) == 1
    assert canonical(tmp_path) == expected


def test_more_trials_promote_more_and_pay_for_nothing_twice(tmp_path):
    raced(tmp_path, trials=20)
    evaluator = HashEvaluator()
    raced(tmp_path, evaluator, trials=40)
    _, second, third = standings(tmp_path)
    rungs = record.read(tmp_path).rungs
    assert [len(rung.trials) for rung in rungs] == [7, 3, 14, len(rungs[-1].trials)]
    # What the first race had promoted keeps its scores, whether or not it is still among the best.
    assert {*rungs[0].trials, *rungs[2].trials} == {t.number for t in second.trials}
    assert {*rungs[1].trials, *rungs[3].trials} == {t.number for t in third.trials}
    new = len(second.trials) - 7 + len(third.trials) - 3
    assert len(evaluator.calls) == 20 + new


def test_a_finished_run_can_be_raced_later(tmp_path):
    raced(tmp_path, racing=None, trials=20)
    evaluator = HashEvaluator()
    raced(tmp_path, evaluator, trials=20)
    assert len(evaluator.calls) == 10


def test_other_rules_choose_anew_and_keep_schedules_apart(tmp_path):
    raced(tmp_path, racing=Racing(eta=2, rungs=2), trials=20)
    raced(tmp_path, racing=Racing(eta=4, rungs=2), trials=20)
    assert [(rung.factor, len(rung.trials)) for rung in standings(tmp_path)] == [
        (1, 20),
        (2, 10),
        (4, 5),
    ]


def test_time_is_shared_evenly_among_the_rungs(tmp_path):
    clock = Clock()
    outcome = raced(tmp_path, Timed(clock), clock=clock, seconds=60)
    assert [len(rung.trials) for rung in standings(tmp_path)] == [20, 6, 2]
    assert clock.now <= 60
    assert outcome.seconds == clock.now
    # Twice the time doubles the first rung: the longer trainings of before do not count to it.
    clock.now = 0
    raced(tmp_path, Timed(clock), clock=clock, seconds=120)
    assert len(standings(tmp_path)[0].trials) == 40
    assert clock.now <= 60


def test_a_rung_that_does_not_fit_is_not_begun(tmp_path):
    clock = Clock()
    outcome = raced(tmp_path, Timed(clock), clock=clock, seconds=36)
    assert [len(rung.trials) for rung in standings(tmp_path)] == [12, 4]
    reason = "what rung 3 takes, about 9 s a network, would not fit into the time"
    assert outcome.reason == reason


def test_a_rung_of_one_network_would_compare_nothing(tmp_path):
    outcome = raced(tmp_path / "nine", trials=9)
    assert outcome.reason == "raced in 2 rungs of 9 and 3 networks"
    outcome = raced(tmp_path / "three", trials=3)
    assert outcome.reason == "3 trials are done; 3 networks are too few to race"
    assert not (tmp_path / "three" / FILE).exists()


def test_failed_longer_trainings_are_recorded_and_go_no_further(tmp_path):
    raced(tmp_path, HashEvaluator(failing=0.4), trials=40)
    first, second, third = standings(tmp_path)
    failed = [t for t in second.trials if t.state == "failed"]
    assert failed
    assert {t.reason for t in failed} == {"the loss is not finite"}
    assert not {t.digest for t in failed} & {t.digest for t in third.trials}
    rungs = record.read(tmp_path).rungs
    assert rungs[0].among == len(first_of_each(first.trials))
    assert len(rungs[1].trials) == RACING.kept(rungs[1].among)
    evaluator = HashEvaluator()
    raced(tmp_path, evaluator, trials=40)
    assert evaluator.calls == []


def test_at_one_latency_the_best_are_promoted():
    trials = [trial(n, n / 10, 50 + n % 3, ALONE) for n in range(9)]
    assert [t.number for t in promoted(trials, 3, ALONE)] == [8, 7, 6]


def test_the_loss_ranks_where_it_is_known():
    trials = [trial(n, 0.5, 50, ALONE) for n in range(4)]
    losses = [1.3, 1.1, 1.4, 1.2]
    known = [
        replace(each, metrics={**each.metrics, "search_loss": loss})
        for each, loss in zip(trials, losses, strict=True)
    ]
    assert [t.number for t in promoted(known, 2, ALONE)] == [1, 3]
    # Not of some networks alone: the others would have another measure.
    assert [t.number for t in promoted([trials[0], *known[1:]], 2, ALONE)] == [0, 1]


def test_over_a_range_each_part_of_it_promotes_its_best():
    # Fast networks score best, as after short trainings they do.
    fast = [trial(n, 0.9 - n / 100, 5 + n / 10, LATENCY) for n in range(8)]
    slow = [trial(8 + n, 0.5 + n / 100, 60 + n, LATENCY) for n in range(4)]
    chosen = promoted([*fast, *slow], 4, LATENCY)
    assert [t.number for t in chosen] == [0, 11, 1, 10]
    # Without strata all four would be fast.
    assert [t.number for t in promoted([*fast, *slow], 4, ALONE)] == [0, 1, 2, 3]


def test_strata_of_one_latency_alone_are_one():
    trials = [trial(n, n / 10, 50, LATENCY) for n in range(4)]
    assert [t.number for t in promoted(trials, 2, LATENCY)] == [3, 2]


def test_progress_of_a_rung_counts_its_own_networks(tmp_path):
    seen = []
    raced(tmp_path, watch=seen.append)
    longer = [step for step in seen if step.what != "trials" and step.last is not None]
    assert [(step.what, step.done, step.planned) for step in longer[:2]] == [
        ("rung 2, network", 1, 7),
        ("rung 2, network", 2, 7),
    ]
    # While trials run, the time of the longer trainings is still to come.
    last_trial = [step for step in seen if step.what == "trials"][-1]
    assert [(stage.name, stage.done, stage.planned) for stage in last_trial.stages] == [
        ("trials", 20, 20),
        ("rung 2", 0, 7),
        ("rung 3", 0, 3),
    ]
    assert last_trial.eta_seconds > 0
    assert longer[-1].eta_seconds == 0
    assert (longer[-1].what, longer[-1].done) == ("rung 3, network", 3)
    scores = [step.last.metrics["accuracy"] for step in longer if step.what.startswith("rung 3")]
    assert longer[-1].figures["best"] == max(scores)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1", "race eta must be 2 to 16, not 1"),
        ("eta=3,rungs=9", "race rungs must be 2 to 6, not 9"),
        ("three", "race eta must be a whole number, not 'three'"),
        ("etta=3", "no race setting named 'etta'. Did you mean 'eta'"),
    ],
)
def test_rules_that_are_none_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        Racing.parse(text)


def test_rules_are_read():
    assert Racing.parse("") is None
    assert Racing.parse("2") == Racing(eta=2)
    assert Racing.parse("eta=4,rungs=2") == Racing(eta=4, rungs=2)
    assert Racing(eta=3).counts(32) == [32, 11, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factor": 1}, "factor must be at least 2, not 1"),
        ({"trials": [-1]}, r"trials\[0\] must be at least 0, not -1"),
        ({"kind": "lap"}, "kind must be one of rung, promotion, not 'lap'"),
        ({"speed": 3}, "speed"),
    ],
)
def test_an_edited_file_is_refused_in_one_line(tmp_path, change, message):
    raced(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    rows[0] |= change
    (tmp_path / FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RunError, match=message) as caught:
        record.read(tmp_path)
    assert "Remove it to race anew" in str(caught.value)


def test_another_runs_race_is_refused(tmp_path):
    raced(tmp_path / "long", trials=40)
    raced(tmp_path / "short", racing=None, trials=20)
    (tmp_path / "short" / FILE).write_bytes((tmp_path / "long" / FILE).read_bytes())
    rows = [json.loads(line) for line in (tmp_path / "short" / FILE).read_text().splitlines()]
    rows[0] |= {"among": 20, "trials": [39]}
    (tmp_path / "short" / FILE).write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(RunError, match="there is no finished trial 39"):
        raced(tmp_path / "short", trials=20)


def test_an_evaluator_without_longer_trainings_says_so(tmp_path):
    class Short(HashEvaluator):
        def longer(self, factor):
            return super(HashEvaluator, self).longer(factor)

    with pytest.raises(UsageError, match="cannot train for longer: leave out --race"):
        raced(tmp_path, Short())
