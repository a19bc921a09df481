import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from nas.data import Dataset, Sealed, load, split
from nas.data.splits import SETS, SPLIT_SEED
from nas.errors import DataError, RunError
from nas.record import ledger


def noise(counts: tuple[int, ...], **changes) -> Dataset:
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.random.default_rng(0).integers(256, size=(len(labels), 4, 4, 1), dtype=np.uint8)
    names = tuple("abcdefgh"[: len(counts)])
    return Dataset(
        **{"name": "noise", "images": images, "labels": labels, "classes": names} | changes
    )


def rows(splits) -> list[np.ndarray]:
    """The rows of all four sets; those of *test* are what the others leave."""
    open_rows = [splits.weights, splits.search, splits.selection]
    return [*open_rows, np.setdiff1d(np.arange(len(splits.dataset)), np.concatenate(open_rows))]


def test_four_sets_are_disjoint_whole_and_stratified() -> None:
    data = load("digits")
    sets = rows(split(data, seed=3))
    assert sorted(np.concatenate(sets)) == list(range(len(data)))
    for part, share in zip(sets, (0.5, 0.2, 0.15, 0.15), strict=True):
        counts = np.bincount(data.labels[part], minlength=10)
        assert counts == pytest.approx(share * np.bincount(data.labels), abs=2.5)


def test_the_seed_decides() -> None:
    data = load("digits")
    assert all(
        np.array_equal(a, b)
        for a, b in zip(rows(split(data, 1)), rows(split(data, 1)), strict=True)
    )
    assert not np.array_equal(split(data, 1).weights, split(data, 2).weights)


def test_a_head_of_a_set_is_a_random_sample() -> None:
    data = load("digits")
    assert set(data.labels[split(data).weights[:100]]) == set(range(10))


def test_an_own_test_part_is_the_test_set_and_stays_shut(tmp_path: Path) -> None:
    opened = []

    def read_test() -> tuple[np.ndarray, np.ndarray]:
        opened.append(1)
        return data.images[:6], data.labels[:6]

    data = noise((30, 30), test_part=Sealed(read_test))
    splits = split(data)
    assert str(splits).endswith("test own part")
    assert len(splits.weights) + len(splits.search) + len(splits.selection) == 60
    assert (splits.duplicates, opened) == ({}, [])
    assert len(splits.open_test(tmp_path / "test.jsonl")[0]) == 6
    assert opened == [1]


@pytest.mark.parametrize("own", [False, True])
def test_the_test_images_come_with_a_row_in_a_ledger_and_no_other_way(
    tmp_path: Path, own: bool
) -> None:
    shut = noise((30, 30))
    images, labels = shut.images[:6], shut.labels[:6]
    data = dataclasses.replace(shut, test_part=Sealed(lambda: (images, labels))) if own else shut
    splits = split(data)
    with pytest.raises(DataError, match=r"without a record of it: open_test\(LEDGER\)"):
        _ = splits.test
    with pytest.raises(TypeError, match="ledger"):
        splits.open_test()
    if own:
        with pytest.raises(TypeError, match="ledger"):
            data.open_test_part()
        with pytest.raises(TypeError, match="not callable"):
            data.test_part()
    file = tmp_path / "test.jsonl"
    for count in (1, 2):
        opened = splits.open_test(file)
        assert ledger.openings(file) == count
    [row, _] = ledger.read(file)
    assert list(row) == ["kind", "time", "images"]
    assert (row["kind"], row["images"]) == ("opening", len(opened[1]))
    assert sorted(opened[1]) == sorted(labels if own else data.labels[rows(splits)[3]])


def test_no_image_is_handed_over_when_the_opening_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot write"):
        split(noise((30, 30))).open_test(tmp_path / "missing" / "test.jsonl")


def test_a_test_part_that_does_not_go_with_the_rest_is_no_opening(tmp_path: Path) -> None:
    small = Sealed(lambda: (np.zeros((2, 3, 3, 1), np.uint8), np.zeros(2, np.int64)))
    with pytest.raises(DataError, match=r"test images are \(3, 3, 1\), the others \(4, 4, 1\)"):
        split(noise((30, 30), test_part=small)).open_test(tmp_path / "test.jsonl")
    assert ledger.openings(tmp_path / "test.jsonl") == 0


def test_searches_and_trainings_split_alike() -> None:
    assert split(noise((30, 30))).seed == SPLIT_SEED == 0


@pytest.mark.parametrize("counts", [(4, 40), (5, 5), (7, 4)])
def test_every_class_is_in_every_set(counts: tuple[int, ...]) -> None:
    data = noise(counts)
    for part in rows(split(data)):
        assert set(data.labels[part]) == {0, 1}


def test_a_class_with_too_few_images() -> None:
    with pytest.raises(
        DataError, match="class 'b' of data set 'noise' has 3 images; every class needs at least 4"
    ):
        split(noise((20, 3)))
    with pytest.raises(DataError, match="class 'b' of data set 'noise' has 0 images"):
        split(noise((20,), classes=("a", "b")))


def test_no_group_is_cut() -> None:
    groups = np.arange(400) // 8 % 25
    data = noise((200, 200), groups=groups)
    splits = split(data)
    owners = [set(groups[part]) for part in rows(splits)]
    assert sum(map(len, owners)) == len(set(groups))
    assert [len(part) / 400 for part in rows(splits)] == pytest.approx(
        [0.5, 0.2, 0.15, 0.15], abs=0.06
    )


def test_too_few_groups() -> None:
    with pytest.raises(DataError, match=r"would lack class .* too few groups"):
        split(noise((20, 20), groups=np.arange(40) // 20))


def test_duplicates_across_sets_are_counted() -> None:
    images = np.random.default_rng(0).integers(256, size=(40, 4, 4, 1), dtype=np.uint8)
    images[1::2] = images[::2]
    found = split(noise((20, 20), images=images)).duplicates
    assert 0 < sum(found.values()) <= 20
    assert set(found) <= {f"{a}/{b}" for a in SETS for b in SETS}


def test_every_command_says_what_is_doubtful_about_the_data() -> None:
    images = noise((20, 20)).images
    said = split(
        noise(
            (100, 20),
            images=np.concatenate([images[:1].repeat(100, 0), images[:20]]),
            skipped=("a/x.png",),
        )
    )
    text = "\n".join(said.lines())
    for words in (
        "1 unreadable image left out: a/x.png",
        "classes are unequal: 100 of 'a', 20 of 'b'",
        "exact copies across",
    ):
        assert words in text
