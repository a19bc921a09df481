"""Images as arrays."""

from typing import Any

from numpy.typing import NDArray

__all__ = ["Images"]

# Any: uint8; until `nas.data.dataset.Dataset.in_eight_bits` also uint16, or float32 of one channel.
Images = NDArray[Any]
"""(n, height, width, 1 or 3), or one image (height, width, 1 or 3)."""
