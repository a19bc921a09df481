"""How well a search's short training ranks networks, beside macs and params.

    python experiments/proxy_fidelity.py --data digits --json digits.json

Twenty random FBNet networks (none of those that the presets were tuned on) are trained by the
data's preset and, with another seed, five times as long. Preset and long training share neither
seed nor scored images: one is read on the search set, the other on the selection set, and the other
way round. Kendall's tau-b, the mean over both ways and the preset's seeds; intervals are 95 %
percentile bootstraps over networks.
"""

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.arch import Architecture
from nas.data import Splits, load, split
from nas.evaluate import Proxy, TrainingEvaluator, preset
from nas.statistics import bootstrap_interval, kendall_tau
from nas.trial import Metrics
from search_spaces import fbnet

LONGER = 5
RESAMPLES = 2000
NETWORK_SEED = 2026  # the presets were tuned on networks of seed 77
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def networks(count: int) -> list[Architecture]:
    space, rng = fbnet.space(), np.random.default_rng(NETWORK_SEED)
    genes = [[int(rng.integers(size)) for size in space.gene_sizes] for _ in range(count)]
    return [space.decode(row) for row in genes]


def train(
    splits: Splits, proxy: Proxy, found: Sequence[Architecture], seeds: Sequence[int], threads: int
) -> tuple[list[list[Metrics]], float]:
    """Metrics by seed and network, and the mean seconds of a network."""
    evaluator = TrainingEvaluator(splits, proxy, thread_count=threads)
    rows = []
    for seed in seeds:
        rows.append([evaluator.evaluate(architecture, seed) for architecture in found])
        print(f"  seed {seed}: {np.mean(evaluator.seconds):.1f} s a network", flush=True)
    return rows, float(np.mean(evaluator.seconds))


def column(rows: Sequence[Sequence[Metrics]], name: str) -> Floats:
    """(search or selection, seeds, networks)."""

    def read(part: str) -> list[list[float]]:
        return [[metrics[part + name] for metrics in row] for row in rows]

    return np.array([read("search_"), read("")])


def tau(scores: Floats, truth: Floats) -> float:
    """Mean of Kendall's tau, each half against the other; 0 if all scores tie.

    scores: (2, seeds, networks). truth: (2, networks).
    """
    taus = []
    for half, other in zip(scores, truth[::-1], strict=True):
        taus += [kendall_tau(row, other) or 0.0 for row in half]
    return float(np.mean(taus))


def compared(statistic: Mapping[str, Floats], truth: Floats) -> dict[str, dict[str, float]]:
    """Each row's tau with its interval, and the interval of the first row's lead over it."""
    first = next(iter(statistic.values()))
    table = {}
    for name, scores in statistic.items():

        def of_drawn(drawn: Integers, scores: Floats = scores) -> float:
            return tau(scores[..., drawn], truth[:, drawn])

        def lead(drawn: Integers, scores: Floats = scores) -> float:
            return tau(first[..., drawn], truth[:, drawn]) - of_drawn(drawn, scores)

        low, high = bootstrap_interval(of_drawn, truth.shape[1], resamples=RESAMPLES)
        lead_low, lead_high = bootstrap_interval(lead, truth.shape[1], resamples=RESAMPLES)
        table[name] = {
            "tau": tau(scores, truth),
            "low": low,
            "high": high,
            "lead_low": lead_low,
            "lead_high": lead_high,
        }
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="digits")
    parser.add_argument("--proxy", default="", help="changes of the preset, as in nas search")
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--long-seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    splits = split(load(options.data))
    name, proxy = preset(splits.dataset)
    proxy = Proxy.parse(options.proxy, proxy)
    longer = dataclasses.replace(proxy, images=LONGER * proxy.images, epochs=LONGER * proxy.epochs)
    found = networks(options.networks)
    print(f"{splits.dataset}\npreset '{name}': {proxy}", flush=True)
    short, seconds = train(splits, proxy, found, range(options.seeds), options.threads)
    long, long_seconds = train(
        splits, longer, found, range(100, 100 + options.long_seeds), options.threads
    )

    truth = column(long, "accuracy").mean(axis=1)
    table = compared(
        {
            "preset": column(short, "accuracy"),
            "preset, -loss": -column(short, "loss"),
            "macs": np.array([[[a.macs for a in found]]] * 2, float),
            "params": np.array([[[a.params for a in found]]] * 2, float),
        },
        truth,
    )
    print(f"{'':14} tau    95 % interval     preset's lead")
    for row, values in table.items():
        print(
            f"{row:14} {values['tau']:5.2f}  {values['low']:5.2f} to {values['high']:5.2f}   "
            f"{values['lead_low']:5.2f} to {values['lead_high']:5.2f}"
        )
    for title, rows, spent in (("preset", short, seconds), ("longer", long, long_seconds)):
        accuracy = column(rows, "accuracy")
        spread = accuracy.mean(axis=(0, 1)).std()
        print(
            f"{title}: {spent:.1f} s a network, accuracy {accuracy.mean():.3f}, sd over networks "
            f"{spread:.3f}"
        )
    if options.json:
        document = {
            "data": options.data,
            "proxy": str(proxy),
            "networks": len(found),
            "table": table,
            "seconds": seconds,
            "long_seconds": long_seconds,
            "short": short,
            "long": long,
            "macs": [a.macs for a in found],
            "params": [a.params for a in found],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
