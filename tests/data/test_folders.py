"""Folders as people have them: emptied, unpacked on a Mac, named in another encoding."""

import os

import numpy as np
import pytest
from PIL import Image

from nas.data import load
from nas.data.masks import load_masks
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
