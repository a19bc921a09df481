"""A space unrolled: per slot, the layers of every option at every shape that can reach it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nas.arch import Layer
from nas.shape import Op, Shape
from nas.space.slots import Make, Slot

__all__ = ["Node", "Step", "Word", "unroll"]

Word = tuple[Layer, ...]
"""The layers that one option of a slot makes at one shape."""


@dataclass(eq=False)
class Node:
    """A prefix of a slot's words, in a prefix tree."""

    children: dict[Layer, "Node"] = field(default_factory=dict)
    option: int = -1
    """The least option whose word ends here, -1 if none does."""


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
        return tuple(map(_trie, self.words))


def _trie(words: Sequence[Word]) -> Node:
    root = Node()
    for option, word in enumerate(words):
        node = root
        for layer in word:
            # Words of one beginning share its nodes, so reading layers tries no option twice.
            node = node.children.setdefault(layer, Node())
        # Options come in order, so the first one to end here is the least.
        if node.option < 0:
            node.option = option
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
        handed = [_handed_over(row, state) for row, state in zip(words, states, strict=True)]
        # Sorted, so that a state has one number in every process.
        following = tuple(sorted(set().union(*handed)))
        state_of = {shape: state for state, shape in enumerate(following)}
        successors = [[state_of[shape] for shape in row] for row in handed]
        steps.append(Step(slot, states, words, np.array(successors)))
        states = following
    return tuple(steps)


def _handed_over(words: Sequence[Word], shape: Shape) -> list[Shape]:
    """The shape after each word of a slot that was handed ``shape``."""
    return [word[-1].out_shape if word else shape for word in words]


def _words(slot: Slot, shape: Shape) -> Iterator[Word]:
    """The word of each option, in option order."""
    names = [choice.name for choice in slot.choices]

    # Equal layers of one slot are one object: built, hashed and priced once.
    @cache
    def layer(op: Op, shape: Shape) -> Layer:
        return Layer(op.at(shape), shape)

    for options in product(*(choice.options for choice in slot.choices)):
        picked = dict(zip(names, options, strict=True))
        word: list[Layer] = []
        now = shape
        for op in slot.make(picked, shape):
            word.append(layer(op, now))
            now = word[-1].out_shape
        yield tuple(word)
