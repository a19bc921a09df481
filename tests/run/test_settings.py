"""What a search is asked for: flat names for people, frozen parts for the program."""

import inspect
import json

import pytest

import nas
from nas.errors import RunError, UsageError
from nas.run.settings import FLAT, Search, pairs_text, spec_text

PARAMETERS = inspect.signature(nas.search).parameters
BESIDE = {"device", "evaluate", "misspelt", "on_trial", "out", "quiet", "watch"}


def test_a_search_in_python_takes_every_setting_by_its_name_with_its_default():
    assert set(PARAMETERS) - BESIDE == set(FLAT)
    defaults = {name: PARAMETERS[name].default for name in FLAT}
    # Beside a function of one's own there is no data by default.
    defaults |= {"devices": (PARAMETERS["device"].default,), "maxima": {}, "minima": {}}
    defaults["data"] = "digits"
    assert defaults == Search().to_json()


def test_every_parameter_is_documented_in_a_line():
    lines = inspect.getdoc(nas.search).splitlines()
    documented = [line.partition(":")[0] for line in lines if line.partition(":")[0] in PARAMETERS]
    assert documented == [name for name in PARAMETERS if name != "misspelt"]


def test_a_misspelt_setting_is_told_with_the_one_that_was_meant():
    with pytest.raises(UsageError, match=r"no setting named 'trails'. Did you mean 'trials'"):
        nas.search(space="fbnet", trails=3)
    with pytest.raises(UsageError, match=r"no setting named 'n_trials'. Did you mean 'trials'"):
        nas.search(n_trials=3)
    with pytest.raises(UsageError, match=r"no setting named 'n_jobs'. Did you mean 'workers'"):
        nas.resume("runs/none", n_jobs=3)
    with pytest.raises(UsageError, match=r"no setting named 'latency'. Did you mean 'latency_ms'"):
        Search().changed(latency=3)


def test_every_setting_has_a_field_of_its_own_and_survives_a_run_file():
    odd = {name: f"odd {name}" for name in FLAT}
    assert Search().changed(**odd).to_json() == odd
    settings = Search().changed(
        devices=("pixel1", "raspi4"), maxima={"params": 5e6}, latency_ms=60, ray="local", seed=3
    )
    assert Search.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_settings_of_an_older_run_have_the_defaults_of_what_came_later_but_warm_start_and_aim():
    asked = Search().changed(space="mnasnet", warm="none", aim="front")
    assert Search.from_json({"space": "mnasnet"}) == asked


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sapce": "fbnet"}, "holds settings this version does not know: sapce"),
        ({"trials": "3"}, r"was edited: setting trials must be int \| None, not 3"),
        ({"seed": True}, "setting seed must be int, not True"),
        ({"devices": [1]}, "setting devices must be tuple"),
        ({"maxima": {"params": "many"}}, "setting maxima must be collections.abc.Mapping"),
        ({"gpus": float("nan")}, "setting gpus must be float, not nan"),
    ],
)
def test_an_edited_run_file_is_refused(settings, message):
    with pytest.raises(RunError, match=message):
        Search.from_json(settings)


def test_files_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "big.onnx").touch()
    settings = Search().changed(space="mine.py", data="folder:photos,size=32", teacher="big.onnx")
    whole = settings.with_absolute_paths().to_json()
    assert whole["space"] == str(tmp_path / "mine.py")
    assert whole["data"] == f"folder:{tmp_path / 'photos'},size=32"
    assert whole["teacher"] == str(tmp_path / "big.onnx")
    assert Search().with_absolute_paths() == Search()


def test_what_the_shell_writes_as_pairs_may_be_a_mapping():
    assert spec_text("strategy", {"name": "gp", "initial": 8, "noisy": True}) == (
        "gp:initial=8,noisy=true"
    )
    assert spec_text("strategy", {"name": "random"}) == spec_text("strategy", "random") == "random"
    assert pairs_text("proxy", {"epochs": 0.5, "width": 0.25}) == "epochs=0.5,width=0.25"
    with pytest.raises(UsageError, match='strategy as a mapping has a "name" beside'):
        spec_text("strategy", {"initial": 8})
    with pytest.raises(UsageError, match=r"epochs of proxy must be a number, .* not \[1\]"):
        pairs_text("proxy", {"epochs": [1]})
