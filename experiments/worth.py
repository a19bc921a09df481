"""What searches pick, beside published networks of the same latency and a random search.

    nas latency build --device here32 --space mobile --resolution 32 --classes 10 --minutes 6
    export NAS_DATA=folder
    python experiments/worth.py all --table here32.csv --out OUT [--searches 3]

Or step by step:

    python experiments/worth.py search --table here32.csv --out OUT --seed 1
    python experiments/worth.py search --table here32.csv --out OUT --seed 1 --strategy random
    python experiments/worth.py rungs --out OUT
    python experiments/worth.py draw --out OUT
    python experiments/worth.py train --out OUT [--share 1/2]
    python experiments/worth.py report --out OUT

``all`` takes the steps for as many searches by `gp` and random ones each; on one core that is most
of a day. ``search`` is called once for each search; several may run at a time. All have defaults
but for their trials and their race. The first one calibrates its copy of the table, for a minute;
the others may be given that copy, ``OUT/gp-1/devices/here32.csv``, and then begin at once.
``rungs`` says what searches had at each rung. ``draw`` times all picks and six published networks
side by side; the published ones are scaled until they take what the slowest pick takes. ``train``
trains all of them anew, slimmed copies by the schedule of the race's last rung, several times each,
and scores them on *test*. ``report`` prints the mean accuracy of each, each pick's lead over the
others, and what searches reach in the mean, and draws ``OUT/worth.png``. CIFAR-10 is read from the
folder that ``NAS_DATA`` names, its training part alone; ``--data fashion-mnist`` from where it is
installed. Stopped, everything goes on where it was.

A pick is better than the best published network if it is better than every one of them. Each is
tested at 5 %, and no correction is due: all tests must succeed (the intersection-union test, Berger
1982, https://doi.org/10.1080/00401706.1982.10487790).
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
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
from nas.report.plots import CONFIRMED, INK, RANDOM, blank, dress, literal, save
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
        workers=given.workers,
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


def rungs(given: argparse.Namespace) -> None:
    """Accuracies on *search* by rung: of all its networks, and of those that went on from it."""
    rows = []
    for run in runs(given.out):
        promoted = [{trial.digest for trial in rung.trials} for rung in run.rungs[1:]]
        for rung, went_on in zip(run.rungs, [*promoted, set()], strict=True):
            scores = {each.digest: each.metrics["search_accuracy"] for each in rung.complete}
            best = [score for digest, score in scores.items() if digest in went_on]
            cells = [run.folder.name, f"{rung.factor}", f"{len(scores)}"]
            cells += [f"{fmean(scores.values()):.4f}", f"{fmean(best):.4f}" if best else ""]
            rows.append(cells)
    print(text_table(["search", "times", "networks", "accuracy", "of those promoted"], rows))


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
    def is_random(self) -> bool:
        """Whether that search was a random one."""
        return self.is_pick and self.name.startswith("random")

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
    """A line per network, each pick's lead over the others, and what searches reach in the mean."""
    scores: dict[str, list[float]] = {}
    for row in trained(given.out):
        scores.setdefault(row["digest"], []).append(row["metrics"]["accuracy"])
    found = []
    for entry in entries(given.out):
        if len(scores.get(entry.architecture.digest, ())) > 1:
            found.append(entry)
    samples = {entry.name: np.array(scores[entry.architecture.digest]) for entry in found}
    freedom = sum(len(sample) - 1 for sample in samples.values())
    variance = sum(float(((s - s.mean()) ** 2).sum()) for s in samples.values()) / freedom
    # One variance for all: a few trainings of one network say little of it.
    parts = {}
    for name, sample in samples.items():
        parts[name] = Part(float(sample.mean()), variance / len(sample), freedom)
    ranked = sorted(found, key=lambda entry: -parts[entry.name].mean)
    rows = [
        [
            entry.label,
            f"{parts[entry.name].mean:.4f}",
            f"{entry.latency_ms:.3f}",
            f"{entry.architecture.macs / 1e6:.1f}",
            f"{entry.architecture.params / 1e6:.2f}",
            str(len(samples[entry.name])),
        ]
        for entry in ranked
    ]
    print(text_table(["network", "accuracy", "ms", "MMACs", "Mparams", "trainings"], rows))
    print(f"deviation of a training: {variance**0.5:.4f}")
    draw_picture(ranked, parts, given.out / "worth.png")
    published = [entry for entry in ranked if not entry.is_pick]
    default = [entry for entry in found if entry.is_pick and not entry.is_random]
    random = [entry for entry in found if entry.is_random]

    print("\nlead of each pick, 95 % for each difference alone, of the trainings of these networks")
    others = [*published, *random]
    leads = []
    for pick in [*default, *random]:
        cells = [lead_text(parts[pick.name], parts[other.name], freedom) for other in others]
        leads.append([pick.name, *cells])
    print(text_table(["pick", *(other.name for other in others)], leads))

    arms = {}
    for kind, picks in (("default", default), ("random", random)):
        if len(picks) > 1:
            arms[kind] = of_searches([parts[pick.name].mean for pick in picks])
    for kind, arm in arms.items():
        print(f"\nmean of {kind} searches, {arm.mean:.4f}: its lead for another one, 95 %")
        for other in published:
            print(f"  {other.label:30s} {lead_text(arm, parts[other.name])}")
    if len(arms) == 2:
        print("\nmean of default searches less that of random ones, for others of each, 95 %")
        print(f"  {lead_text(arms['default'], arms['random'])}")


def draw_picture(ranked: Sequence[Entry], parts: Mapping[str, "Part"], path: Path) -> None:
    """A row per network, the best on top; bars are of 95 %, of the mean of its trainings."""
    figure, axes = blank(7.2, 1 + 0.28 * len(ranked))
    for row, entry in enumerate(ranked):
        part = parts[entry.name]
        half = float(student.ppf(0.975, part.freedom)) * part.variance**0.5
        mark, colour = mark_of(entry)
        axes.errorbar(part.mean, row, xerr=half, fmt=mark, color=colour, elinewidth=1, capsize=2)
    axes.set_yticks(range(len(ranked)), [f"{e.label} · {e.latency_ms:.2f} ms" for e in ranked])
    axes.invert_yaxis()
    axes.set_xlabel("accuracy on test, mean and its interval of 95 %")
    dress(axes, "Picks of searches, and published networks", "x")
    save(literal(figure), path)


def mark_of(entry: Entry) -> tuple[str, str]:
    """Sign and colour of its kind."""
    if not entry.is_pick:
        return "^", INK
    return ("D", RANDOM) if entry.is_random else ("o", CONFIRMED)


@dataclass(frozen=True)
class Part:
    """One side of a comparison."""

    mean: float
    variance: float
    """Of the mean."""
    freedom: float
    """Degrees of freedom of the variance."""


def of_searches(accuracies: Sequence[float]) -> Part:
    """What searches of a kind reach: they are the sample, not the trainings of their picks."""
    count = len(accuracies)
    return Part(fmean(accuracies), float(np.var(accuracies, ddof=1)) / count, count - 1)


def lead_text(first: Part, second: Part, freedom: float = 0) -> str:
    """The difference with its interval of 95 %.

    ``freedom``: of the variance that both have in common. 0 where each has its own (Welch 1947,
    https://doi.org/10.2307/2332510).
    """
    variance = first.variance + second.variance
    of_parts = first.variance**2 / first.freedom + second.variance**2 / second.freedom
    half = float(student.ppf(0.975, freedom or variance**2 / of_parts)) * variance**0.5
    lead = first.mean - second.mean
    return f"{lead:+.4f} ({lead - half:+.4f} to {lead + half:+.4f})"


def everything(given: argparse.Namespace) -> None:
    """All steps, each gone on with where it was."""
    for seed in range(1, given.searches + 1):
        for strategy in (given.strategy, "random"):
            folder = given.out / f"{strategy}-{seed}"
            if not (folder / "front.csv").exists():
                search(argparse.Namespace(**{**vars(given), "strategy": strategy, "seed": seed}))
    if not (given.out / "entries.json").exists():
        draw(given)
    train(given)
    report(given)


STEPS = {
    "all": everything,
    "search": search,
    "rungs": rungs,
    "draw": draw,
    "train": train,
    "report": report,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("step", choices=tuple(STEPS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", type=Path, help="of this machine")
    parser.add_argument("--latency", type=float, default=2.0, help="milliseconds")
    parser.add_argument("--space", default="mobile")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--strategy", default="gp")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--searches", type=int, default=3, help="of each kind, for all")
    parser.add_argument("--trials", type=int, default=45)
    parser.add_argument("--race", default="3")
    parser.add_argument("--workers", type=int, default=1, help="of a search")
    parser.add_argument("--factor", type=float, help="of the first rung's schedule, to compare by")
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--share", default="1/1", help="which part of the trainings, such as 1/2")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    STEPS[given.step](given)


if __name__ == "__main__":
    main()
