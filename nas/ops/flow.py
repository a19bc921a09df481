"""Ops whose kernels do not stand in one row: what reads and writes what is said once."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from nas.shape import Kernel, Op, Shape

__all__ = ["INPUT", "FlowOp", "Step"]

INPUT = "input"
"""Name of the map that an op is given."""


@dataclass(frozen=True)
class Step:
    """One kernel, the names of the values that it reads, and of the one that it writes."""

    kernel: Kernel
    reads: tuple[str, ...]
    writes: str


class FlowOp(Op):
    """An op that says its `steps`; its kernels and what is held beside them follow."""

    @abstractmethod
    def steps(self, shape: Shape) -> Sequence[Step]:
        """The kernels at that input shape in order, each with the values it reads and writes."""

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        """See `Op`."""
        return tuple(step.kernel for step in self.steps(shape))

    def held(self, shape: Shape) -> Sequence[int]:
        """See `Op`: what later kernels read, and the part of a value that this one does not."""
        steps = self.steps(shape)
        sizes = {INPUT: shape.elements}
        held = []
        for number, step in enumerate(steps):
            later = {name for other in steps[number + 1 :] for name in other.reads}
            waiting = later & sizes.keys() - set(step.reads)
            # Queries and keys may be one value with others, of which scores read a part.
            unread = sum(sizes[name] for name in set(step.reads)) - step.kernel.in_elements
            held.append(sum(sizes[name] for name in waiting) + max(0, unread))
            sizes[step.writes] = step.kernel.out_elements
        return held
