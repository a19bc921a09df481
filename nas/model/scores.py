"""What attentions over maps have in common."""

import torch
from torch import Tensor, nn

from nas.errors import ArchitectureError

__all__ = ["OffsetBias"]


class OffsetBias(nn.Module):
    """A trained value per head and offset between a query and a key, signs left out (``table``).

    Keys are a map of ``size`` x ``size``; queries are every ``stride``-th position of it.
    Graham et al. 2021, https://arxiv.org/abs/2104.01136, section 4.2: they start at 0.
    """

    places: Tensor

    def __init__(self, heads: int, *, size: int, stride: int = 1) -> None:
        super().__init__()
        self.size = size
        self.table = nn.Parameter(torch.zeros(heads, size * size))
        # Not in state dicts: it follows from the sizes.
        self.register_buffer("places", self._places(stride), persistent=False)

    def _places(self, stride: int) -> Tensor:
        """Where each pair's value stands in the table: (queries, keys)."""
        # Also while modules are built on torch's meta device, where nothing could be gathered.
        keys = torch.arange(self.size)
        apart = (keys[::stride, None] - keys[None, :]).abs()
        rows = apart[:, None, :, None] * self.size
        pairs = rows + apart[None, :, None, :]
        return pairs.reshape(len(apart) ** 2, self.size**2)

    def forward(self, scores: Tensor) -> Tensor:
        """scores: (n, heads, queries, keys), the same out."""
        return scores + self.table[:, self.places]

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *rest: object
    ) -> None:
        """Refuse the values of another resolution, in one line."""
        theirs = state_dict.get(f"{prefix}table")
        if theirs is not None and theirs.shape[1] != self.size**2:
            raise ArchitectureError(
                f"attention over {self.size**2} positions cannot take weights for "
                f"{theirs.shape[1]}: its biases depend on the resolution. "
                "Build the network at the resolution it was trained at"
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)
