import pytest

from nas import units
from nas.errors import UsageError


@pytest.mark.parametrize(
    ("text", "value"), [("60ms", 60), ("60", 60), ("0.06s", 60), ("500us", 0.5), (" 7.5 ms ", 7.5)]
)
def test_milliseconds(text, value):
    assert units.milliseconds(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "value"), [("5M", 5e6), ("300k", 3e5), ("1.5G", 1.5e9), ("7", 7), ("2MiB", 2 * 2**20)]
)
def test_count(text, value):
    assert units.count(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "value"), [("5m", 300), ("90s", 90), ("1h", 3600), ("45", 45), ("2min", 120)]
)
def test_seconds(text, value):
    assert units.seconds(text) == value


@pytest.mark.parametrize("text", ["", "ms", "-3ms", "0", "3 parsecs", "nan", "1e999"])
def test_nonsense_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match=r"such as 60ms, not '"):
        units.milliseconds(text)


def test_plurals():
    assert [units.counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert units.counted(2, "class", "classes") == "2 classes"
