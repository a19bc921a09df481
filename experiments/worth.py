"""What searches pick, beside published networks of the same latency and a random search.

    nas latency build --device here32 --space mobile --resolution 32 --classes 10 --minutes 6
    export NAS_DATA=folder
    python experiments/worth.py search --table here32.csv --out OUT --seed 1
    python experiments/worth.py search --table here32.csv --out OUT --seed 1 --strategy random
    python experiments/worth.py draw --out OUT
    python experiments/worth.py train --out OUT [--share 1/2]
    python experiments/worth.py report --out OUT

``search`` is called once for each search; several may run at a time. All have defaults but for
their trials and their race. ``draw`` times all picks and six published networks side by side; the
published ones are scaled until they take what the slowest pick takes. ``train`` trains all of them
anew, slimmed copies by the schedule of the race's last rung, several times each, and scores them on
*test*. ``report`` prints the mean accuracy of each, and each pick's lead over each of the others.
CIFAR-10 is read from the folder that ``NAS_DATA`` names, its training part alone; ``--data
fashion-mnist`` from where it is installed. Stopped, everything goes on where it was.

A pick is better than the best published network if it is better than every one of them. Each is
tested at 5 %, and no correction is due: all tests must succeed (the intersection-union test, Berger
1982, https://doi.org/10.1080/00401706.1982.10487790).
"""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from scipy.stats import t as student
from supernet_nas_bench_macro import cifar
from truth_sets import PUBLISHED

from nas import catalog
from nas.arch import Architecture
from nas.benchmarks.nas_bench_macro import _path
from nas.data import load
from nas.evaluate.retraining import Retraining
from nas.progress import ignore
from nas.record import ledger
from nas.run.calibrate import calibrated
from nas.run.confirm import training_seed
from nas.run.execute import execute
from nas.run.opponents import opponent_network, scaled_to
from nas.run.plan import plan
from nas.run.resume import resumed
from nas.run.run import Run
from nas.run.settings import Search
from nas.units import text_table

OPENED = "opened.jsonl"


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


# -- searches -------------------------------------------------------------------------------------


def search(given: argparse.Namespace) -> None:
    """One search, made or gone on with."""
    settings = Search().changed(
        space=given.space,
        devices=(str(given.table),),
        latency_ms=given.latency,
        data=images(given.data, given.out),
        resolution=32,
        strategy=given.strategy,
        trials=given.trials,
        race=given.race,
        seed=given.seed,
    )
    folder = given.out / f"{given.strategy}-{given.seed}"
    if (folder / "run.json").exists():
        execute(plan(resumed(folder, {})), folder, resume=True)
    else:
        execute(calibrated(plan(settings), print), folder)
    print(f"{folder.name}: {Run(folder).pick()}", flush=True)


def runs(out: Path) -> list[Run]:
    """The finished searches, by the names of their folders."""
    folders = [file.parent for file in out.glob("*/front.csv")]
    return [Run(folder) for folder in sorted(folders)]


# -- who is compared ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A network that is compared."""

    name: str
    width: float
    """Of a published network; 0 for a pick."""
    latency_ms: float
    """Timed, the slowest pick's and the published networks' side by side."""
    architecture: Architecture

    @property
    def is_pick(self) -> bool:
        """Whether a search has found it."""
        return not self.width

    @property
    def label(self) -> str:
        """For people."""
        return self.name if self.is_pick else f"{self.name}, {self.width:g}"


def draw(given: argparse.Namespace) -> None:
    """Write ``entries.json``: the picks, and the published networks that are to meet them."""
    found = runs(given.out)
    table = found[0].tables[0]

    def timed(architectures: Sequence[Architecture]) -> list[float]:
        measured = catalog.time_here(table, architectures, ignore)
        for line in measured.unreliable:
            print(f"unreliable: {line}")
        return [one.latency_ms for one in measured.measured]

    picks = [run.pick().network for run in found]
    times_ms = timed(picks)
    slowest = int(np.argmax(times_ms))
    estimate = table.estimate(picks[slowest]).latency_ms
    met = scaled_to(PUBLISHED, picks[slowest], estimate, table, timed)
    rows: list[dict[str, Any]] = []
    for run, network, ms in zip(found, picks, times_ms, strict=True):
        rows.append(
            {
                "name": run.folder.name,
                "width": 0.0,
                # Timed in one round with each other; the slowest again with the published ones.
                "latency_ms": ms * met.latency_ms / times_ms[slowest],
                "network": network.to_json(),
            }
        )
    pick = picks[slowest]
    for opponent in met.opponents:
        network = opponent_network(
            opponent.name, pick.input, pick.out_shape.channels, width=opponent.width
        )
        rows.append(
            {
                "name": opponent.name,
                "width": opponent.width,
                "latency_ms": opponent.latency_ms,
                "network": network.to_json(),
            }
        )
    (given.out / "entries.json").write_text(json.dumps(rows))
    for row in rows:
        print(f"{row['name']:26s} {row['width']:6.3f} {row['latency_ms']:.3f} ms")


def entries(out: Path) -> list[Entry]:
    """As ``draw`` wrote them."""
    found = []
    for row in json.loads((out / "entries.json").read_text()):
        row["architecture"] = Architecture.from_json(row.pop("network"))
        found.append(Entry(**row))
    return found


# -- trainings ------------------------------------------------------------------------------------


def train(given: argparse.Namespace) -> None:
    """What is missing of ``--repeats`` trainings of each network: all once, then all again."""
    run = runs(given.out)[0]
    data = load(run.record.run_file.settings["data"])
    trainer = Retraining(data, run.identity.proxy, given.factor or run.rung.factor)
    place, places = map(int, given.share.split("/"))
    file = given.out / f"trained-{place}of{places}.jsonl"
    trainer.open_test(given.out / OPENED)
    by_digest = {entry.architecture.digest: entry for entry in entries(given.out)}
    wanted = [(digest, repeat) for repeat in range(given.repeats) for digest in by_digest]
    done = {(row["digest"], row["repeat"]) for row in trained(given.out)}
    mine = wanted[place - 1 :: places]

    def step(key: tuple[str, int]) -> ledger.Row:
        digest, repeat = key
        entry = by_digest[digest]
        metrics = trainer.evaluate(entry.architecture, training_seed(0, digest, repeat))
        print(f"{entry.label:30s} {metrics['accuracy']:.4f}", flush=True)
        return {"kind": "training", "digest": digest, "repeat": repeat, "metrics": dict(metrics)}

    ledger.complete(file, "trainings", mine, done, step)


def trained(out: Path) -> list[ledger.Row]:
    """The trainings of all processes."""
    return [row for file in sorted(out.glob("trained-*.jsonl")) for row in ledger.read(file)]


# -- what came of it ------------------------------------------------------------------------------


def report(given: argparse.Namespace) -> None:
    """A line per network, then each pick's lead over the others."""
    scores: dict[str, list[float]] = {}
    for row in trained(given.out):
        scores.setdefault(row["digest"], []).append(row["metrics"]["accuracy"])
    found = []
    for entry in entries(given.out):
        if len(scores.get(entry.architecture.digest, ())) > 1:
            found.append(entry)
    samples = {entry.name: np.array(scores[entry.architecture.digest]) for entry in found}
    freedom = sum(len(sample) - 1 for sample in samples.values())
    pooled = sum(float(((s - s.mean()) ** 2).sum()) for s in samples.values()) / freedom
    half = float(student.ppf(0.975, freedom)) * pooled**0.5
    rows = [
        [
            entry.label,
            f"{samples[entry.name].mean():.4f}",
            f"{entry.latency_ms:.3f}",
            f"{entry.architecture.macs / 1e6:.1f}",
            f"{entry.architecture.params / 1e6:.2f}",
            str(len(samples[entry.name])),
        ]
        for entry in sorted(found, key=lambda entry: -samples[entry.name].mean())
    ]
    print(text_table(["network", "accuracy", "ms", "MMACs", "Mparams", "trainings"], rows))
    print(f"deviation of a training: {pooled**0.5:.4f}")
    picks = [entry for entry in found if entry.is_pick]
    ours = [entry for entry in picks if not entry.name.startswith("random")]
    others = [entry for entry in found if entry not in ours]
    leads = []
    for pick in picks:
        cells = [pick.name]
        for other in others:
            if other is pick:
                cells.append("")
                continue
            own, their = samples[pick.name], samples[other.name]
            lead = own.mean() - their.mean()
            width = half * (1 / len(own) + 1 / len(their)) ** 0.5
            cells.append(f"{lead:+.4f} ({lead - width:+.4f} to {lead + width:+.4f})")
        leads.append(cells)
    print("\nlead of each pick, 95 % for each difference alone, of the trainings of these networks")
    print(text_table(["pick", *(other.name for other in others)], leads))
    if len(ours) < 2:
        return
    print("\nmean over searches, 95 %, for another search of the kind (Welch)")
    means = np.array([samples[pick.name].mean() for pick in ours])
    for other in others:
        their = samples[other.name]
        own_part, their_part = means.var(ddof=1) / len(means), pooled / len(their)
        spread = own_part + their_part
        count = spread**2 / (own_part**2 / (len(means) - 1) + their_part**2 / freedom)
        width = float(student.ppf(0.975, count)) * spread**0.5
        lead = fmean(means) - their.mean()
        print(f"  {other.label:30s} {lead:+.4f} ({lead - width:+.4f} to {lead + width:+.4f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("step", choices=("search", "draw", "train", "report"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", type=Path, help="of this machine")
    parser.add_argument("--latency", type=float, default=2.0, help="milliseconds")
    parser.add_argument("--space", default="mobile")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--strategy", default="gp")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trials", type=int, default=45)
    parser.add_argument("--race", default="3")
    parser.add_argument("--factor", type=float, help="of the first rung's schedule, to compare by")
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--share", default="1/1", help="which part of the trainings, such as 1/2")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    steps = {"search": search, "draw": draw, "train": train, "report": report}
    steps[given.step](given)


if __name__ == "__main__":
    main()
