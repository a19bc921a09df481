"""Fashion-MNIST: 60,000 + 10,000 images of clothes, 28x28 grey.

Xiao, Rasul, Vollgraf 2017, https://arxiv.org/abs/1708.07747. IDX files, gzipped or not.
"""

import gzip
import zlib
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.data.dataset import Dataset, Images, Labels, Sealed
from nas.errors import DataError

__all__ = ["read", "read_idx"]

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
HOW_TO_GET_IT = (
    "Install the Debian package dataset-fashion-mnist, or put the four files of "
    "https://github.com/zalandoresearch/fashion-mnist into DIR and say fashion-mnist:DIR"
)


def read(place: str | None) -> Dataset:
    """From a folder, or from the Debian package's."""
    folder = DEBIAN_FOLDER if place is None else Path(place)
    train, test = _part(folder, "train"), _part(folder, "t10k")
    images, labels = _read_part(*train)
    return Dataset(
        name="fashion-mnist",
        images=images,
        labels=labels,
        classes=CLASSES,
        test_part=Sealed(lambda: _read_part(*test)),
    )


def _part(folder: Path, part: str) -> tuple[Path, Path]:
    return _find(folder, f"{part}-images", "idx3"), _find(folder, f"{part}-labels", "idx1")


def _find(folder: Path, stem: str, rank: str) -> Path:
    for joint, ending in product("-.", ("", ".gz")):
        path = folder / f"{stem}{joint}{rank}-ubyte{ending}"
        if path.is_file():
            return path
    raise DataError(f"no file {stem}-{rank}-ubyte[.gz] in {folder}. {HOW_TO_GET_IT}")


def _read_part(images: Path, labels: Path) -> tuple[Images, Labels]:
    return read_idx(images, 3)[..., None], read_idx(labels, 1).astype(np.int64)


def read_idx(path: Path, rank: int) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes with ``rank`` axes.

    Raises `DataError` for truncated or foreign content.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    start = 4 + 4 * rank
    if data[:4] != bytes((0, 0, 8, rank)) or len(data) < start:
        raise DataError(
            f"{path} is not an IDX file of bytes with {rank} axes: it starts with {data[:4].hex()}"
        )
    shape = tuple(np.frombuffer(data, ">i4", rank, 4).tolist())
    if min(shape) < 1 or len(data) - start != np.prod(shape, dtype=object):
        raise DataError(
            f"{path} is truncated or damaged: {len(data) - start} bytes for shape {shape}"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
