"""The main job as a user runs it: real images and training in a subprocess, killed, resumed."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import nas
from nas.data import load, split
from nas.evaluate import Proxy, TrainingEvaluator, preset
from nas.record import store
from nas.study.race import promotion_seed

ROOT = Path(nas.__file__).parent.parent
TINY = ("--proxy", "images=64,resolution=8,score_images=40", "--seed", "3")


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "nas", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def run(*arguments, code=0):
    process = start(*arguments)
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, err
    return out, err


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "fbnet"
    out, err = run(
        "search",
        "--space",
        "fbnet",
        "--device",
        "pixel",
        "--device",
        "raspi4",
        "--latency",
        "60ms",
        "--trials",
        4,
        "--out",
        folder,
        "--json",
        *TINY,
    )
    assert err == ""
    return folder, json.loads(out)


def test_json_names_all_that_is_promised(done):
    folder, document = done
    assert {"run", "seconds", "trials", "front"} <= set(document)
    assert document["run"] == str(folder)
    assert document["trials"] == 4
    for entry in document["front"]:
        assert {
            "trial",
            "digest",
            "genes",
            "accuracy",
            "latency_ms",
            "latency_sd_ms",
            "macs",
            "params",
        } <= set(entry)
        assert list(entry["devices"]) == ["pixel1", "raspi4"]
        assert entry["latency_ms"] == entry["devices"]["pixel1"]["latency_ms"] <= 60
        for device in entry["devices"].values():
            assert device["measured"] + device["summed"] + device["predicted"] == pytest.approx(1)


def test_costs_are_those_of_the_full_network(done):
    folder, document = done
    entry = document["front"][0]
    out, _ = run("cost", f"{folder}:{entry['trial']}", "--device", "pixel1", "--json")
    cost = json.loads(out)
    assert cost["input"] == [1, 224, 224]
    assert cost["macs"] == entry["macs"]
    assert cost["devices"]["pixel1"]["latency_ms"] == pytest.approx(entry["latency_ms"], rel=1e-9)


def test_the_run_folder_is_complete(done):
    folder, document = done
    run_file = json.loads((folder / "run.json").read_text())
    assert run_file["identity"]["seed"] == 3
    assert run_file["identity"]["data"]["digest"]
    assert set(run_file["identity"]["tables"]) == {"pixel1", "raspi4"}
    assert run_file["environment"]["cpu"]
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")
    assert list(pd.read_csv(folder / "front.csv")["digest"]) == [
        entry["digest"] for entry in document["front"]
    ]


def test_the_front_can_be_shown_again_and_loaded_in_python(done):
    folder, document = done
    out, _ = run("front", folder, "--json")
    assert json.loads(out)["front"] == document["front"]
    found = nas.load(folder)
    assert len(found.frame()) == 4
    assert list(found.front(full=True)["digest"]) == [
        entry["digest"] for entry in document["front"]
    ]
    assert found.network(found.best().number).digest == found.best().digest


def test_a_finished_run_is_raced_and_goes_on_racing(done, tmp_path):
    """The longer trainings are real ones, by the same recipe, and read more images."""
    folder = shutil.copytree(done[0], tmp_path / "raced")
    out, _ = run("search", "--resume", folder, "--race", "2", "--json")
    document = json.loads(out)
    assert document["ended"] == "raced in 2 rungs of 4 and 2 networks"
    assert [rung["times_as_long"] for rung in document["rungs"]] == [1, 2]
    found = nas.load(folder)
    splits = split(load("digits"))
    proxy = Proxy.parse(TINY[1], preset(splits.dataset)[1])
    longer = TrainingEvaluator(splits, proxy, thread_count=1).longer(2)
    assert longer.proxy.images == 128
    assert longer.proxy.score_images == 80
    trial = found.rung.trials[0]
    metrics = longer.evaluate(found.network_of(trial), promotion_seed(3, trial.digest, 2))
    assert metrics.items() <= dict(trial.metrics).items()
    for row in document["front"]:
        share = (row["accuracy"] * 80 + 2) / 84
        assert row["accuracy_sd"] == pytest.approx((share * (1 - share) / 80) ** 0.5)
    # Without the option: a run that is raced once goes on racing.
    out, _ = run("search", "--resume", folder, "--trials", 6, "--json")
    assert json.loads(out)["ended"] == "raced in 3 rungs of 6, 3 and 2 networks"


def test_an_impossible_bound_is_refused_before_training(tmp_path):
    started = time.monotonic()
    out, err = run("search", "--latency", "2ms", "--out", tmp_path / "x", code=1)
    assert out == ""
    assert "no network of space 'fbnet' meets" in err
    assert "Try" in err
    assert not (tmp_path / "x").exists()
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "digitz"), "no data set named 'digitz'. Did you mean 'digits'"),
        (("--strategy", "locl-search"), "Did you mean 'local-search'"),
        (("--objective", "acuracy"), "Did you mean 'accuracy'"),
        (("--max", "parms=5M"), "Did you mean 'params'"),
        (("--proxy", "widht=1"), "Did you mean 'width'"),
        (("--reward", "tunsa", "--target", "60ms"), "Did you mean 'tunas'"),
        (("--reward", "tunas"), "needs a target above 0 in latency_ms@pixel1, none was given"),
        (("--target", "60ms"), "it needs --reward NAME"),
        (("--race", "1"), "race eta must be 2 to 16, not 1"),
        (("--race", "--evaluator", "supernet"), "leave out --race"),
        (
            ("--strategy", "rl"),
            "learns from one reward, not from 2 objectives: name one with --reward",
        ),
        (("--data", "folder:/nowhere"), "/nowhere"),
        (("--data", "npz:/nowhere.npz"), "/nowhere.npz"),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, message):
    process = start("search", "--out", tmp_path / "x", *arguments)
    out, err = process.communicate(timeout=120)
    assert process.returncode in (1, 2)
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists()


def test_a_run_of_another_space_is_not_resumed(done):
    folder, _ = done
    _, err = run("search", "--resume", folder, "--space", "mnasnet", "--trials", 5, code=1)
    assert "was begun with another space" in err


def test_killed_anywhere_and_resumed_it_ends_the_same(done, tmp_path):
    """Kills of the real job; tests/kill does twenty of them without torch."""
    unbroken, _ = done
    draw, folder = random.Random(0), tmp_path / "killed"
    arguments = (
        "search",
        "--space",
        "fbnet",
        "--device",
        "pixel",
        "--device",
        "raspi4",
        "--latency",
        "60ms",
        "--trials",
        4,
        "--out",
        folder,
        *TINY,
    )
    before = []
    for _ in range(3):
        process = start(*arguments)
        deadline = time.monotonic() + 60
        while (
            not (folder / "journal.log").exists()
            and process.poll() is None
            and time.monotonic() < deadline
        ):
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 2.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        arguments = ("search", "--resume", folder)
        now = store.canonical(folder).splitlines()
        assert now[: len(before)] == before
        before = now
    run(*arguments)
    assert store.canonical(folder) == store.canonical(unbroken)


def test_no_test_image_is_opened_by_a_search(tmp_path):
    """A source whose test part cannot be read does not disturb a search."""
    import numpy as np

    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (120, 8, 8), dtype=np.uint8), np.arange(120) % 3
    np.savez(
        tmp_path / "data.npz",
        images=images,
        labels=labels,
        test_images=np.zeros(3),
        test_labels=np.zeros(3),
    )
    run(
        "search",
        "--data",
        f"npz:{tmp_path / 'data.npz'}",
        "--trials",
        2,
        "--out",
        tmp_path / "run",
        "--objective",
        "balanced_accuracy,macs",
        *TINY,
    )
    assert len(nas.load(tmp_path / "run").trials) == 2


def test_class_names_reach_the_exported_files_as_data(tmp_path):
    import numpy as np

    rng, names = np.random.default_rng(0), ['a"\n"""', "b'", "猫 ünï"]
    images, labels = rng.integers(0, 255, (120, 8, 8), dtype=np.uint8), np.arange(120) % 3
    np.savez(tmp_path / "data.npz", images=images, labels=labels, classes=names)
    run(
        "search",
        "--data",
        f"npz:{tmp_path / 'data.npz'}",
        "--trials",
        1,
        "--out",
        tmp_path / "run",
        *TINY,
    )
    run(
        "export",
        tmp_path / "run",
        "--to",
        "python,json",
        "--out",
        tmp_path / "out",
        "--name",
        "net",
    )
    nas.load(tmp_path / "run").pick().export(tmp_path / "out", formats=("python",), name="picked")
    for file in ("net.py", "picked.py"):
        found: dict[str, object] = {}
        exec((tmp_path / "out" / file).read_text(encoding="utf-8"), found)
        assert list(found["CLASSES"]) == names
    assert json.loads((tmp_path / "out" / "net.json").read_text())["classes"] == names


def test_a_run_with_a_space_of_ones_own_is_self_contained(tmp_path, monkeypatch):
    """Its program runs unasked only while one's own file says the same.

    A run folder may come from anybody.
    """
    (tmp_path / "mine.py").write_text((ROOT / "search_spaces" / "nas_bench_macro.py").read_text())
    out, _ = run(
        "search", "--space", tmp_path / "mine.py", "--trials", 1, "--out", tmp_path / "run", *TINY
    )
    assert out.count("digest") == out.count("1 network trained in") == 1
    run("front", tmp_path / "run")
    (tmp_path / "mine.py").unlink()
    assert "brings a program, its search space" in run("front", tmp_path / "run", code=1)[1]
    monkeypatch.setenv("NAS_TRUST", str(tmp_path / "run"))
    out, _ = run("front", tmp_path / "run", "--json")
    assert json.loads(out)["front"]
    run("cost", tmp_path / "run", "--json")


def test_an_out_that_is_not_free_is_refused_at_once(done, tmp_path):
    (tmp_path / "photo.txt").write_text("x")
    for folder, message in (
        (done[0], "holds a run already"),
        (tmp_path, "holds other files"),
        (tmp_path / "photo.txt", "is a file"),
    ):
        _, err = run("search", "--out", folder, "--trials", 1, code=1)
        assert message in err
        assert len(err.strip().splitlines()) == 1
