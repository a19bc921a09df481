"""A search space is a chain of slots; a network is what the chosen options hand from slot to slot.

A slot's layers depend only on its own options and on the shape handed over, so a space unrolls into
a small table per slot (`SearchSpace.chain`): all costs, counts and samplers work on that table, and
no space needs code of its own for them.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.arch import Architecture, Layer
from nas.errors import SpaceError
from nas.shape import Op, Shape, make_divisible
from nas.trial import Genes
from nas.units import html_table

__all__ = ["Choice", "SearchSpace", "Slot", "Step", "fixed", "make_divisible", "relax_strides"]

SMALLEST_FINAL_MAP = 4
REMEMBERED = 1 << 16
"""Least spellings of parts of networks that a space remembers."""


@dataclass(frozen=True)
class Choice:
    """One decision: a name and its options, any values. ``ordinal`` says that their order has meaning.

    ``options`` may be given as a mapping from label to value; otherwise a label is ``str(value)``.
    """

    name: str
    options: Sequence[Any] | Mapping[str, Any]
    ordinal: bool = False
    labels: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        given = self.options
        labelled = (
            dict(given) if isinstance(given, Mapping) else {str(value): value for value in given}
        )
        if not labelled or len(labelled) != len(given):
            raise SpaceError(
                f"choice '{self.name}' needs at least one option and no label twice, not {list(given)}"
            )
        object.__setattr__(self, "options", tuple(labelled.values()))
        object.__setattr__(self, "labels", tuple(labelled))

    def __len__(self) -> int:
        return len(self.options)


Make = Callable[[Mapping[str, Any], Shape], Iterable[Op]]


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place in the chain: the stage it belongs to, its choices, and the ops they make.

    ``make(picked, shape)`` is pure: picked options by choice name, and the shape handed over, give
    the slot's ops in order. No ops at all is allowed: the shape is handed on.
    """

    name: str
    stage: str
    choices: tuple[Choice, ...] = ()
    make: Make

    @property
    def options(self) -> int:
        """How many combinations of options the slot has."""
        return math.prod(map(len, self.choices))


def fixed(stage: str, *ops: Op) -> Slot:
    """A slot without choices: a stem, a head."""
    return Slot(name=stage, stage=stage, make=lambda picked, shape: ops)


@dataclass(frozen=True, eq=False)
class Step:
    """One slot unrolled: ``words[state][option]`` are its layers, ``next[state, option]`` the state after.

    A state is one of the shapes that can be handed to the slot. Options count in the order of the
    slot's choices, the last one fastest, so that option order is gene order.
    """

    slot: Slot
    states: tuple[Shape, ...]
    words: tuple[tuple[tuple[Layer, ...], ...], ...]
    next: NDArray[np.int64]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The distinct layers of its words, in the order in which they first stand there."""
        layers: dict[Layer, None] = {}
        for row in self.words:
            for word in row:
                layers.update(dict.fromkeys(word))
        return tuple(layers)

    @cached_property
    def tries(self) -> tuple["_Node", ...]:
        """Per state, the words as a prefix tree."""
        return tuple(_trie(words) for words in self.words)


@dataclass(eq=False)
class _Node:
    """A prefix of a slot's words. ``option`` is the least option whose word ends here, -1 for none."""

    children: dict[Layer, "_Node"] = field(default_factory=dict)
    option: int = -1


def _trie(words: Sequence[tuple[Layer, ...]]) -> _Node:
    root = _Node()
    for option, word in enumerate(words):
        node = root
        for layer in word:
            node = node.children.setdefault(layer, _Node())
        if node.option < 0:
            node.option = option
    return root


@dataclass(frozen=True, eq=False)
class SearchSpace:
    """A named chain of slots over an input shape. ``paper`` is its citation, one line."""

    name: str
    input: Shape
    slots: tuple[Slot, ...]
    paper: str = ""

    def __post_init__(self) -> None:
        names = [slot.name for slot in self.slots]
        if len(set(names)) != len(names):
            raise SpaceError(f"space '{self.name}' has two slots of one name: {sorted(names)}")
        for slot in self.slots:
            if len({c.name for c in slot.choices}) != len(slot.choices):
                raise SpaceError(
                    f"slot '{slot.name}' of space '{self.name}' has two choices of one name"
                )

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """All decisions in gene order."""
        return tuple(choice for slot in self.slots for choice in slot.choices)

    @cached_property
    def gene_names(self) -> tuple[str, ...]:
        """``slot.choice`` per gene."""
        return tuple(f"{slot.name}.{choice.name}" for slot in self.slots for choice in slot.choices)

    @cached_property
    def gene_sizes(self) -> tuple[int, ...]:
        """Number of options per gene."""
        return tuple(map(len, self.choices))

    @property
    def cardinality(self) -> int:
        """Number of gene tuples; `distinct` counts networks."""
        return math.prod(self.gene_sizes)

    def check(self, genes: Sequence[int]) -> Genes:
        """The genes as a tuple of ints; wrong length or an index out of range raises."""
        genes = tuple(map(int, genes))
        if len(genes) != len(self.choices):
            raise SpaceError(
                f"space '{self.name}' takes {len(self.choices)} genes, not {len(genes)}"
            )
        for gene, size, name in zip(genes, self.gene_sizes, self.gene_names, strict=True):
            if not 0 <= gene < size:
                raise SpaceError(
                    f"gene '{name}' of space '{self.name}' must be 0 to {size - 1}, not {gene}"
                )
        return genes

    @cached_property
    def chain(self) -> tuple[Step, ...]:
        """The space unrolled: one `Step` per slot, over the shapes that can reach it."""
        steps: list[Step] = []
        states: tuple[Shape, ...] = (self.input,)
        for slot in self.slots:
            words = tuple(tuple(self._words(slot, state)) for state in states)
            outs = [
                [word[-1].out_shape if word else state for word in row]
                for row, state in zip(words, states, strict=True)
            ]
            reached = tuple(sorted({shape for row in outs for shape in row}))
            index = {shape: i for i, shape in enumerate(reached)}
            steps.append(
                Step(
                    slot, states, words, np.array([[index[shape] for shape in row] for row in outs])
                )
            )
            states = reached
        return tuple(steps)

    def _words(self, slot: Slot, shape: Shape) -> Iterable[tuple[Layer, ...]]:
        names = [choice.name for choice in slot.choices]

        @cache  # equal layers of one slot are one object: built, hashed and priced once
        def layer(op: Op, shape: Shape) -> Layer:
            return Layer(op.at(shape), shape)

        for options in product(*(choice.options for choice in slot.choices)):
            word, now = [], shape
            for op in slot.make(dict(zip(names, options, strict=True)), shape):
                word.append(layer(op, now))
                now = word[-1].out_shape
            yield tuple(word)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The distinct layers of all its networks, in the order of the chain."""
        layers: dict[Layer, None] = {}
        for step in self.chain:
            layers.update(dict.fromkeys(step.layers))
        return tuple(layers)

    @cached_property
    def radix(self) -> tuple[tuple[int, int, tuple[int, ...]], ...]:
        """Per slot: its first gene, the gene after its last, and the weight of each gene in the option index."""
        rows, start = [], 0
        for slot in self.slots:
            sizes = [len(choice) for choice in slot.choices]
            weights = tuple(math.prod(sizes[i + 1 :]) for i in range(len(sizes)))
            rows.append((start, start + len(sizes), weights))
            start += len(sizes)
        return tuple(rows)

    def options(self, genes: NDArray[np.integer[Any]]) -> list[NDArray[np.int64]]:
        """genes: (n, number of choices). Option indices per slot, each (n,)."""
        columns = []
        for start, end, weights in self.radix:
            part = np.zeros(len(genes), np.int64)
            for column, weight in zip(range(start, end), weights, strict=True):
                part += (
                    genes[:, column].astype(np.int64) * weight if weight > 1 else genes[:, column]
                )
            columns.append(part)
        return columns

    def slot_option(self, slot: int, genes: Genes) -> int:
        """The option index that a slot's genes spell."""
        start, end, weights = self.radix[slot]
        return sum(g * w for g, w in zip(genes[start:end], weights, strict=True))

    def slot_genes(self, slot: int, option: int) -> Genes:
        """The genes that spell a slot's option index."""
        genes = []
        for weight in self.radix[slot][2]:
            gene, option = divmod(option, weight)
            genes.append(gene)
        return tuple(genes)

    def words(self, genes: Genes) -> list[tuple[Layer, ...]]:
        """The layers each slot contributes, in order."""
        state, found = 0, []
        for i, step in enumerate(self.chain):
            option = self.slot_option(i, genes)
            found.append(step.words[state][option])
            state = int(step.next[state, option])
        return found

    def decode(self, genes: Sequence[int]) -> Architecture:
        """The network that the genes describe."""
        genes = self.check(genes)
        stages: list[tuple[str, tuple[Layer, ...]]] = []
        for slot, word in zip(self.slots, self.words(genes), strict=True):
            if stages and stages[-1][0] == slot.stage:
                stages[-1] = slot.stage, stages[-1][1] + word
            else:
                stages.append((slot.stage, word))
        return Architecture.of_layers(self.input, stages)

    def describe(self, genes: Sequence[int]) -> dict[str, str]:
        """Label of the chosen option by gene name."""
        genes = self.check(genes)
        return {
            n: c.labels[g] for n, c, g in zip(self.gene_names, self.choices, genes, strict=True)
        }

    @cached_property
    def distinct(self) -> int:
        """Number of different networks: the words of the automaton that the chain is.

        Subsets of prefix-tree nodes are determinised lazily; a subset stands for all ways to have
        read the layers so far.
        """
        last = len(self.chain)

        def close(nodes: Iterable[tuple[int, int, _Node]]) -> frozenset[tuple[int, int, _Node]]:
            found, todo = set(), list(nodes)
            while todo:
                node = todo.pop()
                if node not in found:
                    found.add(node)
                    slot, state, place = node
                    if slot < last and place.option >= 0:
                        todo.append(
                            start(slot + 1, int(self.chain[slot].next[state, place.option]))
                        )
            return frozenset(found)

        def start(slot: int, state: int) -> tuple[int, int, _Node]:
            return (slot, state, self.chain[slot].tries[state] if slot < last else end)

        end = _Node()
        counts: dict[frozenset[tuple[int, int, _Node]], int] = {}

        def count(subset: frozenset[tuple[int, int, _Node]]) -> int:
            if subset not in counts:
                moves: dict[Layer, list[tuple[int, int, _Node]]] = {}
                for slot, state, place in subset:
                    for layer, child in place.children.items():
                        moves.setdefault(layer, []).append((slot, state, child))
                ends = any(slot == last for slot, _, _ in subset)
                counts[subset] = ends + sum(count(close(nodes)) for nodes in moves.values())
            return counts[subset]

        return count(close([start(0, 0)]))

    def canonical(self, genes: Sequence[int]) -> Genes:
        """The least genes that describe the same network."""
        genes, state = self.check(genes), 0
        found: Genes = ()
        for first, last in self._apart:
            start, end = self.radix[first][0], self.radix[last - 1][1]
            least, state = self._least(first, last, state, genes[start:end])
            found += least
        return found

    @cached_property
    def _apart(self) -> tuple[tuple[int, int], ...]:
        """Ranges of slots, (first, after the last), that can make no layer of another range.

        So in whatever way a network is spelled, a layer is made in one range: ranges are spelled on
        their own.
        """
        last: dict[Layer, int] = {}
        for slot, step in enumerate(self.chain):
            last.update(dict.fromkeys(step.layers, slot))
        borders, reach = [0], 0
        for slot, step in enumerate(self.chain, 1):
            reach = max([reach, *(last[layer] for layer in step.layers)])
            if reach < slot:
                borders.append(slot)
        return tuple(pairwise(borders))

    @cached_property
    def _least(self) -> Callable[[int, int, int, Genes], tuple[Genes, int]]:
        """Least genes of a range of slots, begun in a state, and the state after it; remembered, as few are different."""

        @lru_cache(maxsize=REMEMBERED)
        def least(first: int, last: int, state: int, genes: Genes) -> tuple[Genes, int]:
            shape, layers, before = (
                self.chain[first].states[state],
                list[Layer](),
                self.radix[first][0],
            )
            for slot in range(first, last):
                start, end, weights = self.radix[slot]
                option = sum(
                    g * w
                    for g, w in zip(genes[start - before : end - before], weights, strict=True)
                )
                layers += self.chain[slot].words[state][option]
                state = int(self.chain[slot].next[state, option])
            found = self._parse(layers, first, last, shape)
            assert found is not None
            return found, state

        return least

    def parse(self, layers: Sequence[Layer]) -> Genes | None:
        """The least genes whose network has exactly these layers, None where the space has no such network."""
        return self._parse(layers, 0, len(self.chain), self.input)

    def _parse(self, layers: Sequence[Layer], first: int, last: int, shape: Shape) -> Genes | None:
        """As `parse`, by a range of slots that is handed a shape."""
        shapes = [layer.shape for layer in layers] + [layers[-1].out_shape if layers else shape]
        ends: list[
            dict[int, list[tuple[int, int]]]
        ] = []  # per slot: position -> (option, position after)
        reachable = {0}
        for step in self.chain[first:last]:
            known = {shape: state for state, shape in enumerate(step.states)}
            moves = {
                p: list(_matches(step.tries[known[shapes[p]]], layers, p))
                for p in reachable
                if shapes[p] in known
            }
            ends.append(moves)
            reachable = {after for found in moves.values() for _, after in found}
        alive = {len(layers)}
        for moves in reversed(ends):
            for position in list(moves):
                moves[position] = [move for move in moves[position] if move[1] in alive]
            alive = {position for position, found in moves.items() if found}
        if 0 not in alive:
            return None
        least: Genes = ()
        position = 0
        for slot, moves in enumerate(ends, first):
            option, position = min(moves[position])
            least += self.slot_genes(slot, option)
        return least

    def _repr_html_(self) -> str:
        """The choices as a notebook shows them."""
        rows = [
            (n, ", ".join(c.labels)) for n, c in zip(self.gene_names, self.choices, strict=True)
        ]
        return html_table(f"{self} ({self.paper})", ("choice", "options"), rows)

    def __str__(self) -> str:
        return f"{self.name} {self.input}: {len(self.choices)} choices, {self.cardinality:.3g} gene tuples"


def _matches(node: _Node, chain: Sequence[Layer], position: int) -> Iterable[tuple[int, int]]:
    """Options of a slot whose word stands in the chain at that position, with the position after it."""
    while True:
        if node.option >= 0:
            yield node.option, position
        if position == len(chain) or chain[position] not in node.children:
            return
        node = node.children[chain[position]]
        position += 1


def relax_strides(strides: Sequence[int], resolution: int) -> tuple[int, ...]:
    """Drop strides from the front until the last map has at least four pixels a side.

    At 32x32 this gives the CIFAR setting of HW-NAS-Bench (https://arxiv.org/abs/2103.10584):
    FBNet's stem and second stage keep the resolution. At 128 and above nothing changes.
    """
    relaxed = list(strides)
    for i, stride in enumerate(strides):
        if -(-resolution // math.prod(relaxed)) >= SMALLEST_FINAL_MAP:
            break
        if stride > 1:
            relaxed[i] = 1
    return tuple(relaxed)
