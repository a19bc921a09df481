"""What training a network takes, and whether it fits, before it is tried."""

from nas.arch import Architecture
from nas.errors import TrainingError
from nas.shape import FLOAT_BYTES

__all__ = ["check_fits", "training_bytes"]

# Weights, their gradients, and two moments of an Adam-like optimiser.
COPIES_OF_WEIGHTS = 4
GIB = 1 << 30


def training_bytes(network: Architecture, batch_size: int) -> int:
    """Bytes that a training step keeps: outputs of all kernels, and the weights.

    Float32, an estimate from above for frameworks that fuse norm and activation, from below for
    those that do not: within a factor of two of what torch takes.
    """
    # All outputs at once: the backward pass needs them again.
    activations = sum(kernel.out_elements for kernel in network.trained_kernels())
    return FLOAT_BYTES * (
        batch_size * (network.input.elements + activations) + COPIES_OF_WEIGHTS * network.params
    )


def check_fits(network: Architecture, batch_size: int, available_bytes: int) -> None:
    """Raise `TrainingError` where a training step needs more memory than there is."""
    needed = training_bytes(network, batch_size)
    if needed > available_bytes:
        worst = max(network.layers, key=lambda layer: layer.peak_bytes)
        raise TrainingError(
            f"training with a batch of {batch_size} needs about {needed / GIB:.1f} GiB, there are "
            f"{available_bytes / GIB:.1f}; the largest layer is {worst}. "
            "Try a smaller batch or resolution"
        )
