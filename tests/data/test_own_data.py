# ruff: noqa: E402
"""Data sets of the user's own: what is taken, what is refused, what is counted."""

import dataclasses
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image

from nas.data import load, split
from nas.data.own import images_of, read_items
from nas.data.splits import deal
from nas.errors import DataError

CLASSES = 3


class Squares(torch.utils.data.Dataset):
    """Grey squares of 6 pixels; class i is as bright as its number."""

    def __init__(self, count=24, length=None, **changed):
        self.count, self.length, self.changed = count, length or count, changed

    def __len__(self):
        return self.length

    def __getitem__(self, row):
        if row >= self.count:
            raise IndexError(row)
        image = torch.full((1, 6, 6), row % CLASSES * 0.4)
        image[0, 0, 0] = row / 100
        item = image, row % CLASSES
        return self.changed.get(f"item{row}", item)


def arrays(count=24):
    labels = np.arange(count) % CLASSES
    images = np.zeros((count, 6, 6, 3), np.uint8) + labels[:, None, None, None].astype(np.uint8)
    return images, labels


def test_a_torch_data_set_is_split_by_its_classes_and_named_by_what_it_yields():
    items = read_items(Squares())
    assert (len(items), items.classes, items.in_channels) == (24, ("0", "1", "2"), 1)
    sets = deal(items)
    assert sorted(np.concatenate(sets)) == list(range(24))
    assert all(set(items.labels[rows]) == {0, 1, 2} for rows in sets)
    assert read_items(Squares).digest == items.digest
    other = torch.zeros(1, 6, 6)
    assert read_items(Squares(item5=(other, 2))).digest != items.digest


def test_our_trainings_take_its_items_as_images():
    data = split(images_of(read_items(Squares()))).dataset
    assert data.images.shape == (24, 6, 6, 1)
    assert data.images.dtype == np.uint8
    assert "become 0 to 255" in data.remarks[0]
    colour = images_of(read_items(arrays()))
    assert colour.images.shape == (24, 6, 6, 3)
    assert np.array_equal(colour.labels, arrays()[1])
    # Torch has channels first.
    first = torch.from_numpy(arrays()[0]).movedim(3, 1)
    assert np.array_equal(images_of(read_items((first, arrays()[1]))).images, colour.images)


def test_rows_of_names_and_pictures_are_taken_too():
    rows = []
    for number in range(8):
        rows.append({"image": Image.new("RGB", (4, 5), (number, 0, 0)), "label": number % 2})
    data = images_of(read_items(rows))
    assert data.images.shape == (8, 5, 4, 3)
    datasets = pytest.importorskip("datasets")
    label = datasets.ClassLabel(names=["cat", "dog"])
    features = datasets.Features({"image": datasets.Image(), "label": label})
    hub = datasets.Dataset.from_list(rows, features=features)
    assert images_of(read_items(hub)).classes == ("cat", "dog")


def test_a_test_part_is_read_only_when_it_is_opened_and_counted(tmp_path):
    opened = []

    class Test(Squares):
        def __getitem__(self, row):
            opened.append(row)
            return super().__getitem__(row)

    data = images_of(read_items({"train": Squares(), "test": Test(6)}))
    splits = split(data)
    assert opened == []
    images, labels = splits.open_test(tmp_path / "ledger.jsonl")
    assert (images.shape, len(labels)) == ((6, 6, 6, 1), 6)
    assert (tmp_path / "ledger.jsonl").read_text().count("opening") == 1


def test_groups_are_kept_together_and_are_part_of_the_digest():
    groups = [row // 6 * 3 + row % 3 for row in range(48)]
    items = read_items({"train": Squares(48), "groups": groups})
    for rows in deal(items):
        others = set(range(48)) - set(rows.tolist())
        assert not {groups[row] for row in rows} & {groups[row] for row in others}
    assert items.digest != read_items(Squares(48)).digest


def test_items_without_classes_are_dealt_out_and_go_to_workers():
    items = read_items([{"image": torch.zeros(3, 4, 4), "boxes": [1, row]} for row in range(20)])
    assert (items.classes, items.in_channels) == ((), 3)
    assert [len(rows) for rows in deal(items)] == [9, 4, 4, 3]
    with pytest.raises(DataError, match="for another task give evaluate="):
        images_of(items)
    sent = pickle.loads(pickle.dumps(read_items({"train": arrays(), "test": arrays(3)})))
    assert len(sent.read_test()) == 3


def test_items_that_change_as_they_are_read_are_told():
    class Noisy(Squares):
        def __getitem__(self, row):
            return torch.rand(1, 6, 6), row % CLASSES

    items = read_items(Noisy())
    assert items.varies
    assert items.digest == read_items(Noisy()).digest != read_items(Noisy(27)).digest
    assert "change at random" in images_of(items).remarks[0]


def one_bad(row, item):
    return Squares(**{f"item{row}": item})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Squares(24, length=30), "says that it has 30 items, and has none of number 24"),
        (lambda: one_bad(4, (torch.zeros(1, 6, 6), -1)), "item 4 of data has label -1"),
        (lambda: (arrays()[0], arrays()[1][:20]), "24 images and 20 labels"),
        (lambda: {"validation": Squares()}, "needs a part 'train'; it has validation"),
        (lambda: {"train": Squares(), "groups": [1, 1]}, "2 groups for 24 items"),
        (lambda: iter([1]), "data must be a torch Dataset, .* not list_iterator"),
        (lambda: [], "has no items"),
        (lambda: 1 / 0, r"raises ZeroDivisionError: .* \(test_own_data.py, line "),
        (lambda: one_bad(3, (torch.zeros(1, 7, 6), 0)), "item 3 of data is .* resize them"),
        (lambda: one_bad(3, (torch.zeros(4, 6, 6), 0)), "item 3 of data has 4 channels"),
        (lambda: one_bad(3, ("cat.png", 0)), "item 3 of data begins with no image, but with str"),
    ],
)
def test_what_is_no_data_set_is_one_line(make, message):
    with pytest.raises(DataError, match=message):
        images_of(read_items(make))


def test_a_label_beyond_the_named_classes_is_told():
    data = Squares()
    data.classes = ["dark", "light"]
    with pytest.raises(DataError, match="label 2: labels must be 0 to 1 for 2 classes"):
        read_items(data)


def test_a_file_names_the_function_that_makes_it(tmp_path):
    file = tmp_path / "pictures.py"
    file.write_text(
        "import numpy as np\n"
        "def data():\n"
        "    return np.zeros((12, 4, 4), np.uint8), np.arange(12) % 2\n"
    )
    assert load(str(file)).images.shape == (12, 4, 4, 1)
    named = load(f"{file}:data")
    assert dataclasses.asdict(named)["classes"] == ("0", "1")
