"""Two processes started by torch's launcher give what one gives on the whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

import nas
from nas.arch import Architecture, Stage
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Shape

ROOT = Path(nas.__file__).parent.parent
LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def train(folder, network, *launcher):
    done = subprocess.run(
        [
            sys.executable,
            *launcher,
            "-m",
            "nas",
            "train",
            str(network),
            "--data",
            "digits",
            "--steps",
            "4",
            "--batch-size",
            "16",
            "--threads",
            "1",
            "--set",
            "shift=0,ema=0.9,average=0",
            "--lr",
            "0.05",
            "--json",
            "--out",
            str(folder),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout), torch.load(folder / "weights.pt", weights_only=True)


def test_two_processes_give_the_weights_of_one_with_the_whole_batch(tmp_path):
    layers = (
        Conv(kernel=3, channels=8),
        MBConv(expand=2, se=0.25),
        MBConv(expand=2, stride=2, channels=16),
    )
    network = Architecture(
        Shape(1, 8), (Stage("body", layers), Stage("head", (Classifier(classes=10),)))
    )
    network.save(tmp_path / "network.json")
    result, several = train(tmp_path / "two", tmp_path / "network.json", *LAUNCHER)
    _, alone = train(tmp_path / "one", tmp_path / "network.json")
    assert result["test_openings"] == 1
    assert list(several) == list(alone)
    for name, value in alone.items():
        torch.testing.assert_close(several[name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_a_script_that_searches_as_it_is_read_is_told_so_in_one_line(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        "import nas\n"
        "nas.search(space='nas_bench_macro', warm='none', trials=1, workers=2, out='run',\n"
        "           proxy='images=64,resolution=8,score_images=40,batch_size=16')\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.splitlines()[-1] == (
        f"nas.errors.RunError: {script} begins a search as it is read, and every worker process "
        "reads it: put its calls under if __name__ == '__main__':"
    )
