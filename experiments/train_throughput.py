"""Images a second of `nas train`'s loop over those of a bare torch loop.

Same network, images, batches, optimiser and loss. The bare loop is the least that trains: images
made ready once as one tensor, channels last, a random order, forward, backward, step; no
checkpoints, no schedule, no average. Ours has all that a default training has beside (images
decoded from bytes batch by batch, shifts and mirrors, schedule, averaged weights). Rounds of both
alternate, the order within a round too; a ratio is made of two neighbours, and the median of all is
printed with its quartiles. CPU time of the process on one thread.

    python experiments/train_throughput.py            # two minutes on an idle core
    python experiments/train_throughput.py --slice    # half of that
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from nas.arch import Architecture
from nas.data import load, split, statistics, tensors
from nas.model import build
from nas.run.network import named_network
from nas.scale import scaled
from nas.train import Schedule, Training
from nas.train.recipe import Recipe
from nas.train.tasks import Classification

BATCH = 64


def bare(
    network: Architecture, images: torch.Tensor, labels: torch.Tensor
) -> Callable[[int], None]:
    """A function that takes so many steps."""
    net = build(network).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.SGD(net.parameters(), 0.05, 0.9, weight_decay=1e-4, nesterov=True)

    def run(steps: int) -> None:
        order = torch.randperm(len(images))
        for start in range(0, steps * BATCH, BATCH):
            rows = order[start : start + BATCH]
            loss = F.cross_entropy(net(images[rows]), labels[rows], label_smoothing=0.1)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()

    return run


def ours(network: Architecture, task: Classification) -> Callable[[int], None]:
    """The same by the toolkit's loop, all steps of its averaging part, which costs most."""
    recipe = Recipe(steps=10**6, batch_size=BATCH, average=1.0)
    phases = task.phases(recipe, 10**6)
    schedule: Schedule = recipe.schedule(len(task.rows))
    labels = task.labels(task.rows, network.input.size)
    training = Training(build(network), phases[0].images, labels, schedule, seed=0, phases=phases)

    def run(steps: int) -> None:
        for _ in range(steps):
            training.advance()

    return run


def seconds(run: Callable[[int], None], steps: int) -> float:
    begun = time.process_time()
    run(steps)
    return time.process_time() - begun


def compare(name: str, resolution: int, steps: int, rounds: int) -> None:
    dataset = load("fashion-mnist")
    network = scaled(named_network(name, resolution=resolution, classes=10), in_channels=1)
    task = Classification(network, dataset, Recipe(), torch.device("cpu"))
    chosen = split(dataset, 0).weights[: steps * BATCH]
    images = tensors(dataset.images[chosen], statistics(dataset.images[chosen]), resolution)
    loops = [bare(network, images, torch.from_numpy(dataset.labels[chosen])), ours(network, task)]
    for run in loops:
        run(2)
    ratios, rates = [], []
    for number in range(rounds):
        order = (0, 1) if number % 2 else (1, 0)
        times = {which: seconds(loops[which], steps) for which in order}
        ratios.append(times[0] / times[1])
        rates.append([BATCH * steps / times[which] for which in (0, 1)])
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    slow, fast = np.median(rates, 0)
    print(
        f"{name} at {resolution} px: {middle:.3f} of the bare loop's images a second ({low:.3f} "
        f"to {high:.3f}, "
        f"{rounds} rounds); {fast:.0f} against {slow:.0f}",
        flush=True,
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--steps", type=int, default=3)
    options.add_argument("--slice", action="store_true", help="a few rounds of a few steps")
    given = options.parse_args()
    if given.slice:
        given.rounds, given.steps = 4, 2
    torch.set_num_threads(1)
    for name, resolution in (("mobilenet_v2", 32), ("efficientnet_b0", 64), ("fbnet_c", 32)):
        compare(name, resolution, given.steps, given.rounds)


if __name__ == "__main__":
    main()
