"""How far off a table is at the budget of a search, before and after the search has corrected it.

    nas latency build --device here32 --space mobile --resolution 32 --classes 10
    python experiments/calibration.py --table here32.csv --latency 1 2 5

For each latency, networks of the budget are timed and the table is corrected, as `nas search` does
before its first trial. Then others inside the corrected budget are timed: random ones; those with
the most macs of many; and some that are a few genes away from published networks, where searches
begin and often end. Printed is how far off both tables are for them, how many take longer than the
latency, and how much of it they leave unused. About four minutes of an idle machine for each
latency.
"""

import argparse
from pathlib import Path
from statistics import fmean, median

import numpy as np

from nas import catalog
from nas.arch import Architecture
from nas.latency.table import Table
from nas.progress import ignore
from nas.run.calibrate import calibrated
from nas.run.plan import Plan, plan
from nas.run.settings import Search
from nas.units import text_table

MANY = 256
STEPS = 3
"""Genes changed of a published network."""
SEED = 71


def held_out(ready: Plan, count: int) -> dict[str, list[Architecture]]:
    """Networks of the budget, by how they were found."""
    generator = np.random.default_rng(SEED)
    drawn = ready.domain.sample_many(MANY, generator).tolist()
    networks = [ready.space.decode(tuple(genes)) for genes in drawn]
    found = {"random": networks[:count]}
    networks = sorted(networks[count:], key=lambda network: -network.macs)
    found["most macs"] = networks[:count]
    near = []
    for number in range(count if ready.warm else 0):
        genes = ready.warm[number % len(ready.warm)].genes
        for _ in range(STEPS):
            neighbours = ready.domain.neighbours(genes)
            genes = tuple(generator.choice(neighbours).tolist())
        near.append(ready.space.decode(genes))
    return found | ({"near published": near} if near else {})


def row(name: str, networks: list[Architecture], tables: list[Table], upper_ms: float) -> list[str]:
    """How far off both tables are for these, by what they take."""
    timed = catalog.time_here(tables[0], networks, ignore)
    for line in timed.unreliable:
        print(f"unreliable: {line}")
    took = [one.latency_ms for one in timed.measured]
    cells = [name]
    for table in tables:
        errors = [
            table.estimate(network).latency_ms / ms - 1
            for network, ms in zip(networks, took, strict=True)
        ]
        cells += [f"{100 * fmean(errors):+.1f} %", f"{100 * fmean(map(abs, errors)):.1f} %"]
    over = sum(ms > upper_ms for ms in took)
    unused = median(1 - ms / upper_ms for ms in took)
    return [*cells, f"{over} of {len(took)}", f"{100 * unused:+.1f} %"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", type=Path, required=True, help="of this machine")
    parser.add_argument("--space", default="mobile")
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--latency", type=float, nargs="+", default=[1.0, 2.0, 5.0])
    parser.add_argument("--networks", type=int, default=10)
    parser.add_argument("--confidence", type=float)
    given = parser.parse_args()
    rows = []
    for latency_ms in given.latency:
        asked = Search().changed(
            space=given.space,
            devices=(str(given.table),),
            resolution=given.resolution,
            classes=10,
            in_channels=3,
            latency_ms=latency_ms,
            confidence=given.confidence,
        )
        before = plan(asked)
        after = calibrated(before, print)
        print(after.tables[0].info.calibration or after.why_not_calibrated, flush=True)
        tables = [before.tables[0], after.tables[0]]
        groups = held_out(after, given.networks)
        for name, networks in groups.items():
            rows.append(row(f"{latency_ms:g} ms, {name}", networks, tables, latency_ms))
    header = ["networks", "bias", "error", "corrected: bias", "error", "too slow", "unused"]
    print(text_table(header, rows))


if __name__ == "__main__":
    main()
