"""What a few timed networks teach about a device, on devices that are made up."""

import numpy as np
import pytest

from nas import catalog
from nas.errors import TableError
from nas.latency.adapt import adapt
from nas.latency.keys import layer_key

SPACE = catalog.space("fbnet", resolution=32, classes=100)
SOURCE = catalog.device("pixel3")
EVERY = SPACE.layers
NETWORKS = [
    SPACE.decode(genes).layers for genes in np.random.default_rng(0).integers(0, 9, (200, 22))
]


def times(truth, noise=0.0):
    rng = np.random.default_rng(1)
    return np.array([sum(map(truth, network)) * (1 + noise * rng.normal()) for network in NETWORKS])


def held_out_error(found, truth):
    price = {key: row.latency_ms for key, row in found.rows.items()}
    sums = np.array(
        [sum(price[layer_key(x.op, x.shape)] for x in network) for network in NETWORKS[100:]]
    )
    return float(np.abs(sums / times(truth)[100:] - 1).mean())


def source_ms(layer):
    return SOURCE.layer(layer).latency_ms


def five_by_five(layer):
    return source_ms(layer) * (3.0 if layer.op.settings.get("kernel") == 5 else 0.8)


@pytest.mark.parametrize(
    "truth",
    [
        lambda layer: 2.5 * source_ms(layer),
        five_by_five,
        lambda layer: 0.05 + 0.3 * source_ms(layer),
    ],
    ids=["faster", "other ratios", "launch cost"],
)
def test_forty_networks_give_a_table_of_another_device(truth):
    found = adapt(SOURCE, NETWORKS[:40], times(truth, noise=0.005)[:40], EVERY)
    assert held_out_error(found, truth) < 0.03
    assert found.mape < 0.04
    assert found.tau > 0.9


def test_every_layer_asked_for_has_a_row_above_zero():
    found = adapt(SOURCE, NETWORKS[:20], times(five_by_five, noise=0.3)[:20], EVERY)
    assert set(found.rows) == {layer_key(layer.op, layer.shape) for layer in EVERY}
    assert min(row.latency_ms for row in found.rows.values()) > 0
    assert {row.source for row in found.rows.values()} == {"apportioned"}


def test_its_error_is_that_of_networks_left_out():
    found = adapt(SOURCE, NETWORKS[:60], times(five_by_five, noise=0.05)[:60], EVERY)
    assert 0.025 < found.mape < 0.08
    assert found.rms > found.mape


def test_a_prior_that_is_of_no_use_is_dropped():
    shuffled = dict(
        zip(EVERY, np.random.default_rng(3).permutation([source_ms(x) for x in EVERY]), strict=True)
    )
    useful = adapt(
        SOURCE, NETWORKS[:100], times(lambda x: 2 * source_ms(x), noise=0.01)[:100], EVERY
    )
    assert "layer_cost" not in useful.used
    useless = adapt(SOURCE, NETWORKS[:100], times(lambda x: shuffled[x])[:100], EVERY)
    assert {"layer", "layer_cost"} & set(useless.used)


@pytest.mark.parametrize(
    ("count", "ms", "message"),
    [
        (5, 1.0, "at least 10 timed networks, not 5"),
        (20, 0.0, "above 0 and finite"),
        (20, np.nan, "above 0 and finite"),
    ],
)
def test_too_few_or_bad_timings_raise(count, ms, message):
    with pytest.raises(TableError, match=message):
        adapt(SOURCE, NETWORKS[:count], [ms] * count, EVERY)
