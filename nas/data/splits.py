"""Four disjoint sets of a data set: weights, search, selection, test.

*weights* trains, *search* ranks inside a search, *selection* draws the front and picks, *test* is opened
by a confirmation only.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas.data.dataset import Dataset, Images, Labels
from nas.errors import DataError
from nas.units import counted

__all__ = ["SETS", "Splits", "split"]

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

    ``test`` are rows of the data set; None where the source has a test part of its own, which is
    then the test set.
    """

    dataset: Dataset
    seed: int
    weights: Indices
    search: Indices
    selection: Indices
    test: Indices | None

    @cached_property
    def duplicates(self) -> dict[str, int]:
        """Images of one set whose exact copy is in an earlier one: ``{"weights/search": 3, ...}``, zeros left out.

        An own test part is not opened for this: `test_duplicates` does it, when it is opened
        anyway.
        """
        named = {name: getattr(self, name) for name in SETS if getattr(self, name) is not None}
        hashes = {name: _hashes(self.dataset.images[rows]) for name, rows in named.items()}
        names = list(hashes)
        pairs = ((a, b) for i, a in enumerate(names) for b in names[i + 1 :])
        counted = {
            f"{a}/{b}": sum(n for h, n in hashes[b].items() if h in hashes[a]) for a, b in pairs
        }
        return {pair: count for pair, count in counted.items() if count}

    def open_test(self) -> tuple[Images, Labels]:
        """Images and labels of the test set. Only a confirmation may call this; who calls it counts it."""
        if self.test is None:
            return self.dataset.test
        return self.dataset.images[self.test], self.dataset.labels[self.test]

    def test_duplicates(self) -> int:
        """Test images with an exact copy in any other set. Opens the test set."""
        others = _hashes(
            self.dataset.images[np.concatenate([self.weights, self.search, self.selection])]
        )
        return sum(n for h, n in _hashes(self.open_test()[0]).items() if h in others)

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
        test = "own part" if self.test is None else str(len(self.test))
        return f"weights {len(self.weights)}, search {len(self.search)}, selection {len(self.selection)}, test {test}"


def _hashes(images: Images) -> Counter[bytes]:
    return Counter(hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images)


def split(dataset: Dataset, seed: int = 0) -> Splits:
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
