import numpy as np
import pytest

from nas.errors import TableError
from nas.latency.device import DeviceModel
from nas.latency.fitting import fit_model
from nas.latency.keys import kernel_key, layer_key
from nas.latency.rows import Row
from nas.ops.conv import Conv
from nas.ops.mbconv import MBConv
from nas.shape import Shape

PRICES = {
    "dense_macs": 0.2,
    "dw_macs": 0.4,
    "moved": 0.9,
    "weights": 1.5,
    "wspill": 0.5,
    "grouped": 0.0,
}
TRUTH = DeviceModel(prices=PRICES, row_sd=0, common_sd=0)
OPS = [
    (MBConv(kernel=kernel, expand=expand, channels=channels), Shape(inside, size))
    for kernel in (3, 5)
    for expand in (1, 3, 6)
    for channels, inside, size in ((24, 16, 56), (64, 64, 14), (352, 184, 7))
] + [(Conv(kernel=3, channels=16, stride=2), Shape(3, 64)), (Conv(channels=512), Shape(320, 7))]


def rows(noise=0.0):
    rng = np.random.default_rng(0)
    found = {}
    for op, shape in OPS:
        kernels = op.kernels(shape)
        named = {kernel_key(k): (k,) for k in kernels if k.kind != "add"} | {
            layer_key(op, shape): kernels
        }
        for key, part in named.items():
            ms = sum(map(TRUTH.latency_ms, part)) * (1 + noise * rng.normal())
            found[key] = Row(latency_ms=ms)
    return found


def test_exact_rows_give_their_prices_back():
    fit = fit_model(rows())
    for name, price in PRICES.items():
        assert fit.model.prices[name] == pytest.approx(price, abs=1e-3)
    assert set(fit.known_error) == {
        f"leave_one_out_{kind}_mape" for kind in ("op", "conv", "dwconv")
    }
    assert max(fit.known_error.values()) < 1e-3


def test_noise_shows_in_the_errors_left_out_and_in_row_sd():
    fit = fit_model(rows(noise=0.1))
    assert 0.03 < fit.known_error["leave_one_out_op_mape"] < 0.25
    assert 0.05 < fit.model.row_sd < 0.25
    assert min(fit.model.prices.values()) >= 0


def test_too_few_rows_raise():
    few = dict(list(rows().items())[:5])
    with pytest.raises(TableError, match="needs at least 8 rows of work to fit, not 5"):
        fit_model(few)
