"""Folders as people have them: emptied, unpacked on a Mac, named in another encoding."""

import os

import numpy as np
import pytest
from PIL import Image

from nas.data import load, split
from nas.data.masks import load_masks
from nas.data.names import is_image_name, is_other_picture
from nas.errors import DataError, UsageError


def photos(root, names=("cat", "dog"), count=5):
    for label, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.full((8, 8, 3), 40 * label + index, np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


def test_what_is_no_class_is_left_out_and_told(tmp_path):
    root = photos(tmp_path / "photos")
    for name in ("__MACOSX", "@eaDir", "$RECYCLE.BIN", ".git"):
        (root / name).mkdir()
    (root / "empty").mkdir()
    (root / "notes" / "deep").mkdir(parents=True)
    (root / "notes" / "deep" / "a.txt").write_text("x")
    (root / "cat" / ".ipynb_checkpoints").mkdir()
    (root / "cat" / ".ipynb_checkpoints" / "0.png").write_bytes(
        (root / "cat" / "0.png").read_bytes()
    )
    data = load(f"folder:{root}")
    assert data.classes == ("cat", "dog")
    assert len(data) == 10
    assert "folders without images are no class: empty, notes" in data.remarks


def test_one_class_beside_an_empty_one_is_one_line(tmp_path):
    root = photos(tmp_path / "photos", ("cat",))
    (root / "dog").mkdir()
    with pytest.raises(
        DataError, match="at least two, not 1: cat; a folder without images is no class: dog"
    ):
        load(f"folder:{root}")


@pytest.mark.parametrize("where", ["root", "class", "file"])
def test_a_name_that_is_no_utf8_is_one_line(tmp_path, where):
    bad = os.fsdecode(b"gr\xfcn")
    root = photos(tmp_path / (bad if where == "root" else "photos"))
    if where == "class":
        (root / "cat").rename(root / bad)
    if where == "file":
        (root / "cat" / "0.png").rename(root / "cat" / f"{bad}.png")
    with pytest.raises(DataError, match=r"gr\\xfcn.* holds bytes that are not UTF-8: rename it"):
        load(f"folder:{root}")


def test_a_folder_or_archive_without_its_kind_is_suggested(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "photos")
    np.savez("scans.npz", images=np.zeros((8, 4, 4), np.uint8), labels=np.arange(8) % 2)
    with pytest.raises(UsageError, match=r"did you mean folder:photos\?$"):
        load("photos")
    with pytest.raises(UsageError, match=r"did you mean npz:scans\.npz\?$"):
        load("scans.npz")
    with pytest.raises(UsageError, match=r"Did you mean folder:photos\?$"):
        load_masks("photos")
    with pytest.raises(UsageError, match="no data set named 'absent'"):
        load("absent")


def test_paths_may_hold_commas_and_colons(tmp_path):
    draw = np.random.default_rng(0)
    images = draw.integers(0, 255, (12, 4, 4), dtype=np.uint8)
    for name in ("a,b:c.npz", "d,e.npz"):
        np.savez(tmp_path / name, images=images, labels=np.arange(12) % 2)
    assert len(load(f"npz:{tmp_path}/a,b:c.npz")) == 12
    both = load(f"npz:{tmp_path}/a,b:c.npz,{tmp_path}/d,e.npz")
    assert len(both.open_test_part(tmp_path / "test.jsonl")[1]) == 12
    root = photos(tmp_path / "x,y:z")
    assert load(f"folder:{root},size=8").images.shape == (10, 8, 8, 3)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_pictures_of_kinds_that_cannot_be_read_are_told(tmp_path):
    root = photos(tmp_path / "photos")
    for name in ("cat/a.HEIC", "cat/deep.jxl", "phone/b.heic", "cat/._c.heic", "cat/notes.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(HEIC)
    told = (
        "3 files of kinds that cannot be read here (.heic, .jxl), such as phone/b.heic, left out: "
        "convert to JPEG or PNG"
    )
    data = load(f"folder:{root}")
    assert told in data.remarks
    assert "a folder without images is no class: phone" in data.remarks
    assert any(told in line for line in split(data).lines())
    assert told in load(f"folder:{root},size=8").remarks
    for spec in (f"folder:{root}", f"folder:{root},size=8"):
        with pytest.raises(DataError, match=r"such as phone/b.heic. Convert .* leave out --strict"):
            load(spec, strict=True)


def test_a_folder_of_such_pictures_alone_says_so(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.heic").write_bytes(HEIC)
    with pytest.raises(DataError, match=r"not 0: none; .* 2 files of a kind .* \(\.heic\)"):
        load(f"folder:{tmp_path}")


def test_such_pictures_among_masks_are_told(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        for index in range(2):
            halves = np.repeat(np.array([[0, 1]], np.uint8), 4, axis=0)
            Image.fromarray(halves).save(tmp_path / name / f"{index}.png")
    (tmp_path / "images" / "2.heic").write_bytes(HEIC)
    remarks = load_masks(f"folder:{tmp_path}", size=8).remarks
    assert "1 file of a kind that cannot be read here (.heic), such as images/2.heic" in remarks[0]
    Image.fromarray(halves).save(tmp_path / "masks" / "2.png")
    with pytest.raises(DataError, match=r"1 stand alone, such as 2; 1 file .* \(\.heic\)"):
        load_masks(f"folder:{tmp_path}")


def test_what_this_pillow_reads_is_no_such_picture():
    Image.init()
    for suffix, kind in Image.registered_extensions().items():
        if kind in Image.OPEN:
            assert is_image_name(f"a{suffix}")
            assert not is_other_picture(f"a{suffix}")
    assert is_image_name("a.mpo")
    assert is_other_picture("a.pdf")


def test_masks_lie_in_sub_folders_as_their_images_do(tmp_path):
    halves = np.zeros((8, 8), np.uint8)
    halves[4:] = 1
    for part in ("images", "masks"):
        for place in ("north", "south", "__MACOSX"):
            (tmp_path / part / place).mkdir(parents=True)
            Image.fromarray(halves).save(tmp_path / part / place / "1.png")
    data = load_masks(f"folder:{tmp_path}", size=8)
    assert data.names == ("north/1.png", "south/1.png")
    (tmp_path / "masks" / "south" / "1.png").unlink()
    with pytest.raises(DataError, match="1 stand alone, such as south/1"):
        load_masks(f"folder:{tmp_path}", size=8)
