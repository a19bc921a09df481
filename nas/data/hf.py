"""Data sets of Hugging Face `datasets`: ``hf:NAME[:CONFIG]``, or a local folder, ``hf:/path``.

A folder may be one that ``save_to_disk`` wrote, or anything ``load_dataset`` reads from a folder.
Split ``train`` is read; ``test``, where there is one, only when the test part is opened. No code of
a data set is run.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nas.data.dataset import Dataset, Images, Labels, Sealed
from nas.data.decode import Seen, decode, gather
from nas.errors import DataError, UsageError
from nas.files import one_line

__all__ = ["read"]

SIZE = 64
LABEL_COLUMNS = ("label", "labels")


class Table(Protocol):
    """A split as `datasets`, which has no types of its own, gives it: columns by name."""

    @property
    def features(self) -> Mapping[str, object]:
        """The kind of each column."""

    def __getitem__(self, column: str) -> Sequence[object]: ...

    def select_columns(self, columns: list[str]) -> "Table":
        """These columns alone."""

    def cast_column(self, column: str, feature: object) -> Iterable[Mapping[str, "Cell | None"]]:
        """Rows in which a column is of another kind."""


Cell = Mapping[str, bytes | str | None]
"""An image that was not decoded: ``bytes`` of its file, or its ``path``."""


def read(
    place: str, *, strict: bool, size: int | None, value_range: tuple[float, float] | None = None
) -> Dataset:
    """Images scaled to the shorter side of the first, at most ``size`` or `SIZE`, middles cut out.

    ``value_range``: see `Dataset`.
    """
    parts = _load(place)
    if "train" not in parts:
        raise DataError(f"hf:{place} has no split 'train'; it has {', '.join(parts)}")
    train = parts["train"]
    image, label = _columns(train, place)
    names = _class_names(train, label)
    most = size or SIZE
    size = _first_side(train, image, most)
    seen = Seen()
    images, labels, skipped = _part(train, image, label, names, f"hf:{place}", strict, size, seen)

    def read_test() -> tuple[Images, Labels]:
        what = f"hf:{place}, split test"
        maps, truth, _ = _part(parts["test"], image, label, names, what, strict, size, Seen())
        return np.repeat(maps, images.shape[3] // maps.shape[3], axis=3), truth

    return Dataset(
        name=Path(place).name,
        images=images,
        labels=labels,
        classes=names,
        skipped=skipped,
        test_part=Sealed(read_test) if "test" in parts else None,
        flip=images.shape[3] == 3,
        note=_note(seen.sizes, size, most),
        remarks=tuple(seen.lines()),
        value_range=value_range,
    )


def _note(seen: set[tuple[int, int]], size: int, most: int) -> str:
    """That all are in memory, at which size, and how to have more pixels where that took some."""
    held = f"all images are held in memory at {size}x{size} pixels"
    if all(max(sides) <= size for sides in seen):
        return held
    limit = f", {most} being the most without ,size=PIXELS" if size == most == SIZE else ""
    return f"{held}, scaled and cropped{limit}"


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


def _cells(part: Table, image: str) -> Iterator[bytes | Path]:
    """Every image as its file's bytes, or the file."""
    import datasets

    # Not decoded by the library: what one unreadable image raises would end the iteration.
    for row in part.select_columns([image]).cast_column(image, datasets.Image(decode=False)):
        cell = row[image] or {}
        content, path = cell.get("bytes"), cell.get("path")
        if isinstance(content, bytes) and content:
            yield content
        else:
            yield Path(str(path or "no image"))


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
    size: int,
    seen: Seen,
) -> tuple[Images, Labels, tuple[str, ...]]:
    named = ((f"image {index}", cell) for index, cell in enumerate(_cells(part, image)))
    read = partial(decode, size=size, seen=seen)
    images, kept, skipped = gather(named, read, what=what, strict=strict)
    values = part[label]
    if getattr(part.features[label], "names", None) is None:
        values = _indices(values, classes, what)
    return images, np.array([values[i] for i in kept], np.int64), skipped


def _indices(values: Sequence[object], classes: tuple[str, ...], what: str) -> list[int]:
    """Labels that are no indices as indices into the classes of training."""
    index_of = {name: index for index, name in enumerate(classes)}
    words = [str(value) for value in values]
    foreign = set(words) - set(index_of)
    if foreign:
        names = ", ".join(sorted(foreign))[:120]
        raise DataError(f"{what} has classes that training has not: {names}")
    return [index_of[word] for word in words]
