import sys
from importlib.metadata import EntryPoint

import pytest

from nas import catalog, networks
from nas.errors import SpaceError, TableError, UsageError
from nas.space import SearchSpace

SPACE_FILE = """
from nas.ops.conv import Classifier, Conv
from nas.shape import Shape
from nas.space import Choice, SearchSpace, Slot, fixed


def space(resolution=16, classes=10, in_channels=3, width=8):
    choice = Choice("kernel", (1, 3, 5), ordinal=True)

    def layer(name):
        make = lambda picked, shape: [Conv(kernel=picked["kernel"], channels=width)]
        return Slot(name=name, stage=name, choices=(choice,), make=make)

    slots = (layer("a"), layer("b"), fixed("head", Classifier(classes=classes)))
    return SearchSpace("mine", Shape(in_channels, resolution), slots)
"""


@pytest.fixture
def space_file(tmp_path):
    path = tmp_path / "my_space.py"
    path.write_text(SPACE_FILE)
    return path


def test_every_shipped_space_is_found_by_its_file_name():
    assert {"fbnet", "mnasnet"} <= set(catalog.space_names())
    for name in catalog.space_names():
        assert isinstance(catalog.space(name), SearchSpace)
        assert catalog.space(name).name.replace("-", "_").startswith(name)


def test_a_file_is_a_space(space_file):
    assert catalog.space(str(space_file), classes=4).cardinality == 9


def test_settings_none_are_left_to_the_space():
    assert catalog.space("fbnet", resolution=None, classes=7).input.size == 224


def test_a_space_from_another_package(monkeypatch, space_file):
    monkeypatch.syspath_prepend(space_file.parent)
    point = EntryPoint(name="theirs", value="my_space", group="nas.search_spaces")
    monkeypatch.setattr(
        catalog, "entry_points", lambda group: [point] if group == "nas.search_spaces" else []
    )
    try:
        assert "theirs" in catalog.space_names()
        assert (
            catalog.space("theirs:width=16", classes=2).decode((0, 0)).layers[0].op.channels == 16
        )
    finally:
        sys.modules.pop("my_space", None)


def test_a_name_claimed_twice_raises(monkeypatch):
    point = EntryPoint(name="fbnet", value="elsewhere", group="nas.search_spaces")
    monkeypatch.setattr(catalog, "entry_points", lambda group: [point])
    with pytest.raises(UsageError, match="two search spaces are named 'fbnet'"):
        catalog.space_names()


def test_pixel_is_an_alias():
    assert catalog.device("pixel").name == catalog.device("pixel1").name == "pixel1"
    assert {"pixel1", "pixel3", "raspi4"} <= set(catalog.device_names())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: catalog.space("fbnt"),
            UsageError,
            "no search space named 'fbnt'. Did you mean 'fbnet'",
        ),
        (
            lambda: catalog.space("fbnet:depth=3"),
            UsageError,
            "no setting of space 'fbnet' named 'depth'",
        ),
        (
            lambda: catalog.space("fbnet:resolution"),
            UsageError,
            "written key=value, not 'resolution'",
        ),
        (lambda: catalog.space("absent.py"), UsageError, r"no such file: absent\.py"),
        (
            lambda: catalog.device("pixle1"),
            UsageError,
            "no device named 'pixle1'. Did you mean 'pixel1'",
        ),
        (lambda: catalog.evaluator("trainin"), UsageError, "Did you mean 'training'"),
    ],
)
def test_unknown_names_suggest(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = ", "does not load: SyntaxError"),
        ("y = 1", "needs a function space"),
        ("def space(): return 3", "must return a SearchSpace"),
        ("def space():\n    return 1 / 0", r"ZeroDivisionError.*broken\.py, line 2\)"),
    ],
)
def test_a_broken_space_file_is_one_line(tmp_path, text, message):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(SpaceError, match=message):
        catalog.space(str(path))


def test_an_empty_name_is_no_device():
    with pytest.raises(UsageError, match="a device has a name, such as"):
        catalog.device("")


def test_a_table_learnt_from_networks_prices_no_other_ones():
    table = catalog.device("galaxy_a50")
    fbnet = catalog.space("fbnet", resolution=32, classes=10)
    assert table.estimate(fbnet.decode([0] * 22)).latency_ms > 0
    with pytest.raises(TableError, match="does not tell what that takes"):
        table.estimate(networks.get("resnet18", resolution=32, small_images=True))
