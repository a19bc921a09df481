import math
from dataclasses import replace

import numpy as np
import pytest

from nas import catalog
from nas.cost.confidence import Margin, margin, sure_latency_ms
from nas.cost.costs import latency_metric, plain_metric, space_costs, sure_metric
from nas.domain import Bound, Domain
from nas.errors import UsageError
from nas.latency.correction import Correction
from nas.latency.estimate import Estimate
from nas.latency.rows import Row
from search_spaces import fbnet


def spread_table(row_sd, common):
    """pixel1 with rows and common errors of the sizes given."""
    table = catalog.device("pixel1")
    rows = {
        key: Row(latency_ms=row.latency_ms, sd_ms=row_sd * row.latency_ms)
        for key, row in table.rows.items()
    }
    model = replace(table.model, row_sd=row_sd, common_sd=common)
    info = replace(table.info, model=model, rows_common_sd=common)
    return replace(table, rows=rows, info=info)


@pytest.mark.parametrize(
    ("row_sd", "common"), [(0.1, 0.06), (0.3, 0.0), (0.0, 0.05), (0.02, 0.01), (0.0, 0.0)]
)
@pytest.mark.parametrize("upper", [42.0, 75.0])
def test_every_network_drawn_keeps_the_bound_and_little_is_lost(row_sd, common, upper):
    space, table = fbnet.space(), spread_table(row_sd, common)
    found = margin(space, table, upper, 0.95)
    name = sure_metric("pixel1", 0.95)
    costs = space_costs(space, [table], {"pixel1": found})
    domain = Domain(space, costs, [Bound(name, upper)])
    drawn = domain.sample_many(40, np.random.default_rng(0))
    linear = costs.price(drawn)[:, costs.column(name)]
    exact = np.array(
        [sure_latency_ms(table.estimate(space.decode(genes)), 0.95) for genes in drawn]
    )
    assert (exact <= linear + 1e-9).all()
    assert (exact <= upper).all()
    near = linear > 0.93 * upper
    assert np.median((linear / exact - 1)[near]) < 0.008


@pytest.mark.parametrize("upper", [42.0, 60.0, 75.0, 120.0])
@pytest.mark.parametrize("fitted", [(55.0, 65.0), (20.0, 30.0), (150.0, 200.0)])
def test_every_network_drawn_keeps_the_bound_outside_of_what_the_table_was_fitted_to(upper, fitted):
    space, plain = fbnet.space(), spread_table(0.1, 0.05)
    low, high = fitted
    made = Correction(slopes={"*": 1.0}, common_sd=0.05, low_ms=low, high_ms=high)
    table = replace(plain, info=replace(plain.info, correction=made))
    found = margin(space, table, upper, 0.95)
    assert (found.stretch > 1) == (not low < upper / (1 + 1.645 * 0.05) < high)
    name = sure_metric("pixel1", 0.95)
    domain = Domain(space, space_costs(space, [table], {"pixel1": found}), [Bound(name, upper)])
    for genes in domain.sample_many(40, np.random.default_rng(0)):
        assert sure_latency_ms(table.estimate(space.decode(genes)), 0.95) <= upper


def test_a_table_that_prices_networks_below_nothing_ends_in_no_traceback():
    """Corrections from before the constant was bounded could."""
    space, plain = fbnet.space(), spread_table(0.1, 0.05)
    made = Correction(slopes={"*": 1.0}, constant_ms=-30.0, common_sd=0.05)
    table = replace(plain, info=replace(plain.info, correction=made))
    for upper in (0.05, 1.0, 20.0):
        assert margin(space, table, upper, 0.95).sigma_ms > 0


def test_the_linear_bound_is_never_below_the_root():
    rng = np.random.default_rng(0)
    for _ in range(300):
        sigma, most = rng.uniform(0.01, 3, 2)
        given = Margin(confidence=0.9, sigma_ms=sigma, most_common_ms=most)
        common, variance = rng.uniform(0, most), rng.uniform(0, 4)
        linear = given.constant_ms + given.layer_ms(
            Estimate(common_sd_ms=common, variance_ms2=variance)
        )
        assert linear >= given.z * math.sqrt(variance + common**2) - 1e-12


def test_a_network_whose_common_error_passes_the_most_counted_on_does_not_slip_in():
    space, table = fbnet.space(), spread_table(0.0, 0.2)
    found = margin(space, table, 45.0, 0.95)
    worst = table.estimate(
        space.decode(space_costs(space, [table]).extreme("latency_ms@pixel1", largest=True)[1])
    )
    assert worst.common_sd_ms > found.most_common_ms
    assert found.layer_ms(worst) + found.constant_ms > 45.0


def test_half_means_the_mean():
    space, table = fbnet.space(), catalog.device("pixel1")
    costs = space_costs(space, [table], {"pixel1": margin(space, table, 60.0, 0.5)})
    genes = (0,) * 22
    assert costs.of(genes)[sure_metric("pixel1", 0.5)] == pytest.approx(
        costs.of(genes)[latency_metric("pixel1")]
    )


def test_names():
    assert sure_metric("pixel1", 0.975) == "latency_p97.5_ms@pixel1"
    assert plain_metric("latency_p97.5_ms@pixel1") == "latency_ms@pixel1"
    assert plain_metric("latency_ms@pixel1") == "latency_ms@pixel1"


@pytest.mark.parametrize("confidence", [0.4, 1.0, math.nan])
def test_no_probability(confidence):
    with pytest.raises(UsageError, match=r"a confidence is a probability from 0.5 to below 1"):
        sure_latency_ms(Estimate(), confidence)
