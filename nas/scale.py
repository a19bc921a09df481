"""A network made wider, deeper or larger, by the rules its paper rounds with.

Width and depth as in MobileNetV2 (Sandler et al. 2018, https://arxiv.org/abs/1801.04381) and
EfficientNet (Tan and Le 2019, https://arxiv.org/abs/1905.11946): channels are rounded to multiples
of 8, repeats up. A scaled network has left its search space and is still an `Architecture`.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from nas.arch import Architecture, Layer, Stage
from nas.errors import ArchitectureError
from nas.shape import Op, Shape, make_divisible
from nas.size import Size
from nas.space import relax_strides

__all__ = [
    "LARGEST_FACTOR",
    "Rounded",
    "Rounding",
    "Scaled",
    "WidthRule",
    "relaxed",
    "round_plain",
    "scale",
    "scaled",
]

WidthRule = Literal["scale", "grow", "fixed"]
LARGEST_FACTOR = 16.0
ONCE = ("stem", "final", "head")
"""Stages that are never repeated."""

Rounding = Callable[[float], int]


@dataclass(frozen=True, kw_only=True)
class Rounded:
    """One figure of a stage that was rounded: ``what`` is channels, hidden, layers or pixels."""

    stage: str
    what: str
    exact: float
    used: int

    def __str__(self) -> str:
        return f"{self.stage} {self.what} {self.exact:.4g} -> {self.used}"


@dataclass(frozen=True)
class Scaled:
    """A scaled network, and every figure that was rounded on the way, once per stage."""

    network: Architecture
    roundings: tuple[Rounded, ...]


def scaled(
    network: Architecture,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: Size | None = None,
    classes: int | None = None,
    in_channels: int | None = None,
    head: WidthRule = "grow",
    stem: WidthRule = "scale",
    rounding: Rounding = make_divisible,
) -> Architecture:
    """The network of `scale`, without the account of what was rounded."""
    return scale(
        network,
        width=width,
        depth=depth,
        resolution=resolution,
        classes=classes,
        in_channels=in_channels,
        head=head,
        stem=stem,
        rounding=rounding,
    ).network


def scale(
    network: Architecture,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: Size | None = None,
    classes: int | None = None,
    in_channels: int | None = None,
    head: WidthRule = "grow",
    stem: WidthRule = "scale",
    late: int = 0,
    rounding: Rounding = make_divisible,
) -> Scaled:
    """The network with its channels times ``width``, its repeats times ``depth``, at another input.

    The head's convolution follows ``head``: ``scale`` with the width (EfficientNet), ``grow`` only
    above width 1 (MobileNetV2), ``fixed`` (MnasNet). The stem follows ``stem`` alike: it is fixed
    in UniNet, and grows only in MobileNetV4. A stage of n layers gets ``ceil(depth * n)``, and the
    last two stages ``late`` more. Its last layer that keeps size and channels is repeated, or else
    its last one, at stride 1. Not counted and not repeated: the stages of `ONCE`, stages without
    layers, and ops that are made once, such as down-sampling modules. Factors lie above 0 and up to
    16.
    """
    for name, factor in (("width", width), ("depth", depth)):
        if not 0 < factor <= LARGEST_FACTOR:
            raise ArchitectureError(
                f"{name} must be above 0 and at most {LARGEST_FACTOR:g}, not {factor:g}"
            )
    widths = {
        "stem": _factor(stem, width),
        "head": _factor(head, width),
    }
    account = _Account()
    stages = []
    body = [stage for stage in network.stages if _has_depth(stage)]
    for stage, layers in network.layers_by_stage:
        factor = widths.get(stage.name, width)
        ops = [layer.op for layer in layers]
        if stage in body:
            more = late if stage in body[-2:] else 0
            ops = _repeated(stage.name, layers, depth, more, account)
        ops = [_resized(stage.name, op, factor, classes, rounding, account) for op in ops]
        stages.append(Stage(stage.name, tuple(ops)))
    own = network.input
    shape = Shape(in_channels or own.channels, resolution or own.size)
    return Scaled(Architecture(shape, tuple(stages)), tuple(account.roundings))


def _factor(rule: WidthRule, width: float) -> float:
    return {"scale": width, "grow": max(1.0, width), "fixed": 1.0}[rule]


def relaxed(network: Architecture) -> Architecture:
    """The network with early strides dropped where its input is small, see `relax_strides`.

    So published networks end in maps as large as those of the spaces at that resolution.
    """
    strides = [getattr(layer.op, "stride", 1) for layer in network.layers]
    fewer = iter(relax_strides(strides, network.input.size))
    stages = []
    for stage in network.stages:
        ops = [_with_stride(op, next(fewer)) for op in stage.ops]
        stages.append(Stage(stage.name, tuple(ops)))
    return Architecture(network.input, tuple(stages))


def _with_stride(op: Op, stride: int) -> Op:
    return op if getattr(op, "stride", 1) == stride else op.replace(stride=stride)


def _has_depth(stage: Stage) -> bool:
    """Whether a factor on depth counts its layers."""
    return stage.name not in ONCE and any(not op.once for op in stage.ops)


@dataclass
class _Account:
    """What was rounded, each figure once."""

    roundings: dict[Rounded, None] = field(default_factory=dict)

    def round(self, stage: str, what: str, exact: float, used: int) -> int:
        if used != exact:
            self.roundings[Rounded(stage=stage, what=what, exact=exact, used=used)] = None
        return used


def _resized(
    stage: str, op: Op, width: float, classes: int | None, rounding: Rounding, account: _Account
) -> Op:
    """The op with ``channels`` and ``hidden`` times ``width``, and other ``classes``.

    What an op has not, it does not get.
    """
    settings: dict[str, object] = {}
    names = {f.name for f in dataclasses.fields(op)}
    for name in sorted(names & {"channels", "hidden"}):
        value = getattr(op, name)
        # Untouched at width 1: a published width need not be a multiple of the divisor.
        if value and width != 1:
            exact = round(value * width, 9)
            settings[name] = account.round(stage, name, exact, rounding(value * width))
    if classes is not None and "classes" in names:
        settings["classes"] = classes
    return op.replace(**settings) if settings else op


def _repeated(
    stage: str, layers: Sequence[Layer], depth: float, late: int, account: _Account
) -> list[Op]:
    """The stage's ops with the count that depth asks for.

    Repeats are put in or taken out where the map keeps its shape.
    """
    counted = [index for index, layer in enumerate(layers) if not layer.op.once]
    # To 9 digits: 2.2 * 25 is 55.00000000000001, which would be rounded up to 56.
    exact = round(depth * len(counted), 9)
    wanted = account.round(stage, "layers", exact, math.ceil(exact)) + late
    keeping = [index for index in counted if layers[index].shape == layers[index].out_shape]
    ops = [layer.op for layer in layers]
    if wanted < len(counted):
        gone = keeping[max(0, len(keeping) - (len(counted) - wanted)) :]
        return [op for index, op in enumerate(ops) if index not in gone]
    last = (keeping or counted)[-1]
    again = ops[last]
    if hasattr(again, "stride"):
        again = again.replace(stride=1)
    return [*ops[: last + 1], *[again] * (wanted - len(counted)), *ops[last + 1 :]]


def round_plain(channels: float, divisor: int = 8) -> int:
    """EfficientNetV2's rounding: the nearest multiple of 8, at least 8.

    It has no guard of 90 % as `make_divisible` has.
    """
    return max(divisor, int(channels + divisor / 2) // divisor * divisor)
