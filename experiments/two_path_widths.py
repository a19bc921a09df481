"""Searching a width by two paths: what a step costs, and whether a planted width is found.

    python experiments/two_path_widths.py

A small network of one block, whose hidden width is searched between the same limits in 4 or in 64
steps, trained by the soft mixture (both paths of the pair at once) and by one path at a time, in
turns; ratios of time, and of the bytes that weights, momenta, gradients and saved activations take.
Then, for ten seeds, one-path training with losses to which the distance from a planted width has
been added: the width that is left, and how far it is from the planted one in steps of 64.
"""

import argparse
import json
import time
from functools import partial
from typing import Any

import numpy as np
import torch
from supernet_step import held
from torch import Tensor

from nas.cost.compiled import Compiled, compile_costs
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Shape
from nas.space import Choice, SearchSpace, Slot, fixed
from nas.strategies.differentiable import Settings
from nas.supernet.distribution import Distribution
from nas.supernet.fbnet import FBNetTraining
from nas.supernet.network import Supernet
from nas.supernet.scoring import run
from nas.supernet.theta import Remembered, ThetaTraining
from nas.train import Schedule
from nas.trial import Genes

CHANNELS, LEAST, MOST = 32, 0.5, 8.0
IMAGES, BATCH = 192, 64
FOUND = 3
"""Steps of 64 that a width may be off to count as found.

If two widths a pair apart are equally far, either wins.
"""


def space(widths: int) -> SearchSpace:
    """A stem, a block of ``widths`` hidden widths, a head."""
    expand = Choice("expand", tuple(np.linspace(LEAST, MOST, widths).tolist()), ordinal=True)
    block = Slot(
        name="block",
        stage="block",
        choices=(expand,),
        make=lambda picked, shape: [
            MBConv(kernel=3, expand=picked["expand"], channels=CHANNELS, pointwise=True)
        ],
    )
    stem = fixed("stem", Conv(kernel=3, channels=CHANNELS))
    head = fixed("head", Classifier(classes=4))
    return SearchSpace(name=f"widths{widths}", input=Shape(3, 8), slots=(stem, block, head))


def costs_of(found: SearchSpace) -> Compiled:
    return compile_costs(found, ("latency_ms@macs",), lambda layer: (layer.macs * 1e-6,))


def training(
    widths: int, variant: str, seed: int, steps: int = 10**4, kind: type | None = None
) -> Remembered:
    found = space(widths)
    costs = costs_of(found)
    low, high = (costs.extreme(costs.names[0], largest=side)[0] for side in (False, True))
    distribution = Distribution(costs, costs.names[0], (low + high) / 2)
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.randn(IMAGES, 3, 8, 8, generator=generator), torch.arange(IMAGES) % 4
    supernet = Supernet(found, lambda architecture: architecture, share="elastic", seed=seed)
    settings = Settings(variant=variant, two_path=True, frozen=0.1, ramp=False, guard=False)
    sets = (images, labels), (images[:BATCH], labels[:BATCH])
    if variant == "fbnet":
        return FBNetTraining(supernet, distribution, *sets, settings, seed=seed)
    schedule = Schedule(steps=steps, batch_size=BATCH)
    return (kind or ThetaTraining)(supernet, distribution, *sets, schedule, settings, seed=seed)


class Planted(ThetaTraining):
    """Losses of the search set, and the distance from a planted width on top."""

    width = 0

    def losses(self, networks: list[Genes]) -> Tensor:
        """See `ThetaTraining`."""
        far = torch.tensor(
            [abs(width - self.width) / 64 for (width,) in networks], dtype=torch.float64
        )
        return super().losses(networks) + far


def memory(found: Remembered) -> int:
    """Bytes of a step, as `supernet_step` counts them."""
    images = found.images[:BATCH]
    shared = found.supernet.shared.values()
    if isinstance(found, FBNetTraining):
        weights = [row.softmax(0).float() for row in found.distribution.logits()]
        return held(partial(found.mixture, images, weights), shared) + sum(
            v.numel() * 4 for v in shared
        )
    high = found.shrinking.pairs[0].both[1]
    views = found.supernet.views((high,))
    path = found.supernet.path((high,)).train()
    return held(partial(run, path, images), shared) + sum(view.leaf.numel() * 4 for view in views)


def cost(variant: str, steps: int) -> dict[str, float]:
    pair = [training(widths, variant, 0) for widths in (4, 64)]
    bytes_ = [memory(found) for found in pair]
    times = np.zeros(2)
    for step in range(steps + 3):
        for which, found in enumerate(pair):
            start = time.perf_counter()
            found.advance()
            times[which] += (time.perf_counter() - start) * (step >= 3)
    return {
        "ms at 4": 1000 * times[0] / steps,
        "ms at 64": 1000 * times[1] / steps,
        "time": times[1] / times[0],
        "memory": bytes_[1] / bytes_[0],
    }


def planted(seed: int, steps: int) -> tuple[int, int]:
    """The width planted, and the one that is left, or between which two it is."""
    found = training(64, "path", seed, steps, Planted)
    assert isinstance(found, Planted)
    found.width = int(np.random.default_rng(1000 + seed).integers(64))
    found.distribution.target = 1e9  # no cost pulls: the loss alone decides
    while found.done < steps and found.shrinking.pairs:
        found.advance()
    left = found.distribution.allowed[0].nonzero().float().mean()
    return found.width, round(float(left))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=40, help="timed, each way")
    parser.add_argument(
        "--training", type=int, default=3000, help="steps at most to find a planted width"
    )
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {
        variant: cost(variant, options.steps) for variant in ("path", "fbnet")
    }
    print(json.dumps(report, indent=1), flush=True)
    pairs = [planted(seed, options.training) for seed in range(options.seeds)]
    hits = sum(abs(a - b) <= FOUND for a, b in pairs)
    print(f"planted and found widths, of 64: {pairs}; found within {FOUND}: {hits} of {len(pairs)}")


if __name__ == "__main__":
    main()
