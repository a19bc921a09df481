"""Sizes, and networks whose maps are not square."""

import json

import pytest

from nas import catalog, networks
from nas.arch import Architecture, Layer
from nas.errors import ArchitectureError, UsageError
from nas.latency.keys import kernel_from_key, kernel_key, layer_from_key, layer_key
from nas.ops.conv import Classifier, Conv
from nas.ops.levit import LevitAttention
from nas.ops.unified import AttentionBlock
from nas.shape import Shape
from nas.size import Rect, by_area, parse_size, rescaled, sides, size_of

STREET = Rect(240, 320)


def test_a_size_is_a_number_or_height_and_width():
    assert parse_size("224") == 224
    assert parse_size("240x320") == STREET
    assert parse_size("32x32") == 32
    assert (str(STREET), sides(STREET), sides(7)) == ("240x320", (240, 320), (7, 7))
    assert sorted([STREET, 64, Rect(120, 160)], key=by_area) == [64, Rect(120, 160), STREET]
    assert rescaled(STREET, 1 / 320) == size_of(1, 1) == 1
    for text in ("240x", "x", "-3", "2.5", "240x320x3", "٣"):
        with pytest.raises(UsageError, match=r"a size is pixels such as 224, or 240x320"):
            parse_size(text)


def test_a_stride_rounds_each_side_by_itself():
    shape = Shape(3, Rect(15, 20)).strided(2, 8)
    assert (shape, str(shape), shape.elements) == (Shape(8, Rect(8, 10)), "8x8x10", 640)
    # From 7x8 on, a stride may make a square of a rectangle: it is one like any other.
    assert Shape(3, Rect(7, 8)).strided(2) == Shape(3, 4)


def test_a_rectangle_costs_what_its_pixels_cost():
    wide, square = Layer(Conv(kernel=3, channels=8), Shape(4, Rect(8, 18))), Shape(4, 12)
    same = Layer(Conv(kernel=3, channels=8), square)
    assert (wide.macs, wide.params, wide.peak_bytes) == (same.macs, same.params, same.peak_bytes)


@pytest.mark.parametrize("op", [Conv(kernel=3, channels=8, stride=2), Classifier(classes=4)])
def test_keys_name_both_sides_and_are_read_back(op):
    layer = Layer(op, Shape(3, Rect(24, 32)))
    assert layer_key(op, layer.shape).endswith("@3x24x32")
    assert layer_from_key(layer_key(op, layer.shape)) == layer
    for kernel in layer.kernels:
        key = kernel_key(kernel)
        assert kernel_key(kernel_from_key(key)) == key


def test_networks_are_written_and_read_and_squares_stay_as_they_were():
    network = networks.get("mobilenet_v2", resolution=STREET)
    document = json.loads(json.dumps(network.to_json()))
    assert document["input"] == {"channels": 3, "size": "240x320"}
    assert Architecture.from_json(document) == network
    assert networks.get("mobilenet_v2").to_json()["input"] == {"channels": 3, "size": 224}
    turned = networks.get("mobilenet_v2", resolution=Rect(320, 240))
    assert (turned.macs, turned.digest != network.digest) == (network.macs, True)
    document["input"]["size"] = "240 x 320"
    with pytest.raises(UsageError, match="a size is pixels"):
        Architecture.from_json(document)


def test_what_needs_a_square_map_says_so():
    with pytest.raises(ArchitectureError, match="op 'levit_attention' needs a square map, not 3x4"):
        _ = Layer(LevitAttention(), Shape(64, Rect(3, 4))).kernels
    with pytest.raises(ArchitectureError, match=r"needs a square map, not 15x20"):
        _ = catalog.space("efficientformer_v2", resolution=STREET).chain


def test_a_window_is_on_no_side_longer_than_the_map():
    op = AttentionBlock(window=7)
    assert op.at(Shape(32, Rect(4, 7))) == AttentionBlock()
    shape = Shape(32, Rect(4, 14))
    assert (op.window_of(shape).size, op.windows(shape)) == (Rect(4, 7), 2)


def test_a_space_of_several_rectangles_and_one_of_a_signal():
    several = catalog.space("fbnet", resolution=(STREET, Rect(192, 256)))
    assert several.input_text == "3x192x256 to 3x240x320"
    assert several.decode([0] * 23).input == Shape(3, Rect(192, 256))
    signal = catalog.space("fbnet", resolution=Rect(1, 1024))
    assert signal.decode([0] * 22).layers[-1].shape.size == Rect(1, 32)


def test_a_rectangle_is_no_number_and_says_what_to_count_with() -> None:
    size = Rect(2, 3)
    for wrong in (lambda: size**2, lambda: size * size, lambda: size // 2, lambda: 2 * size):
        with pytest.raises(ArchitectureError, match=r"2x3 is a rectangle.*shape\.positions"):
            wrong()
