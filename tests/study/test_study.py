"""The loop: budgets, answers from the record, failures, resuming, progress."""

from collections import Counter

import pytest

from nas.domain import Bound
from nas.errors import NasError, RunError, SpaceError, UsageError
from nas.objectives import Objectives, parse_objectives
from nas.pareto import hypervolume
from nas.record.identity import identity
from nas.record.store import Claim, Store, canonical, read
from nas.strategies.base import Proposal, Strategy
from nas.study.study import Study, evaluation_seed
from nas.testing.toys import HashEvaluator, toy_domain
from tests.climber import Climber

DOMAIN = toy_domain()
OBJECTIVES = Objectives(parse_objectives(["accuracy", "params"], DOMAIN.compiled.names))
IDENTITY = identity(DOMAIN, OBJECTIVES, strategy="any", seed=1)


class Listed(Strategy):
    """Proposes the listed genes in turn, round and round."""

    def __init__(self, *genes):
        self.genes, self.told, self.asked = genes, [], []

    def ask(self, number, pending=()):
        self.asked.append((number, tuple(pending)))
        return Proposal(self.genes[number % len(self.genes)])

    def tell(self, trial):
        self.told.append(trial)

    def recommend(self):
        return self.genes[0]


def genes(number):
    return (number % 3, number // 3 % 4, 0, 0, 0, 0, 0, 0)


def create(folder, domain=DOMAIN):
    return Store.create(folder, domain.space, IDENTITY)


def resume(folder):
    return Store.resume(folder, DOMAIN.space, IDENTITY)


class Fails:
    """Raises the same error for every network."""

    noisy = False

    def __init__(self, error):
        self.error = error

    def evaluate(self, architecture, seed):
        raise self.error


def run_study(domain, strategy, evaluator, store, **budget):
    return Study(domain, strategy, evaluator, store).run(**budget)


def test_every_trial_is_claimed_evaluated_finished_and_told_in_order(tmp_path):
    strategy, evaluator = Listed(*map(genes, range(8))), HashEvaluator()
    with create(tmp_path) as store:
        outcome = run_study(DOMAIN, strategy, evaluator, store, trials=5)
    assert [t.number for t in strategy.told] == [0, 1, 2, 3, 4]
    assert outcome.trials == tuple(strategy.told) == read(tmp_path).trials
    assert evaluator.calls == [t.digest for t in outcome.trials]
    assert outcome.trials[3].digest == DOMAIN.space.decode(genes(3)).digest
    assert outcome.trials[3].metrics["params"] == DOMAIN.costs(genes(3))["params"]
    assert (outcome.evaluated, outcome.reason) == (5, "5 trials are done")


def test_a_known_digest_is_answered_told_and_not_paid_again(tmp_path):
    strategy, evaluator = Listed(genes(0), genes(0), genes(1), genes(0)), HashEvaluator()
    with create(tmp_path) as store:
        outcome = run_study(DOMAIN, strategy, evaluator, store, trials=2)
    assert outcome.evaluated == 2
    assert len(evaluator.calls) == 2
    assert [t.number for t in strategy.told] == [0, 1, 2]
    assert strategy.told[1].metrics == strategy.told[0].metrics
    assert read(tmp_path).answered == {1}


def test_a_noisy_evaluator_repeats_with_another_seed(tmp_path):
    strategy, evaluator = Listed(genes(0)), HashEvaluator(noisy=True)
    with create(tmp_path) as store:
        outcome = run_study(DOMAIN, strategy, evaluator, store, trials=3)
    assert len({t.metrics["accuracy"] for t in outcome.trials}) == 3
    assert len({t.digest for t in outcome.trials}) == 1


def test_evaluation_seeds_depend_on_run_seed_digest_and_repeat():
    seeds = [evaluation_seed(s, d, r) for s in (0, 1) for d in ("a", "b") for r in (0, 1)]
    assert len(set(seeds)) == 8
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert evaluation_seed(0, "a", 0) == 843680772


def test_a_network_outside_the_bounds_is_infeasible_and_not_evaluated(tmp_path):
    domain = toy_domain([Bound("params", upper=DOMAIN.costs(genes(0))["params"])])
    strategy, evaluator = Listed(genes(5), genes(0)), HashEvaluator()
    with create(tmp_path, domain) as store:
        outcome = run_study(domain, strategy, evaluator, store, trials=1)
    assert [t.state for t in outcome.trials] == ["infeasible", "complete"]
    assert outcome.trials[0].reason.startswith("not within params <= ")
    assert outcome.trials[0].losses == ()
    assert len(evaluator.calls) == 1


def test_genes_the_space_does_not_know_are_the_strategys_fault(tmp_path):
    with create(tmp_path) as store, pytest.raises(SpaceError, match="takes 8 genes, not 1"):
        run_study(DOMAIN, Listed((0,)), HashEvaluator(), store, trials=1)


@pytest.mark.parametrize(
    ("error", "reason"), [(NasError("no\nlight"), "no light"), (MemoryError(), "out of memory")]
)
def test_a_failed_trial_keeps_its_reason_and_is_told(tmp_path, error, reason):
    strategy = Listed(*map(genes, range(12)))
    with create(tmp_path) as store:
        outcome = run_study(DOMAIN, strategy, Fails(error), store, trials=3)
    assert [(t.state, t.reason, t.losses) for t in strategy.told] == [("failed", reason, ())] * 3
    assert outcome.evaluated == 3


def test_metrics_that_are_not_finite_fail_the_trial(tmp_path):
    class Diverges(Fails):
        def evaluate(self, architecture, seed):
            return {"accuracy": float("nan")}

    with create(tmp_path) as store:
        outcome = run_study(DOMAIN, Listed(*map(genes, range(9))), Diverges(None), store, trials=1)
    assert outcome.trials[0].state == "failed"
    assert outcome.trials[0].reason == "metric 'accuracy' must be finite, not nan"


def test_ten_failures_in_a_row_stop_the_run_and_a_resume_gets_ten_more(tmp_path):
    strategy = Listed(*map(genes, range(12)))
    with (
        create(tmp_path) as store,
        pytest.raises(RunError, match="10 trials in a row failed, the last one: dark"),
    ):
        run_study(DOMAIN, strategy, Fails(NasError("dark")), store, trials=50)
    assert len(strategy.told) == 10
    with resume(tmp_path) as store:
        outcome = run_study(
            DOMAIN, Listed(*map(genes, range(12))), HashEvaluator(), store, trials=12
        )
    assert [t.state for t in outcome.trials[10:]] == ["complete"] * 2


def test_failures_are_counted_across_a_kill(tmp_path):
    dark = Fails(NasError("dark"))
    with create(tmp_path) as store:
        run_study(DOMAIN, Listed(*map(genes, range(12))), dark, store, trials=6)
    strategy = Listed(*map(genes, range(12)))
    with resume(tmp_path) as store, pytest.raises(RunError, match="10 trials in a row"):
        run_study(DOMAIN, strategy, dark, store, trials=50)
    assert len(strategy.told) == 10


@pytest.mark.parametrize("error", [UsageError("wrong"), RunError("full")])
def test_errors_that_are_no_networks_fault_stop_the_run_and_leave_the_claim_open(tmp_path, error):
    with create(tmp_path) as store, pytest.raises(type(error), match=str(error)):
        run_study(DOMAIN, Listed(genes(0)), Fails(error), store, trials=1)
    assert [claim.number for claim in read(tmp_path).claims] == [0]


def test_an_objective_nobody_measures_stops_the_run(tmp_path):
    objectives = Objectives(parse_objectives(["macro_f1"], ()))
    wanted = identity(DOMAIN, objectives, strategy="any", seed=1)
    with (
        Store.create(tmp_path, DOMAIN.space, wanted) as store,
        pytest.raises(UsageError, match="no metric named 'macro_f1' was measured"),
    ):
        run_study(DOMAIN, Listed(genes(0)), HashEvaluator(), store, trials=1)


def test_a_metric_has_one_source(tmp_path):
    class Guesses(Fails):
        def evaluate(self, architecture, seed):
            return {"accuracy": 0.5, "params": 1.0}

    with (
        create(tmp_path) as store,
        pytest.raises(UsageError, match="metric 'params' is given by the evaluator and by"),
    ):
        run_study(DOMAIN, Listed(genes(0)), Guesses(None), store, trials=1)


def test_a_strategy_that_repeats_itself_ends_the_study(tmp_path):
    strategy = Listed(genes(0), genes(1))
    with create(tmp_path) as store:
        outcome = run_study(DOMAIN, strategy, HashEvaluator(), store, trials=3)
    assert outcome.evaluated == 2
    assert outcome.reason.startswith("the last 200 proposals were known already")
    assert Counter(t.digest for t in strategy.told).total() == 202


# -- resuming -------------------------------------------------------------------------------------


def test_a_resumed_study_tells_the_record_in_order_then_evaluates_open_claims(tmp_path):
    with create(tmp_path) as store:
        first = run_study(DOMAIN, Listed(*map(genes, range(9))), HashEvaluator(), store, trials=3)
        proposal = Proposal(genes(7), {"from": "claim"})
        claim = Claim(number=3, proposal=proposal, digest=DOMAIN.space.decode(genes(7)).digest)
        store.claim(claim, told=3)
    strategy, evaluator = Listed(*map(genes, range(9))), HashEvaluator()
    with resume(tmp_path) as store:
        study = Study(DOMAIN, strategy, evaluator, store)
        assert tuple(strategy.told) == first.trials
        study.run(trials=5)
    assert [number for number, _ in strategy.asked] == [4]
    assert strategy.told[3].note == {"from": "claim"}
    assert evaluator.calls == [DOMAIN.space.decode(genes(n)).digest for n in (7, 4)]


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("stop", [1, 4, 9])
def test_a_study_in_two_parts_equals_an_unbroken_one(tmp_path, stop, noisy):
    def go(folder, *, trials):
        evaluator = HashEvaluator(failing=0.3, noisy=noisy)
        with (resume if folder.exists() else create)(folder) as store:
            run_study(DOMAIN, Climber(DOMAIN, seed=2), evaluator, store, trials=trials)

    go(tmp_path / "whole", trials=12)
    go(tmp_path / "parts", trials=stop)
    go(tmp_path / "parts", trials=12)
    assert canonical(tmp_path / "parts") == canonical(tmp_path / "whole")


def test_a_budget_counts_the_whole_run(tmp_path):
    evaluator = HashEvaluator()
    for trials in (4, 4, 6):
        with (resume if (tmp_path / "run").exists() else create)(tmp_path / "run") as store:
            run_study(DOMAIN, Listed(*map(genes, range(9))), evaluator, store, trials=trials)
    assert len(evaluator.calls) == 6


# -- time and progress ----------------------------------------------------------------------------


class Clock:
    """A clock that moves only while a network is evaluated."""

    noisy = False

    def __init__(self, *durations):
        self.now, self.durations, self.inner = 100.0, list(durations), HashEvaluator()

    def __call__(self):
        return self.now

    def evaluate(self, architecture, seed):
        self.now += self.durations.pop(0)
        return self.inner.evaluate(architecture, seed)


def test_a_time_budget_starts_no_trial_that_would_not_end_inside_it(tmp_path):
    clock, seen = Clock(10, 14, 12, 12, 12, 12), []
    with create(tmp_path) as store:
        study = Study(
            DOMAIN, Listed(*map(genes, range(9))), clock, store, clock=clock, watch=seen.append
        )
        outcome = study.run(seconds=59)
    assert outcome.evaluated == 4
    assert outcome.reason == "another trial would not fit into 59 s"
    assert outcome.seconds == 48
    assert [p.planned for p in seen if not p.running] == [None, 5, 4, 4, 4]


def test_a_resumed_time_budget_counts_what_was_spent(tmp_path):
    for seconds, durations in ((30, (10, 10, 10)), (45, (10, 10))):
        clock = Clock(*durations)
        with (resume if (tmp_path / "run").exists() else create)(tmp_path / "run") as store:
            study = Study(DOMAIN, Listed(*map(genes, range(9))), clock, store, clock=clock)
            outcome = study.run(seconds=seconds)
    assert (outcome.evaluated, outcome.seconds) == (4, 40)


def test_a_study_needs_a_budget(tmp_path):
    with (
        create(tmp_path) as store,
        pytest.raises(UsageError, match="needs a number of trials or of seconds"),
    ):
        run_study(DOMAIN, Listed(genes(0)), HashEvaluator(), store)


def test_progress_shows_front_hypervolume_and_time_left(tmp_path):
    clock, seen = Clock(*[2.0] * 8), []
    with create(tmp_path) as store:
        study = Study(DOMAIN, Climber(DOMAIN), clock, store, clock=clock, watch=seen.append)
        outcome = study.run(trials=8)
    begun = [p for p in seen if p.running]
    assert [(p.running, p.last) for p in begun] == [((number,), None) for number in range(8)]
    seen = [p for p in seen if not p.running]
    assert [p.last for p in seen] == [None, *outcome.trials]
    assert (seen[0].eta_seconds, seen[1].eta_seconds, seen[-1].eta_seconds) == (None, 14.0, 0.0)
    assert seen[-1].figures["front"] == len(OBJECTIVES.front(outcome.trials))
    name = OBJECTIVES.each[0].name
    assert seen[-1].figures["best"] == max(t.metrics[name] for t in outcome.trials)
    assert seen[-1].best.metrics[name] == seen[-1].figures["best"]
    assert seen[-1].recent == outcome.trials[-3:]
    assert "best" not in seen[0].figures
    top = IDENTITY.reference
    volume = hypervolume([OBJECTIVES.losses(t.metrics) for t in outcome.trials], top)
    assert seen[-1].figures["hypervolume"] == pytest.approx(volume / (top[0] * top[1]))
    volumes = [p.figures["hypervolume"] for p in seen]
    assert volumes == sorted(volumes)
