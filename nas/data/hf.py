"""Data sets of Hugging Face `datasets`: ``hf:NAME[:CONFIG]``, or a local folder, ``hf:/path``.

A folder may be one that ``save_to_disk`` wrote, or anything ``load_dataset`` reads from a folder.
Split ``train`` is read; ``test``, where there is one, only when the test part is opened. No code of
a data set is run.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np

from nas.data.dataset import Dataset, Images, Labels, Sealed, TestImages
from nas.data.decode import Encoded, Seen, decode, frames_lines, gather
from nas.data.folder import files_of, sizes_note
from nas.data.index import SEVERAL, Index, make_index
from nas.errors import DataError, UsageError
from nas.files import one_line
from nas.progress import Watch, ignore
from nas.size import Rect, Size, pixels_text, sides

__all__ = ["read"]

NAMED = "image "
TYPICAL_BYTES = 1 << 14
LABEL_COLUMNS = ("label", "labels")


class Table(Protocol):
    """A split as `datasets`, which has no types of its own, gives it: columns by name."""

    @property
    def features(self) -> Mapping[str, object]:
        """The kind of each column."""

    data: Any
    """As Arrow has it."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Mapping[str, Any]]: ...

    @overload
    def __getitem__(self, key: str) -> Sequence[Any]: ...
    @overload
    def __getitem__(self, key: int) -> Mapping[str, Any]: ...

    def select_columns(self, columns: list[str]) -> "Table":
        """These columns alone."""

    def cast_column(self, column: str, feature: object) -> "Table":
        """With a column of another kind."""


Cell = Mapping[str, bytes | str | None]
"""An image that was not decoded: ``bytes`` of its file, or its ``path``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Column:
    """The images of a column, named ``image 0``, ``image 1``, ... See `nas.data.index.Place`."""

    what: str
    part: Table
    """Whose images are files, not pixels."""
    image: str
    identity: bytes

    def __str__(self) -> str:
        return self.what

    def source(self, name: str) -> Encoded:
        """See `Place`."""
        return _encoded(self.part[int(name.removeprefix(NAMED))][self.image])

    def told(self, name: str) -> str:
        """See `Place`."""
        return f"{self.what}: {name}"

    def status(self, names: Sequence[str]) -> Iterator[tuple[int, int]]:
        """See `Place`; a mean length, as the table is not to be read for this.

        Files that lie outside of the table count as of `TYPICAL_BYTES`.
        """
        bytes_each = max(TYPICAL_BYTES, self.part.data.nbytes // max(1, len(self.part)))
        # What has changed has another fingerprint.
        return ((bytes_each, 0) for _ in names)


def read(
    place: str,
    *,
    strict: bool,
    size: Size | None = None,
    value_range: tuple[float, float] | None = None,
    watch: Watch = ignore,
) -> Dataset:
    """Images decoded when they are needed, at the size that is needed, as those of a folder.

    With ``size`` they are scaled to the shorter side of the first, at most ``size``, the middle is
    cut out, and all are held in memory. ``value_range``: see `Dataset`. ``watch`` follows the
    index. Raises `DataError`.
    """
    parts = _load(place)
    if "train" not in parts:
        raise DataError(f"hf:{place} has no split 'train'; it has {', '.join(parts)}")
    train = parts["train"]
    image, label = _columns(train, place)
    names = _class_names(train, label)
    if size is not None:
        return _in_memory(place, parts, image, label, names, strict, size, value_range)
    index, skipped = _index(train, image, label, names, f"hf:{place}", strict, watch)
    images = files_of(index)

    def read_test() -> TestImages:
        what = f"hf:{place}, split test"
        found, unreadable = _index(parts["test"], image, label, names, what, strict, ignore)
        files = replace(files_of(found), channels=images.channels, ratio_of_all=images.ratio_of_all)
        return files, found.labels, unreadable

    return Dataset(
        name=Path(place).name,
        images=images,
        labels=index.labels,
        classes=names,
        skipped=skipped,
        test_part=Sealed(read_test) if "test" in parts else None,
        flip=images.channels == 3,
        note=sizes_note(images),
        remarks=tuple(frames_lines(int((index.facts["kind"] & SEVERAL > 0).sum()))),
        value_range=value_range,
    )


def _index(
    part: Table,
    image: str,
    label: str,
    classes: tuple[str, ...],
    what: str,
    strict: bool,
    watch: Watch,
) -> tuple[Index, tuple[str, ...]]:
    """The index of the images that can be read, and the names of the others."""
    fingerprint = getattr(part, "_fingerprint", what)
    column = Column(
        what=what,
        part=_as_files(part, image),
        image=image,
        identity=f"hf:{fingerprint}:{len(part)}:{image}".encode(),
    )
    labels = _labels(part, label, classes, what)
    files = [(f"{NAMED}{row}", label) for row, label in enumerate(labels)]
    return make_index(column, files, watch=watch, every=strict).readable(strict=strict)


def _in_memory(
    place: str,
    parts: Mapping[str, Table],
    image: str,
    label: str,
    classes: tuple[str, ...],
    strict: bool,
    most: Size,
    value_range: tuple[float, float] | None,
) -> Dataset:
    train = parts["train"]
    # A rectangle is what was asked for; of squares the images at hand decide.
    size = most if isinstance(most, Rect) else _first_side(train, image, most)
    seen = Seen()
    images, labels, skipped = _part(train, image, label, classes, f"hf:{place}", strict, size, seen)

    def read_test() -> TestImages:
        what = f"hf:{place}, split test"
        part = parts["test"]
        maps, truth, unreadable = _part(part, image, label, classes, what, strict, size, Seen())
        return np.repeat(maps, images.shape[3] // maps.shape[3], axis=3), truth, unreadable

    height, width = sides(size)
    cut = "" if seen.sizes == {(width, height)} else ", scaled and cropped"
    return Dataset(
        name=Path(place).name,
        images=images,
        labels=labels,
        classes=classes,
        skipped=skipped,
        test_part=Sealed(read_test) if "test" in parts else None,
        flip=images.shape[3] == 3,
        cut=True,
        note=f"all images are held in memory at {pixels_text(size)}{cut}",
        remarks=tuple(seen.lines()),
        value_range=value_range,
    )


def _load(place: str) -> Mapping[str, Table]:
    try:
        import datasets
    except ModuleNotFoundError:
        raise UsageError(
            "data set 'hf:...' needs the package datasets: pip install 'nas-toolkit[hub]'"
        ) from None
    try:
        parts: Mapping[str, Table] = _parts(datasets, place)
        return parts
    except Exception as error:  # the library raises whatever its readers and the network do
        raise DataError(
            f"cannot load hf:{place}: {type(error).__name__}: {one_line(error, 160)}"
        ) from None


def _parts(datasets: Any, place: str) -> Any:
    """By what lies there; a place that is no folder is a name."""
    folder = Path(place)
    if (folder / "dataset_dict.json").is_file():
        return datasets.load_from_disk(place)
    if (folder / "state.json").is_file():
        return {"train": datasets.load_from_disk(place)}
    if folder.is_dir():
        return datasets.load_dataset(place)
    name, _, config = place.partition(":")
    return datasets.load_dataset(name, config or None)


def _columns(part: Table, place: str) -> tuple[str, str]:
    """The image and the label column: the only ones of their kind, or the one named label."""
    import datasets

    images = _columns_of(part, datasets.Image)
    labels = _columns_of(part, datasets.ClassLabel)
    if len(labels) != 1:
        labels = [name for name in LABEL_COLUMNS if name in part.features]
    if len(images) != 1 or len(labels) != 1:
        kinds = [f"{name} ({type(kind).__name__})" for name, kind in part.features.items()]
        raise DataError(
            f"hf:{place} must have one image column and one column of class labels, "
            f"named label where there are several; it has {', '.join(kinds)[:200]}"
        )
    return images[0], labels[0]


def _columns_of(part: Table, kind: type) -> list[str]:
    return [name for name, feature in part.features.items() if isinstance(feature, kind)]


def _class_names(part: Table, label: str) -> tuple[str, ...]:
    names = getattr(part.features[label], "names", None)
    if names:
        return tuple(names)
    # Sorted as what they are: of numbers, 10 comes after 9.
    values: set[Any] = set(part[label])
    return tuple(map(str, sorted(values)))


def _as_files(part: Table, image: str) -> Table:
    """The image column alone, of files and not of pixels."""
    import datasets

    # Not decoded by the library: what one unreadable image raises would end the iteration.
    return part.select_columns([image]).cast_column(image, datasets.Image(decode=False))


def _encoded(cell: Cell | None) -> Encoded:
    """An image as its file's bytes, or the file."""
    cell = cell or {}
    content, path = cell.get("bytes"), cell.get("path")
    if isinstance(content, bytes) and content:
        return content
    return Path(str(path or "no image"))


def _cells(part: Table, image: str) -> Iterator[Encoded]:
    """Every image."""
    for row in _as_files(part, image):
        yield _encoded(row[image])


def _first_side(part: Table, image: str, size: int) -> int:
    """The shorter side of the first readable image, at most ``size``."""
    for cell in _cells(part, image):
        with suppress(DataError):
            height, width = decode(cell).shape[:2]
            return int(min(size, height, width))
    return size


def _part(
    part: Table,
    image: str,
    label: str,
    classes: tuple[str, ...],
    what: str,
    strict: bool,
    size: Size,
    seen: Seen,
) -> tuple[Images, Labels, tuple[str, ...]]:
    named = ((f"{NAMED}{index}", cell) for index, cell in enumerate(_cells(part, image)))
    read = partial(decode, size=size, seen=seen)
    images, kept, skipped = gather(named, read, what=what, strict=strict)
    labels = _labels(part, label, classes, what)
    return images, np.array([labels[i] for i in kept], np.int64), skipped


def _labels(part: Table, label: str, classes: tuple[str, ...], what: str) -> Sequence[int]:
    """The class of each image."""
    values = part[label]
    if getattr(part.features[label], "names", None) is None:
        return _indices(values, classes, what)
    return list(values)


def _indices(values: Sequence[object], classes: tuple[str, ...], what: str) -> list[int]:
    """Labels that are no indices as indices into the classes of training."""
    index_of = {name: index for index, name in enumerate(classes)}
    words = [str(value) for value in values]
    foreign = set(words) - set(index_of)
    if foreign:
        names = ", ".join(sorted(foreign))[:120]
        raise DataError(f"{what} has classes that training has not: {names}")
    return [index_of[word] for word in words]
