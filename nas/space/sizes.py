"""One space over several input sizes, whose first gene is the resolution."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from types import MappingProxyType
from typing import Any

from nas.errors import SpaceError
from nas.shape import Shape
from nas.size import EXAMPLES, Size, by_area
from nas.space.slots import Choice, Slot
from nas.space.space import SearchSpace

__all__ = ["SizedSpace", "at_sizes"]

SLOT = "input"
CHOICE = "resolution"


@dataclass(frozen=True, eq=False)
class SizedSpace(SearchSpace):
    """A space whose networks take images of several sizes; its ``input`` is the largest."""

    by_size: Mapping[Size, SearchSpace] = field(default_factory=lambda: MappingProxyType({}))
    """Per size in pixels, ascending, the space of that size alone."""

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The sizes of its images, in pixels, ascending."""
        return tuple(self.by_size)

    @property
    def input_text(self) -> str:
        """The range of input shapes."""
        return f"{self.by_size[self.sizes[0]].input} to {self.input}"


def at_sizes(make: Callable[[Size], SearchSpace], sizes: Sequence[Size]) -> SearchSpace:
    """The space that ``make`` gives at a size, with the size as its first choice.

    ``sizes``: of the images in pixels. Of one size it is that space, without the choice.

    Raises `SpaceError` without a size. Raises it, too, unless the space has the same choices at all
    sizes, and of each the same layers for one shape. Strides that are relaxed for small images are
    not the same.
    """
    ascending = sorted(set(sizes), key=by_area)
    if not ascending:
        raise SpaceError(f"resolution needs at least one size in pixels, such as {EXAMPLES}")
    by_size = {size: make(size) for size in ascending}
    largest = by_size[ascending[-1]]
    if len(ascending) == 1:
        return largest
    space = SizedSpace(
        name=largest.name,
        input=largest.input,
        slots=(_slot(ascending), *largest.slots),
        paper=largest.paper,
        by_size=MappingProxyType(by_size),
    )
    for size, alone in by_size.items():
        different = _first_difference(space, alone)
        if different is not None:
            raise SpaceError(
                f"space '{space.name}' is not one space at {size} and {ascending[-1]} pixels: slot "
                f"'{different}' has other choices or layers there. Search one of the two, or "
                "sizes that are nearer to each other"
            )
    return space


def _slot(sizes: Sequence[Size]) -> Slot:
    """A slot that makes no layer and hands on the images at the size that is chosen."""

    def make(picked: Mapping[str, Any], shape: Shape) -> tuple[()]:
        return ()

    def hand_on(picked: Mapping[str, Any], shape: Shape) -> Shape:
        return replace(shape, size=picked[CHOICE])

    choice = Choice(CHOICE, tuple(sizes), ordinal=True)
    return Slot(name=SLOT, stage=SLOT, choices=(choice,), make=make, hand_on=hand_on)


def _first_difference(space: SearchSpace, alone: SearchSpace) -> str | None:
    """The first slot in which the space of one size is not the whole one at that size."""
    for slot, own in zip_longest(space.slots[1:], alone.slots):
        if slot is None or own is None or _choices(slot) != _choices(own):
            return (slot or own).name
    for step, own_step in zip(space.chain[1:], alone.chain, strict=True):
        words = dict(zip(step.states, step.words, strict=True))
        for state, own_words in zip(own_step.states, own_step.words, strict=True):
            if words.get(state) != own_words:
                return step.slot.name
    return None


def _choices(slot: Slot) -> list[tuple[str, tuple[str, ...]]]:
    """Names and labels of a slot's choices."""
    return [(choice.name, choice.labels) for choice in slot.choices]
