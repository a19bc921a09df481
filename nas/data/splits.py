"""Four disjoint sets of a data set: weights, search, selection, test.

*weights* trains, *search* ranks inside a search, *selection* draws the front and picks, *test* is
opened by a confirmation and by a full training only.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from nas.data.dataset import Dataset, Labels, Pictures, Sealed
from nas.data.pictures import ImageFiles
from nas.errors import DataError
from nas.units import counted

__all__ = ["SETS", "SPLIT_SEED", "Dealt", "Splits", "deal", "split"]

SPLIT_SEED = 0
"""Splits do not follow a run's seed: what one search or training held back, no other has seen."""

SETS = ("weights", "search", "selection", "test")

# Shares of the images in that order; with a test part of the source's own, the first three share
# them all.
SHARES = (0.50, 0.20, 0.15, 0.15)
SHARES_WITH_OWN_TEST = (0.70, 0.15, 0.15)

STREAM = 0x5911
"""Keeps the draws of a split apart from other draws by the same seed."""

IMBALANCE = 3
"""How many times the rarest class the commonest may be before it is said."""

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Splits:
    """Row numbers of each set, in a seeded random order: a head of a set is a random sample of it.

    The rows of *test* are not to be had, nor its images but by `open_test`. A source's own test
    part, if there is one, is the test set.
    """

    dataset: Dataset
    seed: int
    weights: Indices
    search: Indices
    selection: Indices
    _test: Indices | None

    @cached_property
    def duplicates(self) -> dict[str, int]:
        """Images of one set whose exact copy is in an earlier one: ``{"weights/search": 3, ...}``.

        Zeros are left out. An own test part is not opened for this.
        """
        rows = {"weights": self.weights, "search": self.search, "selection": self.selection}
        if self._test is not None:
            rows["test"] = self._test
        hashes = {name: _hashes(self.dataset.images[part]) for name, part in rows.items()}
        counts = {}
        for earlier, later in combinations(hashes, 2):
            count = _copies(hashes[later], hashes[earlier])
            if count:
                counts[f"{earlier}/{later}"] = count
        return counts

    def open_test(self, ledger: Path) -> tuple[Pictures, Labels]:
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
        data = self.dataset
        lines = [f"data       {data}; {self}"]
        if data.groups is not None:
            lines.append(f"           {_groups_told(data.groups)}")
        if data.note:
            lines.append(f"           {data.note}")
        lines += [f"           {remark}" for remark in data.remarks]
        if data.skipped:
            more = ", ..." if len(data.skipped) > 3 else ""
            lines.append(
                f"           {counted(len(data.skipped), 'unreadable image')} left out: "
                f"{', '.join(data.skipped[:3])}{more}"
            )
        lines += self._imbalance()
        if self.duplicates:
            copies = ", ".join(f"{count} in {pair}" for pair, count in self.duplicates.items())
            lines.append(f"           exact copies across sets: {copies}")
        return lines

    def _imbalance(self) -> list[str]:
        """A line if the classes are unequal. Masks have no class of their own."""
        data = self.dataset
        if data.labels.ndim > 1:
            return []
        counts = np.bincount(data.labels, minlength=len(data.classes))
        if counts.max() <= IMBALANCE * counts.min():
            return []
        few, many = data.classes[int(counts.argmin())], data.classes[int(counts.argmax())]
        return [
            f"           classes are unequal: {counts.max()} of '{many}', "
            f"{counts.min()} of '{few}'; "
            "consider --objective balanced_accuracy,latency_ms in the search"
        ]

    def __str__(self) -> str:
        test = "own part" if self._test is None else str(len(self._test))
        return (
            f"weights {len(self.weights)}, search {len(self.search)}, "
            f"selection {len(self.selection)}, test {test}"
        )


def _groups_told(groups: Indices) -> str:
    """groups: (n,). How many there are, and of which sizes."""
    sizes = np.unique(groups, return_counts=True)[1]
    low, high = sizes.min(), sizes.max()
    images = counted(int(high), "image") if low == high else f"{low} to {high} images"
    return f"{counted(len(sizes), 'group')} of {images}, none of them cut"


def _hashes(images: Pictures) -> Counter[bytes]:
    if isinstance(images, ImageFiles):
        return Counter(images.keys())
    return Counter(hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images)


def _copies(later: Counter[bytes], earlier: Counter[bytes]) -> int:
    """Images of the later set that are in the earlier one."""
    return sum(count for digest, count in later.items() if digest in earlier)


def split(dataset: Dataset, seed: int = SPLIT_SEED) -> Splits:
    """Stratified by class, seeded, no group cut.

    Images with masks have no class of their own: they, or their groups, are dealt out at random.
    The data set of the splits has eight bits: more are scaled by their range over *weights*.
    Raises `DataError` if a class cannot be in every set.
    """
    weights, search, selection, *test = deal(dataset, seed)
    dataset = dataset.in_eight_bits(weights)
    return Splits(dataset, seed, weights, search, selection, test[0] if test else None)


class Dealt(Protocol):
    """What is dealt out to the sets: images, or whatever else a data set of the user's yields."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def labels(self) -> Labels:
        """(n,), or (n, ...) where an item has no class of its own."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""

    @property
    def groups(self) -> Indices | None:
        """(n,): items of one number must not be separated; None without groups."""

    @property
    def has_test(self) -> bool:
        """Whether there is a test part beside these items."""

    def __len__(self) -> int: ...


def deal(dataset: Dealt, seed: int = SPLIT_SEED) -> list[Indices]:
    """Rows of weights, search, selection, and of test unless there is a part for that.

    As `split`.
    """
    shares = SHARES_WITH_OWN_TEST if dataset.has_test else SHARES
    rng = np.random.default_rng([seed, STREAM])
    if dataset.labels.ndim > 1:
        return _of_masks(dataset, shares, rng)
    return _of_classes(dataset, shares, rng)


def _of_classes(
    dataset: Dealt, shares: tuple[float, ...], rng: np.random.Generator
) -> list[Indices]:
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    if counts.min() < len(shares):
        name = dataset.classes[int(counts.argmin())]
        raise DataError(
            f"class '{name}' of data set '{dataset.name}' has "
            f"{counted(int(counts.min()), 'image')}; every class needs at least "
            f"{len(shares)}, one for each of {', '.join(SETS[: len(shares)])}"
        )
    if dataset.groups is None:
        owner = _by_class(dataset, shares, rng)
    else:
        owner = _by_group(dataset.groups, dataset.labels, shares, rng)
    sets = _shuffled(owner, shares, rng)
    for name, rows in zip(SETS, sets, strict=False):
        missing = set(range(len(dataset.classes))) - set(dataset.labels[rows].tolist())
        if missing:
            lacking = dataset.classes[min(missing)]
            raise DataError(
                f"set '{name}' of data set '{dataset.name}' would lack class '{lacking}': "
                "its images are in too few groups"
            )
    return sets


def _of_masks(dataset: Dealt, shares: tuple[float, ...], rng: np.random.Generator) -> list[Indices]:
    if len(dataset) < len(shares):
        raise DataError(
            f"data set '{dataset.name}' has {len(dataset)} images; "
            f"{len(shares)} sets need one each at least"
        )
    if dataset.groups is None:
        order = rng.permutation(len(dataset))
        return np.split(order, _ends(len(order), shares)[:-1])
    one_class = np.zeros(len(dataset), np.int64)
    sets = _shuffled(_by_group(dataset.groups, one_class, shares, rng), shares, rng)
    if not all(map(len, sets)):
        raise DataError(f"data set '{dataset.name}' has too few groups for {len(shares)} sets")
    return sets


def _shuffled(owner: Indices, shares: tuple[float, ...], rng: np.random.Generator) -> list[Indices]:
    """owner: (n,), the set of each image. The rows of each set, in random order."""
    return [rng.permutation(np.flatnonzero(owner == index)) for index in range(len(shares))]


def _ends(count: int, shares: tuple[float, ...]) -> Indices:
    """Where each set ends among so many images in a row: by its share, at least one image each."""
    # One image to each set comes first, so that a class of four is in all four sets.
    spare = count - len(shares)
    one_each = np.arange(1, len(shares) + 1)
    return np.floor(np.cumsum(shares) * spare + 0.5).astype(int) + one_each


def _by_class(dataset: Dealt, shares: tuple[float, ...], rng: np.random.Generator) -> Indices:
    """The set of each image: every class cut by the shares, at least one image to each set."""
    owner = np.zeros(len(dataset), np.int64)
    for label in range(len(dataset.classes)):
        rows = rng.permutation(np.flatnonzero(dataset.labels == label))
        places = np.arange(len(rows))
        owner[rows] = np.searchsorted(_ends(len(rows), shares), places, side="right")
    return owner


def _by_group(
    groups: Indices, labels: Labels, shares: tuple[float, ...], rng: np.random.Generator
) -> Indices:
    """The set of each image.

    Groups are dealt out from the largest down, each to the set that lacks most of its classes.
    """
    _, group = np.unique(groups, return_inverse=True)
    table = np.zeros((group.max() + 1, labels.max() + 1))
    np.add.at(table, (group, labels), 1)
    wanted = np.outer(shares, table.sum(axis=0))
    lacking = wanted.copy()
    owner = np.zeros(len(table), np.int64)
    shuffled = rng.permutation(len(table))
    # Large ones first, while every set has room; shuffled, so that equal ones come by the seed.
    for row in shuffled[np.argsort(-table[shuffled].sum(axis=1), kind="stable")]:
        # As shares of what is wanted: else the largest set would take every large group.
        owner[row] = np.argmax((lacking / wanted) @ table[row])
        lacking[owner[row]] -= table[row]
    return owner[group]
