"""A few networks that show every option of every slot at every shape it can meet."""

from collections.abc import Iterator

import numpy as np

from nas.space import SearchSpace
from nas.trial import Genes

__all__ = ["covering"]


def covering(space: SearchSpace) -> Iterator[Genes]:
    """Genes such that each (slot, state, option) of the space's chain occurs.

    They are about as many as the largest slot has options.
    """
    unseen = [np.ones(step.next.shape, bool) for step in space.chain]
    while any(mask.any() for mask in unseen):
        worth = _worth(space, unseen)
        genes: Genes = ()
        state = 0
        for slot, step in enumerate(space.chain):
            ahead = worth[slot + 1][step.next[state]] + unseen[slot][state]
            # The first of the best: every process covers the space by the same networks.
            option = int(ahead.argmax())
            unseen[slot][state, option] = False
            genes += space.slot_genes(slot, option)
            state = int(step.next[state, option])
        yield genes


def _worth(space: SearchSpace, unseen: list[np.ndarray]) -> list[np.ndarray]:
    """Per slot and state, how many unseen options one walk from there can show."""
    after = np.zeros(int(space.chain[-1].next.max()) + 1, np.int64)
    worth = [after]
    for step, mask in zip(reversed(space.chain), reversed(unseen), strict=True):
        after = (after[step.next] + mask).max(axis=1)
        worth.append(after)
    return worth[::-1]
