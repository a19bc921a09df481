import dataclasses
import math

import pytest

from nas.errors import TableError
from nas.latency.device import AMOUNTS, KIND_AMOUNTS, DeviceModel, work
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Kernel, Shape

PRICES = dict.fromkeys(AMOUNTS, 1.0)
MODEL = DeviceModel(prices=PRICES, row_sd=0.1, common_sd=0.05)


def test_amounts_of_a_block_by_hand():
    found = work(MBConv(kernel=3, expand=2, channels=4).kernels(Shape(4, 10)))
    assert found["dense_macs"] == pytest.approx((4 * 8 + 8 * 4) * 100 / 1e6)
    assert found["dw_macs"] == pytest.approx(9 * 8 * 100 / 1e6)
    assert found["weights"] == pytest.approx((32 + 72 + 32) / 1e6)
    assert found["moved"] == pytest.approx(
        (4 + 8 + 8 + 8 + 8 + 4 + 4 + 4 + 4) * 100 / 1e6
    )  # the add reads two
    assert found["wspill"] == found["grouped"] == 0


def test_a_dense_convolution_reads_its_unfolded_input():
    found = work(Conv(kernel=3, channels=8, stride=2).kernels(Shape(3, 10)))
    assert found["moved"] == pytest.approx((3 * 100 + 8 * 25 + 3 * 9 * 25) / 1e6)


def test_only_weights_of_one_dense_kernel_beyond_the_cache_spill():
    assert work(Conv(channels=1024).kernels(Shape(128, 1)))["wspill"] == 0
    assert work(Conv(channels=1024).kernels(Shape(129, 1)))["wspill"] == pytest.approx(1024 / 1e6)


def test_groups_and_their_shuffle_are_grouped_work():
    found = work(MBConv(expand=1, pointwise=True, groups=2, channels=8).kernels(Shape(8, 4)))
    assert found["grouped"] == pytest.approx(3 * 16 * 16 / 1e6)  # two convolutions and a shuffle


def test_every_amount_is_counted_and_named():
    ops = (Conv(kernel=3, channels=8), MBConv(groups=2, se=0.25), Classifier(classes=10))
    kernels = [kernel for op in ops for kernel in op.kernels(Shape(8, 8))]
    assert set(AMOUNTS) <= set(work(kernels)) <= {*AMOUNTS, *KIND_AMOUNTS}


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (MBConv(kernel=3), MBConv(kernel=5)),
        (MBConv(expand=3), MBConv(expand=6)),
        (MBConv(channels=200), MBConv(channels=240)),
        (MBConv(), MBConv(se=0.25)),
        (MBConv(stride=2, skip="none"), MBConv(stride=1, skip="none")),
        (Conv(channels=2048), Conv(channels=4096)),
    ],
    ids=str,
)
@pytest.mark.parametrize("amount", AMOUNTS)
def test_no_price_makes_a_larger_op_cheaper(small, large, amount):
    model = DeviceModel(prices={amount: 1.0}, row_sd=0, common_sd=0)

    def ms(op, shape):
        return sum(map(model.latency_ms, op.kernels(shape)))

    for shape in (Shape(16, 14), Shape(160, 7)):
        assert ms(small, shape) <= ms(large, shape)
        assert ms(large, shape) <= ms(large, Shape(shape.channels, 2 * shape.size))


def test_a_price_is_milliseconds_per_million():
    kernel = Kernel(kind="linear", in_channels=1000, out_channels=2000, in_size=1, out_size=1)
    model = DeviceModel(prices={"dense_macs": 0.5, "weights": 0.25}, row_sd=0, common_sd=0)
    assert model.latency_ms(kernel) == pytest.approx(2 * 0.5 + 2 * 0.25)


@pytest.mark.parametrize("name", ["flops", ""])
def test_an_unknown_price_raises(name):
    with pytest.raises(
        TableError, match=r"a device model prices dense_macs, .*, each at 0 or more, not"
    ):
        DeviceModel(prices={name: 1.0}, row_sd=0, common_sd=0)


@pytest.mark.parametrize("price", [-1e-9, math.nan, math.inf])
def test_a_price_is_finite_and_not_negative(price):
    with pytest.raises(TableError, match="each at 0 or more, not moved="):
        DeviceModel(prices={"moved": price}, row_sd=0, common_sd=0)


@pytest.mark.parametrize("prices", [{}, {"moved": 0.0}])
def test_a_model_by_which_all_is_free_raises(prices):
    with pytest.raises(TableError, match="needs a price above 0, or everything would take no time"):
        DeviceModel(prices=prices, row_sd=0, common_sd=0)


@pytest.mark.parametrize("name", ["row_sd", "common_sd"])
@pytest.mark.parametrize("sd", [-0.1, 1.0, math.nan])
def test_spreads_are_fractions(name, sd):
    with pytest.raises(
        TableError, match=f"{name} of a device model must be a fraction below 1, not {sd}"
    ):
        dataclasses.replace(MODEL, **{name: sd})


def test_json_round_trip():
    data = {"prices": PRICES, "row_sd": 0.1, "common_sd": 0.05}
    assert DeviceModel.from_json(data) == MODEL


@pytest.mark.parametrize(
    "data",
    [
        {"prices": PRICES, "row_sd": 0.1},
        {"prices": [1.0], "row_sd": 0.1, "common_sd": 0.1},
        {"prices": {"moved": "cheap"}, "row_sd": 0.1, "common_sd": 0.1},
        {"prices": PRICES, "row_sd": None, "common_sd": 0.1},
        [],
        "model",
    ],
)
def test_a_model_that_is_not_one_raises(data):
    with pytest.raises(TableError, match="the model of a table needs prices, row_sd and common_sd"):
        DeviceModel.from_json(data)
