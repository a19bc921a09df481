import numpy as np
import pytest

from nas.latency.audit import audit, told
from nas.latency.table import Estimate


def estimates(values, common=0.0):
    return [Estimate(measured_ms=v, common_sd_ms=common * v) for v in values]


def test_a_perfect_table():
    ms = [1.0, 2.0, 3.0, 4.0]
    found = audit(estimates(ms), ms, ms)
    assert (found.mape, found.bias, found.within_5, found.coverage_90, found.tau) == (0, 0, 1, 1, 1)
    assert found.networks == 4


def test_errors_are_relative_to_the_mean_of_both_measurements():
    found = audit(estimates([1.08, 2.16]), [0.9, 1.9], [1.1, 2.1])
    assert found.mape == pytest.approx(0.08)
    assert found.bias == pytest.approx(0.08)
    assert (found.within_5, found.within_10) == (0, 1)


def test_intervals_cover_what_they_promise():
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 10, 400)
    found = audit(estimates(truth * (1 + 0.05 * rng.normal(size=400)), common=0.05), truth, truth)
    assert 0.87 < found.coverage_90 < 0.93


EVERY = {"networks": 20, "mape": 0.02, "tau": 0.95}


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({}, "none on record"),
        ({"known_error": {"leave_family_out_mape": 0.0467}}, "stated leave_family_out_mape: 4.7 %"),
        ({"audit": {"every": EVERY}}, "20 whole networks: off by 2.0 % in the mean, tau 0.95"),
        ({"audit": {"every": EVERY | {"mape": 0.3}}}, "POOR: 20 whole networks: off by 30.0 %"),
        ({"audit": {"every": EVERY | {"tau": 0.5}}}, "POOR: "),
        ({"audit": {"every": EVERY | {"tau": None}}}, "tau unknown"),
        ({"audit": {"every": EVERY, "unreliable": ["x"]}}, "made on a machine that was not quiet"),
    ],
)
def test_a_search_is_told_first(info, said):
    assert said in told(info)
    assert told(info).startswith("POOR") == said.startswith("POOR")
