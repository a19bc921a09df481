"""Random networks of every space, exported: agreement of Python and ONNX files with the source, and speed of ONNX.

    python experiments/export_agreement.py [SPACE ...] [--networks 50] [--timed 8] [--resolution 32]

All norms, biases and scales are shaken first, so that a part that is left out or folded wrongly shows. Differences
are relative to the largest logit of three random images. The plain export is ``torch.onnx.export`` with its
defaults, fixed batch; both files run batch 1 in onnxruntime, one thread, in turn; per network the ratio of medians
of the thread's CPU time, which other work on the machine disturbs least.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import onnxruntime
import torch

from nas import catalog
from nas.arch import Architecture
from nas.export.onnx import write_onnx
from nas.export.python import python_source
from nas.export.verification import Job, check, shake
from nas.model import Network, build

ROUNDS = 60
LARGEST_DIFFERENCE = 1e-5


def made(architecture: Architecture, folder: Path, number: int) -> Job:
    """One network and its two files."""
    network = build(architecture, seed=number)
    shake(network)
    python, onnx = folder / f"{number}.py", folder / f"{number}.onnx"
    python.write_text(python_source(architecture))
    write_onnx(network, architecture.input, onnx, {"digest": architecture.digest})
    return Job(architecture=architecture, network=network, python=python, onnx=onnx)


def slowdown(ours: Path, network: Network, folder: Path) -> float:
    """Median time of our file over that of a plain export."""
    shape, plain = network.architecture.input, folder / "plain.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = torch.zeros(1, shape.channels, shape.size, shape.size)
        torch.onnx.export(network.eval(), (image,), str(plain), dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [onnxruntime.InferenceSession(str(file), options) for file in (ours, plain)]
    took: tuple[list[float], list[float]] = ([], [])
    pixels = np.random.default_rng(0).standard_normal(image.shape, dtype=np.float32)
    for turn in range(ROUNDS):
        for which in (0, 1) if turn % 2 else (1, 0):
            feed = {sessions[which].get_inputs()[0].name: pixels}
            start = time.thread_time()
            sessions[which].run(None, feed)
            took[which].append(time.thread_time() - start)
    return statistics.median(took[0]) / statistics.median(took[1])


def look(name: str, networks: int, timed: int, resolution: int) -> str:
    """One row of the table."""
    space, rng, start = catalog.space(name, resolution=resolution, classes=10), random.Random(0), time.perf_counter()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        genes = [[rng.randrange(size) for size in space.gene_sizes] for _ in range(networks)]
        jobs = [made(space.decode(each), folder, number) for number, each in enumerate(genes)]
        verdicts = check(jobs)
        ratios = sorted(slowdown(job.onnx, job.network, folder) for job in jobs[:timed] if job.onnx)
    python = max(verdict.python_difference or 0 for verdict in verdicts)
    onnx = max(verdict.onnx_difference or 0 for verdict in verdicts)
    agree = "yes" if max(python, onnx) <= LARGEST_DIFFERENCE else "NO"
    middle = statistics.median(ratios)
    return (
        f"{name:16} {networks:8} {python:9.1e} {onnx:9.1e} {agree:>6} {middle:8.3f} "
        f"{ratios[0]:.3f} to {ratios[-1]:.3f} {time.perf_counter() - start:7.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("spaces", nargs="*", default=catalog.space_names())
    parser.add_argument("--networks", type=int, default=50)
    parser.add_argument("--timed", type=int, default=8)
    parser.add_argument("--resolution", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("space            networks    python      onnx  1e-5?    ratio            range seconds")
    for name in arguments.spaces:
        print(
            look(name, arguments.networks, min(arguments.timed, arguments.networks), arguments.resolution), flush=True
        )


if __name__ == "__main__":
    main()
