"""Exported files are run without the toolkit, and held to what the source network does."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas.errors import ArchitectureError
from nas.export._fresh import Measured, Request
from nas.model.weights import write_tensors
from nas.shape import Shape

__all__ = ["Job", "Verdict", "check", "macs_of", "shake"]

IMAGES = 3
TOLERANCE = 1e-5
"""Of the largest logit: onnxruntime adds in another order than torch, in the same float32."""
OBLONG = (32, 17)
"""What another input is higher and wider by: 17 above a multiple of 32 no stride divides."""
SCRIPT = Path(__file__).with_name("_fresh.py")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A source network and the files made from it."""

    shape: Shape
    """Of one image."""
    network: nn.Module
    """The source. The ONNX file holds its own weights; the Python file is given them."""
    params: int = 0
    """That the Python file must have."""
    macs: int = 0
    """That the Python file must have."""
    python: Path | None = None
    onnx: Path | None = None
    function: str = "network"
    """The function of the Python file that makes the network."""
    any_size: bool = False
    """Whether another, oblong input must work as well."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The largest difference of a file's logits, relative to the largest; None without a file."""

    python_difference: float | None
    onnx_difference: float | None


def check(jobs: Sequence[Job]) -> list[Verdict]:
    """Run all files in one new interpreter that cannot import the toolkit.

    A Python file must have the job's parameters and MACs. Logits of a random batch, split into a
    batch of one and the rest, must be the source network's. Raises `ArchitectureError` on the first
    difference.
    """
    with TemporaryDirectory(prefix="nas-export-") as folder:
        # Also without files: a network whose logits are not finite must not be shipped.
        requests = [_request(job, Path(folder), number) for number, job in enumerate(jobs)]
        measured: list[Measured] = [{} for _ in jobs]
        if any(job.python or job.onnx for job in jobs):
            measured = _run(requests, Path(folder))
    return [_judge(job, seen) for job, seen in zip(jobs, measured, strict=True)]


def shake(network: nn.Module) -> None:
    """Give biases, norms and scales values that are not those of a new network.

    A new norm is the identity and a new bias is zero, so a file that forgets one would pass.
    """
    draw = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        # Biases of attention, of two dimensions, begin at zero too.
        fresh = value.dim() == 1 or not value.any()
        if value.is_floating_point() and fresh:
            noise = torch.rand(value.shape, generator=draw) - 0.5
            value.add_(noise.abs() if name.endswith("running_var") else noise)


def macs_of(network: nn.Module, shape: Shape) -> int:
    """Multiply-adds of one image, counted by torch: for what is no `Architecture`.

    The network is left in evaluation mode.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, shape.channels, *shape.sides))
    return int(counter.get_total_flops()) // 2


def _request(job: Job, folder: Path, number: int) -> Request:
    """Save what the job's files are tried with."""
    images = _images(job, seed=number)
    outputs = []
    with torch.no_grad():
        for batch in images:
            output = job.network.eval()(batch)
            outputs.append(output if isinstance(output, list) else [output])
    _check_finite(outputs)

    def save(name: str, value: object) -> str:
        path = folder / f"{number}.{name}.pt"
        write_tensors(path, value)
        return str(path)

    return {
        "python": str(job.python) if job.python else None,
        "onnx": str(job.onnx) if job.onnx else None,
        "function": job.function,
        "weights": save("weights", job.network.state_dict()),
        "images": save("images", images),
        "outputs": save("outputs", outputs),
    }


def _images(job: Job, *, seed: int) -> list[Tensor]:
    """A random batch for each size of input that must work."""
    draw = torch.Generator().manual_seed(seed)
    height, width = job.shape.sides
    sizes = [(height, width)]
    if job.any_size:
        sizes.append((height + OBLONG[0], width + OBLONG[1]))
    return [torch.randn(IMAGES, job.shape.channels, *sides, generator=draw) for sides in sizes]


def _check_finite(batches: list[list[Tensor]]) -> None:
    for outputs in batches:
        if not all(output.isfinite().all() for output in outputs):
            raise ArchitectureError(
                "the network gives logits that are not finite for random images: "
                "its weights are broken"
            )


def _run(requests: list[Request], folder: Path) -> list[Measured]:
    """Measure all jobs in one interpreter: to import torch again takes seconds."""
    file = folder / "request.json"
    packages = str(Path(torch.__file__).parent.parent)
    file.write_text(json.dumps({"path": [packages], "jobs": requests}))
    # -I: neither PYTHONPATH nor the working folder may offer the toolkit.
    # -B: no __pycache__ beside the exported file.
    process = subprocess.run(
        [sys.executable, "-I", "-B", str(SCRIPT), str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        errors = process.stderr.strip().splitlines()
        last = errors[-1] if errors else f"exit code {process.returncode}"
        raise ArchitectureError(f"an exported file does not run without the toolkit: {last[:300]}")
    # An exported file may print too: ours is the last line.
    measured: list[Measured] = json.loads(process.stdout.splitlines()[-1])
    return measured


def _judge(job: Job, measured: Measured) -> Verdict:
    counts = [
        ("params", measured.get("params"), job.params),
        ("macs", measured.get("macs"), job.macs),
    ]
    for name, actual, declared in counts:
        if actual is not None and actual != declared:
            raise ArchitectureError(
                f"the exported Python file has {actual:,.0f} {name}, its source {declared:,}"
            )
    if "python" in measured:
        _check_close("python", measured["python"])
    if "onnx" in measured:
        _check_close("onnx", measured["onnx"])
    return Verdict(python_difference=measured.get("python"), onnx_difference=measured.get("onnx"))


def _check_close(kind: str, difference: float | None) -> None:
    if difference is None or not difference <= TOLERANCE:
        raise ArchitectureError(
            f"logits of the exported {kind} file differ from the source's by {difference}, "
            f"at most {TOLERANCE} is allowed"
        )
