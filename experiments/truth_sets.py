"""What networks of one latency are worth, and which cheap score tells them apart.

Whoever searches with a latency budget compares networks of that latency. A truth set is up to 24
random networks of a space, all timed whole and within a twentieth of one latency, and published
networks scaled to it. They are trained on CIFAR-10 at their full width at 32 pixels, as the final
comparison of a search would train them; a third of them twice, with another seed.

    nas latency build --device here32 --space mnasnet --space mobile --resolution 32
    NAS_DATA=folder python experiments/truth_sets.py draw --table here32.csv --out OUT
    NAS_DATA=folder python experiments/truth_sets.py train --out OUT [--minutes 120]
    NAS_DATA=folder python experiments/truth_sets.py score --out OUT [--minutes 60]
    python experiments/truth_sets.py report --out OUT

The latency is that of MobileNetV2 at half its width. ``draw`` times networks that the table prices
near it and writes those that are to ``networks.jsonl``; the machine should do nothing else.
``train`` and ``score`` append to ``trained.jsonl`` and ``scored.jsonl``; stopped, they go on where
they were. ``report`` prints Kendall's tau of every cheap score with the truth, the
mean loss of *search* and *selection*, with 95 % bootstraps over networks, beside the ceiling: the
tau of two seeds. ``experiments/truth_sets`` holds the networks, and what was trained so far. A
training takes six to twenty minutes of a core.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas import catalog, networks
from nas.arch import Architecture
from nas.cost.costs import latency_metric, space_costs
from nas.domain import Bound, Domain
from nas.family.at_latency import at_latency
from nas.latency.table import Table
from nas.measure.runners import OnnxRuntime
from nas.measure.whole import time_networks
from nas.record import ledger
from nas.run.opponents import opponent_network
from nas.shape import Shape
from nas.space import SearchSpace
from nas.statistics import bootstrap_interval, kendall_tau

SPACES = ("mnasnet", "mobile")
PUBLISHED = (
    "mobilenet_v2",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "mobilenet_v4_conv_small",
    "fbnet_c",
    "mnasnet_a1",
)
NETWORKS = 24
RESOLUTION = 32
CLASSES = 10
BASE, BASE_WIDTH = "mobilenet_v2", 0.5
WINDOW = 0.05
"""How far from that latency a network may be."""
PRICED, TIMED, PILOT = 0.15, 72, 12
"""How far by the table, whose error is larger, and how many networks of a space are timed.

First a few, to learn what the table has to be asked for."""
SECONDS = 2.5
CORRECTIONS = 4
ORDER = ("published", "mobile", "mnasnet")
"""Which groups are trained first."""
TWICE = 3
"""Each so many-th network is trained with a second seed."""
FINAL = (
    "resolution=32,width=1,final=4,epochs=100,images=100000,batch_size=64,lr=0.1,"
    "label_smoothing=0.1,average=0.1,shift=4,score_images=2500"
)
"""The final training; its settings as `nas search --proxy` takes them."""
FOLDER = Path(__file__).parent / "truth_sets"
RESAMPLES = 2000
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Member:
    """A network of a truth set."""

    group: str
    """Its space, or ``published``."""
    name: str
    latency_ms: float
    architecture: Architecture

    @classmethod
    def read(cls, row: ledger.Row) -> "Member":
        """A line of ``networks.jsonl``."""
        return cls(
            group=row["group"],
            name=row["name"],
            latency_ms=row["latency_ms"],
            architecture=Architecture.from_json(row["architecture"]),
        )

    def row(self) -> ledger.Row:
        """The line."""
        return {
            "kind": "network",
            "group": self.group,
            "name": self.name,
            "latency_ms": self.latency_ms,
            "architecture": self.architecture.to_json(),
        }


# -- the networks ---------------------------------------------------------------------------------


def drawn(table: Table) -> list[Member]:
    """The published networks, then random ones of the spaces in turn; all timed here."""
    base = networks.get(
        BASE, width=BASE_WIDTH, resolution=RESOLUTION, classes=CLASSES, small_images=True
    )
    [base_ms] = timed([base], table)
    print(f"{BASE} at width {BASE_WIDTH:g}: {base_ms:.3f} ms", file=sys.stderr)
    members = published(table, base_ms)
    near = {spec: near_in(spec, table, base_ms) for spec in SPACES}
    for number in range(NETWORKS):
        for spec in SPACES:
            if number < len(near[spec]):
                latency_ms, network = near[spec][number]
                members.append(
                    Member(
                        group=spec,
                        name=f"{spec} {number}",
                        latency_ms=round(latency_ms, 4),
                        architecture=network,
                    )
                )
    return members


def published(table: Table, budget_ms: float) -> list[Member]:
    """Published networks as wide as the budget allows: by the table, then as they are timed."""
    members = []
    for name in PUBLISHED:
        make = partial(opponent_network, name, Shape(3, RESOLUTION), CLASSES)
        asked_ms = budget_ms
        for _ in range(CORRECTIONS):
            found = at_latency(make, asked_ms, table, resolution=RESOLUTION)
            [latency_ms] = timed([found.network], table)
            if abs(latency_ms / budget_ms - 1) <= WINDOW / 2:
                break
            asked_ms *= budget_ms / latency_ms
        members.append(
            Member(
                group="published",
                name=f"{name} at width {found.width:g}",
                latency_ms=round(latency_ms, 4),
                architecture=found.network,
            )
        )
    return members


def near_in(spec: str, table: Table, budget_ms: float) -> list[tuple[float, Architecture]]:
    """Random networks of a space that were timed within the window, with their times."""
    space = catalog.space(spec, resolution=RESOLUTION, classes=CLASSES)
    asked_ms = budget_ms
    for _ in range(CORRECTIONS):
        pilot = priced_near(space, table, asked_ms, PILOT)
        off = float(np.median(timed(pilot, table))) / budget_ms
        print(f"{spec}: asked for {asked_ms:.3f} ms, {off:.2f} times the budget", file=sys.stderr)
        if abs(off - 1) <= WINDOW:
            break
        asked_ms /= off
    candidates = priced_near(space, table, asked_ms, TIMED)
    found = []
    for latency_ms, network in zip(timed(candidates, table), candidates, strict=True):
        if abs(latency_ms / budget_ms - 1) <= WINDOW:
            found.append((latency_ms, network))
    print(f"{spec}: {len(found)} of {len(candidates)} in the window", file=sys.stderr)
    return found[:NETWORKS]


def priced_near(
    space: SearchSpace, table: Table, latency_ms: float, count: int
) -> list[Architecture]:
    """Random networks that the table prices near a latency."""
    low_ms, high_ms = (1 - PRICED) * latency_ms, (1 + PRICED) * latency_ms
    bound = Bound(latency_metric(table.name), high_ms, low_ms)
    domain = Domain(space, space_costs(space, [table]), [bound])
    rows = domain.sample_many(count, np.random.default_rng(7))
    return [space.decode(tuple(map(int, row))) for row in rows]


def timed(architectures: list[Architecture], table: Table) -> list[float]:
    """Milliseconds of whole networks at the table's pace."""
    pairs = [("truth", network) for network in architectures]
    found, _ = time_networks(
        pairs,
        OnnxRuntime(),
        threads=1,
        seconds=SECONDS,
        seed=0,
        reference_ms=table.info.reference_ms,
    )
    return [one.latency_ms for one in found]


# -- what is trained ------------------------------------------------------------------------------


def trainings(members: list[Member]) -> list[tuple[int, int]]:
    """All trainings, by member and seed: group by group, so that a part of them is of use."""
    order = sorted(range(len(members)), key=lambda number: ORDER.index(members[number].group))
    first = [(number, 0) for number in order]
    second = [(number, 1) for number in order if number % TWICE == 0]
    return first + second


def append(path: Path, keys: Iterable[tuple[int, int]], until: float, make: Any) -> None:
    """Make what the file has not, until the time is over."""
    done = {(row["member"], row["seed"]) for row in ledger.read(path)}
    for number, seed in keys:
        if (number, seed) in done:
            continue
        if time.monotonic() > until:
            print("the time is over; call again to go on", file=sys.stderr)
            return
        row = {"kind": "result", "member": number, "seed": seed, **make(number, seed)}
        ledger.append(path, row)
        print(f"{number} seed {seed}: {row}", file=sys.stderr, flush=True)


def train(members: list[Member], out: Path, until: float) -> None:
    """The final trainings."""
    from supernet_nas_bench_macro import cifar

    from nas.benchmarks.nas_bench_macro import _path
    from nas.data import split
    from nas.evaluate import Proxy, TrainingEvaluator

    data = cifar(_path().parent)
    evaluator = TrainingEvaluator(split(data), Proxy.parse(FINAL), thread_count=1)

    def make(number: int, seed: int) -> dict[str, Any]:
        start = time.process_time()
        found = evaluator.evaluate(members[number].architecture, 1000 * seed + number)
        scores = {name: round(value, 5) for name, value in found.items()}
        return {"cpu_seconds": round(time.process_time() - start, 1), "scores": scores}

    append(out / "trained.jsonl", trainings(members), until, make)


def score(members: list[Member], out: Path, until: float) -> None:
    """The cheap scores: the default short training of each, and three times as long."""
    from supernet_nas_bench_macro import cifar

    from nas.benchmarks.nas_bench_macro import _path
    from nas.data import split
    from nas.evaluate import TrainingEvaluator, preset

    data = cifar(_path().parent)
    splits, proxy = split(data), preset(data)[1]
    rungs = {"short": proxy, "three times": proxy.times(3)}
    evaluators = {name: TrainingEvaluator(splits, of, thread_count=1) for name, of in rungs.items()}

    def make(number: int, seed: int) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for name, evaluator in evaluators.items():
            start = time.process_time()
            found = evaluator.evaluate(members[number].architecture, 1000 * seed + number)
            row[name] = {key: round(value, 5) for key, value in found.items()}
            row[name]["cpu_seconds"] = round(time.process_time() - start, 1)
        return row

    numbers = [(number, seed) for number, seed in trainings(members) if not seed]
    append(out / "scored.jsonl", numbers, until, make)


# -- the report -----------------------------------------------------------------------------------


def truth(row: ledger.Row) -> float:
    """The higher, the better."""
    scores = row["scores"]
    return -(float(scores["loss"]) + float(scores["search_loss"])) / 2


def by_member(path: Path, seed: int) -> dict[int, ledger.Row]:
    """The rows of a seed."""
    return {row["member"]: row for row in ledger.read(path) if row["seed"] == seed}


def report(members: list[Member], out: Path) -> None:
    """Print what is known."""
    first, second = by_member(out / "trained.jsonl", 0), by_member(out / "trained.jsonl", 1)
    scored = by_member(out / "scored.jsonl", 0)
    print(f"{len(first)} networks trained, {len(second)} twice; {len(scored)} with cheap scores\n")
    for number, row in sorted(first.items(), key=lambda item: -truth(item[1])):
        accuracy = (row["scores"]["accuracy"] + row["scores"]["search_accuracy"]) / 2
        one = members[number]
        print(
            f"{one.name:40s} {one.latency_ms:6.3f} ms  accuracy {accuracy:.4f}  "
            f"loss {-truth(row):.4f}  macs {one.architecture.macs / 1e6:6.1f} M  "
            f"params {one.architecture.params / 1e6:5.2f} M"
        )
    for group in (*SPACES, "published", "all"):
        numbers = [n for n in sorted(first) if group in (members[n].group, "all")]
        print_taus(group, numbers, members, first, second, scored)


def print_taus(
    group: str,
    numbers: list[int],
    members: list[Member],
    first: dict[int, ledger.Row],
    second: dict[int, ledger.Row],
    scored: dict[int, ledger.Row],
) -> None:
    """Kendall's tau of every score with the truth, in a group."""
    print(f"\n{group}: Kendall's tau with the final training, 95 % bootstraps over networks")
    twice = [number for number in numbers if number in second]
    print_tau(
        "ceiling: another seed",
        np.array([truth(first[number]) for number in twice]),
        np.array([truth(second[number]) for number in twice]),
    )
    true = np.array([truth(first[number]) for number in numbers])
    networks_of = [members[number].architecture for number in numbers]
    print_tau("macs", np.array([float(one.macs) for one in networks_of]), true)
    print_tau("params", np.array([float(one.params) for one in networks_of]), true)
    print_tau("layers", np.array([float(len(one.layers)) for one in networks_of]), true)
    cheap = [number for number in numbers if number in scored]
    true = np.array([truth(first[number]) for number in cheap])
    for rung in ("short", "three times"):
        for name, sign in (
            ("search_loss", -1.0),
            ("search_accuracy", 1.0),
            ("untrained_naswot", 1.0),
            ("untrained_grad_norm", 1.0),
        ):
            values = [sign * scored[number][rung][name] for number in cheap]
            print_tau(f"{rung}: {name}", np.array(values), true)


def print_tau(name: str, score: Floats, true: Floats) -> None:
    """A line; none for fewer than four networks."""
    if len(true) < 4:
        return

    def tau(picked: NDArray[np.int64]) -> float:
        return kendall_tau(score[picked], true[picked]) or 0.0

    low, high = bootstrap_interval(tau, len(true), resamples=RESAMPLES)
    print(
        f"  {name:32s} {len(true):3d}  {tau(np.arange(len(true))):+.3f} ({low:+.3f} to {high:+.3f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", choices=("draw", "train", "score", "report"))
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--table", type=Path, help="of this machine, for draw")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    given = parser.parse_args()
    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)
    if given.work == "draw":
        if given.table is None:
            sys.exit("draw needs --table")
        rows = [one.row() for one in drawn(Table.load(given.table))]
        lines = [json.dumps(row) + "\n" for row in rows]
        (out / "networks.jsonl").write_text("".join(lines), encoding="utf-8")
        return
    members = [Member.read(row) for row in ledger.read(out / "networks.jsonl")]
    until = time.monotonic() + 60 * given.minutes
    if given.work == "train":
        train(members, out, until)
    elif given.work == "score":
        score(members, out, until)
    else:
        report(members, out)


if __name__ == "__main__":
    main()
