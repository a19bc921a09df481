"""How well a search's short training ranks networks: against five times longer training, beside macs and params.

    python experiments/proxy_fidelity.py --data digits --json digits.json

Twenty random FBNet networks (none of those that the presets were tuned on) are trained by the data's preset and, with
another seed, five times as long. The preset is read as a strategy reads it (`search_accuracy`), the long training on
the selection set (`accuracy`), so that the two share neither seed nor scored images. Kendall's tau-b; intervals
are 95 % percentile bootstraps over networks.
"""

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from nas.arch import Architecture
from nas.data import Splits, load, split
from nas.evaluate import Proxy, TrainingEvaluator, preset
from nas.trial import Metrics
from search_spaces import fbnet

LONGER = 5
RESAMPLES = 2000
NETWORK_SEED = 2026  # the presets were tuned on networks of seed 77
Floats = NDArray[np.float64]


def networks(count: int) -> list[Architecture]:
    space, rng = fbnet.space(), np.random.default_rng(NETWORK_SEED)
    return [space.decode([int(rng.integers(size)) for size in space.gene_sizes]) for _ in range(count)]


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
    """(seeds, networks)."""
    return np.array([[metrics[name] for metrics in row] for row in rows])


def tau(scores: Floats, truth: Floats) -> float:
    """scores: (seeds, networks), truth: (networks,). The mean over seeds; 0 where all scores tie."""
    return float(np.mean([np.nan_to_num(kendalltau(row, truth).statistic) for row in scores]))


def interval(statistic: Mapping[str, Floats], truth: Floats) -> dict[str, dict[str, float]]:
    """Each row's tau with its interval, and the interval of the first row's lead over it."""
    rng = np.random.default_rng(0)
    picks = rng.integers(len(truth), size=(RESAMPLES, len(truth)))
    drawn = {name: np.array([tau(s[:, p], truth[p]) for p in picks]) for name, s in statistic.items()}
    first = next(iter(drawn))
    table = {}
    for name, scores in statistic.items():
        low, high = np.percentile(drawn[name], (2.5, 97.5))
        behind = np.percentile(drawn[first] - drawn[name], (2.5, 97.5))
        table[name] = {
            "tau": tau(scores, truth), "low": low, "high": high, "lead_low": behind[0], "lead_high": behind[1],
        }  # fmt: skip
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    long, long_seconds = train(splits, longer, found, range(100, 100 + options.long_seeds), options.threads)

    truth = column(long, "accuracy").mean(axis=0)
    table = interval(
        {
            "preset": column(short, "search_accuracy"),
            "preset, -loss": -column(short, "search_loss"),
            "macs": np.array([[a.macs for a in found]], float),
            "params": np.array([[a.params for a in found]], float),
        },
        truth,
    )
    print(f"{'':14} tau    95 % interval     preset's lead")
    for row, values in table.items():
        print(
            f"{row:14} {values['tau']:5.2f}  {values['low']:5.2f} to {values['high']:5.2f}   "
            f"{values['lead_low']:5.2f} to {values['lead_high']:5.2f}"
        )
    spread = column(short, "search_accuracy")
    print(f"preset {seconds:.1f} s a network, search_accuracy {spread.mean():.3f} (sd {spread.std(axis=1).mean():.3f})")
    print(f"longer {long_seconds:.1f} s a network, accuracy {truth.mean():.3f} (sd {truth.std():.3f})")
    if options.json:
        document = {
            "data": options.data, "proxy": str(proxy), "networks": len(found), "table": table,
            "seconds": seconds, "long_seconds": long_seconds, "short": short, "long": long,
            "macs": [a.macs for a in found], "params": [a.params for a in found],
        }  # fmt: skip
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
