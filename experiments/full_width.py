"""What a search's short trainings say of its networks at their full width.

    export NAS_DATA=folder
    python experiments/worth.py search --table here32.csv --out OUT --strategy random
    python experiments/full_width.py train --searches OUT/random-1 --out FILE [--share 1/2]
    python experiments/full_width.py report --out FILE [FILE]
    python experiments/full_width.py report

``train`` takes networks of a search with a race, spread evenly over the ranks of its first rung,
and trains them on CIFAR-10 at their full width and 32 pixels: 600 steps, about ten minutes of a
core for each. Several processes may share it, each with a file of its own; stopped, it goes on
where it was. ``--ranks`` names others, ``--seed`` (of 7) repeats them by another seed. ``report``
prints every network, then Kendall's tau of what is cheap with the loss of the full training, the
mean of *search* and *selection*, with 95 % bootstraps over networks. ``full_width.jsonl``, beside
this file, holds what was trained of two searches: those ranks of a random one, and 0, 1, 13, 20 and
30 of one by `gp`.
"""

import argparse
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from supernet_nas_bench_macro import cifar

from nas import catalog
from nas.benchmarks.nas_bench_macro import _path
from nas.data import split
from nas.evaluate import Proxy, TrainingEvaluator
from nas.record import ledger
from nas.run.run import Run
from nas.statistics import bootstrap_interval, kendall_tau
from nas.trial import Trial
from nas.units import text_table

FULL = (
    "resolution=32,width=1,final=4,epochs=100,images=38400,batch_size=64,lr=0.1,"
    "label_smoothing=0.1,average=0.1,shift=4,score_images=3000"
)
"""The full training; its settings as `nas search --proxy` takes them."""
SPACE, RESOLUTION, CLASSES = "mobile", 32, 10
RANKS = (0, 3, 7, 12, 17, 20, 22, 27, 32, 37, 42)
RESULTS = Path(__file__).with_name("full_width.jsonl")
RESAMPLES = 2000


# -- trainings ------------------------------------------------------------------------------------


def train(given: argparse.Namespace) -> None:
    """What is missing of the networks of these ranks, of all searches."""
    [file] = given.out
    evaluator = TrainingEvaluator(split(cifar(_path().parent)), Proxy.parse(FULL), thread_count=1)
    space = catalog.space(SPACE, resolution=RESOLUTION, classes=CLASSES, in_channels=3)
    searches = {folder.name: Run(folder) for folder in given.searches}
    ranked = {name: by_short_training(run) for name, run in searches.items()}
    place, places = map(int, given.share.split("/"))
    wanted = [(name, rank, given.seed) for rank in given.ranks for name in searches]
    done = {(row["search"], row["rank"], row["seed"]) for row in ledger.read(file)}

    def step(key: tuple[str, int, int]) -> ledger.Row:
        name, rank, seed = key
        trial = ranked[name][rank]
        scores = evaluator.evaluate(space.decode(trial.genes), seed)
        print(f"{name}, rank {rank}: accuracy {scores['accuracy']:.3f}", flush=True)
        return {
            "kind": "training",
            "search": name,
            "rank": rank,
            "seed": seed,
            "digest": trial.digest,
            "genes": list(trial.genes),
            "warm": trial.warm or None,
            "rungs": losses(searches[name], trial.digest),
            "cpu_seconds": round(evaluator.seconds[-1]),
            "scores": {name: round(value, 4) for name, value in scores.items()},
        }

    ledger.complete(file, "trainings", wanted[place - 1 :: places], done, step)


def by_short_training(run: Run) -> list[Trial]:
    """The networks of the first rung, the least loss on *search* first."""
    return sorted(run.rungs[0].complete, key=lambda trial: trial.metrics["search_loss"])


def losses(run: Run, digest: str) -> dict[str, float]:
    """A network's loss on *search* at each rung that it reached, by the rung's factor."""
    found = {}
    for rung in run.rungs:
        for trial in rung.complete:
            if trial.digest == digest:
                found[f"{rung.factor:g}"] = round(trial.metrics["search_loss"], 4)
    return found


# -- what they say --------------------------------------------------------------------------------


def report(given: argparse.Namespace) -> None:
    """A line per network, then what ranks them."""
    trainings: dict[str, list[ledger.Row]] = {}
    for file in given.out:
        for row in ledger.read(file):
            trainings.setdefault(row["digest"], []).append(row)
    networks = sorted(trainings.values(), key=full_loss)
    print_networks(networks)
    space = catalog.space(SPACE, resolution=RESOLUTION, classes=CLASSES, in_channels=3)
    groups = {"all": networks}
    for search in sorted({rows[0]["search"] for rows in networks}):
        groups[search] = [rows for rows in networks if rows[0]["search"] == search]
    groups["went on to the second rung"] = [rows for rows in networks if "3" in rows[0]["rungs"]]
    for name, group in groups.items():
        print(f"\n{name}: Kendall's tau with the loss at full width")
        decoded = [space.decode(tuple(rows[0]["genes"])) for rows in group]
        full = np.array([full_loss(rows) for rows in group])
        print_tau("loss of the short training", rung_losses(group, "1"), full)
        print_tau("three times as long", rung_losses(group, "3"), full)
        print_tau("nine times as long", rung_losses(group, "9"), full)
        print_tau("macs", np.array([-float(one.macs) for one in decoded]), full)
        print_tau("params", np.array([-float(one.params) for one in decoded]), full)
        print_tau("layers", np.array([-float(len(one.layers)) for one in decoded]), full)


def full_loss(rows: list[ledger.Row]) -> float:
    """Of *search* and *selection*, over all seeds."""
    return fmean((row["scores"]["loss"] + row["scores"]["search_loss"]) / 2 for row in rows)


def full_accuracy(rows: list[ledger.Row]) -> float:
    """Of *search* and *selection*, over all seeds."""
    return fmean((row["scores"]["accuracy"] + row["scores"]["search_accuracy"]) / 2 for row in rows)


def print_networks(networks: list[list[ledger.Row]]) -> None:
    """The best first; and how far two seeds of a network are from each other."""
    lines = []
    differences = []
    for rows in networks:
        first = rows[0]
        rungs = [f"{first['rungs'][factor]:.3f}" for factor in first["rungs"]]
        lines.append(
            [
                first["search"],
                str(first["rank"]),
                f"{full_accuracy(rows):.4f}",
                f"{full_loss(rows):.3f}",
                str(len(rows)),
                " ".join(rungs),
                first["warm"] or "",
            ]
        )
        if len(rows) == 2:
            differences.append(full_loss(rows[:1]) - full_loss(rows[1:]))
    header = ["search", "rank", "accuracy", "loss", "seeds", "losses of its rungs", "warm start"]
    print(text_table(header, lines))
    print(f"deviation of the networks' loss: {np.std([full_loss(r) for r in networks]):.3f}")
    if differences:
        noise = (fmean(one**2 for one in differences) / 2) ** 0.5
        print(f"of a seed, by {len(differences)} networks that were trained twice: {noise:.3f}")


def rung_losses(group: list[list[ledger.Row]], factor: str) -> NDArray[np.float64]:
    """Not a number for a network that did not reach the rung."""
    return np.array([rows[0]["rungs"].get(factor, np.nan) for rows in group])


def print_tau(name: str, score: NDArray[np.float64], full: NDArray[np.float64]) -> None:
    """A line, of the networks that have the score; none for fewer than six."""
    has = np.isfinite(score)
    score, full = score[has], full[has]
    if len(full) < 6:
        return

    def tau(picked: NDArray[np.int64]) -> float:
        return kendall_tau(score[picked], full[picked]) or 0.0

    low, high = bootstrap_interval(tau, len(full), resamples=RESAMPLES)
    own = tau(np.arange(len(full)))
    print(f"  {name:28s} {len(full):3d} networks  {own:+.2f} ({low:+.2f} to {high:+.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("step", choices=("train", "report"))
    parser.add_argument("--searches", type=Path, nargs="+", default=[], help="folders of runs")
    parser.add_argument("--out", type=Path, nargs="+", default=[RESULTS])
    parser.add_argument("--ranks", type=int, nargs="+", default=RANKS)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--share", default="1/1", help="which part of the trainings, such as 1/2")
    given = parser.parse_args()
    if given.step == "train":
        train(given)
    else:
        report(given)


if __name__ == "__main__":
    main()
