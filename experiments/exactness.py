"""Published networks rebuilt, and every layer of every space checked against torch and ONNX.

python experiments/exactness.py networks   # parameters, multiply-adds by rule, membership
python experiments/exactness.py speed      # decode, cost, digest of 10,000 networks a space
python experiments/exactness.py layers     # torch's parameters and MACs for every layer (minutes)
python experiments/exactness.py random     # 300 random networks a space, built in torch (minutes)
python experiments/exactness.py onnx       # ONNX against torch, every option covered (minutes)
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from nas import catalog, networks
from nas.networks import rules
from nas.networks.membership import membership
from nas.space import SearchSpace

SPACES = (
    "fbnet",
    "mnasnet",
    "fused_mbconv",
    "fused_mbconv:base=b0",
    "fused_mbconv:base=b4",
    "uninet",
    "mobilenet_v3",
    "mobilenet_v3:width=1.2",
    "mobilenet_v4",
)


def random_genes(space: SearchSpace, count: int) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(0)
    genes = np.stack([rng.integers(size, size=count) for size in space.gene_sizes], axis=1)
    return [tuple(row) for row in genes.tolist()]


def print_networks() -> None:
    for name in networks.names():
        network, home = networks.get(name), networks.published(name).space
        kernels = tuple(network.kernels())
        counts = "  ".join(
            f"{rule} {count(kernels) / 1e6:.2f}" for rule, count in rules.MACS.items()
        )
        print(
            f"{name} @{network.input.size}: {network.params:,} parameters; million MACs: {counts}"
        )
        if home:
            space = catalog.space(home, resolution=network.input.size)
            print(f"    {home}: {membership(network, space)}")


def print_speed() -> None:
    for name in SPACES:
        space = catalog.space(name)
        start = time.perf_counter()
        _ = space.chain
        unrolled = time.perf_counter()
        for genes in random_genes(space, 10_000):
            network = space.decode(genes)
            _ = network.params, network.macs, network.peak_memory_bytes, network.digest
        done = time.perf_counter()
        print(
            f"{name}: unrolled in {unrolled - start:.2f} s, 10,000 networks in "
            f"{done - unrolled:.2f} s"
        )


def check_layers() -> None:
    from nas.model import module
    from nas.testing.ops import check_op

    for name in SPACES:
        space = catalog.space(name)
        for layer in space.layers:
            check_op(layer.op, layer.shape, module)
        print(f"{name}: {len(space.layers)} distinct layers agree with torch")
    for name in networks.names():
        for layer in set(networks.get(name).layers):
            check_op(layer.op, layer.shape, module)
        print(f"{name}: agrees with torch, layer by layer")


def check_random() -> None:
    import torch

    from nas.model import Network

    for name in SPACES:
        space, wrong = catalog.space(name), 0
        for genes in random_genes(space, 300):
            network = space.decode(genes)
            side = network.input.size
            with torch.device("meta"):
                module = Network(network).eval()
                out = module(torch.empty(1, network.input.channels, side, side))
            params = sum(parameter.numel() for parameter in module.parameters())
            wrong += params != network.params or tuple(out.shape) != (1, 1000)
        print(f"{name}: 300 random networks, {wrong} do not agree with torch")


def check_onnx() -> None:
    import onnxruntime
    import torch

    from nas.export.onnx import write_onnx
    from nas.export.verification import shake
    from nas.model import build

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for name in SPACES:
        space, worst = catalog.space(name, resolution=40, classes=10), 0.0
        for shift in range(max(space.gene_sizes)):  # every option of every choice comes once
            network = space.decode([(shift + i) % size for i, size in enumerate(space.gene_sizes)])
            module = build(network)
            shake(module)
            module.eval()
            images = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(shift))
            with tempfile.TemporaryDirectory() as folder, torch.no_grad():
                path = Path(folder) / "network.onnx"
                write_onnx(module, network.input, path, {})
                session = onnxruntime.InferenceSession(
                    str(path), options, providers=["CPUExecutionProvider"]
                )
                (logits,) = session.run(None, {"image": images.numpy()})
                expected = module(images).numpy()
            worst = max(worst, float(np.abs(logits - expected).max() / np.abs(expected).max()))
        print(f"{name}: largest difference of ONNX and torch {worst:.1e} of the largest logit")


PARTS = {
    "networks": print_networks,
    "speed": print_speed,
    "layers": check_layers,
    "random": check_random,
    "onnx": check_onnx,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", choices=PARTS)
    PARTS[parser.parse_args().part]()


if __name__ == "__main__":
    main()
