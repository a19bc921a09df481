"""What flows through a network, what a runtime executes on it, and what an operator promises.

Every spatial kernel pads by ``kernel // 2``. So a stride ``s`` turns a side of ``n`` pixels into
one of ``ceil(n / s)``, height and width each by itself: only `Shape.strided` computes it.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from nas.errors import ArchitectureError
from nas.size import Rect, Size, area, sides, strided

__all__ = ["Kernel", "Op", "Shape", "make_divisible"]

FLOAT_BYTES = 4


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of ``divisor``, at least one, never below 90 % of what was asked.

    The rounding of MobileNetV2, MnasNet and EfficientNet.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


@dataclass(frozen=True, slots=True, order=True)
class Shape:
    """A feature map of one image: ``channels`` x height x width.

    ``size`` is a number of pixels a side, or a `nas.size.Rect` where the sides differ.
    """

    channels: int
    size: Size

    def __post_init__(self) -> None:
        least = self.size if isinstance(self.size, int) else min(sides(self.size))
        if self.channels < 1 or least < 1:
            raise ArchitectureError(
                f"a feature map needs at least one channel and one pixel, not {self}"
            )

    @property
    def elements(self) -> int:
        """Number of values in the map."""
        return self.channels * area(self.size)

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return sides(self.size)

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return sides(self.size)[0]

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return sides(self.size)[1]

    @property
    def positions(self) -> int:
        """Pixels of the map."""
        return area(self.size)

    def side(self, op: str) -> int:
        """Pixels a side of a map that ``op`` needs to be square.

        Raises `ArchitectureError` for a rectangle.
        """
        if isinstance(self.size, Rect):
            raise ArchitectureError(
                f"op '{op}' needs a square map, not {self.size}: take a square --resolution, or a "
                "space or network without this op"
            )
        return self.size

    def strided(self, stride: int, channels: int | None = None) -> "Shape":
        """The map after a kernel of that stride: each side ``ceil(side / stride)``."""
        return Shape(channels or self.channels, strided(self.size, stride))

    def __str__(self) -> str:
        size = self.size
        both = f"{size}x{size}" if isinstance(size, int) else str(size)
        return f"{self.channels}x{both}"


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One thing a runtime executes: a convolution with folded norm and fused activation, a pool.

    ``kind``: conv, dwconv, linear, matmul, gram, softmax, bias, add, mul, scale, pool, resize,
    norm, act, shuffle, concat (of two maps into one of ``out_channels``). A ``linear`` is applied
    at every position; a ``matmul`` multiplies two activations, per group (head)
    ``in_channels/groups`` long rows into ``out_channels/groups`` columns. A ``gram`` multiplies two
    maps over all positions, for each two channels of a head. A ``bias`` adds trained values to the
    scores of an attention, as many as there are heads and keys. ``norm`` says that a batch norm
    follows: its two vectors are trained and folded away at inference. A global ``pool`` has
    ``out_size`` 1, and the map for its kernel and stride; a ``resize`` is bilinear. A kernel of
    kind ``norm`` stands alone: a layer norm over the channels, or, with one group per channel, a
    batch norm. ``rows`` says how often the same weights are applied beside each other: per channel
    in a layer that mixes positions (whose positions then count as its channels), per window in
    windowed attention.
    """

    kind: str
    in_channels: int
    out_channels: int
    in_size: Size
    out_size: Size
    kernel: Size = 1
    stride: Size = 1
    groups: int = 1
    rows: int = 1
    bias: bool = False
    norm: bool = False
    act: str = ""

    @property
    def weights(self) -> int:
        """Trained values without biases and norms."""
        if self.kind in ("conv", "dwconv", "linear"):
            return area(self.kernel) * (self.in_channels // self.groups) * self.out_channels
        return self.out_channels if self.kind in ("scale", "bias") else 0

    @property
    def params(self) -> int:
        """All trained values."""
        standalone_norm = 2 * self.out_channels if self.kind == "norm" else 0
        # A norm has a factor and an offset per channel; its running statistics are not trained.
        folded = self.out_channels * (int(self.bias) + 2 * int(self.norm))
        return self.weights + folded + standalone_norm

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions, linear layers and matrix products; else zero."""
        if self.kind in ("conv", "dwconv", "linear", "matmul"):
            per_position = area(self.kernel) * (self.in_channels // self.groups) * self.out_channels
            return self.rows * area(self.out_size) * per_position
        if self.kind == "gram":
            return area(self.in_size) * self.out_channels
        return 0

    @property
    def in_elements(self) -> int:
        """Activations read."""
        elements = self.rows * self.in_channels * area(self.in_size)
        if self.kind in ("add", "gram"):
            return 2 * elements
        if self.kind == "mul":
            return elements + self.in_channels
        if self.kind == "matmul":
            return elements + self.rows * self.in_channels * (self.out_channels // self.groups)
        return elements

    @property
    def out_elements(self) -> int:
        """Activations written."""
        return self.rows * self.out_channels * area(self.out_size)


@dataclass(frozen=True, kw_only=True)
class Op(ABC):
    """An operator with its settings, a frozen value; what it does depends on the shape it meets.

    A subclass is a frozen keyword-only dataclass with a short ``key``, its name in JSON and tables.
    Settings are plain JSON values. Params, macs, memory and table keys all follow from `kernels`.
    """

    key: ClassVar[str]
    elastic: ClassVar[tuple[str, ...]] = ()
    """Settings a weight-sharing supernet may slice from the largest one."""
    once: ClassVar[bool] = False
    """Whether a stage has one of it, however deep: a classifier, a down-sampling module."""

    @abstractmethod
    def out_shape(self, shape: Shape) -> Shape:
        """The map handed over for an input of that shape."""

    @abstractmethod
    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """What a runtime executes at that input shape, in order."""

    def trained(self, shape: Shape) -> Sequence[Kernel]:
        """What a training executes: the same, but for branches that are folded to be shipped."""
        return self.kernels(shape)

    @property
    def deployed(self) -> "Op":
        """The operator that ships: itself, but for branches that are folded."""
        return self

    def held(self, shape: Shape) -> Sequence[int]:
        """Values kept alive while each kernel runs, beside what it reads and writes; empty: none.

        A residual's input is one, but for the kernels that read it: see `nas.ops.blocks.held`.
        """
        return ()

    def at(self, shape: Shape) -> "Op":
        """The same operator; settings that change nothing at that input shape have one form.

        So a residual that cannot exist is not told from one that is switched off. Digests and
        spaces use this form: equal networks have equal digests.
        """
        return self

    def replace(self, **settings: Any) -> "Op":
        """The same operator with other settings."""
        return dataclasses.replace(self, **settings)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings that differ from their defaults, by name: the canonical JSON form."""
        settings: dict[str, Any] = {}
        for field in sorted(dataclasses.fields(self), key=lambda field: field.name):
            value = getattr(self, field.name)
            if value == field.default:
                continue
            # 6.0 and 6 are one setting, so they must have one digest and one row of a table.
            is_whole = isinstance(value, float) and value.is_integer()
            settings[field.name] = int(value) if is_whole else value
        return settings

    @cached_property
    def signature(self) -> str:
        """One word of op and settings, as tables print it: ``mbconv(channels=24,expand=6)``."""
        settings = ",".join(f"{name}={value}" for name, value in self.settings.items())
        return f"{self.key}({settings})"

    def __str__(self) -> str:
        return self.signature
