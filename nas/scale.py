"""A network made wider, deeper or larger, by the rules its paper rounds with.

Width and depth as in MobileNetV2 (Sandler et al. 2018, https://arxiv.org/abs/1801.04381) and
EfficientNet (Tan and Le 2019, https://arxiv.org/abs/1905.11946): channels are rounded to multiples of
8, repeats up. A scaled network has left its search space and is still an `Architecture`.
"""

import dataclasses
import math
from collections.abc import Callable
from itertools import chain
from typing import Any, Literal

from nas.arch import Architecture, Stage
from nas.errors import ArchitectureError
from nas.shape import Op, Shape
from nas.space import make_divisible

__all__ = ["HeadRule", "round_plain", "scaled"]

HeadRule = Literal["scale", "grow", "fixed"]
LARGEST_FACTOR = 16.0

Rounding = Callable[[float], int]


def scaled(
    network: Architecture,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    resolution: int | None = None,
    classes: int | None = None,
    in_channels: int | None = None,
    head: HeadRule = "grow",
    rounding: Rounding = make_divisible,
) -> Architecture:
    """The network with its channels times ``width``, its repeats times ``depth``, at another input.

    Stages named ``stem`` and ``head`` are not repeated. The head's convolution follows ``head``: ``scale``
    with the width (EfficientNet), ``grow`` only above width 1 (MobileNetV2), ``fixed`` (MnasNet). A stage
    gets ``ceil(depth * layers)`` layers, its last one repeated. Factors lie above 0 and up to 16.
    """
    for name, factor in (("width", width), ("depth", depth)):
        if not 0 < factor <= LARGEST_FACTOR:
            raise ArchitectureError(f"{name} must be above 0 and at most {LARGEST_FACTOR:g}, not {factor:g}")
    head_width = {"scale": width, "grow": max(1.0, width), "fixed": 1.0}[head]
    stages = []
    for stage in network.stages:
        factor = head_width if stage.name == "head" else width
        ops = [_resized(op, factor, classes, rounding) for op in stage.ops]
        if stage.name not in ("stem", "head"):
            ops = _repeated(ops, depth)
        stages.append(Stage(stage.name, tuple(ops)))
    given = network.input
    return Architecture(Shape(in_channels or given.channels, resolution or given.size), tuple(stages))


def _resized(op: Op, width: float, classes: int | None, rounding: Rounding) -> Op:
    """The op with ``channels`` and ``hidden`` times ``width``, and ``classes`` replaced, where it has them."""
    settings: dict[str, Any] = {}
    names = {f.name for f in dataclasses.fields(op)}
    for name in names & {"channels", "hidden"}:
        value = getattr(op, name)
        if value and width != 1:
            settings[name] = rounding(value * width)
    if classes is not None and "classes" in names:
        settings["classes"] = classes
    return op.replace(**settings) if settings else op


def _repeated(ops: list[Op], depth: float) -> list[Op]:
    """``ceil(depth * len(ops))`` ops: those given, then the last one again at stride 1; fewer are cut off."""
    count = math.ceil(depth * len(ops) - 1e-9)
    last = ops[-1].replace(stride=1) if hasattr(ops[-1], "stride") else ops[-1]
    return list(chain(ops[:count], [last] * (count - len(ops))))


def round_plain(channels: float) -> int:
    """The nearest multiple of 8, at least 8, without the 90 % guard of `make_divisible`: EfficientNetV2's rounding."""
    return max(8, int(channels + 4) // 8 * 8)
