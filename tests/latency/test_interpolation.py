"""Layers without a timing, told by those that have one."""

import numpy as np
import pytest

from nas import catalog
from nas.latency.device import DeviceModel
from nas.latency.fitting import fit_model
from nas.latency.interpolation import FEWEST_TIMED, Interpolation, interpolated_rows
from nas.latency.keys import layer_key
from nas.latency.rows import Row


@pytest.fixture(scope="module")
def layers():
    """The layers of a space, in a random order."""
    space = catalog.space("mnasnet", resolution=32)
    found = {layer_key(layer.op, layer.shape): layer for layer in space.layers if layer.kernels}
    order = np.random.default_rng(0).permutation(len(found))
    every = list(found.values())
    return [every[number] for number in order]


def truth_ms(layer):
    """What no device model of prices says: 5x5 kernels and odd channels are slow out of line."""
    slow = 1.5 if getattr(layer.op, "kernel", 3) == 5 else 1.0
    padded = 1.4 if layer.out_shape.channels % 16 else 1.0
    noise = np.random.default_rng(layer.macs % 1000).normal(0, 0.03)
    return slow * padded * (0.01 + layer.macs / 2e6 + layer.params / 4e6) * np.exp(noise)


def rows_of(layers):
    return {layer_key(x.op, x.shape): Row(latency_ms=truth_ms(x)) for x in layers}


def test_a_layer_is_told_by_those_most_like_it(layers):
    timed, others = layers[:250], layers[250:550]
    rows = rows_of(timed)
    model = fit_model(rows).model
    found, error = interpolated_rows(rows, model, [*timed, *others])
    others = [layer for layer in others if layer.op.key in ("mbconv", "fused_mbconv")]
    true = np.array([truth_ms(layer) for layer in others])
    said = [found[layer_key(layer.op, layer.shape)] for layer in others]
    ms = np.array([row.latency_ms for row in said])
    plain = np.array([sum(map(model.latency_ms, layer.kernels)) for layer in others])
    assert np.abs(ms / true - 1).mean() < 0.3 * np.abs(plain / true - 1).mean()
    inside = np.abs(ms - true) < 1.645 * np.array([row.sd_ms for row in said])
    assert 0.8 < inside.mean() < 0.99
    assert error["leave_one_out_interpolated_mape"] == pytest.approx(
        np.abs(ms / true - 1).mean(), rel=0.35
    )
    assert {row.source for row in said} == {"interpolated"}


def test_layers_that_were_timed_keep_their_rows(layers):
    rows = rows_of(layers[:100])
    found, _ = interpolated_rows(rows, fit_model(rows).model, layers[:150])
    assert not rows.keys() & found.keys()
    assert found


def test_too_few_timings_tell_nothing(layers):
    rows = rows_of(layers[: FEWEST_TIMED - 1])
    model = DeviceModel(prices={"dense_macs": 1e-3}, row_sd=0.3, common_sd=0.1)
    assert interpolated_rows(rows, model, layers) == ({}, {})
    with pytest.raises(ValueError, match="do not tell"):
        Interpolation({}, {})


def test_an_op_that_was_not_timed_is_left_to_the_device_model(layers):
    rows = rows_of([layer for layer in layers if layer.op.key == "mbconv"][:100])
    found, _ = interpolated_rows(rows, fit_model(rows).model, layers)
    assert {key.partition("(")[0] for key in found} == {"mbconv"}
