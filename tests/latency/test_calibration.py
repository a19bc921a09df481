"""A table corrected by networks of one latency."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from nas import catalog
from nas.errors import TableError
from nas.latency.correction import Correction, Part, fit_near
from nas.latency.table import Table
from nas.run.copies import copy_tables, read_tables
from nas.testing.toys import toy_space

NOISE = 0.01


def parts(rng, layers=20):
    """A network whose layers take less warm than cold, each by a factor of its own."""
    cold = rng.uniform(0.05, 0.2, layers)
    warm = cold * rng.uniform(0.2, 0.9, layers)
    return [Part("conv", ms, warm_ms=its) for ms, its in zip(cold, warm, strict=True)]


def drawn(count, price):
    """Networks, and what they take: the price, and noise."""
    rng = np.random.default_rng(3)
    networks = [parts(rng) for _ in range(count)]
    took = [price(each) * (1 + NOISE * rng.standard_normal()) for each in networks]
    return networks, took


def test_what_networks_take_between_cold_and_warm_is_found():
    networks, took = drawn(12, lambda each: sum(0.3 * p.ms + 0.8 * p.warm_ms for p in each))
    # What a whole table says: too much, and nothing of what is warm.
    before = Correction(slopes={"*": 0.9}, low_ms=0.1, high_ms=9.0)
    fitted, errors = fit_near(networks, took, before)
    assert fitted.warm > 0.4
    assert np.abs(errors).max() < 0.05
    assert 0.005 < fitted.common_sd < 0.03
    others, their = drawn(40, lambda each: sum(0.3 * p.ms + 0.8 * p.warm_ms for p in each))
    priced = np.array([fitted.latency_ms(each) for each in others[12:]])
    assert np.abs(priced / their[12:] - 1).mean() < 0.02
    assert (fitted.low_ms, fitted.high_ms) == (min(took), max(took))


def test_a_correction_that_is_right_but_for_a_factor_is_multiplied():
    before = Correction(
        slopes={"*": 0.5, "conv": 0.6}, warm=0.2, layer_ms=0.05, constant_ms=0.3, weights_ms=-0.1
    )
    networks, took = drawn(8, lambda each: 0.8 * before.latency_ms(each))
    networks = [[replace_cold(part, number) for number, part in enumerate(n)] for n in networks]
    took = [0.8 * before.latency_ms(each) for each in networks]
    fitted, errors = fit_near(networks, took, before)
    assert np.abs(errors).max() < 1e-9
    assert fitted.slopes == pytest.approx({"*": 0.4, "conv": 0.48})
    assert (fitted.warm, fitted.layer_ms) == pytest.approx((0.16, 0.04))
    assert (fitted.constant_ms, fitted.weights_ms) == pytest.approx((0.24, -0.08))


def replace_cold(part, number):
    """Every second layer takes ten times as long: a sum over milliseconds does not fit that."""
    return part._replace(ms=part.ms * (10 if number % 2 else 1))


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


def test_three_networks_are_too_few(table):
    with pytest.raises(TableError, match="at least 4 networks, not 3"):
        table.calibrated(networks(3), [1.0] * 3, 1.0)


def test_a_corrected_table_prices_what_was_timed_and_doubts_what_lies_far_off(table):
    seen = networks(12)
    noise = 1 + 0.03 * np.random.default_rng(0).standard_normal(12)
    took = [
        0.8 * off * table.estimate(one).latency_ms for one, off in zip(seen, noise, strict=True)
    ]
    near = table.calibrated(seen, took, 2.0)
    errors = [near.estimate(one).latency_ms / ms - 1 for one, ms in zip(seen, took, strict=True)]
    assert abs(np.mean(errors)) < 0.01
    assert near.stretch(np.mean(took)) == 1
    assert near.stretch(4 * max(took)) == pytest.approx(3, rel=1e-4)
    made = near.info.calibration
    assert made.bias_before == pytest.approx(0.25, abs=0.03)
    assert made.error < 0.05 < made.error_before
    assert "% too high in the mean" in str(made)
    assert near.info.reliability(2.0) == table.info.reliability(2.0)
    assert near.corrected(None).info.calibration is None


def test_kin_of_a_network_are_priced_by_the_correction_for_all_latencies(table):
    whole = table.corrected(Correction(slopes={"*": 1.1}, layer_ms=0.2, common_sd=0.04))
    seen = networks(6)
    took = [0.8 * whole.estimate(one).latency_ms for one in seen]
    near = whole.calibrated(seen, took, 2.0).calibrated(seen, took, 2.0)
    kin = near.for_kin(seen[0])
    assert kin.estimate(seen[0]).latency_ms == pytest.approx(near.estimate(seen[0]).latency_ms)
    slope, layer_ms = kin.correction.slopes["*"], kin.correction.layer_ms
    assert slope / layer_ms == pytest.approx(1.1 / 0.2)
    assert kin.correction.common_sd == 0.04
    assert whole.for_kin(seen[0]) is whole


def test_a_run_keeps_the_corrected_table_in_files(table, tmp_path):
    seen = networks(6)
    took = [0.9 * table.estimate(one).latency_ms for one in seen]
    near = table.calibrated(seen, took, 2.0)
    assert near.digest != table.digest
    (tmp_path / "run").mkdir()
    copy_tables(tmp_path / "run", [near])
    (kept,) = read_tables(tmp_path / "run", ["pixel1"])
    assert kept.digest == near.digest
    assert kept.info.calibration == near.info.calibration
    assert kept.estimate(seen[0]) == near.estimate(seen[0])
    # The user's own stays, and the copy may be copied onto itself.
    assert Table.load(table.path).digest == table.digest
    copy_tables(tmp_path / "run", [kept])
    assert read_tables(tmp_path / "run", ["pixel1"])[0].digest == near.digest


def test_a_calibration_that_was_edited_is_refused(table):
    seen = networks(4)
    took = [table.estimate(one).latency_ms for one in seen]
    made = table.calibrated(seen, took, 2.0).info.calibration
    with pytest.raises(TableError, match="finite numbers, latencies above 0"):
        replace(made, latency_ms=0.0)
