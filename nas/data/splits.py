"""Four disjoint sets of a data set: weights, search, selection, test.

*weights* trains, *search* ranks inside a search, *selection* draws the front and picks, *test* is opened
by a confirmation and by a full training only.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from nas.data.dataset import Dataset, Images, Labels, Sealed
from nas.errors import DataError
from nas.units import counted

__all__ = ["SETS", "SPLIT_SEED", "Splits", "split"]

SPLIT_SEED = 0
"""Splits do not follow a run's seed: what one search or training held back, no other has seen."""

SETS = ("weights", "search", "selection", "test")

# Shares of the images in that order; with a test part of the source's own, the first three share
# them all.
SHARES = (0.50, 0.20, 0.15, 0.15)
SHARES_WITH_OWN_TEST = (0.70, 0.15, 0.15)

IMBALANCE = 3
"""How many times the rarest class the commonest may be before it is said."""

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Splits:
    """Row numbers of each set, in a seeded random order, so that a head of one is a random sample of it.

    The rows of *test* are not to be had, nor its images but by `open_test`. A source's own test
    part, where there is one, is the test set.
    """

    dataset: Dataset
    seed: int
    weights: Indices
    search: Indices
    selection: Indices
    _test: Indices | None

    @cached_property
    def duplicates(self) -> dict[str, int]:
        """Images of one set whose exact copy is in an earlier one: ``{"weights/search": 3, ...}``, zeros left out.

        An own test part is not opened for this.
        """
        named = {"weights": self.weights, "search": self.search, "selection": self.selection}
        if self._test is not None:
            named["test"] = self._test
        hashes = {name: _hashes(self.dataset.images[rows]) for name, rows in named.items()}
        names = list(hashes)
        pairs = ((a, b) for i, a in enumerate(names) for b in names[i + 1 :])
        counted = {
            f"{a}/{b}": sum(n for h, n in hashes[b].items() if h in hashes[a]) for a, b in pairs
        }
        return {pair: count for pair, count in counted.items() if count}

    def open_test(self, ledger: Path) -> tuple[Images, Labels]:
        """Images (m, height, width, channels) and labels (m,) of the test set.

        The opening is counted first, by a row of the ledger ``ledger`` with the number of images.
        For confirmations and full trainings, once all else is done. Raises `DataError` for a test
        part that cannot be read; that counts as no opening.
        """
        rows = self._test
        if rows is None:
            return self.dataset.open_test_part(ledger)
        return Sealed(lambda: (self.dataset.images[rows], self.dataset.labels[rows])).open(ledger)

    @property
    def test(self) -> NoReturn:
        """Raises `DataError`: there is no way to *test* but `open_test`."""
        raise DataError(
            "the test set is not to be had without a record of it: open_test(LEDGER) counts the "
            "opening and gives the images"
        )

    def lines(self) -> list[str]:
        """For people: the data, its sets, and what is doubtful about them."""
        data, lines = self.dataset, [f"data       {self.dataset}; {self}"]
        if data.note:
            lines.append(f"           {data.note}")
        if data.skipped:
            names = ", ".join(data.skipped[:3]) + ", ..." * (len(data.skipped) > 3)
            lines.append(
                f"           {counted(len(data.skipped), 'unreadable image')} left out: {names}"
            )
        counts = (
            np.bincount(data.labels, minlength=len(data.classes))
            if data.labels.ndim == 1
            else np.ones(1)
        )
        if counts.max() > IMBALANCE * counts.min():
            few, many = data.classes[int(counts.argmin())], data.classes[int(counts.argmax())]
            lines.append(
                f"           classes are unequal: {counts.max()} of '{many}', {counts.min()} of '{few}'; "
                "consider --objective balanced_accuracy,latency_ms in the search"
            )
        if self.duplicates:
            found = ", ".join(f"{count} in {pair}" for pair, count in self.duplicates.items())
            lines.append(f"           exact copies across sets: {found}")
        return lines

    def __str__(self) -> str:
        test = "own part" if self._test is None else str(len(self._test))
        return f"weights {len(self.weights)}, search {len(self.search)}, selection {len(self.selection)}, test {test}"


def _hashes(images: Images) -> Counter[bytes]:
    return Counter(hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images)


def split(dataset: Dataset, seed: int = SPLIT_SEED) -> Splits:
    """Stratified by class, seeded, no group cut. Raises `DataError` where a class cannot be in every set.

    Images with masks have no class of their own: they, or their groups, are dealt out at random.
    """
    shares = SHARES_WITH_OWN_TEST if dataset.has_test else SHARES
    if dataset.labels.ndim > 1:
        return _of_masks(dataset, seed, shares)
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    if counts.min() < len(shares):
        name = dataset.classes[int(counts.argmin())]
        raise DataError(
            f"class '{name}' of data set '{dataset.name}' has {counted(int(counts.min()), 'image')}; every class needs at least "
            f"{len(shares)}, one for each of {', '.join(SETS[: len(shares)])}"
        )
    rng = np.random.default_rng([seed, 0x5911])
    if dataset.groups is None:
        owner = _by_class(dataset, shares, rng)
    else:
        owner = _by_group(dataset.groups, dataset.labels, shares, rng)
    sets = [rng.permutation(np.flatnonzero(owner == index)) for index in range(len(shares))]
    for name, rows in zip(SETS, sets, strict=False):
        missing = set(range(len(dataset.classes))) - set(dataset.labels[rows].tolist())
        if missing:
            raise DataError(
                f"set '{name}' of data set '{dataset.name}' would lack class '{dataset.classes[min(missing)]}': "
                "its images are in too few groups"
            )
    return Splits(dataset, seed, sets[0], sets[1], sets[2], None if dataset.has_test else sets[3])


def _of_masks(dataset: Dataset, seed: int, shares: tuple[float, ...]) -> Splits:
    if len(dataset) < len(shares):
        raise DataError(
            f"data set '{dataset.name}' has {len(dataset)} images; {len(shares)} sets need one each at least"
        )
    rng = np.random.default_rng([seed, 0x5911])
    if dataset.groups is not None:
        owner = _by_group(dataset.groups, np.zeros(len(dataset), np.int64), shares, rng)
        sets = [rng.permutation(np.flatnonzero(owner == index)) for index in range(len(shares))]
        if not all(map(len, sets)):
            raise DataError(f"data set '{dataset.name}' has too few groups for {len(shares)} sets")
        return Splits(
            dataset, seed, sets[0], sets[1], sets[2], None if dataset.has_test else sets[3]
        )
    order = rng.permutation(len(dataset))
    spare = len(order) - len(shares)
    ends = np.floor(np.cumsum(shares) * spare + 0.5).astype(int) + np.arange(1, len(shares) + 1)
    sets = np.split(order, ends[:-1])
    return Splits(dataset, seed, sets[0], sets[1], sets[2], None if dataset.has_test else sets[3])


def _by_class(dataset: Dataset, shares: tuple[float, ...], rng: np.random.Generator) -> Indices:
    """The set of each image: every class cut by the shares, at least one image to each set."""
    owner = np.zeros(len(dataset), np.int64)
    for label in range(len(dataset.classes)):
        rows = rng.permutation(np.flatnonzero(dataset.labels == label))
        spare = len(rows) - len(shares)
        ends = np.floor(np.cumsum(shares) * spare + 0.5).astype(int) + np.arange(1, len(shares) + 1)
        owner[rows] = np.searchsorted(ends, np.arange(len(rows)), side="right")
    return owner


def _by_group(
    groups: Indices, labels: Labels, shares: tuple[float, ...], rng: np.random.Generator
) -> Indices:
    """The set of each image: groups from the largest down, each to the set that lacks most of its classes."""
    _, group = np.unique(groups, return_inverse=True)
    table = np.zeros((group.max() + 1, labels.max() + 1))
    np.add.at(table, (group, labels), 1)
    wanted = np.outer(shares, table.sum(axis=0))
    lacking = wanted.copy()
    owner = np.zeros(len(table), np.int64)
    shuffled = rng.permutation(len(table))
    for row in shuffled[np.argsort(-table[shuffled].sum(axis=1), kind="stable")]:
        owner[row] = np.argmax((lacking / wanted) @ table[row])
        lacking[owner[row]] -= table[row]
    return owner[group]
