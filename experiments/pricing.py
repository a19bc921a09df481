"""Price a million networks by compiled costs, by bare NumPy, and by a dictionary per layer.

    python experiments/pricing.py [--space fbnet] [--networks 1000000]

Latency on pixel1, macs and params. All three ways are timed in turn, five rounds, one thread;
ratios of medians are what counts. The dictionary prices 1/200 of the networks and is scaled up.
Sums are compared where every slot meets one shape.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from nas import catalog
from nas.cost.compiled import compile_costs

ROUNDS = 5
DICTIONARY_SHARE = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--space", default="fbnet")
    parser.add_argument("--networks", type=int, default=1_000_000)
    arguments = parser.parse_args()

    space, table = catalog.space(arguments.space), catalog.device("pixel1")
    start = time.perf_counter()
    compiled = compile_costs(
        space,
        ("ms", "macs", "params"),
        lambda layer: (table.layer(layer).latency_ms, layer.macs, layer.params),
    )
    print(f"{space.name}: compiled in {time.perf_counter() - start:.3f} s")
    rng = np.random.default_rng(0)
    genes = np.stack(
        [rng.integers(size, size=arguments.networks) for size in space.gene_sizes], axis=1
    )
    small = genes[: max(1, arguments.networks // DICTIONARY_SHARE)]

    def bare() -> np.ndarray:
        """A gather and a sum per slot and cost, enough if each slot hands over one shape."""
        totals = []
        for column in range(3):
            fixed = sum(v[0, 0, column] for v in compiled.values if v.shape[1] == 1)
            searched = [v[0, :, column] for v in compiled.values if v.shape[1] > 1]
            total = np.full(len(genes), float(fixed))
            for slot, values in enumerate(searched):
                total += values[genes[:, slot]]
            totals.append(total)
        return np.stack(totals, axis=1)

    # Peers build a string key per layer and look it up: here slot and options, without the walk
    # over shapes.
    costs_by_key = {}
    for place, (slot, values) in enumerate(zip(space.slots, compiled.values, strict=True)):
        for option in range(values.shape[1]):
            key = f"{slot.name}-" + "-".join(map(str, space.slot_genes(place, option)))
            costs_by_key[key] = values[0, option].tolist()
    parts = [
        (slot.name, first, last)
        for slot, (first, last, _) in zip(space.slots, space.radix, strict=True)
    ]

    def dictionary() -> np.ndarray:
        rows = []
        for one in small.tolist():
            ms = macs = params = 0.0
            for name, first, last in parts:
                costs = costs_by_key[f"{name}-" + "-".join(map(str, one[first:last]))]
                ms += costs[0]
                macs += costs[1]
                params += costs[2]
            rows.append((ms, macs, params))
        return np.array(rows)

    ways = {"compiled": lambda: compiled.price(genes), "dictionary": dictionary}
    one_shape = all(len(step.states) == 1 for step in space.chain)
    one_choice = all(len(slot.choices) < 2 for slot in space.slots)
    if one_shape and one_choice:
        ways["bare"] = bare
    rounds: dict[str, list[float]] = {name: [] for name in ways}
    results = {}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            results[name] = way()
            rounds[name].append(time.perf_counter() - start)
    seconds = {name: statistics.median(times) for name, times in rounds.items()}
    seconds["dictionary"] *= len(genes) / len(small)
    for name, value in seconds.items():
        print(f"{name:10} {value:9.3f} s   {value / seconds['compiled']:8.2f} x compiled")
    for name, prices in results.items():
        if name == "dictionary" and "bare" not in ways:
            # Its keys know one shape per slot, so its sums are not this space's. Its time counts.
            continue
        difference = np.abs(prices / results["compiled"][: len(prices)] - 1).max()
        print(f"{name:10} largest relative difference to compiled {difference:.1e}")


if __name__ == "__main__":
    main()
