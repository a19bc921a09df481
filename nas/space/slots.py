"""What a space is written with: choices, slots, and the strides of small images."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.errors import SpaceError
from nas.shape import Op, Shape
from nas.size import Size, area, strided

__all__ = ["Choice", "Make", "Slot", "fixed", "relax_strides"]

SMALLEST_FINAL_MAP = 4
"""Pixels a side. HW-NAS-Bench's FBNet ends in this at 32x32."""


@dataclass(frozen=True)
class Choice:
    """One decision. Raises `SpaceError` if it has no option, or a label twice."""

    name: str
    options: Sequence[object] | Mapping[str, object]
    """Any values; or a mapping from label to value. The label of a bare value is ``str(value)``."""
    ordinal: bool = False
    """Whether the order of the options has meaning."""
    labels: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        if isinstance(self.options, Mapping):
            labelled = dict(self.options)
        else:
            labelled = {str(value): value for value in self.options}
        if not labelled or len(labelled) != len(self.options):
            raise SpaceError(
                f"choice '{self.name}' needs at least one option and no label twice, "
                f"not {list(self.options)}"
            )
        # The class is frozen, and from here on options are a tuple however they were given.
        object.__setattr__(self, "options", tuple(labelled.values()))
        object.__setattr__(self, "labels", tuple(labelled))

    def __len__(self) -> int:
        return len(self.options)


Make = Callable[[Mapping[str, Any], Shape], Iterable[Op]]


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place in the chain."""

    name: str
    stage: str
    """The stage that its layers belong to."""
    choices: tuple[Choice, ...] = ()
    make: Make
    """``make(picked, shape)`` gives the slot's ops in order. It must be pure.

    ``picked`` holds the option of each choice, by the choice's name; ``shape`` is handed over by
    the slot before. If there are no ops, the shape is handed on.
    """
    hand_on: Callable[[Mapping[str, Any], Shape], Shape] | None = None
    """Of a slot that makes no ops at all: the shape it hands on instead. See `nas.space.at_sizes`.
    """

    @property
    def options(self) -> int:
        """How many combinations of options the slot has."""
        return math.prod(map(len, self.choices))


def fixed(stage: str, *ops: Op) -> Slot:
    """A slot without choices: a stem, a head."""
    return Slot(name=stage, stage=stage, make=lambda picked, shape: ops)


def relax_strides(strides: Sequence[int], resolution: Size) -> tuple[int, ...]:
    """Drop strides from the front until the last map has at least four pixels a side.

    A rectangle's last map has at least as many pixels as that. So a signal, 1 x n, is strided too.

    At 32x32 this gives the CIFAR setting of HW-NAS-Bench (Li et al. 2021,
    https://arxiv.org/abs/2103.10584): FBNet's stem and second stage keep the resolution. At 128 and
    above nothing changes.
    """
    relaxed = list(strides)
    for i, stride in enumerate(strides):
        # Rounded up, as padded convolutions of stride 2 halve a map.
        final_size = strided(resolution, math.prod(relaxed))
        if area(final_size) >= SMALLEST_FINAL_MAP**2:
            break
        if stride > 1:
            relaxed[i] = 1
    return tuple(relaxed)
