"""Worker processes: they die, hang and fail, and the run goes on; nothing is paid twice."""

from functools import partial

import pytest

from nas.errors import RunError, UsageError
from nas.objectives import Objectives, parse_objectives
from nas.record import race
from nas.record.identity import identity
from nas.record.race import first_of_each
from nas.record.store import Store, read
from nas.strategies import make
from nas.study.processes import Processes
from nas.study.race import Racing, promoted, promotion_seed
from nas.study.study import Study, evaluation_seed
from nas.study.workers import Task
from nas.testing.toys import HashEvaluator, toy_domain
from tests.processes.evaluators import Wild, dies, refuses

DOMAIN = toy_domain()
OBJECTIVES = Objectives(parse_objectives(["accuracy", "params"], DOMAIN.compiled.names))
IDENTITY = identity(DOMAIN, OBJECTIVES, strategy="random", seed=1)


def study(folder, racing=None):
    store = Store.create(folder / "run", DOMAIN.space, IDENTITY)
    strategy = make("random", DOMAIN, seed=1, objectives=2)
    return Study(DOMAIN, strategy, HashEvaluator(), store, racing=racing)


def wild(folder, acts):
    (folder / "calls").mkdir()
    return partial(Wild, folder / "calls", acts)


def test_two_workers_give_what_one_gives_and_survive_deaths_and_failures(tmp_path):
    made = wild(tmp_path, {2: "die", 4: "odd", 6: "memory", 7: "nan", 8: "percent"})
    found = study(tmp_path)
    with Processes([made] * 2) as workers:
        outcome = found.run(trials=12, workers=workers)
    record = read(tmp_path / "run")
    assert sorted(t.number for t in outcome.trials) == list(range(12))
    assert record.claims == ()
    reasons = sorted(trial.reason for trial in record.trials if trial.state == "failed")
    assert reasons == [
        "ZeroDivisionError: by zero",
        "metric 'accuracy' is a share of images, 0 to 1, not 91",
        "metric 'accuracy' must be finite, not nan",
        "out of memory",
    ]
    for trial in record.trials:
        if trial.state == "complete":
            network = DOMAIN.space.decode(trial.genes)
            expected = HashEvaluator().evaluate(network, evaluation_seed(1, trial.digest, 0))
            assert expected.items() <= dict(trial.metrics).items()
    assert len(list((tmp_path / "calls").iterdir())) == 13  # the one that died was done again


def check_race(folder, racing):
    """That the race is the one that a single worker's would be, whatever the order of its ends."""
    found = read(folder)
    _, *longer = race.read(folder).standings(found.trials, OBJECTIVES)
    below = first_of_each(found.trials)
    for rung in longer:
        chosen = promoted(below, racing.kept(len(below)), OBJECTIVES)
        assert {t.number for t in rung.trials} == {t.number for t in chosen}
        for trial in rung.complete:
            network = DOMAIN.space.decode(trial.genes)
            seed = promotion_seed(1, trial.digest, rung.factor)
            expected = HashEvaluator().longer(rung.factor).evaluate(network, seed)
            assert expected.items() <= dict(trial.metrics).items()
        below = first_of_each(rung.trials)
    return [len(rung.trials) for rung in longer]


def test_two_workers_race_and_survive_deaths(tmp_path):
    # Calls 12 to 19 are of the second and third rung.
    made = wild(tmp_path, {13: "die", 14: "odd"})
    found = study(tmp_path, Racing(eta=2))
    with Processes([made] * 2) as workers:
        outcome = found.run(trials=12, workers=workers)
    assert outcome.reason == "raced in 3 rungs of 12, 5 and 3 networks"
    # One of the six of the second rung has failed.
    assert check_race(tmp_path / "run", Racing(eta=2)) == [6, 3]
    assert len(list((tmp_path / "calls").iterdir())) == 22


def test_a_network_that_kills_its_workers_fails_and_one_that_hangs_is_ended(tmp_path):
    found = study(tmp_path)
    with Processes(
        [wild(tmp_path, {0: "die", 1: "die", 2: "die", 3: "hang"})], timeout_seconds=0.5
    ) as workers:
        outcome = found.run(trials=3, workers=workers)
    assert [trial.reason for trial in outcome.trials] == [
        "3 worker processes died of it, the last one by SIGKILL: out of memory?",
        "took longer than --trial-timeout, 0.5 s",
        "",
    ]


def test_what_is_no_networks_fault_ends_the_run(tmp_path):
    with (
        Processes([wild(tmp_path, {"all": "usage"})]) as workers,
        pytest.raises(UsageError, match="no such setting"),
    ):
        study(tmp_path).run(trials=3, workers=workers)
    with Processes([refuses]) as workers, pytest.raises(RunError, match="the data are gone"):
        _one(workers)
    with (
        Processes([dies]) as workers,
        pytest.raises(RunError, match="3 worker processes in a row died while start"),
    ):
        _one(workers)
    with pytest.raises(UsageError, match="workers need a number of at least 1"):
        Processes([dies] * 0)


def _one(workers):
    workers.submit(Task(number=0, network=DOMAIN.space.decode((0,) * 8), seed=0))
    workers.wait(None)


def test_a_training_is_followed_across_the_pipe(tmp_path):
    seen = []

    def judge(number, part, scores):
        seen.append((number, part, scores["search_accuracy"]))
        return part < 2

    with Processes([wild(tmp_path, {})]) as workers:
        for number in (5, 6):  # the second one goes to a worker that waits for it
            workers.submit(Task(number=number, network=DOMAIN.space.decode((0,) * 8), seed=0))
            [(ended, measured)] = workers.wait(judge)
            assert (ended, measured.reason) == (number, "stopped early after part 2")
            assert measured.stopped
            assert measured.curve == ({"search_accuracy": 0.1}, {"search_accuracy": 0.2})
    assert seen == [(5, 1, 0.1), (5, 2, 0.2), (6, 1, 0.1), (6, 2, 0.2)]
