"""Images in a NumPy archive, as pixels or as JPEG bytes. Nothing in it is ever unpickled.

Pixels: ``images`` (n, h, w[, c]) uint8 or uint16, ``labels`` (n,), optional ``classes`` (names),
``groups`` (n,), ``test_images`` and ``test_labels``; of uint16 ``range`` (2,), the values that are
black and white, else they are measured over *weights*. Bytes: ``jpeg`` (all files, one after the
other), ``offsets`` (n + 1), ``labels``, optional ``classes``, ``groups``. A second file, after a
comma, is the test part.
"""

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from nas.data.dataset import Dataset, Images, Labels, Sealed
from nas.data.decode import decode, gather
from nas.data.groups import check_groups, group_numbers
from nas.errors import DataError
from nas.files import between_commas

__all__ = ["read"]

# Any: the kind of an array is the file's, and checked when it is used.
Array = NDArray[Any]
Arrays = Mapping[str, Array]


def read(place: str, *, strict: bool) -> Dataset:
    """``FILE`` or ``FILE,TESTFILE``. Raises `DataError`."""
    path, *more = between_commas(place)
    test_path = ",".join(more)
    with _open(path) as archive:
        images, labels, kept, skipped = _part(archive, path, strict)
        classes = _classes(archive, path, labels)
        groups = _groups(archive, path, kept) if "groups" in archive else None
        value_range = _range(archive, path) if "range" in archive else None
        inside = "test_images" in archive
    if test_path and not Path(test_path).is_file():
        raise DataError(f"no file {test_path}")

    def read_test() -> tuple[Images, Labels]:
        file, prefix = (test_path, "") if test_path else (path, "test_")
        with _open(file) as archive:
            return _part(archive, file, strict, prefix)[:2]

    return Dataset(
        name=Path(path).stem,
        images=images,
        labels=labels,
        classes=classes,
        groups=groups,
        skipped=skipped,
        test_part=Sealed(read_test) if inside or test_path else None,
        flip=images.shape[3] == 3,
        value_range=value_range,
    )


def _open(path: str) -> NpzFile:
    try:
        # `stat` raises if there is no file: then that is said, not that it is no archive.
        if not zipfile.is_zipfile(path) and Path(path).stat():
            raise DataError(f"{path} is not an .npz archive of images and labels")
        archive: NpzFile = np.load(path, allow_pickle=False)
        return archive
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read {path}: {str(error)[:120]}") from None


def _array(archive: Arrays, path: str, key: str) -> Array:
    try:
        return archive[key]
    except KeyError:
        raise DataError(
            f"{path} has no array '{key}'; it has {', '.join(sorted(archive))[:200]}"
        ) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"cannot read array '{key}' of {path}: {str(error)[:120]}") from None


def _part(
    archive: Arrays, path: str, strict: bool, prefix: str = ""
) -> tuple[Images, Labels, list[int], tuple[str, ...]]:
    labels = _array(archive, path, f"{prefix}labels")
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{path}: labels must be whole numbers of shape (n,), not {labels.dtype} {labels.shape}"
        )
    labels = labels.astype(np.int64)
    if f"{prefix}jpeg" not in archive:
        images = _array(archive, path, f"{prefix}images")
        if images.ndim == 3:
            images = images[..., None]
        if images.dtype.kind == "f":
            raise DataError(
                f"{path}: images must be uint8 or uint16, not {images.dtype}: "
                "say which values are black and white by scaling them"
            )
        return images, labels, list(range(len(labels))), ()
    data = _array(archive, path, f"{prefix}jpeg")
    bounds = _array(archive, path, f"{prefix}offsets").astype(np.int64)
    if len(bounds) != len(labels) + 1 or not _rise_inside(bounds, len(data)):
        raise DataError(f"{path}: offsets must be {len(labels) + 1} rising positions in jpeg")
    files = _slices(data.tobytes(), bounds)
    images, kept, skipped = gather(files, decode, what=path, strict=strict)
    return images, labels[kept], kept, skipped


def _rise_inside(bounds: NDArray[np.int64], end: int) -> bool:
    """Whether bounds, at least one, never fall and lie within 0 to ``end``."""
    inside = bounds[0] >= 0 and bounds[-1] <= end
    return bool(inside and (np.diff(bounds) >= 0).all())


def _slices(data: bytes, bounds: NDArray[np.int64]) -> Iterable[tuple[str, bytes]]:
    for index, (start, end) in enumerate(pairwise(bounds)):
        yield f"image {index}", data[start:end]


def _groups(archive: Arrays, path: str, kept: list[int]) -> NDArray[np.int64]:
    groups = _array(archive, path, "groups")
    if groups.ndim != 1 or len(groups) != len(_array(archive, path, "labels")):
        raise DataError(f"{path}: groups must be one per image, not {groups.shape}")
    numbers = group_numbers(groups)[kept]
    check_groups(numbers, f"array 'groups' of {path}")
    return numbers


def _range(archive: Arrays, path: str) -> tuple[float, float]:
    values = _array(archive, path, "range")
    if values.shape != (2,) or values.dtype.kind not in "uif" or not values[0] < values[1]:
        raise DataError(f"{path}: range must be two rising numbers, not {values.tolist()}")
    return float(values[0]), float(values[1])


def _classes(archive: Arrays, path: str, labels: Labels) -> tuple[str, ...]:
    if "classes" in archive:
        return tuple(map(str, _array(archive, path, "classes").tolist()))
    count = int(labels.max(initial=-1)) + 1
    return tuple(map(str, range(count)))
