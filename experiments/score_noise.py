"""What a short training's score is made of: the network, the seed, the images it is read on.

    NAS_DATA=folder python experiments/score_noise.py --out OUT [--networks 12]

Random networks of one latency, as a search with a budget meets them, are trained on CIFAR-10 by the
data's preset, each with two seeds, and scored on all images of *search*. Scores differ between
networks, which a search is to find; between seeds of one network; and between samples of images.
Printed are the three standard deviations, of the accuracy and of the loss, and the share of a
score's variance that is the network's: for samples of 1,000 and 3,000 images, and for all. A
network a tenth behind the median is left out, for anything tells it apart. About four
minutes of an idle core; stopped, it goes on where it was.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from supernet_nas_bench_macro import cifar
from torch.nn import functional as F

from nas import catalog
from nas.arch import Architecture
from nas.benchmarks.nas_bench_macro import _path
from nas.cost.costs import latency_metric, space_costs
from nas.data import split
from nas.domain import Bound, Domain
from nas.evaluate import TrainingEvaluator, preset
from nas.train.scores import predict

SPACE, DEVICE, LATENCY_MS = "mobile", "x86_server", (1.8, 2.0)
SEEDS = 2
SAMPLES = (1000, 3000)
DRAWS = 200
BEHIND = 0.1
"""Accuracy that is lost against the median: who loses more is left out."""
Floats = NDArray[np.float64]


def drawn(count: int) -> list[Architecture]:
    """Random networks inside the window."""
    space = catalog.space(SPACE, resolution=32, classes=10, in_channels=3)
    table = catalog.device(DEVICE)
    bound = Bound(latency_metric(DEVICE), LATENCY_MS[1], LATENCY_MS[0])
    domain = Domain(space, space_costs(space, [table]), [bound])
    rows = domain.sample_many(count, np.random.default_rng(5))
    return [space.decode(tuple(row)) for row in rows.tolist()]


def scored(count: int, out: Path) -> tuple[Floats, Floats]:
    """Per image, whether it was named rightly, and its loss: (networks, seeds, images) each."""
    data = cifar(_path().parent)
    proxy = replace(preset(data)[1], score_images=len(data.images))
    evaluator = TrainingEvaluator(split(data), proxy, thread_count=1)
    hits: list[list[Floats]] = []
    losses: list[list[Floats]] = []
    for number, network in enumerate(drawn(count)):
        hits.append([])
        losses.append([])
        for seed in range(SEEDS):
            file = out / f"{number}-{seed}.npz"
            if not file.exists():
                with evaluator.computing():
                    trained = evaluator.trained(network, 1000 * seed + number)
                    images, labels = evaluator.images("search", trained.architecture.input.size)
                    logits = predict(trained, images)
                loss = F.cross_entropy(logits, labels, reduction="none")
                np.savez(file, hit=(logits.argmax(1) == labels).numpy(), loss=loss.numpy())
                print(f"{number + 1} of {count}, seed {seed}", flush=True)
            with np.load(file) as kept:
                hits[-1].append(kept["hit"].astype(float))
                losses[-1].append(kept["loss"].astype(float))
    return np.array(hits), np.array(losses)


def image_variance(scores: Floats, sample: int) -> float:
    """Of the difference of two networks' scores on a common sample of images, halved."""
    means = scores.mean(axis=2)
    generator = np.random.default_rng(0)
    variances = []
    for _ in range(DRAWS):
        images = generator.choice(scores.shape[2], sample, replace=False)
        off = scores[:, :, images].mean(axis=2) - means
        # What all networks have in common tells none of them apart.
        variances.append(float(np.var(off, ddof=1)))
    return float(np.mean(variances))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", type=int, default=12)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    hits, losses = scored(given.networks, given.out)
    accuracy = hits.mean(axis=(1, 2))
    kept = accuracy > np.median(accuracy) - BEHIND
    print(f"{kept.sum()} of {len(kept)} networks, {hits.shape[2]} images of search")
    for name, scores in (("accuracy", hits[kept]), ("loss", losses[kept])):
        means = scores.mean(axis=2)
        seed = float(means.var(axis=1, ddof=1).mean())
        network = max(0.0, float(means.mean(axis=1).var(ddof=1)) - seed / SEEDS)
        print(f"{name:9s} deviation of networks {network**0.5:.4f}, of seeds {seed**0.5:.4f}")
        for sample in SAMPLES:
            image = image_variance(scores, sample)
            share = network / (network + seed + image)
            print(f"  {sample} images: {image**0.5:.4f}; the network's share is {share:.2f}")
        print(f"  all of them: the network's share is {network / (network + seed):.2f}")


if __name__ == "__main__":
    main()
