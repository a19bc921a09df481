"""Time and memory of a supernet's training step, over those of the sampled network's alone.

    python experiments/supernet_step.py

Per space: random networks, each trained for a few steps by the supernet in one-path mode and, built
alone, by the ordinary loop, in turns; the ratio of the summed times of the processor, and of the
bytes held when the backward pass starts: weights, momenta, gradients, and every tensor that
autograd saved. FBNet's soft mixture (all options of a layer at once) beside it.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nas.evaluate import Proxy, slim
from nas.model import build
from nas.space import SearchSpace
from nas.supernet.fbnet import Mixture
from nas.supernet.network import Supernet
from nas.supernet.scoring import run
from nas.supernet.training import SupernetTraining
from nas.train import Schedule, Training, swift
from nas.train.loop import SWIFT_SIDE
from search_spaces import fbnet, fused_mbconv, mnasnet, nas_bench_macro, uninet

SETTINGS = (
    (fbnet.space(), Proxy(resolution=16, width=0.25)),
    (fbnet.space(), Proxy(resolution=32, width=0.5)),
    (mnasnet.space(), Proxy(resolution=16, width=0.25)),
    (fused_mbconv.space(base="b0"), Proxy(resolution=16, width=0.25)),
    (uninet.space(), Proxy(resolution=16, width=0.25)),
    (nas_bench_macro.space(), Proxy(resolution=16, width=0.5)),
)
MIXED = ("fbnet", "nas_bench_macro")
"""Spaces whose slots hand over one shape, as the soft mixture needs."""

BATCH, IMAGES = 64, 256


def held(forward: Callable[[], Tensor], weights: Iterable[Tensor]) -> int:
    """Bytes of weights, of as many momenta, and of what autograd saves in a forward pass."""
    weights = list(weights)
    own = {w.untyped_storage().data_ptr() for w in weights}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    kept = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept.append(forward())
    return sum(saved.values()) + 2 * sum(w.untyped_storage().nbytes() for w in weights)


def compare(
    space: SearchSpace, proxy: Proxy, networks: int, steps: int, soft: bool
) -> dict[str, float]:
    draw = np.random.default_rng(0)
    images = torch.randn(IMAGES, 3, proxy.resolution, proxy.resolution)
    labels = torch.arange(IMAGES) % 10
    supernet = Supernet(space, lambda architecture: slim(architecture, proxy, 3, 10))
    schedule = Schedule(steps=10**6, batch_size=BATCH)
    times, bytes_ = np.zeros(2), np.zeros(2)
    for _ in range(networks):
        genes = tuple(int(draw.integers(size)) for size in space.gene_sizes)
        shared = SupernetTraining(
            supernet, images, labels, schedule, lambda _, genes=genes: [genes], seed=0
        )
        alone = build(supernet.slim(space.decode(genes)))
        ordinary = Training(alone, images, labels, schedule, seed=0)
        batch = images[:BATCH].contiguous(memory_format=torch.channels_last)
        views = supernet.views(genes)
        gradients = sum(view.leaf.numel() * 4 for view in views)
        path = supernet.path(genes).train()
        bytes_[0] += held(partial(run, path, batch), supernet.shared.values()) + gradients
        alone.train()
        forward = partial(alone, batch)
        if proxy.resolution <= SWIFT_SIDE:
            forward = partial(swift.forward, alone, batch)
        bytes_[1] += held(forward, alone.parameters()) + gradients
        for training in (shared, ordinary) if steps else ():
            training.advance()
        for _ in range(steps):
            for place, training in enumerate((shared, ordinary)):
                start = time.process_time()
                training.advance()
                times[place] += time.process_time() - start
    if not steps:
        return {"memory": bytes_[0] / bytes_[1]}
    figures = {
        "step_ms": 1000 * times[0] / networks / steps,
        "alone_ms": 1000 * times[1] / networks / steps,
        "time": times[0] / times[1],
        "memory": bytes_[0] / bytes_[1],
    }
    if soft:
        figures |= mixture(
            supernet,
            images[:BATCH],
            labels[:BATCH],
            times[1] / networks / steps,
            bytes_[1] / networks,
        )
    return figures


def mixture(
    supernet: Supernet, images: Tensor, labels: Tensor, alone: float, alone_bytes: float
) -> dict[str, float]:
    """The soft mixture's ratios."""
    mixed = Mixture(supernet)
    shares = [
        torch.full((slot.options,), 1 / slot.options, requires_grad=True)
        for slot in supernet.space.slots
    ]
    memory = held(lambda: mixed(images, shares), supernet.shared.values())
    memory += sum(value.numel() * 4 for value in supernet.shared.values())
    start = time.process_time()
    F.cross_entropy(mixed(images, shares), labels).backward()
    return {"soft time": (time.process_time() - start) / alone, "soft memory": memory / alone_bytes}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="per network; 0 measures memory alone")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = {}
    for space, proxy in SETTINGS:
        name = f"{space.name} {proxy.resolution} px, width {proxy.width:g}"
        rows[name] = compare(space, proxy, options.networks, options.steps, space.name in MIXED)
        print(
            f"{name:40}" + "  ".join(f"{key} {value:.3g}" for key, value in rows[name].items()),
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
