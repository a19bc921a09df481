"""Weight sharing and differentiable search as a user runs them: run folders like any other, killed
and resumed."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import nas
from nas import catalog
from nas.cli import nas as command
from nas.cost.costs import latency_metric, space_costs
from nas.errors import ArchitectureError, BoundError, UsageError
from nas.record import store

ROOT = Path(nas.__file__).parent.parent
COMMON = (
    "search",
    "--space",
    "nas_bench_macro",
    "--device",
    "pixel",
    "--resolution",
    "32",
    "--proxy",
    "images=96,resolution=8,score_images=40,batch_size=16",
    "--seed",
    "3",
)
DIFFERENTIABLE = (*COMMON, "--strategy", "differentiable:longer=4,candidates=6", "--trials", "2")


def run(*arguments):
    done = CliRunner().invoke(command, [*map(str, arguments), "--json"], catch_exceptions=False)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def target() -> float:
    """A latency that the space reaches, between its extremes."""
    tables = (catalog.device("pixel1"),)
    costs = space_costs(
        catalog.space("nas_bench_macro", resolution=32, classes=10, in_channels=1), tables
    )
    low, high = (costs.extreme(latency_metric("pixel1"), largest=side)[0] for side in (False, True))
    return round((low + high) / 2, 3)


def test_a_differentiable_search_lands_in_its_window_and_survives_a_kill(tmp_path, target) -> None:
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    document = run(*DIFFERENTIABLE, "--latency", f"{target}ms", "--out", unbroken)
    assert document["trials"] == 2
    assert all(0.95 * target <= row["latency_ms"] <= target for row in document["front"])
    assert any(
        "expected of the distribution, derived networks" in remark for remark in document["remarks"]
    )
    assert (unbroken / "distribution.png").exists()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "nas",
            *DIFFERENTIABLE,
            "--latency",
            f"{target}ms",
            "--out",
            str(killed),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    while not (killed / "devices" / "pixel1.json").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run("search", "--resume", killed)
    assert store.canonical(killed) == store.canonical(unbroken)
    texts = [(folder / "distribution.json").read_text() for folder in (unbroken, killed)]
    assert texts[0] == texts[1]
    assert run("replay", killed)["proposals"] == len(store.read(killed).claimed)


def test_a_supernet_and_proxies_score_for_any_strategy(tmp_path) -> None:
    for evaluator, objective in (
        ("supernet:longer=2,check=4", "accuracy"),
        ("proxy:reference=4,check=4", "proxy_score"),
    ):
        folder = tmp_path / objective
        document = run(
            *COMMON,
            "--evaluator",
            evaluator,
            "--objective",
            f"{objective},latency_ms",
            "--strategy",
            "random",
            "--trials",
            5,
            "--out",
            folder,
        )
        assert document["trials"] == 5
        assert document["remarks"][0].startswith(
            "Kendall's tau with short training over 4 networks"
        )
        assert objective in document["front"][0] or objective in nas.load(folder).frame()


@pytest.mark.parametrize(
    ("evaluator", "objective"),
    [
        ("supernet", "accuracy"),
        ("supernet:longer=1,check=0", "accuracy"),
        ("zero_cost:reference=4,check=0", "proxy_score"),
        ("proxy:reference=4,check=0", "proxy_score"),
    ],
)
def test_a_confirmation_trains_what_the_search_did_not(tmp_path, evaluator, objective) -> None:
    folder = tmp_path / "run"
    run(
        *COMMON,
        "--evaluator",
        evaluator,
        "--objective",
        f"{objective},latency_ms",
        "--strategy",
        "random",
        "--trials",
        3,
        "--out",
        folder,
    )
    sides = ("--top", 1, "--random", 1, "--epochs-factor", 2, "--against", "none")
    document = run("confirm", folder, *sides)
    recipe = document["plan"]["recipe"]
    assert (recipe["epochs"], recipe["images"], recipe["resolution"]) == (16, 192, 8)
    assert "evaluator" not in recipe
    assert document["metric"] == "accuracy"
    assert document["test_openings"] == 1
    (pair,) = document["pairs"]
    assert 0 <= pair["confirmed"] <= 1
    assert "slimmed copies, 8 pixels" in nas.load(folder).confirmed.plan.trained
    assert run("confirm", folder, *sides)["pairs"] == [pair]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            ("--strategy", "differentiable"),
            UsageError,
            "aims at a cost: give it one, such as --latency 60ms",
        ),
        (
            ("--strategy", "differentiable", "--latency", "900ms"),
            BoundError,
            "reaches .* ask for at most",
        ),
        (
            ("--evaluator", "proxy"),
            UsageError,
            "evaluator 'zero_cost' gives no accuracy: try --objective proxy_score",
        ),
        (("--evaluator", "training:paths=2"), UsageError, "evaluator 'training' has no settings"),
        (
            ("--strategy", "differentiable:accumulate=3", "--latency", "20ms"),
            UsageError,
            "a batch of 16 images cannot be cut into 3",
        ),
        (
            ("--strategy", "differentiable", "--latency", "20ms", "--evaluator", "supernet"),
            UsageError,
            "strategy 'differentiable' has a supernet .*: leave out --evaluator supernet",
        ),
        (("--evaluator", "supernet", "--stop-hopeless"), UsageError, "leave out --stop-hopeless"),
        (("--evaluator", "supernet:paths=2,paths=3"), UsageError, "gives paths twice"),
        (
            ("--evaluator", "supernt"),
            UsageError,
            r"no evaluator named 'supernt'. Did you mean 'supernet'",
        ),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_made(
    tmp_path, arguments, error, message: str
) -> None:
    with pytest.raises(error, match=message):
        run(*COMMON, *arguments, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_winner_trains_on_from_its_supernet(tmp_path) -> None:
    wide = [word.replace("score_images", "width=1,score_images") for word in COMMON]
    folder = tmp_path / "run"
    run(*wide, "--evaluator", "supernet:longer=0.5,check=0", "--trials", 2, "--out", folder)
    words = (
        "train",
        f"{folder}:1",
        "--data",
        "digits",
        "--steps",
        1,
        "--batch-size",
        8,
        "--lr",
        "1e-6",
        "--resolution",
        8,
    )
    document = run(*words, "--weights", folder, "--out", tmp_path / "on")
    assert document["weights"]["origin"].startswith("of the run's supernet")
    assert not any(
        document["weights"][kind] for kind in ("head", "missing", "mismatched", "unknown")
    )
    kept = torch.load(folder / "supernet.pt", weights_only=True)["weights"]
    mine = torch.load(tmp_path / "on" / "weights.pt", weights_only=True)
    stem = next(
        value
        for name, value in kept.items()
        if name.startswith("stem/0/") and name.endswith("conv.weight")
    )
    assert torch.allclose(mine["stages.stem.0.conv.weight"], stem, atol=1e-4)
    with pytest.raises(
        ArchitectureError,
        match=r"is none of run .*, whose supernet has no weights for it: name .*:TRIAL",
    ):
        run("train", "mobilenet_v2", *words[2:], "--weights", folder, "--out", tmp_path / "x")


def test_weights_of_a_narrow_supernet_are_refused(tmp_path) -> None:
    folder = tmp_path / "run"
    run(*COMMON, "--evaluator", "supernet:longer=0.5,check=0", "--trials", 1, "--out", folder)
    with pytest.raises(
        ArchitectureError, match=r"has 0.25 times the channels of its networks: .*--proxy width=1"
    ):
        run(
            "train",
            f"{folder}:0",
            "--data",
            "digits",
            "--steps",
            1,
            "--weights",
            folder,
            "--out",
            tmp_path / "x",
        )
