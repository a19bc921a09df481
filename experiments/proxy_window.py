"""How a search's default evaluation ranks networks of one latency, against longer trainings.

Random networks of one latency, as a search with a budget meets them, are trained on CIFAR-10 by the
data's preset and, with other seeds, several times as long. All train the same slimmed copies: so
this says how soon a short training knows what a longer one finds, and not what the networks
themselves would reach. By default they are MnasNet networks of 54 to 60 ms on `pixel1`, and the
longer training takes eight times as long.

    NAS_DATA=folder python experiments/proxy_window.py --out runs/proxy-window
    NAS_DATA=folder python experiments/proxy_window.py --out runs/rungs --space mobile
        --device x86_server --resolution 32 --latency 1.8 2 --times 1 3 9 9

Rows: Kendall's tau with the last training's loss (search and selection images), with 95 %
bootstraps over networks. About a minute a network on an idle core, three for the second command;
stopped, it goes on where it was.
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

MOST = 24
RESAMPLES = 2000
Floats = NDArray[np.float64]


def drawn(space: SearchSpace, device: str, latency_ms: tuple[float, float]) -> list[Genes]:
    """`MOST` random networks inside the window: what is drawn depends on the number."""
    table = catalog.device(device)
    bound = Bound(latency_metric(device), latency_ms[1], latency_ms[0])
    domain = Domain(space, space_costs(space, [table]), [bound])
    rows = domain.sample_many(MOST, np.random.default_rng(5))
    return [tuple(map(int, row)) for row in rows]


def trained(
    space: SearchSpace, networks: list[Genes], times: list[int], file: Path
) -> list[ledger.Row]:
    """All trainings of each network, read or made; a row's ``trainings`` are as ``times``."""
    data = cifar(_path().parent)
    splits, proxy = split(data), preset(data)[1]
    evaluators = [
        TrainingEvaluator(splits, proxy if factor == 1 else proxy.times(factor), thread_count=1)
        for factor in times
    ]

    def step(number: int) -> ledger.Row:
        network = space.decode(networks[number])
        trainings = []
        for place, evaluator in enumerate(evaluators):
            trainings.append(dict(evaluator.evaluate(network, 1000 * place + number)))
        seconds = ", ".join(f"{evaluator.seconds[-1]:.1f}" for evaluator in evaluators)
        print(f"{number + 1} of {len(networks)}: {seconds} s", flush=True)
        return {"kind": "trained", "trainings": trainings}

    rows = list(ledger.read(file))[: len(networks)]
    numbers = range(len(networks))
    return rows + ledger.complete(file, "trained", numbers, range(len(rows)), step)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", type=int, choices=range(2, MOST + 1), default=MOST)
    parser.add_argument("--space", default="mnasnet")
    parser.add_argument("--device", default="pixel1")
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--latency", type=float, nargs=2, default=(54.0, 60.0), help="ms")
    parser.add_argument("--times", type=int, nargs="+", default=(1, 8), help="of the preset")
    given = parser.parse_args()
    space = catalog.space(given.space, resolution=given.resolution, classes=10, in_channels=3)
    networks = drawn(space, given.device, tuple(given.latency))[: given.networks]
    given.out.mkdir(parents=True, exist_ok=True)
    rows = trained(space, networks, given.times, given.out / "trained.jsonl")

    def column(place: int, name: str) -> Floats:
        return np.array([row["trainings"][place][name] for row in rows])

    decoded = [space.decode(genes) for genes in networks]
    scores: dict[str, Floats] = {}
    for place, factor in enumerate(given.times[:-1]):
        scores[f"{factor} times: loss on search"] = -column(place, "search_loss")
        scores[f"{factor} times: accuracy on search"] = column(place, "search_accuracy")
    naswot, grad_norm = column(0, "untrained_naswot"), column(0, "untrained_grad_norm")
    scores |= {
        "naswot": naswot,
        "gradient norm": grad_norm,
        "naswot and gradient norm, mean rank": rankdata(naswot) + rankdata(grad_norm),
        "macs": np.array([float(network.macs) for network in decoded]),
        "params": np.array([float(network.params) for network in decoded]),
        "layers": np.array([float(len(network.layers)) for network in decoded]),
    }
    truth = -column(-1, "loss") - column(-1, "search_loss")
    for name, score in scores.items():

        def tau(picked: NDArray[np.int64], score: Floats = score) -> float:
            return kendall_tau(score[picked], truth[picked]) or 0.0

        low, high = bootstrap_interval(tau, len(truth), resamples=RESAMPLES)
        print(f"{name:38} {tau(np.arange(len(truth))):+.3f} ({low:+.3f} to {high:+.3f})")
    accuracy = column(-1, "accuracy")
    print(f"last training: accuracy {accuracy.mean():.3f}, deviation {accuracy.std():.3f}")


if __name__ == "__main__":
    main()
