from dataclasses import replace

import numpy as np
import pytest

from nas.latency.audit import StoredAudit, audit, band_audits
from nas.latency.estimate import Estimate
from nas.latency.info import ColumnInfo


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


GOOD = audit(estimates([1.02, 2.04, 3.06]), [1, 2, 3], [1, 2, 3])


def stored(every, unreliable=()):
    return StoredAudit(
        date="2024-05-01", corrected=False, every=every, spaces={}, unreliable=unreliable
    )


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (ColumnInfo(), "none on record"),
        (ColumnInfo(known_error={"leave_out": 0.0467, "other": 1.0}), "stated leave_out: 4.7 %"),
        (
            ColumnInfo(audit=stored(GOOD)),
            "3 whole networks: off by 2.0 % in the mean, tau 1.00",
        ),
        (
            ColumnInfo(audit=stored(replace(GOOD, mape=0.3))),
            "POOR: 3 whole networks: off by 30.0 %",
        ),
        (ColumnInfo(audit=stored(replace(GOOD, tau=0.5))), "POOR: "),
        (ColumnInfo(audit=stored(replace(GOOD, tau=None))), "tau unknown"),
        (
            ColumnInfo(audit=stored(GOOD, unreliable=("x",))),
            "made on a machine that was not quiet",
        ),
    ],
)
def test_a_search_hears_first_what_the_audit_says(info, said):
    assert said in info.reliability()
    assert info.reliability().startswith("POOR") == said.startswith("POOR")


def test_an_audit_has_thirds_and_tells_the_one_that_is_asked_for():
    ms = [3.0, 1.0, 2.0, 10.0, 11.0, 12.0]
    off = [1.1, 1.1, 1.1, 1.0, 1.0, 1.0]
    estimated = estimates([value * factor for value, factor in zip(ms, off, strict=True)])
    bands = band_audits(estimated, ms, ms, before=estimates(ms))
    assert [(band.low_ms, band.high_ms) for band in bands] == [(1, 2), (3, 10), (11, 12)]
    assert bands[0].audit.mape == pytest.approx(0.1)
    assert [band.before for band in bands] == [0, 0, 0]
    info = ColumnInfo(audit=replace(stored(GOOD), bands=bands, disturbed=0.12))
    assert "12 % of the timings were disturbed" in info.reliability()
    assert info.reliability(1.5).startswith("off by 10.0 % in the mean of 2 whole networks of 1 to")
    assert info.reliability(500.0).startswith("off by 0.0 % in the mean of 2 whole networks of 11")
    assert band_audits(estimated[:5], ms[:5], ms[:5]) == ()
