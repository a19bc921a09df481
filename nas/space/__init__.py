"""A search space is a chain of slots; a network is what the chosen options hand from slot to slot.

A slot's layers depend only on its own options and on the shape handed over. So a space unrolls into
a small table per slot (`SearchSpace.chain`). All costs, counts and samplers work on that table, and
no space needs code of its own for them.
"""

from nas.shape import make_divisible
from nas.space.chain import Step
from nas.space.sizes import SizedSpace, at_sizes
from nas.space.slots import Choice, Slot, fixed, relax_strides
from nas.space.space import GeneRange, SearchSpace

__all__ = [
    "Choice",
    "GeneRange",
    "SearchSpace",
    "SizedSpace",
    "Slot",
    "Step",
    "at_sizes",
    "fixed",
    "make_divisible",
    "relax_strides",
]
