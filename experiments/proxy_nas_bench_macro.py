"""How well a search's default evaluation ranks networks whose truth is known.

Random networks of NAS-Bench-Macro's half B are trained as a search trains them: by the preset of
CIFAR-10's images, on the training part alone. Truth is the benchmark's mean accuracy of three full
trainings. Half A chose what the zero-cost scores are (experiments/supernet_nas_bench_macro.py).

    NAS_DATA=folder python experiments/proxy_nas_bench_macro.py --out runs/proxy-macro

Rows: the scores of one short training; zero-cost scores; what the strategy `gp` makes of them, told
all networks, or told half of them and asked for the other half (mean of ten halvings). Intervals
are 95 % bootstraps over networks. Ten to twenty minutes of a core; stopped, it goes on where it
was.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from supernet_nas_bench_macro import blocks, cifar, half

from nas.benchmarks.nas_bench_macro import _path, _results
from nas.cost.compiled import compile_costs
from nas.data import split
from nas.domain import Domain
from nas.evaluate import TrainingEvaluator, preset
from nas.record import ledger
from nas.space import SearchSpace
from nas.statistics import bootstrap_interval, kendall_tau, rng, tau_lead_interval
from nas.strategies.gp import GaussianProcess
from nas.trial import Genes, Trial
from search_spaces import nas_bench_macro

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
RESAMPLES = 2000
HALVINGS = 10


def drawn(space: SearchSpace, count: int) -> list[Genes]:
    """Random networks of half B, no two equal."""
    generator = rng(7, "networks", 0)
    found: dict[str, Genes] = {}
    while len(found) < count:
        genes = tuple(int(gene) for gene in generator.integers(space.gene_sizes))
        if half(space, genes) == "B":
            found.setdefault(space.decode(genes).digest, genes)
    return list(found.values())


def trained(space: SearchSpace, networks: list[Genes], file: Path) -> list[ledger.Row]:
    """Metrics and core-seconds of each network's short training, read or made."""
    data = cifar(_path().parent)
    evaluator = TrainingEvaluator(split(data), preset(data)[1], thread_count=1)

    def step(number: int) -> ledger.Row:
        metrics = evaluator.evaluate(space.decode(networks[number]), number)
        seconds = evaluator.seconds[-1]
        print(f"{number + 1} of {len(networks)}: {seconds:.1f} s", flush=True)
        return {"kind": "trained", "seconds": seconds, **metrics}

    rows = list(ledger.read(file))
    numbers = range(len(networks))
    return rows + ledger.complete(file, "trained", numbers, range(len(rows)), step)


def told(
    networks: list[Genes], rows: list[ledger.Row], numbers: list[int], *, covariates: bool
) -> GaussianProcess:
    """The strategy that was told these networks' likelihoods, as a search tells them."""
    space = nas_bench_macro.space()
    costs = compile_costs(space, ("macs",), lambda layer: (layer.macs,))
    strategy = GaussianProcess(Domain(space, costs), seed=0)
    for number in numbers:
        row = rows[number]
        scores = {name: row[name] for name in row if name.startswith("untrained_")}
        strategy.tell(
            Trial(
                number=number,
                genes=networks[number],
                digest=str(number),
                state="complete",
                losses=(1 - float(np.exp(-row["search_loss"])),),
                metrics=scores if covariates else {},
            )
        )
    return strategy


def means_of_told(networks: list[Genes], rows: list[ledger.Row], *, covariates: bool) -> Floats:
    """Minus the posterior means of all networks, told all of them."""
    strategy = told(networks, rows, list(range(len(rows))), covariates=covariates)
    model = strategy.model()
    means = dict(zip(model.keys, model.means[:, 0], strict=True))
    return -np.array([means[strategy.history.canonical(genes)] for genes in networks])


def tau_of_unseen(
    networks: list[Genes], rows: list[ledger.Row], truth: Floats, *, covariates: bool
) -> list[float]:
    """Kendall's tau of the predictions for the networks that were not told, by halving."""
    taus = []
    for number in range(HALVINGS):
        order = rng(7, "halving", number).permutation(len(rows)).tolist()
        known, unseen = order[: len(order) // 2], order[len(order) // 2 :]
        model = told(networks, rows, known, covariates=covariates).model()
        points = model.covariates.points(np.array(networks)[unseen])
        predicted = model.predict(model.processes, points)[0][:, 0]
        taus.append(kendall_tau(-predicted, truth[unseen]) or 0.0)
    return taus


def report(scores: Mapping[str, Floats], truth: Floats) -> None:
    """A row per score: its tau and its lead over the number of blocks, with intervals."""
    blocks = scores["number of blocks"]
    for name, score in scores.items():

        def tau(rows: Integers, score: Floats = score) -> float:
            return kendall_tau(score[rows], truth[rows]) or 0.0

        low, high = bootstrap_interval(tau, len(truth), resamples=RESAMPLES)
        least, most = tau_lead_interval(score, blocks, truth, resamples=RESAMPLES)
        print(
            f"{name:38} {tau(np.arange(len(truth))):6.3f} ({low:.3f} to {high:.3f})   "
            f"over blocks {least:+.3f} to {most:+.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", type=int, default=100)
    given = parser.parse_args()
    space = nas_bench_macro.space()
    networks = drawn(space, given.networks)
    given.out.mkdir(parents=True, exist_ok=True)
    rows = trained(space, networks, given.out / "trained.jsonl")
    results = _results(_path())
    errors = [results[space.canonical(genes)][:, 0].mean() for genes in networks]
    truth = -np.array(errors)

    def column(name: str) -> Floats:
        return np.array([row[name] for row in rows])

    naswot, grad_norm = column("untrained_naswot"), column("untrained_grad_norm")
    report(
        {
            "number of blocks": np.array([blocks(genes) for genes in networks]),
            "macs": np.array([float(space.decode(genes).macs) for genes in networks]),
            "short training: accuracy on search": column("search_accuracy"),
            "short training: loss on search": -column("search_loss"),
            "naswot": naswot,
            "gradient norm": grad_norm,
            "naswot and gradient norm, mean rank": rankdata(naswot) + rankdata(grad_norm),
            "gp, told the loss": means_of_told(networks, rows, covariates=False),
            "gp, told the loss and the two scores": means_of_told(networks, rows, covariates=True),
        },
        truth,
    )
    print(f"{np.mean(column('seconds')):.1f} s a network, both scores included")
    plain = np.array(tau_of_unseen(networks, rows, truth, covariates=False))
    helped = np.array(tau_of_unseen(networks, rows, truth, covariates=True))
    print(
        f"networks not told, by those told: tau {plain.mean():.3f} without and {helped.mean():.3f} "
        f"with the two scores; better in {(helped > plain).sum()} of {HALVINGS} halvings"
    )


if __name__ == "__main__":
    main()
