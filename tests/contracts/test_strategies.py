"""Every strategy that ships keeps the contract; a strategy that does not is caught."""

import functools
import itertools

import pytest

from nas.strategies import known, make
from nas.strategies.base import Proposal, Strategy
from nas.testing.strategies import check_ask_seconds, check_strategy

SPECS = (
    "evolution",
    "evolution:population=6,sample=3",
    "gp:initial=4",
    "local-search",
    "optuna:NSGA-II",
    "optuna:NSGA-II,population_size=6",
    "optuna:NSGA-III,population_size=6",
    "optuna:QMC",
    "optuna:Random",
    "optuna:TPE,n_startup_trials=4",
    "random",
    "trust-region:initial=4,failures=2,regions=2",
)


def test_no_strategy_is_left_out():
    elsewhere = {
        "rl",
        "differentiable",
    }  # the one needs torch, the other a distribution that was learnt before
    assert {spec.partition(":")[0] for spec in SPECS} | elsewhere >= set(known())


@pytest.mark.parametrize("objectives", [1, 2])
@pytest.mark.parametrize("spec", SPECS)
def test_contract(spec, objectives):
    check_strategy(functools.partial(make, spec), objectives=objectives)


@pytest.mark.parametrize("spec", ["evolution", "gp", "local-search", "optuna:TPE", "trust-region"])
def test_an_ask_after_many_trials(spec):
    check_ask_seconds(functools.partial(make, spec), told=1_000, seconds=10)


class Faulty(Strategy):
    def __init__(self, domain, *, seed, objectives):
        self.domain, self.count = domain, itertools.count()

    def ask(self, number, pending=()):
        return Proposal(self.domain.compiled.extreme("macs")[1])

    def tell(self, trial):
        pass

    def recommend(self):
        return self.domain.compiled.extreme("macs")[1]


class Forgetful(Faulty):
    def ask(self, number, pending=()):
        return Proposal(self.recommend(), {"count": next(self.count)})


class Unbounded(Faulty):
    def ask(self, number, pending=()):
        return Proposal(self.domain.compiled.extreme("macs", largest=True)[1])


class Luckless(Faulty):
    def tell(self, trial):
        if trial.state != "complete":
            raise KeyError(trial.state)


class Counting(Faulty):
    """Depends on how often it was asked, yet not between two equal asks."""

    def __init__(self, domain, *, seed, objectives):
        super().__init__(domain, seed=seed, objectives=objectives)
        self.others = 0

    def ask(self, number, pending=()):
        self.others += bool(pending)
        return Proposal(self.recommend(), {"others": self.others})


class Eager(Faulty):
    """Keeps in memory what it should read from the trial: lost when retold."""

    def __init__(self, domain, *, seed, objectives):
        super().__init__(domain, seed=seed, objectives=objectives)
        self.asked = set()

    def ask(self, number, pending=()):
        self.asked.add(number if number < 20 else 0)
        return Proposal(self.recommend(), {"first": min(self.asked)})


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        (Faulty, "is pending and was proposed again"),
        (Forgetful, "asking twice for trial 0 gave two proposals"),
        (Unbounded, "lies outside the domain: macs <="),
        (Counting, "asking for another trial changed the proposal for 0"),
        (Eager, "retelling 1 trials gave another note"),
    ],
)
def test_a_fault_is_caught(faulty, message):
    with pytest.raises(AssertionError, match=message):
        check_strategy(faulty)


def test_a_strategy_that_cannot_digest_a_failure_is_caught():
    with pytest.raises(KeyError, match="failed"):
        check_strategy(Luckless)


def test_a_slow_ask_is_caught():
    with pytest.raises(AssertionError, match=r"an ask after 3 trials took .* s, 0 s is the limit"):
        check_ask_seconds(Faulty, told=3, seconds=0)
