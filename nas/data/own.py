"""Data sets of the user's own: torch data sets, arrays, Hugging Face data sets, or what makes one.

Splits, groups, the digest and the counting of *test* are ours; what an item is, is theirs. An own
evaluation gets the items as they are. Our trainings take them as images of classes, see
`images_of`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nas import programs
from nas.data.dataset import Dataset, Images, Labels, Sealed
from nas.data.groups import check_groups, group_numbers, groups_of
from nas.errors import DataError, NasError
from nas.files import one_line
from nas.progress import Pace, Watch, ignore
from nas.units import counted

__all__ = ["FUNCTION", "Items", "images_given", "images_of", "read_items", "read_place"]

FUNCTION = "data"
"""What ``--data FILE.py`` calls if it names no function."""
IMAGE_KEYS = ("image", "img", "pixel_values")
LABEL_KEYS = ("label", "labels")
READ_TWICE = 3
"""Of so many items it is looked at whether they are the same when they are read again."""
KINDS = (
    "a torch Dataset, (images, labels), a Hugging Face data set, a mapping of train and test, "
    "or a function that gives one"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Items:
    """A data set of the user's, read once from end to end."""

    name: str
    source: Any
    """Has a length, and gives items by their number."""
    labels: Labels
    """(n,), the classes of the items; (n, 0) if they have none."""
    classes: tuple[str, ...]
    """Empty if the items have no classes."""
    in_channels: int
    """Of the first item's image; 0 if it has none."""
    digest: str
    """Names what it yields: 20 hex digits."""
    varies: bool
    """Whether an item is another one each time it is read; then the digest is of less."""
    groups: NDArray[np.int64] | None = None
    """(n,): items of one number must not be separated by a split."""
    read_test: Callable[[], Any] | None = None
    """Gives the test part; None if it is a part of these items."""
    names: Sequence[str] = field(default=())
    """None: a file of groups has one line an item."""
    skipped: Sequence[str] = field(default=())
    """None: what cannot be read is refused."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def has_test(self) -> bool:
        """Whether there is a test part beside these items."""
        return self.read_test is not None

    def __str__(self) -> str:
        kinds = f"{len(self.classes)} classes" if self.classes else "without classes"
        own = ", own test part" if self.has_test else ""
        return f"{self.name}: {counted(len(self), 'item')}, {kinds}{own}"


class _Pairs:
    """``(images, labels)`` as items."""

    def __init__(self, images: Any, labels: Any) -> None:
        if len(images) != len(labels):
            raise DataError(
                f"data has {len(images)} images and {len(labels)} labels: there must be one each"
            )
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Any, Any]:
        image = self.images[row]
        label = self.labels[row]
        if isinstance(image, np.ndarray):
            image = torch.from_numpy(np.ascontiguousarray(image))
        return image, label


# -- reading --------------------------------------------------------------------------------------


def read_place(place: programs.Place, *, groups: str | None = None, watch: Watch = ignore) -> Items:
    """What the function at a place makes. Raises `UsageError` or `DataError` in one line."""
    return read_items(programs.load(place, "data"), groups=groups, watch=watch)


def read_items(thing: object, *, groups: str | None = None, watch: Watch = ignore) -> Items:
    """The items of a data set, or of what a function gives; every one is read once.

    A mapping may hold ``train``, ``test`` (which is not read before it is opened) and ``groups``,
    an id per item of ``train``. Raises `DataError` for what is no data set, for a length that lies,
    and for an item that cannot be read.
    """
    if isinstance(thing, Items):
        return thing
    name = type(thing).__name__
    # A class is called too: it makes the data set.
    if isinstance(thing, type) or (callable(thing) and not hasattr(thing, "__getitem__")):
        name = programs.function_name(thing)
        thing = _made(thing, name)
    read_test: Callable[[], Any] | None = None
    ids = None
    if isinstance(thing, Mapping):
        if "train" not in thing:
            raise DataError(f"data needs a part 'train'; it has {', '.join(map(str, thing))}")
        ids = thing.get("groups")
        if "test" in thing:
            # No closure: workers are sent it.
            read_test = partial(_source, thing["test"])
        thing = thing["train"]
    source = _source(thing)
    items = _read(name, source, read_test, watch)
    if groups is not None:
        numbers = groups_of(items, groups)
        return _with(items, numbers)
    if ids is None:
        return items
    if len(ids) != len(items):
        raise DataError(
            f"data has {len(ids)} groups for {len(items)} items: there must be one each"
        )
    numbers = group_numbers(np.asarray(ids))
    check_groups(numbers, "groups of data")
    return _with(items, numbers)


def _with(items: Items, groups: NDArray[np.int64]) -> Items:
    settings = {**vars(items), "groups": groups}
    text = f"{items.digest}:{group_numbers(groups).tolist()}"
    settings["digest"] = hashlib.sha256(text.encode()).hexdigest()[:20]
    return Items(**settings)


def _made(make: Callable[[], object], name: str) -> object:
    try:
        return make()
    except (NasError, MemoryError):
        raise
    except Exception as error:
        raise DataError(
            f"data: {name} raises {type(error).__name__}: {one_line(error, 160)}"
            f"{programs.line_of(error)}"
        ) from None


def _source(thing: Any) -> Any:
    """What gives items by number."""
    if isinstance(thing, tuple | list) and len(thing) == 2 and all(map(_is_array, thing)):
        return _Pairs(*thing)
    if thing is None or isinstance(thing, str | bytes) or not hasattr(thing, "__getitem__"):
        raise DataError(f"data must be {KINDS}, not {type(thing).__name__}")
    try:
        count = len(thing)
    except (TypeError, NotImplementedError):
        raise DataError(
            f"data of kind {type(thing).__name__} has no length: a split needs items by number"
        ) from None
    if count < 1:
        raise DataError(f"data of kind {type(thing).__name__} has no items")
    return thing


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray | Tensor) or (
        isinstance(value, list) and not any(isinstance(part, tuple | Mapping) for part in value[:1])
    )


def _item(source: Any, row: int, count: int) -> Any:
    try:
        return source[row]
    except IndexError:
        raise DataError(
            f"data says that it has {count} items, and has none of number {row}: "
            "its length must be true"
        ) from None
    except (NasError, MemoryError):
        raise
    except Exception as error:
        raise DataError(
            f"item {row} of data cannot be read: {type(error).__name__}: {one_line(error, 160)}"
            f"{programs.line_of(error)}"
        ) from None


def _read(name: str, source: Any, read_test: Callable[[], Any] | None, watch: Watch) -> Items:
    count = len(source)
    varies = _varies(source, count)
    digest = hashlib.sha256(f"{count}".encode())
    labels: list[int | None] = []
    pace = Pace("items", count)
    first = None
    for row in range(count):
        item = _item(source, row, count)
        if row == 0:
            first = item
        label = _label(item)
        labels.append(label)
        _update(digest, (_kind(item), label) if varies else item)
        watch(pace.at(row + 1))
    found = [label for label in labels if label is not None]
    has_classes = len(found) == count
    known = np.array(found, np.int64) if has_classes else np.zeros((count, 0), np.int64)
    classes = _classes(source, known) if has_classes else ()
    if has_classes:
        _check_labels(known, classes)
    return Items(
        name=name,
        source=source,
        labels=known,
        classes=classes,
        in_channels=_channels(first),
        digest=digest.hexdigest()[:20],
        varies=varies,
        read_test=read_test,
    )


def _varies(source: Any, count: int) -> bool:
    for row in range(min(READ_TWICE, count)):
        digests = []
        for _ in range(2):
            digest = hashlib.sha256()
            _update(digest, _item(source, row, count))
            digests.append(digest.digest())
        if digests[0] != digests[1]:
            return True
    return False


def _update(digest: Any, value: object) -> None:
    """Add a value to a digest: numbers by their bytes, whatever holds them."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Image.Image):
        digest.update(f"{value.mode}{value.size}".encode())
        digest.update(value.tobytes())
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            digest.update(f"{key}:".encode())
            _update(digest, value[key])
    elif isinstance(value, tuple | list):
        digest.update(f"[{len(value)}".encode())
        for part in value:
            _update(digest, part)
    elif isinstance(value, str | bytes | int | float | bool | np.generic) or value is None:
        digest.update(repr(value).encode())
    else:
        # Its text may hold an address, which is another one in each process.
        digest.update(type(value).__qualname__.encode())


def _kind(item: object) -> str:
    parts = item if isinstance(item, tuple | list) else [item]
    return ",".join(f"{type(part).__name__}{getattr(part, 'shape', '')}" for part in parts)


# -- items as images of classes -------------------------------------------------------------------


def _label(item: Any) -> int | None:
    """The class of an item, if it is an image with a whole number."""
    label = None
    if isinstance(item, Mapping):
        labels = [item[key] for key in LABEL_KEYS if key in item]
        label = labels[0] if labels else None
    elif isinstance(item, tuple | list) and len(item) == 2:
        label = item[1]
    if isinstance(label, Tensor | np.ndarray) and label.ndim == 0:
        label = label.item()
    if isinstance(label, np.generic):
        label = label.item()
    return label if type(label) is int else None


def _image(item: Any) -> Any:
    if isinstance(item, Mapping):
        named = [item[key] for key in IMAGE_KEYS if key in item]
        return named[0] if named else None
    return item[0] if isinstance(item, tuple | list) and item else item


def _classes(source: Any, labels: Labels) -> tuple[str, ...]:
    """The data set's own names of its classes, or their numbers."""
    names = getattr(source, "classes", None)
    features = getattr(source, "features", None)
    if isinstance(features, Mapping):
        for key in LABEL_KEYS:
            names = getattr(features.get(key), "names", None) or names
    if names:
        return tuple(map(str, names))
    return tuple(map(str, range(int(labels.max()) + 1)))


def _check_labels(labels: Labels, classes: tuple[str, ...]) -> None:
    outside = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(outside):
        row = int(outside[0])
        raise DataError(
            f"item {row} of data has label {labels[row]}: labels must be 0 to {len(classes) - 1} "
            f"for {len(classes)} classes"
        )


def _channels(item: Any) -> int:
    image = _image(item)
    if isinstance(image, Image.Image):
        return 1 if image.mode in ("1", "L", "I", "I;16", "F") else 3
    if not isinstance(image, Tensor | np.ndarray) or image.ndim not in (2, 3):
        return 0
    if image.ndim == 2:
        return 1
    return int(image.shape[2] if _is_channels_last(image) else image.shape[0])


def _is_channels_last(image: Any) -> bool:
    """Whether (h, w, c). Torch has channels first; an array of pixels mostly has them last."""
    last_fits, first_fits = image.shape[2] in (1, 3), image.shape[0] in (1, 3)
    return last_fits and (not first_fits or isinstance(image, np.ndarray))


def images_given(thing: object, *, groups: str | None = None, watch: Watch = ignore) -> Dataset:
    """A data set given from Python as images of classes."""
    if isinstance(thing, Dataset):
        # A worker is sent what the driver has read.
        return thing
    return images_of(read_items(thing, groups=groups, watch=watch))


def images_of(items: Items) -> Dataset:
    """The items as images of classes in memory, for our own trainings.

    Images: PIL, or tensors and arrays of bytes or floats, all of one size, grey or colour. Raises
    `DataError` for items that are none.
    """
    if not items.classes:
        raise DataError(
            "items of data must be pairs of an image and the number of its class for our own "
            "training; for another task give evaluate=, a function of your own"
        )
    return Dataset(
        name=items.name,
        images=_stacked(items.source, len(items)),
        labels=items.labels,
        classes=items.classes,
        groups=items.groups,
        test_part=None if items.read_test is None else Sealed(partial(_test_images, items)),
        remarks=_remarks(items),
    )


def _remarks(items: Items) -> tuple[str, ...]:
    if not items.varies:
        return ()
    return ("items change at random as they are read: they are kept as they were read once",)


def _test_images(items: Items) -> tuple[Images, Labels]:
    assert items.read_test is not None
    source = items.read_test()
    labels = []
    for row in range(len(source)):
        label = _label(_item(source, row, len(source)))
        if label is None:
            raise DataError(f"item {row} of data's test part has no whole number as its class")
        labels.append(label)
    return _stacked(source, len(source)), np.array(labels, np.int64)


def _stacked(source: Any, count: int) -> Images:
    """(n, h, w, c) uint8, or float32 for images of floats."""
    images: list[NDArray[Any]] = []
    for row in range(count):
        image = _pixels(_image(_item(source, row, count)), row)
        if images and image.shape != images[0].shape:
            raise DataError(
                f"item {row} of data is {image.shape} and item 0 {images[0].shape} (height, width, "
                "channels): our own training takes images of one size; resize them in your data "
                "set, or give evaluate="
            )
        images.append(image)
    return np.stack(images)


def _pixels(image: Any, row: int) -> NDArray[Any]:
    """One image (h, w, c)."""
    if isinstance(image, Image.Image):
        image = np.asarray(image.convert("L" if _channels((image,)) == 1 else "RGB"))
    channels_last = getattr(image, "ndim", 0) == 3 and _is_channels_last(image)
    if isinstance(image, Tensor):
        image = image.detach().cpu().numpy()
    if not isinstance(image, np.ndarray) or image.ndim not in (2, 3):
        what = getattr(image, "shape", type(image).__name__)
        raise DataError(f"item {row} of data begins with no image, but with {what}")
    if image.ndim == 2:
        image = image[..., None]
    elif not channels_last:
        image = np.moveaxis(image, 0, 2)
    if image.shape[2] not in (1, 3):
        raise DataError(
            f"item {row} of data has {image.shape[2]} channels: our own training takes grey or "
            "colour; for others give evaluate="
        )
    pixels: NDArray[Any] = image
    if pixels.dtype.kind == "f":
        if not np.isfinite(pixels).all():
            raise DataError(f"item {row} of data holds values that are no finite numbers")
        return pixels.astype(np.float32)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"item {row} of data has pixels of {pixels.dtype}: uint8, uint16 and floats are taken"
        )
    return pixels
