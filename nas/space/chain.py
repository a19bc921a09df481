"""A space unrolled: per slot, the layers of every option at every shape that can reach it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import product
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.arch import Layer
from nas.errors import NasError, SpaceError, told_with_line
from nas.shape import Op, Shape
from nas.space.slots import Make, Slot

__all__ = ["Node", "Step", "Word", "unroll"]

Word = tuple[Layer, ...]
"""The layers that one option of a slot makes at one shape."""


@dataclass(eq=False)
class Node:
    """A prefix of a slot's words, in a prefix tree."""

    children: dict[Layer, "Node"] = field(default_factory=dict)
    options: tuple[int, ...] = ()
    """Options whose word ends here: the least one for each shape that they hand on."""


@dataclass(frozen=True, eq=False)
class Step:
    """One slot unrolled.

    A state is one of the shapes that can be handed to the slot. Options count in the order of the
    slot's choices, the last one fastest, so that option order is gene order.
    """

    slot: Slot
    states: tuple[Shape, ...]
    words: tuple[tuple[Word, ...], ...]
    """``words[state][option]`` are the layers made."""
    next: NDArray[np.int64]
    """(states, options). The state of the following step."""
    handed_on: tuple[Shape, ...]
    """The states of the following step."""

    def following(self, state: int, option: int) -> Shape:
        """The shape that an option hands on."""
        return self.handed_on[int(self.next[state, option])]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The distinct layers of its words, in the order in which they first stand there."""
        layers: dict[Layer, None] = {}
        for row in self.words:
            for word in row:
                layers.update(dict.fromkeys(word))
        return tuple(layers)

    @cached_property
    def tries(self) -> tuple[Node, ...]:
        """Per state, the words as a prefix tree."""
        rows = zip(self.words, self.next.tolist(), strict=True)
        return tuple(_trie(words, states) for words, states in rows)


def _trie(words: Sequence[Word], following: Sequence[int]) -> Node:
    """``following``: the state that each word hands on."""
    root = Node()
    for option, word in enumerate(words):
        node = root
        for layer in word:
            # Words of one beginning share its nodes, so reading layers tries no option twice.
            node = node.children.setdefault(layer, Node())
        # Options come in order, so the first one to end here is the least.
        if following[option] not in [following[known] for known in node.options]:
            node.options += (option,)
    return root


def unroll(shape: Shape, slots: Sequence[Slot]) -> tuple[Step, ...]:
    """One `Step` per slot, over the shapes that can reach it from the input ``shape``."""
    steps: list[Step] = []
    states: tuple[Shape, ...] = (shape,)
    # Layers of a stage may be slots of one function and the same choices: they share their words.
    known: dict[tuple[Make, tuple[int, ...], Shape], tuple[Word, ...]] = {}

    def words_of(slot: Slot, state: Shape) -> tuple[Word, ...]:
        key = slot.make, tuple(map(id, slot.choices)), state
        if key not in known:
            known[key] = tuple(_words(slot, state))
        return known[key]

    for slot in slots:
        words = tuple(words_of(slot, state) for state in states)
        handed = [_handed_over(slot, row, state) for row, state in zip(words, states, strict=True)]
        # Sorted, so that a state has one number in every process.
        following = tuple(sorted(set().union(*handed)))
        state_of = {shape: state for state, shape in enumerate(following)}
        successors = [[state_of[shape] for shape in row] for row in handed]
        steps.append(Step(slot, states, words, np.array(successors), following))
        states = following
    return tuple(steps)


def _handed_over(slot: Slot, words: Sequence[Word], shape: Shape) -> list[Shape]:
    """The shape after each word of a slot that was handed ``shape``."""
    if slot.hand_on is not None:
        return [slot.hand_on(picked, shape) for picked in _picks(slot)]
    return [word[-1].out_shape if word else shape for word in words]


def _picks(slot: Slot) -> Iterator[dict[str, Any]]:
    """Per option of a slot, in order, what is picked of each choice."""
    names = [choice.name for choice in slot.choices]
    for options in product(*(choice.options for choice in slot.choices)):
        yield dict(zip(names, options, strict=True))


def _words(slot: Slot, shape: Shape) -> Iterator[Word]:
    """The word of each option, in option order. Raises `SpaceError` where ``make`` fails."""

    # Equal layers of one slot are one object: built, hashed and priced once.
    @cache
    def layer(op: Op, shape: Shape) -> Layer:
        return Layer(op.at(shape), shape)

    for picked in _picks(slot):
        word: list[Layer] = []
        now = shape
        for op in _made(slot, picked, shape):
            word.append(layer(op, now))
            now = word[-1].out_shape
        yield tuple(word)


def _made(slot: Slot, picked: Mapping[str, Any], shape: Shape) -> tuple[Op, ...]:
    """The ops that a slot makes. Its ``make`` may be a user's: what it raises is told in one line.

    Raises `SpaceError` also for what is no op.
    """
    try:
        ops = tuple(slot.make(picked, shape))
    except NasError:
        raise
    except Exception as error:
        file = slot.make.__code__.co_filename if isinstance(slot.make, FunctionType) else ""
        told = told_with_line(error, file)
        raise SpaceError(f"slot '{slot.name}': make() failed at {shape}: {told}") from error
    for op in ops:
        if not isinstance(op, Op):
            raise SpaceError(
                f"slot '{slot.name}': make() must give ops, subclasses of nas.shape.Op, "
                f"not a {type(op).__name__}"
            )
    return ops
