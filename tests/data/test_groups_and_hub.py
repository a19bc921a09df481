"""Data as people have it: groups that no split cuts, Hugging Face folders, unequal classes."""

import io
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nas
from nas.data import load, split
from nas.data.pictures import ImageFiles
from nas.errors import DataError, UsageError
from nas.evaluate.training import make

ROOT = Path(nas.__file__).parent.parent


def archive(path, count=120, classes=3, **more):
    draw = np.random.default_rng(0)
    np.savez(
        path,
        images=draw.integers(0, 255, (count, 8, 8), dtype=np.uint8),
        labels=np.arange(count) % classes,
        **more,
    )
    return f"npz:{path}"


def picture(value, kind="PNG"):

    out = io.BytesIO()
    Image.fromarray(np.full((12, 10, 3), value, np.uint8)).save(out, kind)
    return out.getvalue()


def image_folder(root, per_class=8):
    for label, name in enumerate(("cat", 'd"o,g')):
        (root / name).mkdir(parents=True)
        for index in range(per_class):
            (root / name / f"{index:02d}.png").write_bytes(picture(20 * label + index))
    return root


# -- groups ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["", "group\n"])
def test_no_split_cuts_a_group(tmp_path, header):
    spec = archive(tmp_path / "a.npz")
    names = [f"patient {i // 6}" for i in range(120)]
    (tmp_path / "groups.txt").write_text(header + "\n".join(names) + "\n")
    data = load(spec, groups=str(tmp_path / "groups.txt"))
    found = split(data)
    rows = [found.weights, found.search, found.selection]
    rows.append(np.setdiff1d(np.arange(len(data)), np.concatenate(rows)))  # those of the test set
    sets = [set(data.groups[part]) for part in rows]
    assert sum(map(len, sets)) == len(set.union(*sets)) == 20
    assert data.digest != load(spec).digest


def test_groups_by_file_name(tmp_path):
    root = image_folder(tmp_path / "photos")
    lines = [f"cat/{i:02d}.png,scene{i // 2}" for i in range(8)] + [
        f'"d""o,g/{i:02d}.png",other{i // 2}' for i in range(8)
    ]
    (tmp_path / "groups.csv").write_text("filename,group\n" + "\n".join(reversed(lines)))
    data = load(f"folder:{root}", groups=str(tmp_path / "groups.csv"))
    assert len(set(data.groups)) == 8
    assert data.groups[0] == data.groups[1] != data.groups[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nb\n", "has 2 groups for 120 images"),
        ("a,b,c\n", "must hold one column"),
        ("", "must hold one column"),
        ("x,1\n", "have no file names"),
        ("x;1\nx;2\n", "line 2: x is in group 1 already"),
        ('"a\n', "cannot read groups from .*: line 1: unexpected end of data"),
        ("patient\n" + "p\n" * 120, "121 groups for 120 images; a first line that is a header"),
    ],
)
def test_bad_groups_are_one_line(tmp_path, text, message):
    spec = archive(tmp_path / "a.npz")
    (tmp_path / "groups.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        load(spec, groups=str(tmp_path / "groups.txt"))


def test_groups_that_are_missing_or_incomplete(tmp_path):
    with pytest.raises(DataError, match="cannot read groups"):
        load("digits", groups=str(tmp_path / "none.txt"))
    (tmp_path / "groups.csv").write_text("cat/00.png,1\n")
    with pytest.raises(DataError, match=r"has no group for 15 images, such as cat/01.png"):
        load(f"folder:{image_folder(tmp_path / 'photos')}", groups=str(tmp_path / "groups.csv"))


SCENES = [f"cat/{i:02d}.png|scene{i // 2}" for i in range(8)] + [
    f'"d""o,g/{i:02d}.png"|other{i // 2}' for i in range(8)
]


@pytest.mark.parametrize(
    ("between", "end", "header", "encoding"),
    [
        (";", "\n", "", "utf-8"),
        ("\t", "\r\n", "", "utf-8"),
        (",", "\r\n", "", "utf-8-sig"),
        (";", "\r\n", "filename;group", "utf-8-sig"),
        ("\t", "\r\n", "filename\tgroup", "utf-16"),
    ],
)
def test_groups_as_spreadsheets_write_them(tmp_path, between, end, header, encoding):
    root = image_folder(tmp_path / "photos")
    lines = [header, *(line.replace("|", between) for line in SCENES)]
    (tmp_path / "groups.csv").write_bytes((end.join(lines) + end).encode(encoding))
    data = load(f"folder:{root}", groups=str(tmp_path / "groups.csv"))
    assert len(set(data.groups)) == 8
    assert data.groups[0] == data.groups[1]  # a byte order mark parts the first image from none
    assert "           8 groups of 2 images, none of them cut" in split(data).lines()


def test_groups_of_names_as_another_system_writes_them(tmp_path):
    root = tmp_path / "photos"
    for name in ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "dog"):
        (root / name).mkdir(parents=True)
        for index in range(8):
            (root / name / f"{index}.png").write_bytes(picture(index))
    lines = [f".\\cafe\N{COMBINING ACUTE ACCENT}\\{i}.png;{i // 2}" for i in range(8)]
    lines += [f"dog/{i}.png;d{i // 4}" for i in range(8)]
    (tmp_path / "groups.csv").write_text("\n".join(lines))
    assert len(set(load(f"folder:{root}", groups=str(tmp_path / "groups.csv")).groups)) == 6


@pytest.mark.parametrize(
    "lines",
    [range(120), [f"a/{i}.png p{i % 30}" for i in range(120)], [f"x{i}|p" for i in range(120)]],
)
def test_groups_of_one_image_each_are_refused(tmp_path, lines):
    spec = archive(tmp_path / "a.npz")
    (tmp_path / "groups.csv").write_text("\n".join(map(str, lines)))
    with pytest.raises(DataError, match="each of 120 images is a group of its own, so no two"):
        load(spec, groups=str(tmp_path / "groups.csv"))
    with pytest.raises(DataError, match=r"array 'groups' of .*: each of 120 images is a group of"):
        load(archive(tmp_path / "b.npz", groups=np.arange(120)))


# -- Hugging Face ---------------------------------------------------------------------------------


@pytest.fixture
def hub():
    return pytest.importorskip("datasets")


def hub_set(hub, count, classes=("cat", "d'og\n"), broken=()):
    images = [
        {"bytes": b"no image" if i in broken else picture(i), "path": None} for i in range(count)
    ]
    features = hub.Features({"image": hub.Image(), "label": hub.ClassLabel(names=list(classes))})
    return hub.Dataset.from_dict(
        {"image": images, "label": [i % len(classes) for i in range(count)]}, features=features
    )


def test_a_saved_data_set_with_its_test_part(hub, tmp_path):
    hub.DatasetDict(train=hub_set(hub, 20), test=hub_set(hub, 6)).save_to_disk(
        str(tmp_path / "pets")
    )
    data = load(f"hf:{tmp_path / 'pets'},size=100")
    assert data.images.shape == (20, 10, 10, 3)
    assert data.classes == ("cat", "d'og\n")
    assert data.labels.tolist() == [0, 1] * 10
    assert data.note == "all images are held in memory at 10x10 pixels, scaled and cropped"
    smaller = load(f"hf:{tmp_path / 'pets'},size=8")
    assert smaller.images.shape == (20, 8, 8, 3)
    assert smaller.note == "all images are held in memory at 8x8 pixels, scaled and cropped"
    assert data.images[7, 0, 0, 0] == 7
    assert data.has_test
    assert data.open_test_part(tmp_path / "test.jsonl")[0].shape == (6, 10, 10, 3)
    both = load(f"hf:{tmp_path / 'pets'}")
    opened, labels = both.open_test_part(tmp_path / "test.jsonl")
    assert (opened.fitted(9).shape, labels.tolist()) == ((6, 9, 9, 3), [0, 1] * 3)
    assert both.labels.tolist() == data.labels.tolist()


def test_images_of_the_hub_are_as_those_of_a_folder(hub, tmp_path):
    root = image_folder(tmp_path / "photos")
    names = [f"{name}/{number:02d}.png" for name in ("cat", 'd"o,g') for number in range(8)]
    # Some in the table, some as files beside it.
    images = []
    for place, name in enumerate(names):
        cell = {"bytes": (root / name).read_bytes(), "path": None}
        images.append({"bytes": None, "path": str(root / name)} if place % 2 else cell)
    labels = hub.ClassLabel(names=["cat", 'd"o,g'])
    features = hub.Features({"image": hub.Image(), "label": labels})
    columns = {"image": images, "label": [0] * 8 + [1] * 8}
    hub.Dataset.from_dict(columns, features=features).save_to_disk(str(tmp_path / "pets"))
    stored, files = load(f"hf:{tmp_path / 'pets'}"), load(f"folder:{root}")
    assert isinstance(stored.images, ImageFiles)
    assert (stored.digest, stored.note) == (files.digest, files.note)
    assert np.array_equal(stored.images.fitted(7), files.images.fitted(7))
    copy = pickle.loads(pickle.dumps(stored.images))
    assert np.array_equal(copy.fit(3, 7), files.images.fit(3, 7))


def test_a_single_saved_split_and_unreadable_images(hub, tmp_path):
    hub_set(hub, 20, broken=(0, 3)).save_to_disk(str(tmp_path / "pets"))
    for size in ("", ",size=8"):
        data = load(f"hf:{tmp_path / 'pets'}{size}")
        assert (len(data), data.skipped, data.has_test) == (18, ("image 0", "image 3"), False)
        assert data.labels[:2].tolist() == [1, 0]
        with pytest.raises(DataError, match="image 0: cannot read an image"):
            load(f"hf:{tmp_path / 'pets'}{size}", strict=True)


def test_labels_without_names(hub, tmp_path):
    features = hub.Features(
        {"image": hub.Image(), "label": hub.Value("string"), "id": hub.Value("int64")}
    )
    rows = {
        "image": [{"bytes": picture(i), "path": None} for i in range(6)],
        "label": list("abcabc"),
        "id": list(range(6)),
    }
    hub.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "x"))
    assert load(f"hf:{tmp_path / 'x'}").classes == ("a", "b", "c")


def test_columns_that_do_not_fit_are_named(hub, tmp_path):
    hub.Dataset.from_dict({"text": ["a"], "label": [1]}).save_to_disk(str(tmp_path / "x"))
    with pytest.raises(DataError, match="must have one image column"):
        load(f"hf:{tmp_path / 'x'}")


def test_a_place_that_cannot_be_loaded(hub, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="cannot load hf:"):
        load(f"hf:{tmp_path / 'empty'}")
    with pytest.raises(UsageError, match="needs a path: hf:NAME"):
        load("hf:")


def test_without_the_package_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"pip install 'nas-toolkit\[hub\]'"):
        load("hf:mnist")


# -- reports --------------------------------------------------------------------------------------


def test_unequal_classes_are_reported(tmp_path):
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 1], [100, 20])
    np.savez(
        tmp_path / "a.npz", images=draw.integers(0, 255, (120, 8, 8), dtype=np.uint8), labels=labels
    )
    text = "\n".join(make(load(f"npz:{tmp_path / 'a.npz'}")).lines())
    assert (
        "classes are unequal: 100 of '0', 20 of '1'; consider --objective balanced_accuracy" in text
    )
    assert "unequal" not in "\n".join(make(load("digits")).lines())


def test_another_quality_from_search_to_pick(tmp_path):
    metric = "balanced_accuracy"

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "nas", *map(str, arguments), "--json"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    spec = archive(tmp_path / "a.npz")
    (tmp_path / "groups.txt").write_text("\n".join(str(i // 2) for i in range(120)))
    run(
        "search",
        "--data",
        spec,
        "--groups",
        tmp_path / "groups.txt",
        "--trials",
        3,
        "--objective",
        f"{metric},latency_ms",
        "--proxy",
        "images=64,resolution=8",
        "--out",
        tmp_path / "run",
    )
    found = run(
        "confirm", tmp_path / "run", "--top", 1, "--random", 1, "--seeds", 1, "--epochs-factor", 1
    )
    assert found["metric"] == metric
    assert found["test_openings"] == 1
    assert found["claim"] == "no evidence"
    assert run("pick", tmp_path / "run")["metric"] == metric
