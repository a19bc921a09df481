"""Keys of other toolkits' latency tables: which layer or kernel of ours each of them names.

Once-for-all and ProxylessNAS (https://github.com/mit-han-lab/once-for-all,
``latency_lookup_table.py``): ``expanded_conv-input:56x56x24-output:..``. HW-NAS-Bench
(https://github.com/GATECH-EIC/HW-NAS-Bench): ``ConvBlock_H56_W56_Cin24_..``. FBNet
(https://github.com/facebookresearch/mobile-vision): records of an operator instead of keys. Our own
keys are read too.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nas.arch import Layer
from nas.errors import NasError, TableError
from nas.latency.keys import kernel_from_key, layer_from_key
from nas.ops import blocks
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Kernel, Shape
from nas.size import size_of

__all__ = ["Named", "is_mobilenet_v3", "named_by", "recorded_kernel"]

Named = Layer | Kernel
"""What a row can price."""

LONGEST_KEY = 120
"""Characters of a foreign key that a message repeats."""

_OFA = re.compile(
    r"(?P<kind>\w+)-input:(?P<input>[\dx]+)-output:(?P<output>[\dx]+)(?P<rest>(?:-\w+:\d+)*)"
)
_BENCH = re.compile(
    r"(?P<kind>[A-Za-z]+)"
    r"_H(?P<height>\d+)_W(?P<width>\d+)_Cin(?P<inside>\d+)_Cout(?P<outside>\d+)"
    r"(?P<rest>(?:_[a-z]+\d+)*)"
)


def named_by(where: str, key: str, *, v3: bool = False) -> Named | None:
    """What a key of any format names; None for nothing we have.

    ``v3``: whether once-for-all's keys are those of MobileNetV3. Raises `TableError`, which begins
    with ``where``, for a key that says too little or the impossible.
    """
    try:
        return _named_by(key, v3=v3)
    except KeyError as error:
        setting = error.args[0]
        raise TableError(f"{where}: {key[:LONGEST_KEY]} does not state its {setting}") from None
    except (NasError, ValueError) as error:
        raise TableError(f"{where}: {key[:LONGEST_KEY]}: {error}") from None


def _named_by(key: str, *, v3: bool) -> Named | None:
    kernel = kernel_from_key(key)
    if kernel is not None:
        return kernel
    if "@" in key:
        return layer_from_key(key)
    once_for_all = _OFA.fullmatch(key)
    if once_for_all is not None:
        return _once_for_all(once_for_all, v3=v3)
    bench = _BENCH.fullmatch(key)
    return None if bench is None else _hw_nas_bench(bench)


def _shape(height: int, width: int, channels: int) -> Shape:
    return Shape(channels, size_of(height, width))


# -- once-for-all and ProxylessNAS ----------------------------------------------------------------


def is_mobilenet_v3(key: str) -> bool:
    """Whether a key of once-for-all is one of MobileNetV3: only those state their activation."""
    return "-hs:" in key


def _once_for_all(match: re.Match[str], *, v3: bool) -> Named | None:
    height, width, inside = (int(number) for number in match["input"].split("x"))
    shape = _shape(height, width, inside)
    channels = int(match["output"].rpartition("x")[2])
    act = "hswish" if v3 else "relu"
    # The names are those of TensorFlow's MobileNets, from which the tables were timed: `Conv` is
    # the stem, `Conv_1` the last convolution, `Conv_2` the layer between the pool and the logits.
    match match["kind"]:
        case "expanded_conv":
            settings = _numbers(r"-(\w+):(\d+)", match["rest"])
            if v3:
                return _mobilenet_v3_block(shape, channels, settings)
            return _mobilenet_v2_block(shape, channels, settings)
        case "Conv":
            return Layer(Conv(kernel=3, channels=channels, stride=2, act=act), shape)
        case "Conv_1":
            return Layer(Conv(channels=channels, act=act), shape)
        case "AvgPool2D":
            return blocks.global_pool(shape)
        case "Conv_2":
            return blocks.linear(shape, channels, act)
        case "Logits" if v3:
            return blocks.linear(shape, channels)
        case "Logits":
            # MobileNetV2's row holds the pool too.
            return Layer(Classifier(classes=channels), shape)
    return None


def _numbers(pattern: str, text: str) -> dict[str, int]:
    """Numbers by name, where the pattern finds both."""
    return {name: int(number) for name, number in re.findall(pattern, text)}


def _mobilenet_v2_block(shape: Shape, channels: int, settings: Mapping[str, int]) -> Layer:
    op = MBConv(
        kernel=settings["kernel"],
        expand=settings["expand"],
        channels=channels,
        stride=settings["stride"],
        skip="identity" if settings["idskip"] else "none",
    )
    return Layer(op.at(shape), shape)


def _mobilenet_v3_block(shape: Shape, channels: int, settings: Mapping[str, int]) -> Layer | None:
    """``expand`` is the number of channels between here, and the squeeze follows from them.

    None if our rounding to multiples of 8 does not reach that number.
    """
    act = "hswish" if settings["hs"] else "relu"
    squeezes = settings["se"]
    op = MBConv(
        kernel=settings["kernel"],
        expand=settings["expand"] / shape.channels,
        channels=channels,
        stride=settings["stride"],
        skip="identity" if settings["idskip"] else "none",
        act=act,
    )
    if squeezes:
        op = replace(op, se=0.25, se_base="expanded", se_gate="hsigmoid", se_act="relu")
    if op.middle(shape) != settings["expand"]:
        return None
    return Layer(op.at(shape), shape)


# -- HW-NAS-Bench ---------------------------------------------------------------------------------


def _hw_nas_bench(match: re.Match[str]) -> Layer | None:
    shape = _shape(int(match["height"]), int(match["width"]), int(match["inside"]))
    channels = int(match["outside"])
    settings = _numbers(r"_([a-z]+)(\d+)", match["rest"])
    match match["kind"]:
        case "ConvBlock":
            block = MBConv(
                kernel=settings["kernel"],
                expand=settings["exp"],
                groups=settings["group"],
                channels=channels,
                stride=settings["stride"],
                # FBNet's blocks keep the first pointwise convolution where nothing is expanded.
                pointwise=settings["exp"] == 1,
            )
            return Layer(block.at(shape), shape)
        case "ConvNorm":
            conv = Conv(
                kernel=settings["kernel"],
                channels=channels,
                stride=settings["stride"],
                groups=settings["group"],
            )
            return Layer(conv, shape)
        case "Skip" if shape != shape.strided(settings["stride"], channels):
            # A skip that changes the shape is a convolution; any other runs nothing.
            return Layer(Conv(channels=channels, stride=settings["stride"]), shape)
    return None


# -- FBNet's operator records ---------------------------------------------------------------------


def recorded_kernel(where: str, record: Mapping[str, Any]) -> Kernel | None:
    """The convolution or fully connected layer that was timed; None for another operator.

    Raises `TableError`, which begins with ``where``, for shapes that make no sense.
    """
    # Quantised operators are named "Int8Conv" and the like, and do the same work.
    operator = str(record["op_type"]).removeprefix("Int8")
    act = "relu" if operator.endswith("Relu") else ""
    try:
        match operator.removesuffix("Relu"):
            case "Conv":
                return _recorded_conv(record, act)
            case "FC":
                (_, channels), weights = _recorded_shapes(record)
                return blocks.linear(Shape(channels, 1), weights[0], act)
    except (KeyError, IndexError, TypeError, ValueError, NasError) as error:
        raise TableError(f"{where}: {error}") from None
    return None


def _recorded_shapes(record: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    """The shapes of input and weights; that of the bias may follow them and says nothing new."""
    inside, weights = record["input_shapes"][0], record["input_shapes"][1]
    if inside[0] != 1:
        raise ValueError(f"batch must be 1, not {inside[0]}")
    return inside, weights


def _recorded_conv(record: Mapping[str, Any], act: str) -> Kernel:
    (_, channels, height, width), weights = _recorded_shapes(record)
    # Arguments are protocol buffers printed as text: `name: "stride"`, and `i: 2` on the next line.
    text = " ".join(map(str, record.get("op_args", ())))
    settings = _numbers(r'name: "(\w+)"\s+i: (\d+)', text)
    shape = _shape(height, width, channels)
    stride = settings.get("stride", 1)
    groups = settings.get("group", 1)
    is_depthwise = groups == channels > 1
    return Kernel(
        kind="dwconv" if is_depthwise else "conv",
        in_channels=channels,
        out_channels=weights[0],
        in_size=shape.size,
        out_size=shape.strided(stride, weights[0]).size,
        kernel=weights[-1],
        stride=stride,
        groups=groups,
        act=act,
    )
