"""Racing against flat searches of equal cost, where the truth is known.

Random networks of NAS-Bench-Macro that use up one budget of macs, the median of the space, to a
tenth. Each is trained on CIFAR-10 by the data's preset, and anew for three times as long. The truth
is the benchmark's mean accuracy of three full trainings.

    NAS_DATA=folder python experiments/racing.py --out runs/racing

Printed: Kendall's tau of each score with the truth, with 95 % bootstraps over networks; then the
true accuracy, in points, of what is picked by a flat search and by a race of two rungs of the same
cost, drawn again and again from these networks, and the difference with its bootstrap. Half a
minute of a core for each network; stopped, it goes on where it was.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from supernet_nas_bench_macro import cifar
from torch import nn

from nas.benchmarks.nas_bench_macro import _path, _results
from nas.cost.compiled import compile_costs
from nas.data import split
from nas.domain import Bound, Domain
from nas.evaluate import TrainingEvaluator, preset
from nas.record import ledger
from nas.space import SearchSpace
from nas.statistics import bootstrap_interval, kendall_tau, rng
from nas.train import score, threads
from nas.trial import Genes
from search_spaces import nas_bench_macro

ETA = 3
LAST_PART = 0.1
RESAMPLES, DRAWS = 500, 200
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Scores = dict[str, float]


def drawn(space: SearchSpace, count: int) -> list[Genes]:
    """Random networks between .9 of the median macs and the median, no two equal."""
    costs = compile_costs(space, ("macs",), lambda layer: (layer.macs,))
    [median] = Domain(space, costs).quantiles("macs", (0.5,))
    domain = Domain(space, costs, [Bound("macs", median, (1 - LAST_PART) * median)])
    found: dict[str, Genes] = {}
    number = 0
    while len(found) < count:
        genes = domain.sample(rng(11, "racing", number))
        found.setdefault(space.decode(genes).digest, genes)
        number += 1
    return list(found.values())


class Trainer:
    """The two trainings of a network."""

    def __init__(self, space: SearchSpace, networks: list[Genes]) -> None:
        self.space, self.networks = space, networks
        self.data = cifar(_path().parent)
        self.proxy = preset(self.data)[1]
        self.short = TrainingEvaluator(split(self.data), self.proxy, thread_count=1)
        self.longer = self.short.longer(ETA)

    def step(self, number: int) -> ledger.Row:
        """A row of their scores."""
        architecture = self.space.decode(self.networks[number])
        start = time.process_time()
        with threads(1):
            short = scored(self.short, self.short.trained(architecture, number))
            anew = scored(self.longer, self.longer.trained(architecture, 2000 + number))
        seconds = time.process_time() - start
        print(f"{number + 1} of {len(self.networks)}: {seconds:.0f} s", flush=True)
        return {"kind": "trained", "short": short, "anew": anew}


def scored(evaluator: TrainingEvaluator, network: nn.Module) -> Scores:
    """On *selection*, and with ``search_`` on *search*."""
    on_search = {f"search_{k}": v for k, v in score(network, *evaluator.search).items()}
    return {**score(network, *evaluator.selection), **on_search}


@dataclasses.dataclass(frozen=True)
class Bank:
    """Scores, higher is better, and truth of n networks: (n,) each."""

    promotes: Floats
    """By which the race promotes."""
    short: Floats
    """By which a flat search picks."""
    longer: Floats
    """By which a race picks."""
    truth: Floats

    def flat(self, rows: Integers) -> float:
        """True accuracy of the best of these networks by the short training."""
        return float(self.truth[rows[self.short[rows].argmax()]])

    def race(self, rows: Integers) -> float:
        """Of the best by the longer training among the third that the short one promotes."""
        count = -(-len(rows) // ETA)
        promoted = rows[np.argsort(-self.promotes[rows], kind="stable")[:count]]
        return float(self.truth[promoted[self.longer[promoted].argmax()]])

    def compare(self, of: Integers, flat: int, raced: int) -> Floats:
        """Mean truth of a flat pick and of a race's, drawn from the networks ``of``: (2,)."""
        draw = np.random.default_rng(0)
        found = np.zeros((DRAWS, 2))
        for number in range(DRAWS):
            order = draw.permutation(of)
            found[number] = self.flat(order[:flat]), self.race(order[:raced])
        return np.asarray(found.mean(axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", type=int, default=32)
    given = parser.parse_args()
    space = nas_bench_macro.space()
    networks = drawn(space, given.networks)
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "trained.jsonl"
    rows = list(ledger.read(file))[: len(networks)]
    if len(rows) < len(networks):
        trainer = Trainer(space, networks)
        numbers = range(len(networks))
        rows += ledger.complete(file, "trained", numbers, range(len(rows)), trainer.step)

    def column(part: str, name: str) -> Floats:
        return np.array([row[part][name] for row in rows])

    results = _results(_path())
    truth = -np.array([results[space.canonical(genes)][:, 0].mean() for genes in networks])
    for part in ("short", "anew"):
        for name in ("search_accuracy", "search_loss"):
            values = column(part, name) * (-1 if name.endswith("loss") else 1)

            def tau(picked: Integers, values: Floats = values) -> float:
                return kendall_tau(values[picked], truth[picked]) or 0.0

            low, high = bootstrap_interval(tau, len(truth), resamples=RESAMPLES)
            value = tau(np.arange(len(truth)))
            print(f"{part:10} {name:16} {value:+.3f} ({low:+.3f} to {high:+.3f})")

    print(f"truth: {truth.mean() + 100:.2f} points in the mean, best {truth.max() + 100:.2f}")
    short_loss, longer_loss = -column("short", "search_loss"), -column("anew", "search_loss")
    short, longer = column("short", "accuracy"), column("anew", "accuracy")
    report("accuracies alone", Bank(column("short", "search_accuracy"), short, longer, truth))
    report("promoted by loss, picked by accuracy", Bank(short_loss, short, longer, truth))
    report("losses alone", Bank(short_loss, short_loss, longer_loss, truth))


def report(name: str, bank: Bank) -> None:
    """A line for each budget."""
    print(name)
    count = len(bank.truth)
    for raced in (6, 9, 12):
        flat = 2 * raced
        if flat > count:
            break

        def gain(picked: Integers, flat: int = flat, raced: int = raced) -> float:
            own = bank.compare(picked, flat, raced)
            return float(own[1] - own[0])

        means = bank.compare(np.arange(count), flat, raced) + 100
        low, high = bootstrap_interval(gain, count, resamples=RESAMPLES)
        print(
            f"  flat {flat} networks: {means[0]:.2f}; race of {raced} and {-(-raced // ETA)}: "
            f"{means[1]:.2f}; difference {means[1] - means[0]:+.2f} ({low:+.2f} to {high:+.2f})"
        )


if __name__ == "__main__":
    main()
