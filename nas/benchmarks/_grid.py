"""Spaces of plain choices: every gene tuple is a network of its own, and nothing has a price."""

from collections.abc import Iterable
from dataclasses import dataclass

from nas.cost.compiled import compile_costs
from nas.domain import Domain
from nas.shape import Kernel, Op, Shape
from nas.space import Choice, SearchSpace, Slot

__all__ = ["grid", "unpriced"]


@dataclass(frozen=True, kw_only=True)
class _Named(Op):
    """An option of which nothing is known but its name; no two are the same."""

    key = "named"

    name: str = ""

    def out_shape(self, shape: Shape) -> Shape:
        return shape

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        return ()


def grid(name: str, choices: Iterable[Choice]) -> SearchSpace:
    """A space with one slot per choice."""
    return SearchSpace(name=name, input=Shape(1, 1), slots=tuple(map(_slot, choices)))


def _slot(choice: Choice) -> Slot:
    name = choice.name
    return Slot(
        name=name,
        stage=name,
        choices=(choice,),
        make=lambda picked, shape: (_Named(name=f"{name}={picked[name]}"),),
    )


def unpriced(space: SearchSpace) -> Domain:
    """A space of whose networks nothing is known but their names."""
    return Domain(space, compile_costs(space, ("none",), lambda layer: (0.0,)))
