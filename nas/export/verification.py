"""Exported files are run without the toolkit, and held to what the source network does."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nas.errors import ArchitectureError
from nas.shape import Shape

__all__ = ["Job", "Verdict", "check", "macs_of", "shake"]

IMAGES = 3
TOLERANCE = 1e-5
SCRIPT = Path(__file__).with_name("_fresh.py")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A source network and the files made from it. The ONNX file holds the network's own weights.

    ``shape`` of one image; ``params`` and ``macs`` that a Python file must have; ``made``: its
    function. ``any_size``: another, oblong input must work as well.
    """

    shape: Shape
    network: nn.Module
    params: int = 0
    macs: int = 0
    python: Path | None = None
    onnx: Path | None = None
    made: str = "network"
    any_size: bool = False


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the files did: largest difference of logits relative to the largest logit, None where there is no file."""

    python_difference: float | None
    onnx_difference: float | None


def check(jobs: Sequence[Job]) -> list[Verdict]:
    """Run all files in one new interpreter that cannot import the toolkit.

    Parameters and MACs of a Python file must be the job's; logits of a random batch, split into a
    batch of one and the rest, the source network's. Raises `ArchitectureError` on the first
    difference.
    """
    with TemporaryDirectory(prefix="nas-export-") as folder:
        requests = [_request(job, Path(folder), number) for number, job in enumerate(jobs)]
        found = (
            _run(requests, Path(folder))
            if any(job.python or job.onnx for job in jobs)
            else [{} for _ in jobs]
        )
    return [_judge(job, measured) for job, measured in zip(jobs, found, strict=True)]


def shake(network: nn.Module) -> None:
    """Give biases, norms and scales values that are not those of a new network, so that each of them matters."""
    draw = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if value.is_floating_point() and value.dim() == 1:
            noise = torch.rand(value.shape, generator=draw) - 0.5
            value.add_(noise.abs() if name.endswith("running_var") else noise)


def macs_of(network: nn.Module, shape: Shape) -> int:
    """Multiply-adds of one image, counted by torch: for what is no `Architecture`. The network is left in evaluation mode."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, shape.channels, shape.size, shape.size))
    return int(counter.get_total_flops()) // 2


def _request(job: Job, folder: Path, number: int) -> dict[str, Any]:
    shape, draw = job.shape, torch.Generator().manual_seed(number)
    sizes = [
        (shape.size, shape.size),
        *([(shape.size + 32, shape.size + 17)] if job.any_size else []),
    ]
    images = [torch.randn(IMAGES, shape.channels, *size, generator=draw) for size in sizes]
    with torch.no_grad():
        made = [job.network.eval()(batch) for batch in images]
    outputs = [found if isinstance(found, list) else [found] for found in made]
    if not all(output.isfinite().all() for found in outputs for output in found):
        raise ArchitectureError(
            "the network gives logits that are not finite for random images: its weights are broken"
        )
    saved: dict[str, Any] = {
        "weights": job.network.state_dict(),
        "images": images,
        "outputs": outputs,
    }
    for name, value in saved.items():
        torch.save(value, folder / f"{number}.{name}.pt")
    files = {name: str(folder / f"{number}.{name}.pt") for name in saved}
    named = {
        "python": job.python and str(job.python),
        "onnx": job.onnx and str(job.onnx),
        "made": job.made,
    }
    return {**files, **named}


def _run(requests: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    file = folder / "request.json"
    file.write_text(
        json.dumps({"path": [str(Path(torch.__file__).parent.parent)], "jobs": requests})
    )
    done = subprocess.run(
        [sys.executable, "-I", "-B", str(SCRIPT), str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ArchitectureError(f"an exported file does not run without the toolkit: {last[:300]}")
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _judge(job: Job, measured: dict[str, Any]) -> Verdict:
    declared = {"params": job.params, "macs": job.macs}
    for name, value in declared.items():
        if name in measured and measured[name] != value:
            raise ArchitectureError(
                f"the exported Python file has {measured[name]:,.0f} {name}, its source {value:,}"
            )
    for name in ("python", "onnx"):
        if name in measured and not (measured[name] is not None and measured[name] <= TOLERANCE):
            raise ArchitectureError(
                f"logits of the exported {name} file differ from the source's by {measured[name]}, at most {TOLERANCE} is allowed"
            )
    return Verdict(python_difference=measured.get("python"), onnx_difference=measured.get("onnx"))
