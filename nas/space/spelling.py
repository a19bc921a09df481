"""Genes and the networks they spell: a chain of slots is an automaton whose words are networks.

Different genes may spell one network, such as a skip that moves along a stage. So networks are
counted and compared as words over layers, not as genes.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from nas.arch import Layer
from nas.shape import Shape
from nas.space.chain import Node, Step, Word

__all__ = ["active_genes", "count_words", "independent_ranges", "least_options"]

Place = tuple[int, int, Node]
"""Where a reader of layers may stand: a slot, its state, and a node of its prefix tree."""

Moves = dict[int, list[tuple[int, int]]]
"""Of one slot, by position in the layers: options that fit there, each with the position after."""


def active_genes(
    words: Sequence[Word], following: Sequence[int], sizes: Sequence[int]
) -> NDArray[np.bool_]:
    """Whether another option of a gene makes another word: (options of the slot, its genes).

    ``words``, ``following``: per option of the slot its word, and the state that it hands on. The
    slot's genes have ``sizes`` options each.
    """
    numbers: dict[tuple[Word, int], int] = {}
    made = list(zip(words, following, strict=True))
    for pair in made:
        numbers.setdefault(pair, len(numbers))
    spelled = np.array([numbers[pair] for pair in made]).reshape(sizes)
    active = np.zeros((*spelled.shape, len(sizes)), bool)
    for gene in range(len(sizes)):
        differs = np.ptp(spelled, axis=gene, keepdims=True) > 0
        active[..., gene] = differs
    return active.reshape(len(words), len(sizes))


def count_words(chain: Sequence[Step]) -> int:
    """Number of different networks."""
    return _Automaton(chain).count()


class _Automaton:
    """The chain, determinised lazily by subset construction.

    A subset of places stands for all ways to have read the layers so far.
    """

    def __init__(self, chain: Sequence[Step]) -> None:
        self._chain = chain
        self._end = Node()
        self._counts: dict[frozenset[Place], int] = {}
        self._own: dict[Place, int] = {}

    def count(self) -> int:
        """Number of words from the start."""
        return self._count(self._closed([self._start(0, 0)]))

    def _count(self, subset: frozenset[Place]) -> int:
        """Number of ways to read on, each a different sequence of layers."""
        # Many prefixes lead to one subset, so the counts are few though the words are not.
        if subset not in self._counts:
            words = int(any(slot == len(self._chain) for slot, _, _ in subset))
            words += sum(self._words_from(place) for place in subset)
            # What begins with a layer that several places can read was counted once for each.
            for places in _read_by_several(subset):
                words += self._after(places) - sum(self._after([place]) for place in places)
            self._counts[subset] = words
        return self._counts[subset]

    def _words_from(self, place: Place) -> int:
        """Number of ways to read on from one place, its slot not yet left."""
        if place not in self._own:
            slot, state, node = place
            children = node.children.values()
            self._own[place] = sum(self._after([(slot, state, child)]) for child in children)
        return self._own[place]

    def _after(self, places: Iterable[Place]) -> int:
        return self._count(self._closed(places))

    def _start(self, slot: int, state: int) -> Place:
        """Where a slot begins; after the last slot, the end."""
        if slot == len(self._chain):
            return slot, state, self._end
        return slot, state, self._chain[slot].tries[state]

    def _closed(self, places: Iterable[Place]) -> frozenset[Place]:
        """The places, and those that are reached from them without reading a layer.

        Where no layer can be read and nothing ends, a place is left out: layers that lead to places
        which differ in these alone are then counted once.
        """
        closed: set[Place] = set()
        waiting = list(places)
        while waiting:
            place = waiting.pop()
            if place in closed:
                continue
            closed.add(place)
            slot, state, node = place
            for option in node.options:
                successor = int(self._chain[slot].next[state, option])
                waiting.append(self._start(slot + 1, successor))
        return frozenset(place for place in closed if place[2].children or place[2] is self._end)


def _read_by_several(subset: Iterable[Place]) -> Iterable[list[Place]]:
    """Of each layer that more than one of the places can read next, the places after it."""
    readers = [(place, place[2].children) for place in subset]
    shared: set[Layer] = set()
    for (_, children), (_, others) in combinations(readers, 2):
        # Of sets of keys the smaller one is walked, and a word that goes on has but one.
        shared |= children.keys() & others.keys()
    for layer in shared:
        after = []
        for (slot, state, _), children in readers:
            if layer in children:
                after.append((slot, state, children[layer]))
        yield after


def independent_ranges(chain: Sequence[Step]) -> tuple[tuple[int, int], ...]:
    """Ranges of slots, (first, after the last), that can make no layer of another range.

    In whatever way a network is spelled, a layer is made in one range. So ranges are spelled on
    their own.
    """
    # As with intervals: a range ends where no layer made so far is made again later on.
    last_slot: dict[Layer, int] = {}
    for slot, step in enumerate(chain):
        last_slot.update(dict.fromkeys(step.layers, slot))
    borders = [0]
    reach = 0
    for slot, step in enumerate(chain):
        reach = max([reach, *(last_slot[layer] for layer in step.layers)])
        # A size that is chosen shows only in the layers of the slots after it.
        if reach <= slot and step.slot.hand_on is None:
            borders.append(slot + 1)
    return tuple(pairwise(borders))


def least_options(
    steps: Sequence[Step], layers: Sequence[Layer], shape: Shape
) -> tuple[int, ...] | None:
    """The least options, one per step, that make exactly these layers from ``shape``.

    None if no options do.
    """
    moves = _moves(steps, layers, shape)
    if not _keep_complete(moves, len(layers)):
        return None
    options: list[int] = []
    position = 0
    for moves_of_slot in moves:
        # Every move left can be completed, so the least one at each slot gives the least genes.
        option, position = min(moves_of_slot[position])
        options.append(option)
    return tuple(options)


def _moves(steps: Sequence[Step], layers: Sequence[Layer], shape: Shape) -> list[Moves]:
    """Per step, the moves from every position that can be reached."""
    shapes = [layer.shape for layer in layers]
    shapes.append(layers[-1].out_shape if layers else shape)
    moves: list[Moves] = []
    reached = {0}
    for step in steps:
        state_of = {shape: state for state, shape in enumerate(step.states)}
        moves_of_slot: Moves = {}
        after: set[int] = set()
        for position in reached:
            # Before the size is chosen, the map is not yet that of the first layer.
            sized = step.slot.hand_on is not None
            state = state_of.get(shape if sized else shapes[position])
            if state is not None:
                matches = list(_matches(step.tries[state], layers, position))
                if sized:
                    matches = [m for m in matches if step.following(state, m[0]) == shapes[m[1]]]
                moves_of_slot[position] = matches
                after.update(end for _, end in matches)
        moves.append(moves_of_slot)
        reached = after
    return moves


def _keep_complete(moves: Sequence[Moves], length: int) -> bool:
    """Remove moves from which the end cannot be reached. Whether any way from 0 is left."""
    alive = {length}
    for moves_of_slot in reversed(moves):
        for position, matches in moves_of_slot.items():
            moves_of_slot[position] = [match for match in matches if match[1] in alive]
        alive = {position for position, matches in moves_of_slot.items() if matches}
    return 0 in alive


def _matches(node: Node, layers: Sequence[Layer], position: int) -> Iterator[tuple[int, int]]:
    """Options of a slot whose word stands at that position, each with the position after it."""
    while True:
        for option in node.options:
            yield option, position
        if position == len(layers) or layers[position] not in node.children:
            return
        node = node.children[layers[position]]
        position += 1
