"""A table shifted by what networks near one latency take."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from nas import catalog
from nas.errors import TableError
from nas.latency.calibration import fit_calibration
from nas.latency.correction import Correction
from nas.latency.table import Table
from nas.run.copies import copy_tables, read_tables
from nas.testing.toys import toy_space


def test_prices_are_multiplied_by_what_networks_took_for_theirs():
    priced = [1.0, 2.0, 1.0, 2.0]
    measured = [0.8, 1.8, 0.8, 1.8]
    made, correction = fit_calibration(None, priced, measured, 2.0)
    assert (made.networks, made.low_ms, made.high_ms) == (4, 0.8, 1.8)
    assert made.factor == pytest.approx(0.85)
    assert correction.slopes == {"*": pytest.approx(0.85)}
    # Ratios .8 and .9: each by the mean of the three others, .8667 and .8333.
    assert made.error == pytest.approx((0.0667 / 0.8 + 0.0667 / 0.9) / 2, rel=1e-3)
    expected = np.std([0.8, 0.9, 0.8, 0.9], ddof=1) / 0.85 * (1 + 1 / 4) ** 0.5
    assert correction.common_sd == pytest.approx(expected, rel=1e-3)


def test_networks_that_agree_leave_the_noise_of_a_timing():
    _, correction = fit_calibration(None, [1.0] * 6, [1.1] * 6, 1.0)
    assert correction.common_sd == 0.02


def test_every_term_of_the_correction_before_is_multiplied():
    before = Correction(
        slopes={"*": 1.2, "conv": 0.8}, warm=0.1, layer_ms=0.01, weights_ms=-0.2, constant_ms=0.3
    )
    _, after = fit_calibration(before, [1.0] * 4, [0.5] * 4, 1.0)
    assert after.slopes == {"*": pytest.approx(0.6), "conv": pytest.approx(0.4)}
    assert (after.warm, after.layer_ms) == pytest.approx((0.05, 0.005))
    assert (after.weights_ms, after.constant_ms) == pytest.approx((-0.1, 0.15))


def test_three_networks_are_too_few():
    with pytest.raises(TableError, match="at least 4 networks, not 3"):
        fit_calibration(None, [1.0] * 3, [1.0] * 3, 1.0)


@pytest.fixture
def table(tmp_path):
    """A table of ours, which lies in files of its own."""
    for suffix in (".csv", ".json"):
        shutil.copyfile(
            catalog.device("pixel1").path.with_suffix(suffix), tmp_path / f"pixel1{suffix}"
        )
    return Table.load(tmp_path / "pixel1.csv")


def networks(count):
    space = toy_space()
    rows = np.random.default_rng(3).integers(0, space.gene_sizes, (count, len(space.gene_sizes)))
    return [space.decode(tuple(row)) for row in rows.tolist()]


def test_a_shifted_table_prices_what_was_timed_and_doubts_what_lies_far_off(table):
    seen = networks(12)
    noise = 1 + 0.03 * np.random.default_rng(0).standard_normal(12)
    took = [
        0.8 * off * table.estimate(one).latency_ms for one, off in zip(seen, noise, strict=True)
    ]
    shifted = table.calibrated(seen, took, 2.0)
    errors = [shifted.estimate(one).latency_ms / ms - 1 for one, ms in zip(seen, took, strict=True)]
    assert abs(np.mean(errors)) < 0.01
    assert shifted.stretch(np.mean(took)) == 1
    assert shifted.stretch(4 * max(took)) == pytest.approx(3, rel=1e-4)
    assert "took 0.80 times" in str(shifted.info.calibration)
    assert shifted.info.reliability(2.0) == table.info.reliability(2.0)
    assert shifted.corrected(None).info.calibration is None


def test_a_run_keeps_the_shifted_table_in_files(table, tmp_path):
    seen = networks(6)
    took = [0.9 * table.estimate(one).latency_ms for one in seen]
    shifted = table.calibrated(seen, took, 2.0)
    assert shifted.digest != table.digest
    (tmp_path / "run").mkdir()
    copy_tables(tmp_path / "run", [shifted])
    (kept,) = read_tables(tmp_path / "run", ["pixel1"])
    assert kept.digest == shifted.digest
    assert kept.info.calibration == shifted.info.calibration
    assert kept.estimate(seen[0]) == shifted.estimate(seen[0])
    # The user's own stays, and the copy may be copied onto itself.
    assert Table.load(table.path).digest == table.digest
    copy_tables(tmp_path / "run", [kept])
    assert read_tables(tmp_path / "run", ["pixel1"])[0].digest == shifted.digest


def test_a_calibration_that_was_edited_is_refused(table):
    made, _ = fit_calibration(None, [1.0] * 4, [1.0] * 4, 1.0)
    with pytest.raises(TableError, match="finite numbers above 0"):
        replace(made, factor=0.0)
