"""Randomness of a step by counting: torch's global generator seeded inside, as it was outside.

Dropout, dropped paths and kornia know no other generator. Seeded from the step's number, they need
nothing saved: a training taken up again draws what it would have drawn.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["counted"]


@contextmanager
def counted(device: torch.device, *numbers: int) -> Iterator[None]:
    """Draws inside depend on the numbers (each at least 0) alone."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
