"""How well the supernet of supernet_nas_bench_macro.py, untuned, ranks trained FBNet networks.

    NAS_DATA=... python experiments/supernet_fbnet.py OUT

CIFAR-10 at 16x16 pixels, recipe and scores as chosen there, but a quarter of the width and fewer
steps, to save time, and the default ramp (`nas.supernet.recipe.Sharing`): without one this
supernet's loss was still that of chance after 3,600 steps. Truth: random networks, each trained
alone at the same pixels and width for some passes over the images, with two seeds; mean accuracy on
*selection*. The supernet's score is its loss on *search*, of each network as it is spelled.
Kendall's tau-b beside macs, params, the number of filled slots, the zero-cost proxies and, as the
ceiling, one training seed against the other; intervals are 95 % percentile bootstraps over
networks. OUT holds everything: the same command goes on after a kill, and ``--part`` does one part,
so that parts can run side by side; the report takes the seeds that are finished.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
from supernet_nas_bench_macro import RESAMPLES, arguments, session, tau, teller

from nas.cost.compiled import compile_costs
from nas.data import split
from nas.domain import Domain
from nas.evaluate.training import TrainingEvaluator
from nas.evaluate.zero_cost import ZeroCost, ZeroCostSession
from nas.evaluate.zero_cost_scores import PROXIES
from nas.record import ledger
from nas.statistics import rng, tau_lead_interval
from search_spaces import fbnet

NETWORK_SEED = 2026
SEEDS = (0, 1)


class Experiment:
    """One folder: the supernet, and rows of scores by network."""

    def __init__(self, out: Path, networks: int, passes: float, steps: int, ramp: float) -> None:
        self.out, self.passes = out, passes
        self.out.mkdir(parents=True, exist_ok=True)
        given = (str(out), "--width", "0.25", "--steps", str(steps), "--ramp", str(ramp))
        self.shared = session(arguments().parse_args(given))
        space = fbnet.space()
        self.domain = Domain(space, compile_costs(space, ("macs",), lambda layer: (layer.macs,)))
        self.networks = [
            self.domain.sample(rng(NETWORK_SEED, "networks", number)) for number in range(networks)
        ]

    def supernet(self) -> None:
        """Train it, and read its loss and the proxies of every network."""
        given, file = self.shared, self.out / "cheap.jsonl"
        given.prepare(self.domain, self.out, seed=0, watch=teller())
        untrained = ZeroCostSession(given.dataset, given.base, given.recipe, 1, ZeroCost(check=0))
        untrained.prepare(self.domain, self.out, seed=0)
        for number in range(len(ledger.read(file)), len(self.networks)):
            genes = self.networks[number]
            scores = untrained.proxies(self.domain.space.decode(genes), number)
            found = given.scores_of(genes, search=True, selection=False)
            row = {"supernet": -found["search_loss"], "ensemble": untrained.score(scores), **scores}
            ledger.append(file, {"kind": "network", "genes": list(genes), **row})

    def truth(self, seed: int) -> None:
        """Train every network alone."""
        given, file = self.shared, self.out / f"trained-{seed}.jsonl"
        images = round(self.passes * len(given.splits.weights))
        proxy = dataclasses.replace(given.proxy, images=images)
        alone = TrainingEvaluator(split(given.dataset), proxy, thread_count=1)
        for number in range(len(ledger.read(file)), len(self.networks)):
            genes = self.networks[number]
            found = alone.evaluate(self.domain.space.decode(genes), 1000 * seed + number)
            ledger.append(
                file, {"kind": "network", "genes": list(genes), "accuracy": found["accuracy"]}
            )
            print(
                f"seed {seed}, network {number}: {found['accuracy']:.4f}, {alone.seconds[-1]:.0f} "
                f"s",
                flush=True,
            )

    def report(self) -> dict[str, object]:
        """Taus of all scores, and how far the supernet's is ahead of the best trivial one."""
        columns = [
            [row["accuracy"] for row in ledger.read(self.out / f"trained-{seed}.jsonl")]
            for seed in SEEDS
        ]
        trained = np.array([column for column in columns if len(column) == len(self.networks)])
        cheap = ledger.read(self.out / "cheap.jsonl")
        scores = {}
        for name in ("supernet", "ensemble", *PROXIES):
            scores[name] = np.array([row[name] for row in cheap])
        full = [self.domain.space.decode(genes) for genes in self.networks]
        scores["macs"] = np.array([network.macs for network in full])
        scores["params"] = np.array([network.params for network in full])
        words = [self.domain.space.words(genes) for genes in self.networks]
        scores["depth"] = np.array([sum(map(bool, network)) for network in words])
        truth = trained.mean(0)
        taus = {name: round(tau(values, truth), 3) for name, values in scores.items()}
        best = max(("macs", "params", "depth"), key=lambda name: taus[name])
        leads = {
            f"{name} ahead of it, 95 %": tau_lead_interval(
                scores[name], scores[best], truth, resamples=RESAMPLES
            )
            for name in ("supernet", "ensemble")
        }
        return {
            "networks": len(truth),
            "trainings each": len(trained),
            "accuracy": [float(truth.min()), float(truth.max())],
            "seed against seed": round(tau(*trained), 3) if len(trained) > 1 else None,
            "tau": taus,
            "best trivial": best,
            **leads,
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--networks", type=int, default=24)
    parser.add_argument("--passes", type=float, default=2.0, help="of a training alone")
    parser.add_argument("--steps", type=int, default=14000, help="of the supernet")
    parser.add_argument(
        "--ramp", type=float, default=0.5, help="of the supernet, a share of its steps"
    )
    parser.add_argument(
        "--part", choices=("all", "supernet", *map(str, SEEDS), "report"), default="all"
    )
    options = parser.parse_args()
    experiment = Experiment(
        options.out, options.networks, options.passes, options.steps, options.ramp
    )
    if options.part in ("all", "supernet"):
        experiment.supernet()
    for seed in SEEDS:
        if options.part in ("all", str(seed)):
            experiment.truth(seed)
    if options.part in ("all", "report"):
        print(json.dumps(experiment.report(), indent=1))


if __name__ == "__main__":
    main()
