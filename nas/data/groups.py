"""Which images belong together: a file of group ids, one per image, for splits that cut no group.

One column: an id per line, in the data set's order. Two columns, ``filename,group``: for image
folders, file names relative to the folder of the classes. Ids are any words; a first line ``group``
or ``filename,group`` is a header.
"""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.data.dataset import Dataset
from nas.errors import DataError
from nas.units import counted

__all__ = ["group_numbers", "with_groups"]


def with_groups(dataset: Dataset, path: str | Path) -> Dataset:
    """The data set with the groups that a file names.

    Raises `DataError` for a file that cannot be read, and if an image has no group.
    """
    ids = _ids(dataset, path)
    if len(ids) != len(dataset):
        skipped = len(dataset.skipped)
        hint = f", {skipped} unreadable ones left out: use filename,group" if skipped else ""
        raise DataError(f"{path} has {len(ids)} groups for {len(dataset)} images{hint}")
    if "" in ids:
        raise DataError(
            f"{path}: image {ids.index('')} has an empty group; "
            "give each image alone a group of its own"
        )
    return dataclasses.replace(dataset, groups=group_numbers(ids))


def group_numbers(ids: Sequence[str] | NDArray[np.generic]) -> NDArray[np.int64]:
    """ids: (n,). The rank of each among the distinct ones, (n,)."""
    _, ranks = np.unique(ids, return_inverse=True)
    return ranks.astype(np.int64)


def _ids(dataset: Dataset, path: str | Path) -> list[str]:
    """The group of each image, by a file of one or two columns."""
    lines = _lines(path)
    columns = {len(line) for line in lines}
    if columns == {1}:
        return [line[0] for line in lines]
    if columns == {2}:
        return _by_name(dataset, {line[0]: line[1] for line in lines}, path)
    raise DataError(
        f"{path} must hold one column, group, or two, filename,group; it has {sorted(columns)}"
    )


def _lines(path: str | Path) -> list[list[str]]:
    """The cells of each line, but for a header and empty lines."""
    lines = []
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                if any(row):
                    lines.append([cell.strip() for cell in row])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read groups from {path}: {error}") from None
    has_header = lines and lines[0][-1].lower() == "group"
    return lines[1:] if has_header else lines


def _by_name(dataset: Dataset, group_of: dict[str, str], path: str | Path) -> list[str]:
    if not dataset.names:
        raise DataError(
            f"images of data set '{dataset.name}' have no file names: "
            f"{path} must hold one group per line"
        )
    missing = [name for name in dataset.names if name not in group_of]
    if missing:
        raise DataError(
            f"{path} has no group for {counted(len(missing), 'image')}, such as {missing[0]}"
        )
    return [group_of[name] for name in dataset.names]
