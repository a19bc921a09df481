"""``nas auto``, as a user runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

import nas

ROOT = Path(nas.__file__).parent.parent
TASK = ("digits", "--space", "nas_bench_macro", "--device", "pixel1", "--resolution", "32")
BUDGET = ("--latency", "40ms", "--time", "20s")


def auto(*arguments, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "nas", "auto", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_a_dry_run_prints_commands_and_makes_nothing(tmp_path):
    out, _ = auto(*TASK, *BUDGET, "--out", tmp_path / "a", "--dry-run")
    steps = [line.split()[0] for line in out.splitlines()]
    assert steps == ["data", "search", "confirm", "train", "export", "check"]
    assert "nas search --space nas_bench_macro --device pixel1 --resolution 32" in out
    assert not (tmp_path / "a").exists()


def test_from_images_to_a_checked_file_and_again(tmp_path):
    folder = tmp_path / "a"
    out, _ = auto(*TASK, *BUDGET, "--out", folder)
    # Twenty seconds allow no confirmation, and that is said.
    assert "Nothing shows that the pick is better than others" in out
    assert (folder / "shipped" / "model.onnx").exists()
    assert (folder / "trained" / "weights.pt").exists()
    out, _ = auto(*TASK, *BUDGET, "--out", folder)
    assert out.count("done before") == 4  # search, train, export, check
    _, err = auto(*TASK, "--latency", "30ms", "--time", "20s", "--out", folder, code=2)
    assert "was begun with latency_ms 40.0, not 30.0" in err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--time", "5s"], "--time is at least 20 seconds, not 5"),
        (["--device", "pixle"], "Did you mean 'pixel'?"),
        (["--space", "nowhere"], "no search space named 'nowhere'"),
    ],
)
def test_bad_input_is_one_line(tmp_path, changes, message):
    _, err = auto(*TASK, *BUDGET, "--out", tmp_path / "a", *changes, code=2)
    assert message in err
    assert not (tmp_path / "a").exists()
