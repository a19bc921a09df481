"""Whether exported Python and ONNX files agree with their networks, and how fast ONNX is.

    python experiments/export_agreement.py [SPACE ...] [--networks 50] [--resolution 32]
        [--out runs/export_agreement]

Random networks of every space are exported. All norms, biases and scales are shaken first, so that
a part that is left out or folded wrongly shows. Differences are relative to the largest logit of
three random images. Networks with EfficientFormerV2's attention get norms of the statistics of
random images first, see `settle`. The plain export is ``torch.onnx.export`` with its defaults,
batch fixed at 1.
Three sessions of onnxruntime, one thread each, run batch 1 in turn: our file, the plain file, and
the plain file once more, which tells the noise. Per network the ratio of medians of the thread's
CPU time, which other work on the machine disturbs least; per space their geometric mean with its
95 % interval.

Networks are whole, at a small resolution, where whatever a graph spends beside arithmetic weighs
most. Of ``fused_mbconv`` the base b0, as networks of its base s hold up to a hundred million
weights. A line per network is kept in ``--out``; given again, the command goes on.
"""

import argparse
import math
import os
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import onnxruntime
import torch
from scipy.stats import t

from nas import catalog
from nas.arch import Architecture
from nas.export.onnx import write_onnx
from nas.export.python import python_source
from nas.export.verification import Job, check, shake
from nas.model import Network, build
from nas.ops.efficientformer import TalkingAttention
from nas.record import ledger

SPACES = (
    "fbnet",
    "mnasnet",
    "fused_mbconv:base=b0",
    "uninet",
    "nas_bench_macro",
    "mobilenet_v3",
    "mobilenet_v4",
    "mobile",
    "efficientformer_v2",
)
ROUNDS = 60
TOGETHER = 10  # networks that are checked in one new interpreter
LARGEST_DIFFERENCE = 1e-5


def settle(network: Network, architecture: Architecture) -> None:
    """Give every batch norm the statistics of random images, as a training would.

    Without, scores of attention reach thousands and more, where torch's own float32 logits are up
    to 4e-4 off those in float64: nothing could be compared.
    """
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = None
            part.reset_running_stats()
    shape = architecture.input
    with torch.no_grad():
        network.train()(torch.randn(64, shape.channels, shape.size, shape.size))
    network.eval()


def exported(architecture: Architecture, folder: Path, number: int) -> Job:
    """One network and its two files."""
    network = build(architecture, seed=number)
    shake(network)
    if any(isinstance(layer.op, TalkingAttention) for layer in architecture.layers):
        settle(network, architecture)
    python, onnx = folder / f"{number}.py", folder / f"{number}.onnx"
    python.write_text(python_source(architecture))
    write_onnx(network, architecture.input, onnx, {"digest": architecture.digest})
    return Job(
        shape=architecture.input,
        params=architecture.params,
        macs=architecture.macs,
        network=network,
        python=python,
        onnx=onnx,
    )


def plain_export(network: Network, file: Path) -> None:
    """What a user of torch would write."""
    shape = network.architecture.input
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (torch.zeros(1, shape.channels, shape.size, shape.size),),
            str(file),
            dynamo=False,
        )


def slowdown(ours: Path, network: Network, folder: Path, number: int) -> tuple[float, float]:
    """Median time of our file over that of a plain export, and of the plain export over itself."""
    plain, shape = folder / "plain.onnx", network.architecture.input
    plain_export(network, plain)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    files, orders = (ours, plain, plain), list(permutations(range(3)))
    # A session that is made later is up to 2 % faster, whatever it holds: each file takes each
    # place equally often.
    sessions = {
        which: onnxruntime.InferenceSession(str(files[which]), options)
        for which in orders[number % 6]
    }
    pixels = np.random.default_rng(0).standard_normal(
        (1, shape.channels, shape.size, shape.size), dtype=np.float32
    )
    feeds = {which: {session.get_inputs()[0].name: pixels} for which, session in sessions.items()}
    seconds: tuple[list[float], ...] = ([], [], [])
    for turn in range(ROUNDS):
        for which in orders[turn % 6]:
            start = time.thread_time()
            sessions[which].run(None, feeds[which])
            seconds[which].append(time.thread_time() - start)
    own, base, again = map(statistics.median, seconds)
    return own / base, again / base


def look(name: str, networks: int, resolution: int, out: Path) -> None:
    """Append a line per network of the space that has none yet."""
    space = catalog.space(name, resolution=resolution, classes=10)
    draw = random.Random(0)
    genes = [[draw.randrange(size) for size in space.gene_sizes] for _ in range(networks)]
    done = {row["number"] for row in ledger.read(out) if row["space"] == name}
    todo = [number for number in range(networks) if number not in done]
    for start in range(0, len(todo), TOGETHER):
        with tempfile.TemporaryDirectory() as text:
            folder, numbers = Path(text), todo[start : start + TOGETHER]
            jobs = [exported(space.decode(genes[number]), folder, number) for number in numbers]
            verdicts = check(jobs)
            for number, job, verdict in zip(numbers, jobs, verdicts, strict=True):
                assert job.onnx is not None
                ratio, noise = slowdown(job.onnx, job.network, folder, number)  # type: ignore[arg-type]
                row = {
                    "kind": "network",
                    "space": name,
                    "number": number,
                    "digest": space.decode(genes[number]).digest,
                }
                row |= {"python": verdict.python_difference, "onnx": verdict.onnx_difference}
                ledger.append(out, {**row, "ratio": ratio, "noise": noise})


def line(name: str, rows: Sequence[dict[str, Any]]) -> str:
    """One row of the table."""
    worst = {kind: max(row[kind] for row in rows) for kind in ("python", "onnx")}
    agree = "yes" if max(worst.values()) <= LARGEST_DIFFERENCE else "NO"
    ratios = sorted(row["ratio"] for row in rows)
    return (
        f"{name:21} {len(rows):8} {worst['python']:8.1e} {worst['onnx']:8.1e} {agree:>5}   "
        f"{mean(ratios)}"
        f"   {ratios[0]:.2f} to {ratios[-1]:.2f}   {mean([row['noise'] for row in rows])}"
    )


def mean(ratios: Sequence[float]) -> str:
    """Geometric mean and its 95 % interval."""
    logs = np.log(ratios)
    half = math.inf
    if len(logs) > 1:
        half = float(t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs)))
    middle = float(logs.mean())
    low, high = math.exp(middle - half), math.exp(middle + half)
    return f"{math.exp(middle):.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("spaces", nargs="*", default=SPACES)
    parser.add_argument("--networks", type=int, default=50)
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("runs/export_agreement"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / f"{arguments.resolution}px.jsonl"
    print(
        "space                 networks   python     onnx 1e-5?   ratio (95 %)             range  "
        "        noise (95 %)"
    )
    for name in arguments.spaces:
        look(name, arguments.networks, arguments.resolution, file)
        print(line(name, [row for row in ledger.read(file) if row["space"] == name]), flush=True)


if __name__ == "__main__":
    main()
