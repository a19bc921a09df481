"""Which images belong together: a file of group ids, one per image, for splits that cut no group.

One column: an id per line, in the data set's order. Two columns, ``filename,group``: for image
folders, file names relative to the folder of the classes. Ids are any words; a first line ``group``
or ``filename,group`` is a header.
"""

import csv
import dataclasses
from pathlib import Path

import numpy as np

from nas.data.dataset import Dataset
from nas.errors import DataError
from nas.units import counted

__all__ = ["with_groups"]


def with_groups(dataset: Dataset, path: str | Path) -> Dataset:
    """The data set with the groups that the file names. Raises `DataError` where an image has none."""
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            lines = [[cell.strip() for cell in row] for row in csv.reader(file) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read groups from {path}: {error}") from None
    if lines and lines[0][-1].lower() == "group":
        lines = lines[1:]
    columns = {len(line) for line in lines}
    if columns == {1}:
        ids = [line[0] for line in lines]
    elif columns == {2}:
        ids = _by_name(dataset, dict(map(tuple, lines)), path)  # type: ignore[arg-type]
    else:
        raise DataError(
            f"{path} must hold one column, group, or two, filename,group; it has {sorted(columns)}"
        )
    if len(ids) != len(dataset):
        left_out = (
            f", {len(dataset.skipped)} unreadable ones left out: use filename,group"
            if dataset.skipped
            else ""
        )
        raise DataError(f"{path} has {len(ids)} groups for {len(dataset)} images{left_out}")
    if "" in ids:
        raise DataError(
            f"{path}: image {ids.index('')} has an empty group; give each image alone a group of its own"
        )
    return dataclasses.replace(
        dataset, groups=np.unique(ids, return_inverse=True)[1].astype(np.int64)
    )


def _by_name(dataset: Dataset, group_of: dict[str, str], path: str | Path) -> list[str]:
    if not dataset.names:
        raise DataError(
            f"images of data set '{dataset.name}' have no file names: {path} must hold one group per line"
        )
    missing = [name for name in dataset.names if name not in group_of]
    if missing:
        raise DataError(
            f"{path} has no group for {counted(len(missing), 'image')}, such as {missing[0]}"
        )
    return [group_of[name] for name in dataset.names]
