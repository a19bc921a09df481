"""How a search's default evaluation ranks networks of one latency, against longer trainings.

Random MnasNet networks of 54 to 60 ms on `pixel1`, as a search with ``--latency 60ms`` meets them,
are trained on CIFAR-10 by the data's preset and, with another seed, eight times as long. Both train
the same slimmed copies: so this says how soon a short training knows what a longer one finds, and
not what the networks themselves would reach.

    NAS_DATA=folder python experiments/proxy_window.py --out runs/proxy-window

Rows: Kendall's tau with the longer training's loss (search and selection images), with 95 %
bootstraps over networks. About a minute a network on an idle core; stopped, it goes on where it
was.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from supernet_nas_bench_macro import cifar

from nas import catalog
from nas.benchmarks.nas_bench_macro import _path
from nas.cost.costs import latency_metric, space_costs
from nas.data import split
from nas.domain import Bound, Domain
from nas.evaluate import TrainingEvaluator, preset
from nas.record import ledger
from nas.space import SearchSpace
from nas.statistics import bootstrap_interval, kendall_tau
from nas.trial import Genes

DEVICE, LATENCY_MS = "pixel1", (54.0, 60.0)
LONGER = 8
MOST = 24
RESAMPLES = 2000
Floats = NDArray[np.float64]


def drawn(space: SearchSpace) -> list[Genes]:
    """`MOST` random networks inside the window: what is drawn depends on the number."""
    table = catalog.device(DEVICE)
    bound = Bound(latency_metric(DEVICE), LATENCY_MS[1], LATENCY_MS[0])
    domain = Domain(space, space_costs(space, [table]), [bound])
    rows = domain.sample_many(MOST, np.random.default_rng(5))
    return [tuple(map(int, row)) for row in rows]


def trained(space: SearchSpace, networks: list[Genes], file: Path) -> list[ledger.Row]:
    """Both trainings of each network, read or made."""
    data = cifar(_path().parent)
    splits, proxy = split(data), preset(data)[1]
    short = TrainingEvaluator(splits, proxy, thread_count=1)
    longer = TrainingEvaluator(splits, proxy.times(LONGER), thread_count=1)

    def step(number: int) -> ledger.Row:
        network = space.decode(networks[number])
        row: ledger.Row = {
            "kind": "trained",
            "short": dict(short.evaluate(network, number)),
            "longer": dict(longer.evaluate(network, 1000 + number)),
        }
        print(
            f"{number + 1} of {len(networks)}: {short.seconds[-1]:.1f} s and "
            f"{longer.seconds[-1]:.1f} s",
            flush=True,
        )
        return row

    rows = list(ledger.read(file))[: len(networks)]
    numbers = range(len(networks))
    return rows + ledger.complete(file, "trained", numbers, range(len(rows)), step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", type=int, choices=range(2, MOST + 1), default=MOST)
    given = parser.parse_args()
    space = catalog.space("mnasnet", classes=10, in_channels=3)
    networks = drawn(space)[: given.networks]
    given.out.mkdir(parents=True, exist_ok=True)
    rows = trained(space, networks, given.out / "trained.jsonl")

    def column(part: str, name: str) -> Floats:
        return np.array([row[part][name] for row in rows])

    decoded = [space.decode(genes) for genes in networks]
    naswot = column("short", "untrained_naswot")
    grad_norm = column("short", "untrained_grad_norm")
    scores = {
        "short training: loss on search": -column("short", "search_loss"),
        "short training: accuracy on search": column("short", "search_accuracy"),
        "naswot": naswot,
        "gradient norm": grad_norm,
        "naswot and gradient norm, mean rank": rankdata(naswot) + rankdata(grad_norm),
        "macs": np.array([float(network.macs) for network in decoded]),
        "params": np.array([float(network.params) for network in decoded]),
        "layers": np.array([float(len(network.layers)) for network in decoded]),
    }
    truth = -column("longer", "loss") - column("longer", "search_loss")
    for name, score in scores.items():

        def tau(picked: NDArray[np.int64], score: Floats = score) -> float:
            return kendall_tau(score[picked], truth[picked]) or 0.0

        low, high = bootstrap_interval(tau, len(truth), resamples=RESAMPLES)
        print(f"{name:38} {tau(np.arange(len(truth))):+.3f} ({low:+.3f} to {high:+.3f})")
    accuracy = column("longer", "accuracy")
    print(f"longer training: accuracy {accuracy.mean():.3f}, deviation {accuracy.std():.3f}")


if __name__ == "__main__":
    main()
