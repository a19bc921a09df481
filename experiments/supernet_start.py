"""What a supernet learns from different starts of the last norms of its residual blocks.

    python experiments/supernet_start.py OUT --start default 0 1

FBNet's supernet of 22 slots is trained on digits by the defaults of ``--evaluator supernet``, once
for each start, then 24 random networks are scored with its weights. The start ``default`` is that
of `nas.supernet.network`. Seconds are the processor's, of one thread.
"""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from nas.cost.compiled import compile_costs
from nas.data import load
from nas.domain import Domain
from nas.evaluate.supernet import make
from nas.statistics import rng
from nas.supernet import network
from search_spaces import fbnet

NETWORKS = 24
DEFAULT = "default"


def start_at(value: float) -> None:
    """Have all supernets made from now on start their last norms at ``value``."""

    def wake(drawn: Mapping[network.Place, Mapping[str, Tensor]]) -> None:
        for values in drawn.values():
            for name, tensor in values.items():
                if network.starts_at_zero(name, tensor):
                    tensor.fill_(value)

    network.wake = wake


def measured(folder: Path, seed: int) -> dict[str, float]:
    """Train one supernet in the folder, and score the networks on *selection*."""
    began = time.process_time()
    space = fbnet.space(classes=10, in_channels=1)
    domain = Domain(space, compile_costs(space, ("macs",), lambda layer: (layer.macs,)))
    session = make(load("digits"), check=0)
    session.train_supernet(domain, folder, seed=seed)
    accuracies = []
    for number in range(NETWORKS):
        genes = domain.sample(rng(seed, "start", number))
        accuracies.append(session.scores_of(genes, search=False, selection=True)["accuracy"])
    return {
        "mean accuracy": float(np.mean(accuracies)),
        "least": min(accuracies),
        "largest": max(accuracies),
        "core seconds": time.process_time() - began,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", nargs="+", default=[DEFAULT])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    default = network.wake
    for start in options.start:
        network.wake = default
        if start != DEFAULT:
            start_at(float(start))
        folder = options.out / f"{start}-{options.seed}"
        folder.mkdir(parents=True, exist_ok=True)
        print(start, json.dumps(measured(folder, options.seed)), flush=True)


if __name__ == "__main__":
    main()
