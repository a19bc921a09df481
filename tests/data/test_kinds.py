"""Every kind of image file becomes what a viewer shows, or is refused by name."""

import io
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from PIL import Image

from nas.data import load, split
from nas.data.decode import decode
from nas.data.masks import load_masks
from nas.data.preprocess import prepared
from nas.errors import DataError, UsageError
from nas.size import sides

# Left half red, right half blue, and the upper edge white: every turn and mirror shows.
HEIGHT, WIDTH = 20, 40
SCENE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
SCENE[:, : WIDTH // 2, 0] = 200
SCENE[:, WIDTH // 2 :, 2] = 200
SCENE[:5] = 255
# What undoes each EXIF orientation, as NumPy says it.
STORED = {
    1: SCENE,
    2: SCENE[:, ::-1],
    3: SCENE[::-1, ::-1],
    4: SCENE[::-1],
    5: SCENE.transpose(1, 0, 2),
    6: np.rot90(SCENE),
    7: SCENE[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(SCENE, -1),
}


def encoded(image: Image.Image, kind: str = "PNG", **settings) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **settings)
    return out.getvalue()


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_orientation_is_applied(orientation: int, kind: str) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    found = decode(encoded(stored, kind, exif=oriented(orientation)))
    assert found.shape == SCENE.shape
    assert np.abs(found.astype(int) - SCENE).mean() < 12  # JPEG and WebP lose a little


def test_exif_data_that_are_broken_turn_nothing() -> None:
    whole = encoded(Image.fromarray(SCENE), "JPEG", exif=oriented(6))
    start = whole.index(b"Exif\0\0") + 6
    broken = whole[:start] + b"XX\xff\xff" + whole[start + 4 :]
    assert decode(broken).shape == SCENE.shape


@pytest.mark.parametrize("mode", ["P", "CMYK", "RGBA", "YCbCr", "HSV"])
def test_colour_in_other_words_is_the_same_colour(mode: str) -> None:
    image = Image.fromarray(SCENE)
    image = image.quantize(8) if mode == "P" else image.convert(mode)
    kind = {"CMYK": "TIFF", "YCbCr": "TIFF"}.get(mode, "PNG")
    if mode == "HSV":
        pytest.skip("no file format of Pillow holds HSV")
    found = decode(encoded(image, kind)).astype(int)
    assert np.abs(found - SCENE).max() < 12


def test_a_cmyk_jpeg_is_not_inverted() -> None:
    found = decode(encoded(Image.fromarray(SCENE).convert("CMYK"), "JPEG", quality=95))
    assert np.abs(found.astype(int) - SCENE).mean() < 8


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_stays_grey(mode: str) -> None:
    ramp = Image.fromarray(np.tile(np.arange(0, 256, 8, np.uint8), (8, 1)))
    found = decode(encoded(ramp.convert(mode)))
    assert found.shape == (8, 32, 1)
    assert (found.min(), found.max()) == (0, 255 if mode == "1" else 248)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_lies_on_white(mode: str) -> None:
    image = Image.new(mode, (6, 4), 0)  # black, and wholly transparent
    assert (decode(encoded(image)) == 255).all()


def test_a_transparent_colour_of_a_palette_lies_on_white() -> None:
    image = Image.new("P", (6, 4), 0)
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putpixel((0, 0), 1)
    found = decode(encoded(image, transparency=0))
    assert found[0, 0].tolist() == [200, 0, 0]
    assert (found[1:] == 255).all()


def frames(kind: str) -> bytes:
    pictures = [Image.new("RGB", (8, 8), (250 - 100 * number, 0, 0)) for number in range(3)]
    return encoded(pictures[0], kind, save_all=True, append_images=pictures[1:])


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_read_and_told(tmp_path: Path, kind: str) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(4):
            flat = Image.new("RGB", (8, 8), (0, number, 0))
            flat.save(tmp_path / name / f"{number}.png")
    (tmp_path / "a" / f"moving.{kind.lower()}").write_bytes(frames(kind))
    data = load(f"folder:{tmp_path}", size=8)
    lines = split(data).lines()
    assert any("1 file holds several frames; the first is read" in line for line in lines)
    assert decode(frames(kind))[0, 0, 0] > 240


# -- more than eight bits --------------------------------------------------------------------------


def deep(number: int, low: int, high: int) -> np.ndarray:
    return np.random.default_rng(number).integers(low, high, (64, 64)).astype(np.uint16)


def test_grey_beside_deep_grey_keeps_its_own_levels(tmp_path: Path) -> None:
    scans(tmp_path)
    Image.new("L", (64, 64), 77).save(tmp_path / "dark" / "eight.png")
    images = split(load(f"folder:{tmp_path}")).dataset.images
    place = list(images.index.names).index("dark/eight.png")
    assert (images.fit(place, 64) == 77).all()


def scans(root: Path, kind: str = "PNG", count: int = 12) -> Path:
    """Issue: dark 2,000 to 4,000, bright 40,000 to 42,000."""
    for name, low, high in (("dark", 2000, 4000), ("bright", 40000, 42000)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = deep(number, low, high)
            image = Image.fromarray(pixels if kind == "PNG" else (pixels / 65535).astype("float32"))
            image.save(root / name / f"{number}.{kind.lower()}")
    return root


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_more_than_eight_bits_keeps_its_range(tmp_path: Path, kind: str) -> None:
    splits = split(load(f"folder:{scans(tmp_path, kind)}"))
    images, labels = splits.dataset.images.fitted(64), splits.dataset.labels
    assert images[labels == 1].max() < 20  # dark
    assert images[labels == 0].min() > 230
    assert any("measured over weights, become 0 to 255" in line for line in splits.lines())


def test_a_declared_range_is_kept(tmp_path: Path) -> None:
    splits = split(load(f"folder:{scans(tmp_path)},range=0-65535"))
    bright = splits.dataset.images[splits.dataset.labels == 0].fitted(64)
    assert (bright.min(), bright.max()) == (156, 163)
    assert any("0 to 65535, as declared" in line for line in splits.lines())
    with pytest.raises(UsageError, match="the range of values must be two rising numbers"):
        load(f"folder:{tmp_path},range=7-7")


def test_a_range_is_measured_over_weights_alone(tmp_path: Path) -> None:
    data = load(f"folder:{scans(tmp_path)}", size=64)
    weights = split(data).weights
    values = data.images[weights]
    assert split(data).dataset.value_range == (values.min(), values.max())
    outside = np.setdiff1d(np.arange(len(data)), weights)
    data.images[outside] = 65535.0
    assert split(data).dataset.value_range == (values.min(), values.max())


def test_values_that_are_no_numbers_are_refused_by_name(tmp_path: Path) -> None:
    scans(tmp_path, "TIFF")
    broken = np.full((64, 64), np.nan, "float32")
    Image.fromarray(broken).save(tmp_path / "dark" / "nan.tiff")
    assert load(f"folder:{tmp_path}").skipped == ("dark/nan.tiff",)
    with pytest.raises(DataError, match=r"dark/nan.tiff: .*holds values that are no numbers"):
        load(f"folder:{tmp_path}", strict=True)


def test_npz_of_uint16(tmp_path: Path) -> None:
    images = np.stack([deep(n, *((2000, 4000) if n % 2 else (40000, 42000))) for n in range(40)])
    arrays = {"images": images, "labels": np.arange(40) % 2}
    test = {"test_images": images[:4] // 2, "test_labels": np.arange(4) % 2}
    np.savez(tmp_path / "a.npz", **arrays, **test)
    splits = split(load(f"npz:{tmp_path / 'a.npz'}"))
    assert splits.dataset.images[1::2].max() < 20
    opened, _ = splits.open_test(tmp_path / "test.jsonl")
    assert opened.dtype == np.uint8
    assert 100 < opened[0].mean() < 130  # half of bright, by the range of weights
    np.savez(tmp_path / "b.npz", **arrays, range=np.array([0, 65535]))
    assert split(load(f"npz:{tmp_path / 'b.npz'}")).dataset.images[0].max() == 163
    np.savez(tmp_path / "c.npz", **arrays, range=np.array([9, 9]))
    with pytest.raises(DataError, match="range must be two rising numbers"):
        load(f"npz:{tmp_path / 'c.npz'}")


def test_npz_of_turned_jpegs(tmp_path: Path) -> None:
    turned = Image.fromarray(np.ascontiguousarray(STORED[6]))
    files = [encoded(turned, "JPEG", exif=oriented(6))] * 8
    np.savez(
        tmp_path / "a.npz",
        jpeg=np.frombuffer(b"".join(files), np.uint8),
        offsets=np.cumsum([0, *map(len, files)]),
        labels=np.arange(8) % 2,
    )
    assert load(f"npz:{tmp_path / 'a.npz'}").images.shape == (8, HEIGHT, WIDTH, 3)


# -- masks -----------------------------------------------------------------------------------------


def test_a_mask_is_turned_as_its_image_is(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    upright = np.zeros((HEIGHT, WIDTH), np.uint8)
    upright[:, WIDTH // 2 :] = 1
    stored = np.ascontiguousarray(STORED[6])
    for number in range(4):
        name = f"{number}.png"
        image = Image.fromarray(stored)
        image.save(tmp_path / "images" / name, exif=oriented(6))
        if number % 2:
            Image.fromarray(upright).save(tmp_path / "masks" / name)
        else:
            turned = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
            turned.save(tmp_path / "masks" / name, exif=oriented(6))
    data = load_masks(f"folder:{tmp_path}", size=16)
    assert data.note == "images and masks are held in memory at 16x16 pixels, the middle of each"
    for image, mask in zip(data.images, data.labels, strict=True):
        assert (image[8, :8, 0] > 100).all()
        assert mask[:, :8].max() == 0
        assert mask[:, 8:].min() == 1


@pytest.mark.parametrize("masks", [False, True])
def test_images_in_memory_are_what_others_are_told_to_make_of_their_files(tmp_path, masks) -> None:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        for number in range(2):
            pixels = SCENE if part == "images" or not masks else SCENE[:, :, 0] // 200
            Image.fromarray(pixels).save(tmp_path / part / f"{number}.png")
    spec = f"folder:{tmp_path}"
    data = load_masks(spec, size=12) if masks else load(spec, size=12)
    how = data.preprocessing(12)
    assert str(how) == "upright, RGB, shorter side to 12, middle 12x12, bilinear"
    with Image.open(tmp_path / "images" / "0.png") as image:
        theirs = prepared(image, how.colour, sides(how.size), sides(how.resize), how.low, how.high)
    assert np.array_equal(np.asarray(theirs), data.images[0])
