import gzip
import io
import struct
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("PIL")

from PIL import Image

from nas.data import load, split
from nas.errors import DataError, UsageError
from nas.record.ledger import left_out


def picture(
    seed: int, mode: str = "RGB", size: tuple[int, int] = (12, 10), kind: str = "PNG"
) -> bytes:
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(256, size=shape).astype("uint8")).save(
        out, kind
    )
    return out.getvalue()


def folder(
    root: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 5, **settings
) -> Path:
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(count):
            (root / name / f"{i}.png").write_bytes(picture(10 * label + i, **settings))
    return root


def test_digits() -> None:
    data = load("digits")
    assert data.images.shape == (1797, 8, 8, 1)
    assert (data.images.dtype, data.labels.dtype) == (np.uint8, np.int64)
    assert (data.images.min(), data.images.max()) == (0, 255)
    assert data.classes == tuple("0123456789")
    assert data.digest == "99eadd30e3e62204369c"
    assert not data.flip


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("digit", "no data set named 'digit'. Did you mean 'digits'"),
        ("cifar10", "no data set named 'cifar10'.*Known: .*digits, fashion-mnist"),
        ("npz", "data set 'npz' needs a path: npz:FILE"),
        ("folder:", "data set 'folder' needs a path: folder:DIR"),
    ],
)
def test_an_unknown_spec(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(spec)


# -- fashion-mnist ---------------------------------------------------------------------------------


def idx(values: np.ndarray) -> bytes:
    return (
        bytes((0, 0, 8, values.ndim))
        + struct.pack(f">{values.ndim}i", *values.shape)
        + values.tobytes()
    )


def fashion(root: Path, zipped: bool = False) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 20)):
        arrays = {
            f"{part}-images-idx3-ubyte": rng.integers(256, size=(count, 28, 28), dtype=np.uint8),
            f"{part}-labels-idx1-ubyte": (np.arange(count) % 10).astype(np.uint8),
        }
        for name, values in arrays.items():
            data = idx(values)
            (root / (name + ".gz" * zipped)).write_bytes(gzip.compress(data) if zipped else data)
    return root


@pytest.mark.parametrize("zipped", [False, True])
def test_fashion_mnist(tmp_path: Path, zipped: bool) -> None:
    data = load(f"fashion-mnist:{fashion(tmp_path, zipped)}")
    assert data.images.shape == (60, 28, 28, 1)
    assert data.open_test_part(tmp_path / "test.jsonl")[0].shape == (20, 28, 28, 1)
    assert data.classes[9] == "ankle boot"


def test_fashion_mnist_absent_names_both_ways_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no file train-images.*dataset-fashion-mnist.*fashion-mnist:DIR"
    ):
        load(f"fashion-mnist:{tmp_path}")


def test_fashion_mnist_damaged(tmp_path: Path) -> None:
    path = fashion(tmp_path) / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(DataError, match="truncated or damaged"):
        load(f"fashion-mnist:{tmp_path}")
    path.write_bytes(b"hello")
    with pytest.raises(DataError, match="not an IDX file"):
        load(f"fashion-mnist:{tmp_path}")


def test_a_damaged_test_part_breaks_nothing_until_it_is_opened(tmp_path: Path) -> None:
    (fashion(tmp_path, zipped=True) / "t10k-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8bbroken")
    data = load(f"fashion-mnist:{tmp_path}")
    assert data.has_test
    split(data)
    with pytest.raises(DataError, match=r"cannot read .*t10k"):
        data.open_test_part(tmp_path / "test.jsonl")


# -- npz -------------------------------------------------------------------------------------------


def pixels(**changes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    whole = {
        "images": rng.integers(256, size=(20, 6, 6), dtype=np.uint8),
        "labels": np.arange(20) % 2,
    }
    return {k: v for k, v in (whole | changes).items() if v is not None}


def test_npz_of_pixels(tmp_path: Path) -> None:
    test = {"test_images": np.zeros((4, 6, 6), np.uint8), "test_labels": np.arange(4) % 2}
    np.savez(
        tmp_path / "a.npz",
        **pixels(classes=np.array(["cat", "dog"]), groups=np.arange(20) // 2, **test),
    )
    data = load(f"npz:{tmp_path / 'a.npz'}")
    assert (data.name, data.classes, data.images.shape) == ("a", ("cat", "dog"), (20, 6, 6, 1))
    assert data.open_test_part(tmp_path / "test.jsonl")[0].shape == (4, 6, 6, 1)
    assert data.groups is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "has no array 'labels'; it has images"),
        ({"images": np.zeros((20, 6, 6))}, "images must be uint8"),
        ({"images": np.zeros((20, 6, 6, 2), np.uint8)}, "images must be uint8 or uint16 of shape"),
        ({"images": np.zeros((19, 6, 6), np.uint8)}, "labels must be one per image"),
        ({"labels": np.arange(20) / 2}, "labels must be whole numbers"),
        ({"labels": np.arange(20) - 1}, "labels must be 0 to 18"),
        ({"labels": np.zeros(20, int)}, "at least two classes, not 1"),
        (
            {"classes": np.array(["cat", "dog"]), "labels": np.arange(20) % 3},
            "labels must be 0 to 1 for 2 classes",
        ),
        ({"groups": np.arange(3)}, "groups must be one per image"),
        (
            {"images": np.array([{}] * 20, dtype=object)},
            "cannot read array 'images'.*allow_pickle=False",
        ),
    ],
)
def test_npz_that_breaks_a_rule(
    tmp_path: Path, changes: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "a.npz", **pixels(**changes))
    with pytest.raises(DataError, match=message):
        load(f"npz:{tmp_path / 'a.npz'}")


def test_npz_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DataError, match=r"is not an .npz archive"):
        load(f"npz:{tmp_path / 'a.npz'}")
    np.save(tmp_path / "b.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"is not an .npz archive"):
        load(f"npz:{tmp_path / 'b.npy'}")
    with pytest.raises(DataError, match="No such file"):
        load(f"npz:{tmp_path / 'c.npz'}")


def packed(pictures: list[bytes]) -> dict[str, np.ndarray]:
    return {
        "jpeg": np.frombuffer(b"".join(pictures), np.uint8),
        "offsets": np.cumsum([0, *map(len, pictures)]),
        "labels": np.arange(len(pictures)) % 2,
        "classes": np.array(["cat", "dog"]),
    }


def test_npz_of_jpegs_skips_or_refuses_the_corrupt_one(tmp_path: Path) -> None:
    pictures = [picture(i, kind="JPEG") for i in range(8)]
    pictures[3] = pictures[3][:100]
    np.savez(tmp_path / "a.npz", **packed(pictures))
    data = load(f"npz:{tmp_path / 'a.npz'}")
    assert (data.images.shape, data.skipped) == ((7, 10, 12, 3), ("image 3",))
    assert data.labels.tolist() == [0, 1, 0, 0, 1, 0, 1]
    assert data.flip
    with pytest.raises(DataError, match=r"image 3: cannot read an image.*leave out --strict"):
        load(f"npz:{tmp_path / 'a.npz'}", strict=True)


def test_npz_with_its_test_part_in_a_second_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **packed([picture(i, kind="JPEG") for i in range(8)]))
    (tmp_path / "b.npz").write_bytes(b"broken")
    data = load(f"npz:{tmp_path / 'a.npz'},{tmp_path / 'b.npz'}")
    with pytest.raises(DataError, match=r"b.npz is not an .npz archive"):
        data.open_test_part(tmp_path / "test.jsonl")
    with pytest.raises(DataError, match=r"no file .*c.npz"):
        load(f"npz:{tmp_path / 'a.npz'},{tmp_path / 'c.npz'}")


def test_npz_with_offsets_that_do_not_rise(tmp_path: Path) -> None:
    arrays = packed([picture(i, kind="JPEG") for i in range(4)])
    np.savez(tmp_path / "a.npz", **arrays | {"offsets": arrays["offsets"][::-1]})
    with pytest.raises(DataError, match="offsets must be 5 rising positions"):
        load(f"npz:{tmp_path / 'a.npz'}")


def test_cifar10(shared: Path) -> None:
    data = load(f"npz:{shared / 'cifar10_test_jpegs.npz'}")
    assert data.images.shape == (10000, 32, 32, 3)
    assert len(data.classes) == 10
    assert not data.skipped


# -- folder ----------------------------------------------------------------------------------------


def test_folder(tmp_path: Path) -> None:
    place = folder(tmp_path / "pets")
    data = load(f"folder:{place}", size=8)
    assert (data.name, data.classes, data.images.shape) == ("pets", ("cat", "dog"), (10, 8, 8, 3))
    assert data.labels.tolist() == [0] * 5 + [1] * 5
    data = load(f"folder:{place}")
    assert (data.name, data.classes, data.images.shape) == ("pets", ("cat", "dog"), (10, 10, 12, 3))
    assert data.images.fitted(8).shape == (10, 8, 8, 3)
    assert data.labels.tolist() == [0] * 5 + [1] * 5


def test_folder_in_which_left_and_right_count(tmp_path: Path) -> None:
    place = folder(tmp_path / "street")
    plain, told = load(f"folder:{place}"), load(f"folder:{place},flip=no")
    assert (plain.flip, told.flip) == (True, False)
    assert plain.digest == load(f"folder:{place},flip=yes").digest != told.digest
    held = load(f"folder:{place},size=6x8,flip=no")
    assert (held.images.shape, held.flip) == ((10, 6, 8, 3), False)
    with pytest.raises(UsageError, match=r"flip is no or yes, .*, not 'never'"):
        load(f"folder:{place},flip=never")


def test_folder_stays_grey_unless_an_image_has_colour(tmp_path: Path) -> None:
    folder(tmp_path, mode="L")
    assert load(f"folder:{tmp_path}").in_channels == 1
    (tmp_path / "cat" / "colour.png").write_bytes(picture(99))
    assert load(f"folder:{tmp_path}").in_channels == 3


def test_folder_with_a_test_part(tmp_path: Path) -> None:
    folder(tmp_path / "train")
    folder(tmp_path / "test", count=2, mode="L")
    data = load(f"folder:{tmp_path}", size=8)
    assert len(data) == 10
    assert data.open_test_part(tmp_path / "test.jsonl")[0].shape == (4, 8, 8, 3)
    opened, labels = load(f"folder:{tmp_path}").open_test_part(tmp_path / "test.jsonl")
    assert (opened.fitted(8).shape, labels.tolist()) == ((4, 8, 8, 3), [0, 0, 1, 1])
    (tmp_path / "test" / "bird").mkdir()
    (tmp_path / "test" / "bird" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match="has classes that training has not: bird"):
        load(f"folder:{tmp_path}")


@pytest.mark.parametrize("size", ["", ",size=8"])
def test_what_a_test_part_leaves_out_is_told(tmp_path: Path, size: str) -> None:
    folder(tmp_path / "train")
    folder(tmp_path / "test", count=2)
    (tmp_path / "test" / "cat" / "broken.png").write_bytes(b"no image")
    (tmp_path / "test" / "dog" / "phone.heic").write_bytes(b"no image")
    for loose in ("cover.png", "train/a.png", "test/b.png", "test/.hidden.png"):
        (tmp_path / loose).write_bytes(picture(0))
    data = load(f"folder:{tmp_path}{size}")
    # By names alone, before the test part is opened.
    assert data.remarks[:2] == (
        "3 images lie beside the folders of the classes, left out: cover.png, train/a.png, "
        "test/b.png",
        "test part: 1 file of a kind that cannot be read here (.heic), such as dog/phone.heic, "
        "left out: convert to JPEG or PNG",
    )
    assert len(data.open_test_part(tmp_path / "test.jsonl")[1]) == 4
    assert left_out(tmp_path / "test.jsonl") == (
        "1 unreadable image left out of the test set, such as cat/broken.png"
    )
    with pytest.raises(DataError, match=r"test: 1 file of a kind that cannot be read here"):
        load(f"folder:{tmp_path}{size}", strict=True)


def test_a_test_part_without_an_image_is_told_before_a_training(tmp_path: Path) -> None:
    folder(tmp_path / "train")
    (tmp_path / "test" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="test: no image of a class"):
        load(f"folder:{tmp_path}")


def test_folder_with_a_corrupt_image(tmp_path: Path) -> None:
    (folder(tmp_path) / "cat" / "3.png").write_bytes(b"no image")
    (tmp_path / "cat" / "notes.txt").write_text("not an image by its name")
    assert load(f"folder:{tmp_path}").skipped == (str(Path("cat") / "3.png"),)
    with pytest.raises(DataError, match=r"cat.3\.png: cannot read an image"):
        load(f"folder:{tmp_path}", strict=True)


def test_folder_that_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        load(f"folder:{tmp_path / 'absent'}")
    folder(tmp_path, classes=("cat",))
    with pytest.raises(DataError, match="at least two, not 1: cat"):
        load(f"folder:{tmp_path}")
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "0.png").write_bytes(b"")
    for path in (tmp_path / "cat").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no readable image"):
        load(f"folder:{tmp_path}")


def test_a_folders_images_say_that_they_are_scaled_and_take_another_size(tmp_path):
    from PIL import Image

    for name, side in (("a", 20), ("b", 40)):
        (tmp_path / name).mkdir()
        Image.new("L", (side, 30)).save(tmp_path / name / "x.png")
    found = load(f"folder:{tmp_path}")
    assert found.note == (
        "images of 30x20 to 30x40 pixels; evaluations see the middle 0.875 of the shorter side, "
        "scaled to the network's size"
    )
    found = load(f"folder:{tmp_path}", size=64)
    assert found.note.startswith(
        "images of 30x20 to 30x40 pixels are scaled and cropped to 64x64; without ,size=64"
    )
    assert load(f"folder:{tmp_path},size=24").images.shape == (2, 24, 24, 1)
    with pytest.raises(UsageError, match="size of images must be 1 to"):
        load(f"folder:{tmp_path},size=big")
