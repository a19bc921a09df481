"""`SearchSpace`: the chain of slots, its genes, and the networks they describe."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.arch import Architecture, Layer
from nas.errors import SpaceError
from nas.shape import Shape
from nas.space.chain import Step, Word, unroll
from nas.space.slots import Choice, Slot
from nas.space.spelling import active_genes, count_words, independent_ranges, least_options
from nas.trial import Genes
from nas.units import html_table

__all__ = ["GeneRange", "SearchSpace"]

REMEMBERED = 1 << 16
"""Least spellings of parts of networks that a space remembers."""


class GeneRange(NamedTuple):
    """The genes of one slot."""

    first: int
    last: int
    """The gene after the slot's last."""
    weights: tuple[int, ...]
    """What each gene weighs in the option index."""


@dataclass(frozen=True, eq=False)
class SearchSpace:
    """A named chain of slots over an input shape.

    Raises `SpaceError` if two slots, or two choices of a slot, have one name.
    """

    name: str
    input: Shape
    slots: tuple[Slot, ...]
    paper: str = ""
    """The citation, one line."""

    def __post_init__(self) -> None:
        names = [slot.name for slot in self.slots]
        if len(set(names)) != len(names):
            raise SpaceError(f"space '{self.name}' has two slots of one name: {sorted(names)}")
        for slot in self.slots:
            if len({choice.name for choice in slot.choices}) != len(slot.choices):
                raise SpaceError(
                    f"slot '{slot.name}' of space '{self.name}' has two choices of one name"
                )

    # -- genes ------------------------------------------------------------------------------------

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """All decisions in gene order."""
        choices: list[Choice] = []
        for slot in self.slots:
            choices += slot.choices
        return tuple(choices)

    @cached_property
    def gene_names(self) -> tuple[str, ...]:
        """``slot.choice`` per gene."""
        names: list[str] = []
        for slot in self.slots:
            names += [f"{slot.name}.{choice.name}" for choice in slot.choices]
        return tuple(names)

    @cached_property
    def gene_sizes(self) -> tuple[int, ...]:
        """Number of options per gene."""
        return tuple(map(len, self.choices))

    @property
    def cardinality(self) -> int:
        """Number of gene tuples; `distinct` counts networks."""
        return math.prod(self.gene_sizes)

    def check(self, genes: Sequence[int]) -> Genes:
        """The genes as a tuple of ints.

        Raises `SpaceError` if there are too many or too few, or if one is out of range.
        """
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
    def radix(self) -> tuple[GeneRange, ...]:
        """Per slot, which genes are its own and how they count in its option index."""
        ranges: list[GeneRange] = []
        first = 0
        for slot in self.slots:
            sizes = [len(choice) for choice in slot.choices]
            weights = tuple(math.prod(sizes[i + 1 :]) for i in range(len(sizes)))
            ranges.append(GeneRange(first, first + len(sizes), weights))
            first += len(sizes)
        return tuple(ranges)

    def options(self, genes: NDArray[np.integer[Any]]) -> list[NDArray[np.int64]]:
        """genes: (n, number of choices). Option indices per slot, each (n,)."""
        columns = []
        for first, last, _ in self.radix:
            option = np.zeros(len(genes), np.int64)
            for gene in range(first, last):
                # Horner's scheme: the last choice of a slot counts fastest.
                option *= self.gene_sizes[gene]
                option += genes[:, gene]
            columns.append(option)
        return columns

    def slot_option(self, slot: int, genes: Genes) -> int:
        """The option index that a slot's genes spell."""
        first, last, weights = self.radix[slot]
        return _option(genes[first:last], weights)

    def slot_genes(self, slot: int, option: int) -> Genes:
        """The genes that spell a slot's option index."""
        genes = []
        for weight in self.radix[slot].weights:
            gene, option = divmod(option, weight)
            genes.append(gene)
        return tuple(genes)

    def spell(self, options: Iterable[int], first: int = 0) -> Genes:
        """The genes of these options, one per slot, the first of them of slot ``first``."""
        genes: Genes = ()
        for slot, option in enumerate(options, first):
            genes += self.slot_genes(slot, int(option))
        return genes

    def describe(self, genes: Sequence[int]) -> dict[str, str]:
        """Label of the chosen option by gene name."""
        labels = (
            choice.labels[gene]
            for choice, gene in zip(self.choices, self.check(genes), strict=True)
        )
        return dict(zip(self.gene_names, labels, strict=True))

    # -- networks ---------------------------------------------------------------------------------

    @cached_property
    def chain(self) -> tuple[Step, ...]:
        """The space unrolled: one `Step` per slot, over the shapes that can reach it."""
        return unroll(self.input, self.slots)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The distinct layers of all its networks, in the order of the chain."""
        # A dictionary as a set that keeps its order, for a set has another in every process.
        layers: dict[Layer, None] = {}
        for step in self.chain:
            layers.update(dict.fromkeys(step.layers))
        return tuple(layers)

    def words(self, genes: Genes) -> list[Word]:
        """The layers each slot contributes, in order."""
        words = []
        state = 0
        for slot, step in enumerate(self.chain):
            option = self.slot_option(slot, genes)
            words.append(step.words[state][option])
            state = int(step.next[state, option])
        return words

    def decode(self, genes: Sequence[int]) -> Architecture:
        """The network that the genes describe."""
        genes = self.check(genes)
        stages: list[tuple[str, Word]] = []
        for slot, word in zip(self.slots, self.words(genes), strict=True):
            # A network has stages, not slots: neighbouring slots of one stage are joined.
            if stages and stages[-1][0] == slot.stage:
                stages[-1] = slot.stage, stages[-1][1] + word
            else:
                stages.append((slot.stage, word))
        first_layers = next((word for _, word in stages if word), ())
        # Where the size is a choice, the first layer shows which one was picked.
        shape = first_layers[0].shape if first_layers else self.input
        return Architecture.of_layers(shape, stages)

    def active(self, genes: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """genes: (n, number of choices). Which of them matter: (n, number of choices).

        A gene is active if another option of it, with its slot's other genes as they are, makes
        other layers. The kernel of a skipped layer is not.
        """
        active = np.zeros(genes.shape, bool)
        states = np.zeros(len(genes), np.int64)
        for slot, options in enumerate(self.options(genes)):
            first, last, _ = self.radix[slot]
            active[:, first:last] = self._active[slot][states, options]
            states = self.chain[slot].next[states, options]
        return active

    @cached_property
    def _active(self) -> list[NDArray[np.bool_]]:
        """By slot: (states, options, genes of the slot)."""
        tables = []
        for (first, last, _), step in zip(self.radix, self.chain, strict=True):
            sizes = self.gene_sizes[first:last]
            rows = zip(step.words, step.next.tolist(), strict=True)
            tables.append(np.array([active_genes(*row, sizes) for row in rows]))
        return tables

    @cached_property
    def distinct(self) -> int:
        """Number of different networks, however many genes spell each."""
        return count_words(self.chain)

    def canonical(self, genes: Sequence[int]) -> Genes:
        """The least genes that describe the same network."""
        genes = self.check(genes)
        canonical: Genes = ()
        state = 0
        for first, last in self._independent_ranges:
            own = genes[self.radix[first].first : self.radix[last - 1].last]
            least, state = self._least(first, last, state, own)
            canonical += least
        return canonical

    @cached_property
    def _independent_ranges(self) -> tuple[tuple[int, int], ...]:
        return independent_ranges(self.chain)

    @cached_property
    def _least(self) -> Callable[[int, int, int, Genes], tuple[Genes, int]]:
        """`_least_of_range`, remembered: the ranges of many networks are few."""
        return lru_cache(maxsize=REMEMBERED)(self._least_of_range)

    def _least_of_range(self, first: int, last: int, state: int, genes: Genes) -> tuple[Genes, int]:
        """Least genes of the slots from ``first`` to before ``last``, begun in a state.

        Beside them, the state after.
        """
        shape = self.chain[first].states[state]
        offset = self.radix[first].first
        layers: list[Layer] = []
        for slot in range(first, last):
            begin, end, weights = self.radix[slot]
            option = _option(genes[begin - offset : end - offset], weights)
            layers += self.chain[slot].words[state][option]
            state = int(self.chain[slot].next[state, option])
        options = least_options(self.chain[first:last], layers, shape)
        if options is None:
            raise SpaceError(f"space '{self.name}' cannot spell its own layers {layers}")
        return self.spell(options, first), state

    def parse(self, layers: Sequence[Layer]) -> Genes | None:
        """The least genes whose network has exactly these layers.

        None if the space has no such network.
        """
        options = least_options(self.chain, layers, self.input)
        return None if options is None else self.spell(options)

    # -- as text ----------------------------------------------------------------------------------

    def _repr_html_(self) -> str:
        """The choices as a notebook shows them."""
        rows = [
            (name, ", ".join(choice.labels))
            for name, choice in zip(self.gene_names, self.choices, strict=True)
        ]
        return html_table(f"{self} ({self.paper})", ("choice", "options"), rows)

    @property
    def input_text(self) -> str:
        """The input shape, or the range of them."""
        return str(self.input)

    def __str__(self) -> str:
        return (
            f"{self.name} {self.input_text}: {len(self.choices)} choices, "
            f"{self.cardinality:.3g} gene tuples"
        )


def _option(genes: Genes, weights: Sequence[int]) -> int:
    """The option index that the genes of one slot spell."""
    return sum(gene * weight for gene, weight in zip(genes, weights, strict=True))
