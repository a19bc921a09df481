"""The design of a confirmation: how often it says "better" where it should, and should not."""

import importlib.util
import sys
from pathlib import Path

import pytest

from nas.run.confirm import TOP
from nas.run.pairing import usual_random

FILE = Path(__file__).parents[2] / "experiments" / "confirm_power.py"


@pytest.fixture(scope="module")
def power():
    """experiments/confirm_power.py as a module."""
    spec = importlib.util.spec_from_file_location("confirm_power", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_design_that_is_simulated_is_the_default(power):
    assert power.NOW.members == TOP
    assert power.NOW.members * power.NOW.each == usual_random(TOP)
    assert power.NOW.trainings <= power.BEFORE.trainings == 12


def test_better_is_said_in_half_of_the_cases_of_a_search_that_finds_the_best_of_sixteen(power):
    assert power.rate(power.NOW, power.FOUND, 10_000) >= 0.5
    assert power.rate(power.BEFORE, power.FOUND, 500) < 0.2


# Of 10,000 cases .0016 is a deviation; exact are .0156 for members drawn as others are.
@pytest.mark.parametrize("lean", ["normal", "exponential", "lognormal"])
def test_better_and_worse_are_said_of_luck_in_a_fortieth_of_cases_at_most(power, lean):
    for distribution in (power.SHAPES[lean], power.mirrored(power.SHAPES[lean])):
        drawn = power.Case(members=distribution, random=distribution)
        assert power.rate(power.NOW, drawn, 10_000) <= 0.02
        skewed = power.Case(members=distribution, random=power.normal)
        assert power.rate(power.NOW, skewed, 10_000) <= 0.025
