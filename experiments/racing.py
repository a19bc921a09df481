"""Racing against flat searches of equal cost, inside one latency, and two ways to train for longer.

Random MnasNet networks of 54 to 60 ms on `pixel1`, as a search with ``--latency 60ms`` meets them,
are trained on CIFAR-10 by the data's preset, three times as long, and eight times as long with
another seed, which is the truth here: slimmed copies all of them. A fourth training goes on from
the weights of the short one for twice its length, so that it has seen as much as the second.

    NAS_DATA=folder python experiments/racing.py --out runs/racing

Printed: Kendall's tau of each score with the truth's loss, over all networks, with 95 % bootstraps;
and what is picked, in truth accuracy, by a flat search and by races of the same cost, over random
draws of that many networks. About three minutes a network; stopped, it goes on where it was.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from proxy_window import drawn
from supernet_nas_bench_macro import cifar
from torch import nn

from nas import catalog
from nas.arch import Architecture
from nas.benchmarks.nas_bench_macro import _path
from nas.data import split
from nas.evaluate import Proxy, TrainingEvaluator, preset
from nas.record import ledger
from nas.statistics import bootstrap_interval, kendall_tau
from nas.train import Augment, fit, score, threads
from nas.trial import Metrics

ETA, LONGER = 3, 8
MOST = 24
RESAMPLES, DRAWS = 2000, 4000
Floats = NDArray[np.float64]


def evaluator(splits, proxy: Proxy, factor: float) -> TrainingEvaluator:  # type: ignore[no-untyped-def]
    """The recipe for ``factor`` times as long, scored on as many times the images."""
    images = round(factor * proxy.score_images)
    longer = dataclasses.replace(proxy.times(factor), score_images=images)
    return TrainingEvaluator(splits, longer, thread_count=1)


def scored(of: TrainingEvaluator, network: nn.Module) -> Metrics:
    on_search = score(network, *of.search)
    scores = {f"search_{name}": value for name, value in on_search.items()}
    return {**score(network, *of.selection), **scores}


def step_of(space, networks):  # type: ignore[no-untyped-def]
    data = cifar(_path().parent)
    splits, proxy = split(data), preset(data)[1]
    short = evaluator(splits, proxy, 1)
    longer = evaluator(splits, proxy, ETA)
    truth = evaluator(splits, proxy, LONGER)

    def go_on(network: nn.Module, seed: int) -> None:
        """Twice the short schedule, from where the short one ended."""
        images, labels = longer.weights
        fit(
            network,
            images,
            labels,
            proxy.times(ETA - 1).schedule(len(images)),
            seed=seed,
            augment=Augment(pad=proxy.shift, flip=data.flip),
        )

    def step(number: int) -> ledger.Row:
        architecture: Architecture = space.decode(networks[number])
        row: dict[str, object] = {"kind": "trained"}
        start = time.process_time()
        with threads(1):
            network = short.trained(architecture, number)
            row["short"] = dict(scored(short, network))
            row["short_seconds"] = time.process_time() - start
            go_on(network, 3000 + number)
            row["continued"] = dict(scored(longer, network))
            row["anew"] = dict(scored(longer, longer.trained(architecture, 2000 + number)))
            row["truth"] = dict(scored(truth, truth.trained(architecture, 1000 + number)))
        row["seconds"] = time.process_time() - start
        print(f"{number + 1} of {len(networks)}: {row['seconds']:.0f} s", flush=True)
        return row

    return step


def trained(space, networks, file: Path) -> list[ledger.Row]:  # type: ignore[no-untyped-def]
    """The trainings of each network, read or made."""
    rows = list(ledger.read(file))[: len(networks)]
    if len(rows) == len(networks):
        return rows
    numbers = range(len(networks))
    return rows + ledger.complete(
        file, "trained", numbers, range(len(rows)), step_of(space, networks)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", type=int, choices=range(4, MOST + 1), default=MOST)
    given = parser.parse_args()
    space = catalog.space("mnasnet", classes=10, in_channels=3)
    networks = drawn(space)[: given.networks]
    given.out.mkdir(parents=True, exist_ok=True)
    rows = trained(space, networks, given.out / "trained.jsonl")

    def column(part: str, name: str) -> Floats:
        return np.array([row[part][name] for row in rows])

    truth = -column("truth", "loss") - column("truth", "search_loss")
    for part in ("short", "continued", "anew"):
        for name in ("search_accuracy", "search_loss"):
            values = column(part, name) * (-1 if name.endswith("loss") else 1)

            def tau(picked: NDArray[np.int64], values: Floats = values) -> float:
                return kendall_tau(values[picked], truth[picked]) or 0.0

            low, high = bootstrap_interval(tau, len(truth), resamples=RESAMPLES)
            print(
                f"{part:10} {name:16} {tau(np.arange(len(truth))):+.3f} ({low:+.3f} to {high:+.3f})"
            )


if __name__ == "__main__":
    main()
