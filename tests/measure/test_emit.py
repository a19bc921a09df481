"""Files go out, timings come back, and the guide's adb recipe does what it says, on an adb that is
made up."""

import csv
import json
import os
import re
from pathlib import Path

import onnx
import pytest

import nas
from nas.errors import TableError
from nas.measure.build import keys_of
from nas.measure.emit import collect, emit
from nas.measure.runners import Command
from nas.testing.toys import toy_space

SPACE = toy_space(2)
GUIDE = Path(nas.__file__).parent.parent / "docs" / "your_device.md"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "models"
    emit([SPACE], folder)
    return folder


def timings(path, models, change=lambda row: row):
    files = sorted(file.name for file in models.glob("*.onnx"))
    with path.open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("file", "latency_ms", "count"))
        out.writerows(change([name, 0.01 * (number + 1), 5]) for number, name in enumerate(files))
    return path


def test_what_goes_out_comes_back_as_a_table(models, tmp_path):
    manifest = json.loads((models / "manifest.json").read_text())
    for name in manifest["files"]:
        onnx.checker.check_model(str(models / name))
    table = collect(
        models, timings(tmp_path / "t.csv", models), "board", tmp_path, hardware="a board"
    )
    assert (
        set(table.rows)
        == set(keys_of([SPACE]))
        == {entry["key"] for entry in manifest["files"].values()}
    )
    first = manifest["files"]["00000.onnx"]["key"]
    assert table.rows[first].latency_ms == 0.01
    assert table.rows[first].count == 5
    assert table.info.conditions["hardware"] == "a board"
    assert table.estimate(SPACE.decode([0, 0, 0, 0])).latency_ms > 0


def test_files_without_a_timing_are_counted(models, tmp_path):
    path = timings(tmp_path / "t.csv", models)
    path.write_text("\n".join(path.read_text().splitlines()[:-3]) + "\n")
    assert any(
        "3 of " in caveat for caveat in collect(models, path, "board", tmp_path).info.caveats
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: ["00001.onnx", *row[1:]], r"t\.csv line 3: 00001\.onnx has a timing already"),
        (lambda row: ["other.onnx", *row[1:]], r"line 2: the manifest has no file 'other\.onnx'"),
        (lambda row: [row[0], -1, 5], "line 2: latency_ms must be above 0"),
        (lambda row: [row[0], "fast", 5], "line 2: latency_ms must be a number, not 'fast'"),
        (lambda row: [row[0]], "line 2: 1 columns where 3 are due"),
    ],
)
def test_bad_timings_are_told_with_their_line(models, tmp_path, change, message):
    with pytest.raises(TableError, match=message):
        collect(models, timings(tmp_path / "t.csv", models, change), "board", tmp_path)


def test_other_files_are_refused(models, tmp_path):
    (tmp_path / "t.csv").write_text("name,ms\n")
    with pytest.raises(TableError, match="line 1: the columns must be file, latency_ms"):
        collect(models, tmp_path / "t.csv", "board", tmp_path)
    with pytest.raises(TableError, match=r"manifest\.json is no manifest of nas latency emit"):
        collect(tmp_path, tmp_path / "t.csv", "board", tmp_path)
    with pytest.raises(TableError, match="is not empty: files of two tables must not mix"):
        emit([SPACE], models)


ADB = """#!/bin/sh
# Hot when first asked, cool afterwards; times a file by its size.
echo "$@" >>"$CALLS"
case "$*" in
    "shell cat"*) if [ -e "$CALLS.cool" ]; then echo 40000; else touch "$CALLS.cool"; echo 60000; fi ;;
    push*) cp "$2" "$CALLS.model" ;;
    *perf_test*) printf 'Session creation time cost: 0.5 s\\r\\nAverage inference time cost total: %s.25 ms\\r\\n' "$(wc -c <"$CALLS.model")" ;;
esac
"""  # noqa: E501


def test_the_guides_adb_recipe(models, tmp_path, monkeypatch):
    (script,) = re.findall(r'```sh title="on_phone\.sh"\n(.*?)```', GUIDE.read_text(), re.S)
    (tmp_path / "on_phone.sh").write_text(script.replace("sleep 5", "sleep 0.01"))
    (tmp_path / "adb").write_text(ADB)
    (tmp_path / "adb").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for name in ("CALLS", "LOG"):
        monkeypatch.setenv(name, str(tmp_path / name))
    model = (models / "00000.onnx").read_bytes()
    assert Command(f"sh {tmp_path}/on_phone.sh {{model}}").open(model)() == len(model) + 0.25
    calls = (tmp_path / "CALLS").read_text()
    assert "taskset 80" in calls
    assert calls.count("shell cat") == 3  # hot, cool, and for the log
    assert (tmp_path / "LOG").read_text().split()[1] == "40000"
