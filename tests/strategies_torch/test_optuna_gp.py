"""Optuna's GP sampler, which needs torch."""

import functools

import numpy as np
import pytest

from nas.strategies import make
from nas.testing.strategies import bounded_domain, check_strategy, toy_trial
from search_spaces import nas_bench_macro

pytest.importorskip("torch")


def test_contract():
    check_strategy(functools.partial(make, "optuna:GP,n_startup_trials=4"), trials=9)


def test_gp_learns():
    domain = bounded_domain(nas_bench_macro.space())
    strategy, losses = make("optuna:GP", domain, seed=0), []
    for number in range(25):
        trial = toy_trial(domain, number, strategy.ask(number), 1)
        strategy.tell(trial)
        losses.append(trial.losses[0])
    assert np.mean(losses[15:]) < 0.7 * np.mean(losses[:10])
