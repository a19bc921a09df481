"""Which images belong together: a file of group ids, one per image, for splits that cut no group.

One column: an id per line, in the data set's order. Two columns, ``filename,group``: for image
folders, file names relative to the folder of the classes. Ids are any words; a first line ``group``
or ``filename,group`` is a header. Cells may stand between commas, semicolons or tabs.
"""

import dataclasses
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nas.data.dataset import Dataset
from nas.errors import DataError
from nas.files import UNREADABLE, read_text
from nas.sheets import Line, read_lines
from nas.units import counted

__all__ = ["check_groups", "group_numbers", "groups_of", "with_groups"]

LARGEST_FILE_BYTES = 1 << 30


def with_groups(dataset: Dataset, path: str | Path) -> Dataset:
    """The data set with the groups that a file names.

    Raises as `groups_of`.
    """
    return dataclasses.replace(dataset, groups=groups_of(dataset, path))


class Named(Protocol):
    """Images, or other items, as far as a file of groups looks at them."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def names(self) -> Sequence[str]:
        """(n,): the items' files, if they have one each."""

    @property
    def skipped(self) -> Sequence[str]:
        """Names of those that could not be read."""

    def __len__(self) -> int: ...


def groups_of(dataset: Named, path: str | Path) -> NDArray[np.int64]:
    """(n,): the group of each image by a file.

    Raises `DataError` for a file that cannot be read, if an image has no group, and if every image
    is a group of its own.
    """
    ids = _ids(dataset, path)
    if len(ids) != len(dataset):
        raise DataError(
            f"{path} has {len(ids)} groups for {len(dataset)} images{_why(dataset, len(ids))}"
        )
    if "" in ids:
        raise DataError(
            f"{path}: image {ids.index('')} has an empty group; "
            "give each image alone a group of its own"
        )
    groups = group_numbers(ids)
    check_groups(groups, str(path))
    return groups


def _why(dataset: Named, count: int) -> str:
    """What may be wrong with so many lines for the images of a data set."""
    if count == len(dataset) + 1:
        return "; a first line that is a header must be group"
    skipped = len(dataset.skipped)
    return f", {skipped} unreadable ones left out: use filename,group" if skipped else ""


def check_groups(groups: NDArray[np.int64], source: str) -> None:
    """groups: (n,). Raise `DataError` if no two images are of one group: nothing is kept together.

    ``source``: where they come from, the subject of the sentence.
    """
    if len(np.unique(groups)) < len(groups):
        return
    raise DataError(
        f"{source}: each of {len(groups)} images is a group of its own, so no two would be kept "
        "together. Give images of one patient or scene the same id; without such, leave groups out"
    )


def group_numbers(ids: Sequence[str] | NDArray[np.generic]) -> NDArray[np.int64]:
    """ids: (n,). The rank of each among the distinct ones, (n,)."""
    _, ranks = np.unique(ids, return_inverse=True)
    return ranks.astype(np.int64)


def _ids(dataset: Named, path: str | Path) -> list[str]:
    """The group of each image, by a file of one or two columns."""
    lines = _lines(path)
    columns = {len(line.cells) for line in lines}
    if columns == {1}:
        return [line.cells[0] for line in lines]
    if columns == {2}:
        return _by_name(dataset, _group_of(lines, path), path)
    raise DataError(
        f"{path} must hold one column, group, or two, filename,group; it has "
        f"{_some(columns)} columns"
    )


def _some(columns: set[int]) -> str:
    return " and ".join(map(str, sorted(columns)[:3])) or "no"


def _lines(path: str | Path) -> list[Line]:
    """The lines but for a header."""
    try:
        lines = read_lines(read_text(Path(path), LARGEST_FILE_BYTES, "not a file of groups"))
    except UNREADABLE as error:
        raise DataError(f"cannot read groups from {path}: {error}") from None
    has_header = lines and lines[0].cells[-1].lower() == "group"
    return lines[1:] if has_header else lines


def _group_of(lines: Sequence[Line], path: str | Path) -> dict[str, str]:
    """The group by the name of a file."""
    group_of: dict[str, str] = {}
    for line in lines:
        file, group = line.cells
        name = _plain(file)
        if group_of.setdefault(name, group) != group:
            raise DataError(
                f"{path} line {line.number}: {file} is in group {group_of[name]} already"
            )
    return group_of


def _plain(name: str) -> str:
    """A file's name in the one form in which two systems agree."""
    # macOS decomposes letters with accents, Windows writes backslashes.
    return unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./")


def _by_name(dataset: Named, group_of: Mapping[str, str], path: str | Path) -> list[str]:
    if not dataset.names:
        raise DataError(
            f"images of data set '{dataset.name}' have no file names: "
            f"{path} must hold one group per line"
        )
    missing = [name for name in dataset.names if _plain(name) not in group_of]
    if missing:
        raise DataError(
            f"{path} has no group for {counted(len(missing), 'image')}, such as {missing[0]}"
        )
    return [group_of[_plain(name)] for name in dataset.names]
