"""What exported files do, seen by an interpreter that cannot import the toolkit; `nas.export.verification` runs it.

    python -I -B _fresh.py REQUEST.json

REQUEST: ``path`` (folders to import torch from) and ``jobs``; per job ``python``, ``onnx``,
``weights`` (files or null), ``made`` (the function of the Python file), ``images`` (a file of
tensors, one for each size of input) and ``outputs`` (a file of what each gives, a list of tensors
each). Prints a list, per job ``params``, ``macs``, and the largest difference of outputs,
``python`` and ``onnx``, relative to the largest value.
"""

import importlib.util
import json
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

__all__: list[str] = []

BLOCKED = ("nas", "search_spaces", "latency_tables")


class _Blocked(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname.partition(".")[0] in BLOCKED:
            raise ImportError(f"an exported file must not import {fullname}")


def _difference(given: Any, expected: Any) -> float | None:
    """None where it is not a number, which JSON cannot say. Whole numbers are classes: see `_onnx`."""
    if given.shape != expected.shape or not given.isfinite().all():
        return None
    if not given.is_floating_point():
        return 0.0
    return float((given - expected).abs().max() / (expected.abs().max() or 1))


def _largest(given: Any, expected: Any) -> float | None:
    """Of all sizes and all outputs."""
    if [len(found) for found in given] != [len(found) for found in expected]:
        return None
    every = [
        _difference(one, other)
        for found, wanted in zip(given, expected, strict=True)
        for one, other in zip(found, wanted, strict=True)
    ]
    return (
        None
        if any(value is None for value in every)
        else max(value for value in every if value is not None)
    )


def _as_list(outputs: Any) -> list[Any]:
    return outputs if isinstance(outputs, list) else [outputs]


def _python(job: dict[str, Any], images: list[Any], outputs: list[list[Any]]) -> dict[str, Any]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    spec = importlib.util.spec_from_file_location("exported", job["python"])
    assert spec is not None
    assert spec.loader is not None
    exported = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(exported)
    network = getattr(exported, job["made"])()
    network.load_state_dict(torch.load(job["weights"], weights_only=True))
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images[0][:1])
    with torch.no_grad():
        difference = _largest([_as_list(network(batch)) for batch in images], outputs)
    params = sum(p.numel() for p in network.parameters())
    return {"params": params, "macs": counter.get_total_flops() / 2, "python": difference}


def _onnx(job: dict[str, Any], images: list[Any], outputs: list[list[Any]]) -> dict[str, Any]:
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(job["onnx"], options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(batch: Any) -> list[Any]:
        parts = [session.run(names, {"image": part.numpy()}) for part in (batch[:1], batch[1:])]
        return [
            torch.cat([torch.from_numpy(part) for part in both])
            for both in zip(*parts, strict=True)
        ]

    found = [run(batch) for batch in images]
    if names[-1] == "mask" and not all(
        (mask.numpy() == logits.numpy().argmax(1)).all() for logits, mask in found
    ):
        return {"onnx": None}
    return {"onnx": _largest(found, outputs)}


def _look(job: dict[str, Any]) -> dict[str, Any]:
    import torch

    images, outputs = (torch.load(job[name], weights_only=True) for name in ("images", "outputs"))
    found = _python(job, images, outputs) if job["python"] else {}
    return {**found, **_onnx(job, images, outputs)} if job["onnx"] else found


def _main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text())
    sys.meta_path.insert(0, _Blocked())
    sys.path += request[
        "path"
    ]  # an isolated interpreter does not look into a user's own site-packages
    print(json.dumps([_look(job) for job in request["jobs"]]))


if __name__ == "__main__":
    _main()
