"""What a search picks, beside published networks of the same latency.

    nas latency build --device here32 --space mobile --resolution 32 --minutes 10
    NAS_DATA=folder python experiments/worth.py --table here32.csv --latency 0.87 --out OUT
        [--space mobile] [--data cifar10] [--seed 0 ..] [--trials 40] [--factor 3] [--minutes 60]

One search a seed, with defaults but for its trials. Each is confirmed: six published networks are
scaled to the pick's latency, and trained by the pick's recipe, slimmed copies for ``--factor``
times the search's schedule, three times each, and scored on *test*. CIFAR-10 is read from the
folder that ``NAS_DATA`` names, its training part alone; ``fashion-mnist`` from where it is
installed. Everything is kept in ``--out``: stopped, or when ``--minutes`` are over, it goes on
where it was when called again. Searches of several seeds may run at a time: call it once for each,
with the same ``--out``, then with all seeds.

Prints what each search's confirmation says. After two searches or more it prints the mean over them
of the pick less each published network, with Student's intervals, 95 % for all networks together.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from scipy.stats import t as student
from supernet_nas_bench_macro import cifar
from truth_sets import PUBLISHED

from nas.benchmarks.nas_bench_macro import _path
from nas.run.confirm import confirm
from nas.run.execute import execute
from nas.run.plan import plan
from nas.run.run import Run
from nas.run.settings import Search

SEEDS = (0, 1, 2)


def images(data: str, out: Path) -> str:
    """What ``--data`` of a search takes."""
    if data != "cifar10":
        return data
    path = out / "cifar10.npz"
    if not path.exists():
        given = cifar(_path().parent)
        # Under another name first: a search of another seed may look for it now.
        written = out / f"cifar10.{os.getpid()}.npz"
        np.savez(written, images=given.images, labels=given.labels)
        written.rename(path)
    return f"npz:{path}"


def searched(given: argparse.Namespace, seed: int) -> Run:
    """The search of that seed, made or gone on with."""
    folder = given.out / f"seed{seed}"
    if (folder / "front.csv").exists():
        return Run(folder)
    settings = Search().changed(
        space=given.space,
        devices=(str(given.table),),
        latency_ms=given.latency,
        data=images(given.data, given.out),
        resolution=given.resolution,
        trials=given.trials,
        seed=seed,
    )
    execute(plan(settings), folder, resume=(folder / "run.json").exists())
    return Run(folder)


def report(runs: list[Run]) -> None:
    """What each says, then the mean over them."""
    differences: dict[str, list[float]] = {name: [] for name in PUBLISHED}
    for run in runs:
        found = run.confirmed
        if found is None or not found.outcomes:
            continue
        print(f"\n{run.folder.name}: {found.contest_verdict}\n{found.verdict}")
        for outcome in found.outcomes:
            differences[outcome.opponent.name].append(outcome.difference)
    known = {name: of for name, of in differences.items() if len(of) > 1}
    if known:
        print("\npick less published network, mean over searches, 95 % for all together")
    for name, of in known.items():
        factor = student.ppf(1 - 0.025 / len(known), len(of) - 1)
        half = factor * stdev(of) / len(of) ** 0.5
        print(
            f"  {name:26s} {fmean(of):+.4f} ({fmean(of) - half:+.4f} to {fmean(of) + half:+.4f})"
            f"  {len(of)} searches"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--latency", type=float, required=True, help="milliseconds")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--space", default="mobile")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--seed", type=int, action="append", help="repeatable (default: 0, 1, 2)")
    parser.add_argument("--trials", type=int, default=40, help="of a search")
    parser.add_argument("--factor", type=float, default=3.0)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + 60 * given.minutes
    runs = []
    for seed in given.seed or SEEDS:
        if time.monotonic() > until:
            print("the time is over; call again to go on", file=sys.stderr)
            break
        run = searched(given, seed)
        confirm(run, epochs_factor=given.factor, against=PUBLISHED, seed=seed)
        run.save_reports()
        runs.append(run)
    report(runs)


if __name__ == "__main__":
    main()
