"""Files: whole or not at all, of limited size, without NaN."""

import errno
import os
import re

import pytest

from nas import files
from nas.errors import DataError, RunError


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    files.write_text(tmp_path / "a", "old")

    def full_disk(handle):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="full"):
            files.write_text(tmp_path / "a", "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "old")]


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path):
    def half(file):
        file.write(b"ne")
        raise RuntimeError("no more")

    files.write_bytes(tmp_path / "a", b"old")
    with pytest.raises(RuntimeError, match="no more"):
        files.write_with(tmp_path / "a", half)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"old")]


def test_a_disk_that_is_read_only_is_told_of_the_file_that_is_meant(tmp_path, monkeypatch):
    def refuse(path, *rest, **more):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(files.Path, "open", refuse)
    monkeypatch.setattr(files.Path, "unlink", refuse)
    with pytest.raises(OSError, match="Read-only") as told:
        files.write_text(tmp_path / "page.html", "new")
    assert told.value.filename == str(tmp_path / "page.html")


def test_json_without_nan_is_read_as_it_was_written(tmp_path):
    value = {"b": [1, 2.5, None], "a": "ä"}
    files.write_json(tmp_path / "a.json", value)
    assert list(files.read_json(tmp_path / "a.json", 1000, "not a report")) == ["b", "a"]
    assert files.read_json(tmp_path / "a.json", 1000, "not a report") == value


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}'])
def test_nan_is_refused(text):
    with pytest.raises(ValueError, match="is no number"):
        files.parse_json(text)


def test_nan_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", float("nan"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("largest", "told"), [(2 << 20, "2 MiB"), (1 << 30, "1 GiB")])
def test_a_file_that_is_too_large_is_not_read(tmp_path, largest, told):
    with (tmp_path / "a").open("wb") as file:
        file.truncate(largest)
    files.check_size(tmp_path / "a", largest, "not a table")
    with (tmp_path / "a").open("ab") as file:
        file.write(b"!")
    with pytest.raises(DataError, match=f"a has over {told}: not a table"):
        files.read_text(tmp_path / "a", largest, "not a table", DataError)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=re.escape(f"cannot make folder '{tmp_path}/file/a'")):
        files.make_folder(tmp_path / "file" / "a")


def test_a_reason_is_one_line():
    assert files.one_line(ValueError("a\n  b\tc")) == "a b c"
    assert files.one_line("x" * 300, 7) == "x" * 7


def test_a_value_through_json_is_what_a_reader_gets():
    assert files.through_json({1: (2, 3)}) == {"1": [2, 3]}
