"""Replay: all proposals of a run come out again; each way to tamper with one is named."""

import dataclasses
import json
import os
import sys
from itertools import product
from pathlib import Path

import pytest

from nas.arch import Layer
from nas.errors import RunError
from nas.latency.files import write_table
from nas.latency.fitting import fit_model
from nas.latency.info import TableInfo
from nas.latency.interpolation import fit_interpolation
from nas.latency.keys import layer_key
from nas.latency.rows import Row
from nas.ops.conv import Conv
from nas.record import store
from nas.record.store import Store
from nas.run.replay import replay, require
from nas.run.run import Run
from nas.shape import Shape
from nas.strategies.evolution import Evolution


@pytest.fixture(scope="module")
def searched():
    sys.path.insert(0, str(Path(__file__).parent.parent / "kill"))
    import instant

    yield instant.searched
    sys.path.pop(0)


@pytest.fixture(scope="module")
def folder(searched, tmp_path_factory):
    run = searched(
        tmp_path_factory.mktemp("replayed") / "run",
        trials=8,
        strategy="evolution:population=3,sample=2",
    )
    return run.folder


@pytest.fixture
def copy(folder, tmp_path):
    os.system(f"cp -r {folder.parent}/. {tmp_path}")
    return tmp_path / "run"


def difference(folder):
    found = replay(Run(folder)).difference
    assert found is not None
    return found


def edit(path, old, new, count=1):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


def reseed(folder):
    data = json.loads((folder / "run.json").read_text())
    data["identity"]["seed"] = 1
    (folder / "run.json").write_text(json.dumps(data))


def test_every_proposal_comes_out_again(folder):
    found = replay(Run(folder))
    assert found.difference is None
    assert found.proposals >= 8
    require(found)


def test_a_strategy_that_learns_from_a_reward_is_told_one_number(searched, tmp_path):
    run = searched(
        tmp_path / "run",
        trials=6,
        strategy="evolution:population=3,sample=2",
        reward="tunas",
        target_ms=1.0,
    )
    require(replay(run))


def test_a_run_whose_table_interpolates_replays_from_its_copy(searched, tmp_path):
    run = searched(
        tmp_path / "run",
        trials=12,
        strategy="evolution:population=3,sample=2",
        devices=(str(interpolating_table(tmp_path)),),
        latency_ms=1.2,
        confidence=0.9,
    )
    (tmp_path / "part.csv").unlink()
    again = Run(run.folder)
    require(replay(again))
    table = again.tables[0]
    assert any(table.row(layer) is None for layer in run.space.layers)
    # What was asked before the space does not matter.
    other = Run(run.folder)
    for layer in reversed(run.space.layers):
        other.tables[0].layer(layer)
    require(replay(other))


def interpolating_table(folder):
    """A table of convolutions, of half as many channels as the toy space has."""
    rows = {}
    for inside, outside, kernel, size in product((3, 8, 16, 24, 32), (8, 16), (1, 3, 5), (8, 12)):
        layer = Layer(Conv(kernel=kernel, channels=outside), Shape(inside, size))
        ms = 0.01 + layer.macs / 1e6 * (1.5 if kernel == 5 else 1.0)
        rows[layer_key(layer.op, layer.shape)] = Row(latency_ms=ms, extra={"warm_ms": 0.7 * ms})
    model = fit_model(rows).model
    fitted, _ = fit_interpolation(rows, model)
    info = TableInfo(name="part", model=model, interpolation=fitted, rows_common_sd=0.1)
    return write_table(rows, info, folder)


def test_a_changed_seed_is_named(copy):
    reseed(copy)
    found = difference(copy)
    assert (found.number, found.what) == (0, "the proposal")
    assert found.causes[0] == "run.json was edited: seed is 1 in its identity and 0 in its settings"


def test_another_version_is_named(copy):
    numpy = store.read(copy).run_file.environment.packages["numpy"]
    edit(copy / "run.json", f'"numpy": "{numpy}"', '"numpy": "1.0"')
    edit(copy / "run.json", "population=3", "population=2", count=2)
    assert any("another environment: numpy was 1.0" in cause for cause in difference(copy).causes)


def test_another_version_of_the_strategy_is_named_and_not_gone_on_with(copy, monkeypatch):
    """A run of before the strategy had a second version is told from one of now."""
    monkeypatch.setattr(Evolution, "draws_version", 2)
    reseed(copy)
    change = "it was made with version 1 of its strategy, and this is 2"
    assert difference(copy).causes[0] == change
    run = Run(copy)
    now = dataclasses.replace(run.identity, versions={**run.identity.versions, "strategy": 2})
    with pytest.raises(RunError, match=f"cannot go on: {change}. Begin anew with another --out"):
        Store.resume(copy, run.space, now)


def test_an_edited_table_is_named(copy):
    path = copy / "devices" / "pixel1.json"
    data = json.loads(path.read_text())
    data["model"]["prices"]["moved"] *= 2
    path.write_text(json.dumps(data))
    found = difference(copy)
    assert found.number == 0
    assert found.causes[0] == "the run's table of pixel1 was edited"


def test_an_edited_space_is_named(copy, monkeypatch):
    monkeypatch.setenv("NAS_TRUST", str(copy))
    edit(copy / "space.py", "toy_space()", "toy_space(layers=5)")
    with pytest.raises(
        RunError, match=r"is no network of its space 'toy': .* or the space's file was edited"
    ):
        Run(copy)


def test_an_edited_record_is_named_by_its_trial(copy):
    accuracy = Run(copy).trials[2].metrics["accuracy"]
    edit(copy / "journal.log", f'"accuracy":{accuracy}', '"accuracy":0.99999')
    edit(copy / "journal.log", f'"search_accuracy":{accuracy}', '"search_accuracy":0.99999')
    record = Run(copy).record
    assert list(record.contradictions) == [2]
    assert "is 0.99999 in its result" in record.contradictions[2]


def test_a_difference_is_one_line(copy):
    reseed(copy)
    with pytest.raises(
        RunError,
        match=r"0 proposals are reproduced, then: trial 0: the proposal is .* Likely cause: run",
    ):
        require(replay(Run(copy)))


def test_a_program_in_somebody_elses_run_is_not_run(copy, monkeypatch):
    edit(copy / "space.py", "from nas", "raise SystemExit('owned')\nfrom nas")
    with pytest.raises(
        RunError,
        match=r"brings a program, its search space .*: read it, and where you trust it, set NAS_",
    ):
        _ = Run(copy).space
    spec = str(copy / "space.py")
    data = json.loads((copy / "run.json").read_text())
    data["identity"]["space"]["arguments"]["spec"] = spec
    (copy / "run.json").write_text(json.dumps(data))
    with pytest.raises(RunError, match="brings a program"):
        _ = Run(copy).space
