"""Benchmarks that look results up."""

from collections.abc import Mapping
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from nas.domain import Domain
from nas.errors import DataError
from nas.statistics import rng
from nas.trial import Genes

__all__ = ["Lookup"]


@dataclass(frozen=True, eq=False)
class Lookup:
    """Losses of networks by canonical genes: (repeats, objectives) each.

    The truth is the mean over the repeats. A search sees it too, or, if ``noisy``, one repeat of
    each network, drawn by the seed and the network: the same whenever it asks.
    """

    domain: Domain
    repeats: Mapping[Genes, NDArray[np.float64]]
    seed: int
    noisy: bool = False

    def _row(self, genes: Genes) -> NDArray[np.float64]:
        # Genes are canonical already, mostly; to make them so takes longer than to look.
        key = genes if genes in self.repeats else self.domain.canonical(genes)
        if key not in self.repeats:
            raise DataError(f"the table has no row for {self.domain.space.describe(genes)}")
        return self.repeats[key]

    def truth(self, genes: Genes) -> tuple[float, ...]:
        """Mean losses over the repeats."""
        return tuple(self._row(genes).mean(axis=0).tolist())

    def observe(self, genes: Genes) -> tuple[float, ...]:
        """Losses as the search sees them."""
        if not self.noisy:
            return self.truth(genes)
        row = self._row(genes)
        # By canonical genes: every spelling of a network sees the same repeat.
        name = crc32(bytes(self.domain.canonical(genes)))
        return tuple(row[rng(self.seed, "repeat", name).integers(len(row))].tolist())

    def inside(self) -> NDArray[np.float64]:
        """Mean losses of all networks of the table inside the domain: (n, objectives)."""
        keep = self.domain.inside(np.array(list(self.repeats)))
        if not keep.any():
            raise DataError(f"the table has no network inside {self.domain.bounds_text}")
        # In one pass over all networks, whose numbers of repeats differ.
        counts = np.array([len(rows) for rows in self.repeats.values()])
        sums = np.add.reduceat(
            np.concatenate(list(self.repeats.values())), counts.cumsum() - counts, axis=0
        )
        return np.asarray(sums / counts[:, None])[keep]
