"""A published network scaled to a latency, and strides for small images."""

from functools import partial

import pytest

from nas import catalog, networks
from nas.errors import UsageError
from nas.family.at_latency import STEPS, at_latency
from nas.networks.membership import membership
from nas.scale import relaxed
from search_spaces import fbnet

PIXEL = catalog.device("pixel1")


def test_the_width_keeps_the_latency_and_the_next_wider_network_does_not():
    make = partial(networks.get, "mobilenet_v2")
    fit = at_latency(make, 20.0, PIXEL)
    assert fit.estimate.latency_ms <= 20.0
    assert fit.network == make(width=fit.width)
    steps = round(fit.width * STEPS)
    # The width is the shortest number that gives the network, so the widest may be a little wider.
    wider = [make(width=(steps + more) / STEPS) for more in range(1, 12)]
    first = next(network for network in wider if network.digest != fit.network.digest)
    assert PIXEL.estimate(first).latency_ms > 20.0


def test_a_published_width_is_found_again():
    half = networks.get("mobilenet_v2", width=0.5)
    latency_ms = PIXEL.estimate(half).latency_ms
    fit = at_latency(partial(networks.get, "mobilenet_v2"), latency_ms + 1e-9, PIXEL)
    assert (fit.width, fit.network.digest) == (0.5, half.digest)


def test_the_resolution_shrinks_with_the_width_where_asked():
    make = partial(networks.get, "mnasnet_a1")
    narrow = at_latency(make, 20.0, PIXEL, resolution=128)
    both = at_latency(make, 20.0, PIXEL, resolution=128, with_resolution=True)
    assert narrow.network.input.size == 128
    assert both.network.input.size < 128
    assert both.network.input.size % 4 == 0
    assert narrow.width < both.width < 1
    assert both.estimate.latency_ms <= 20.0


def test_a_latency_that_no_width_reaches_is_told_with_the_one_that_is():
    make = partial(networks.get, "mobilenet_v2")
    with pytest.raises(UsageError, match=r"no width gives 2 ms on 'pixel1': width 0.05 at input "):
        at_latency(make, 2.0, PIXEL)
    with pytest.raises(UsageError, match=r"takes 13,235 ms. Ask for 13,222 ms or less, or give "):
        at_latency(make, 1e6, PIXEL)


def test_strides_of_small_images_are_those_of_the_space():
    network = networks.get("fbnet_c", resolution=32, small_images=True)
    assert network.layers[-1].shape.size == 4
    place = membership(network, fbnet.space(32))
    assert {difference.slot for difference in place.differences} <= {
        "stage1_1",
        "stage2_3",
        "stage2_4",
        "head",
    }


def test_nothing_is_relaxed_at_the_published_size():
    for name in networks.names():
        network = networks.get(name)
        assert relaxed(network) == network
