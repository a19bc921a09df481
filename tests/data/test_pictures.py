# ruff: noqa: E402
"""Folders of any size: an index, images decoded when needed, a cache that nothing can spoil."""

import os
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image

from nas.data import cache, load, split, statistics
from nas.data.cache import Slots
from nas.data.loading import LoadedTensors, random_box
from nas.data.preprocess import prepared
from nas.errors import DataError
from nas.size import parse_size


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def photos(root: Path, count: int = 8, size: tuple[int, int] = (80, 60)) -> Path:
    """Smooth pictures, so that JPEG changes little."""
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for number in range(count):
            rng = np.random.default_rng([label, number])
            small = rng.integers(256, size=(6, 8, 3)).astype("uint8")
            picture = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
            picture.save(root / name / f"{number}.jpg", quality=95)
    return root


def test_images_are_what_an_exported_file_makes_of_them(tmp_path, own_cache):
    images = load(f"folder:{photos(tmp_path / 'photos')}").images
    fitted = images.fitted(32)
    for position in range(len(images)):
        with Image.open(images.index.source(position)) as file:
            expected = prepared(file, "RGB", (32, 32), (37, 37), 0, 0)
        assert (fitted[position] == np.asarray(expected)).all()
    # The middle .875 of the shorter side: torchvision's resize to 37 and centre crop, but for a
    # shift of less than a pixel.
    assert str(images.preprocessing(32)) == (
        "upright, RGB, shorter side to 37, middle 32x32, bilinear"
    )


def test_a_folder_is_looked_at_once(tmp_path, own_cache, monkeypatch):
    place = photos(tmp_path / "photos")
    first = load(f"folder:{place}")
    opened = []
    monkeypatch.setattr("nas.data.index._facts", lambda path, thorough: opened.append(path))
    again = load(f"folder:{place}")
    assert not opened
    assert again.digest == first.digest
    monkeypatch.undo()
    monkeypatch.setenv("NAS_CACHE", str(own_cache))
    (place / "cat" / "0.jpg").write_bytes((place / "cat" / "1.jpg").read_bytes())
    changed = load(f"folder:{place}")
    assert changed.digest != first.digest
    assert changed.images.keys()[0] == changed.images.keys()[1]


def test_a_digest_is_of_content_not_of_place(tmp_path, own_cache):
    first, second = photos(tmp_path / "a"), photos(tmp_path / "b")
    for path in second.rglob("*.jpg"):
        os.utime(path, (1, 1))
    assert load(f"folder:{first}").digest == load(f"folder:{second}").digest


def test_what_the_cache_holds_is_what_was_decoded(tmp_path, own_cache, monkeypatch):
    images = load(f"folder:{photos(tmp_path / 'photos')}").images
    first = images.fitted(16)
    monkeypatch.setattr("nas.data.pictures.prepared", None)
    assert (images.fitted(16) == first).all()
    (pixels,) = (own_cache / "images").glob("*/pixels")
    whole = bytearray(pixels.read_bytes())
    whole[100] ^= 1
    pixels.write_bytes(whole)
    with pytest.raises(TypeError):  # one image is decoded again, by a function that is gone
        images.fitted(16)
    monkeypatch.undo()
    monkeypatch.setenv("NAS_CACHE", str(own_cache))
    assert (images.fitted(16) == first).all()


def write_slots(name: str, start: int) -> None:
    slots = Slots(name, np.full((200, 3), 9)).open()
    for row in [*range(start, 200), *range(start)]:
        slots.write(row, np.full((9, 9, 9), row, np.uint8))


def test_several_processes_fill_one_file(own_cache):
    context = get_context("fork")
    writers = [context.Process(target=write_slots, args=("x", 60 * n)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    slots = Slots("x", np.full((200, 3), 9)).open()
    assert all((slots.read(row) == row).all() for row in range(200))


def test_the_cache_is_bounded_and_forgets_what_was_not_used(own_cache, monkeypatch):
    shapes = np.tile([100, 100, 1], (30, 1))
    image = np.random.default_rng(0).integers(256, size=(100, 100, 1)).astype(np.uint8)
    monkeypatch.setenv("NAS_CACHE_GB", "0.0002")  # 200,000 bytes
    for name in ("old", "new"):
        slots = Slots(name, shapes).open()
        assert slots.kept == 19
        for row in range(30):
            slots.write(row, image)
        assert slots.read(18) is not None
        assert slots.read(19) is None
    assert [place.name for place in (own_cache / "images").iterdir()] == ["new"]


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "file"))
    images = load(f"folder:{photos(tmp_path / 'photos', 2)}").images
    assert images.fitted(16).shape == (4, 16, 16, 3)
    assert cache.bound() > 0


def test_a_file_that_breaks_later_is_named_and_left_out_then(tmp_path, own_cache):
    place = photos(tmp_path / "photos")
    images = load(f"folder:{place}").images
    whole = (place / "cat" / "3.jpg").read_bytes()
    status = (place / "cat" / "3.jpg").stat()
    (place / "cat" / "3.jpg").write_bytes(b"\0" * len(whole))
    os.utime(place / "cat" / "3.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataError, match=r"cat/3.jpg: cannot read an image.* it is left out"):
        images.fitted(16)
    again = load(f"folder:{place}")
    assert again.skipped == ("cat/3.jpg",)
    assert again.images.fitted(16).shape == (15, 16, 16, 3)


# -- for a training --------------------------------------------------------------------------------


@pytest.mark.parametrize("least", [0.0, 0.08])
def test_workers_change_no_bit(tmp_path, own_cache, least):
    splits = split(load(f"folder:{photos(tmp_path / 'photos')}"))
    images = splits.dataset.images
    stats = statistics(images[splits.weights])
    batches = [(7, torch.tensor([3, 0, 1])), (8, torch.tensor([2, 0, 3]))]
    found = {}
    for workers in (0, 2):
        source = LoadedTensors(
            images, splits.weights, stats, 24, torch.device("cpu"), least=least, workers=workers
        )
        source.expect(batches)
        found[workers] = [source[rows] for _, rows in batches]
        source.close()
    for ours, theirs in zip(found[0], found[2], strict=True):
        assert torch.equal(ours, theirs)
    same_image = torch.equal(found[0][0][1], found[0][1][1])
    assert same_image == (not least)  # another step, another part
    # A training that is taken up again announces from where it stands.
    source.expect(batches[1:])
    assert torch.equal(source[batches[1][1]], found[0][1])


def test_random_parts_are_as_published():
    rng = np.random.default_rng(0)
    areas, ratios = [], []
    for _ in range(4000):
        left, top, right, bottom = random_box(rng, 4 / 3, 0.08)
        assert -1e-9 <= left < right <= 1 + 1e-9
        assert -1e-9 <= top < bottom <= 1 + 1e-9
        areas.append((right - left) * (bottom - top))
        ratios.append((right - left) / (bottom - top) * 4 / 3)
    assert 0.07 < min(areas) < 0.09
    assert max(areas) > 0.95
    assert 0.74 < min(ratios) < 0.78
    assert 1.30 < max(ratios) < 1.34
    left, top, right, bottom = random_box(rng, 20, 0.9)  # no such part: the largest in the middle
    assert (top, bottom) == (0, 1)
    assert right - left == pytest.approx(4 / 3 / 20)
    assert left == pytest.approx(1 - right)


def test_rectangles_keep_all_of_images_in_their_proportions(tmp_path, own_cache):
    images = load(f"folder:{photos(tmp_path / 'photos')}").images
    wide, tall = parse_size("30x40"), parse_size("40x30")
    assert images.fitted(wide).shape == (16, 30, 40, 3)
    # All are 60x80 (height x width): nothing is cut off at 30x40, and the middle is at 40x30.
    assert str(images.preprocessing(wide)).endswith("covering 30x40, middle 30x40, bilinear")
    assert str(images.preprocessing(tall)).endswith("covering 46x34, middle 40x30, bilinear")
    assert images.fit(0, tall).shape == (40, 30, 3)
    with Image.open(images.index.source(0)) as file:
        whole = np.asarray(file.resize((40, 30), Image.Resampling.BILINEAR))
    assert (images.fit(0, wide) == whole).all()
    assert images.crop(0, wide, (0.25, 0, 1, 1)).shape == (30, 40, 3)
