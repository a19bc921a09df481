"""Whether a family scaled by fitted coefficients is worth its fitting.

Three members are compared on Fashion-MNIST, at equal CPU latency.

    # times layers on this machine: keep it quiet
    python experiments/scale_family.py --out runs/scale table
    # the members, before anything is trained
    python experiments/scale_family.py --out runs/scale plan
    # fit and families; about 20 minutes on one core
    python experiments/scale_family.py --out runs/scale train
    # times the members: keep it quiet
    python experiments/scale_family.py --out runs/scale measure
    python experiments/scale_family.py --out runs/scale report
    python experiments/scale_family.py --out runs/slice --slice all

A base of 8.6 million multiply-adds at 28 pixels is scaled to 1.6, 2.6 and 4.1 times its latency: by
the coefficients that `nas scale --fit` would keep, and by width, depth or resolution alone. Every
network is trained by one recipe with three seeds and scored on test. The bound is one-sided, 95 %,
of the mean difference over members and seeds, with the variance within members (Student, seeds - 1
degrees of freedom per member). Stopped, it goes on where it was.
"""

import argparse
import json
import math
import time
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy.stats import t as student

from nas.arch import Architecture, Stage
from nas.data import load
from nas.evaluate.coefficients import Fit, Short, Trainer
from nas.family import Coefficients, Member, candidates, family
from nas.family.fitted import Fitted
from nas.family.steps import TOLERANCE, Plan, directions
from nas.latency.table import Table
from nas.measure.build import build_table
from nas.measure.runners import OnnxRuntime
from nas.measure.timing import remarks
from nas.measure.verify import Circumstances, verify
from nas.measure.whole import time_networks
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import FusedMBConv
from nas.progress import Progress
from nas.record import ledger
from nas.shape import Shape
from nas.space import SearchSpace, fixed
from nas.train import threads

STEP, MEMBERS, DIVISIONS, FIT_SEEDS, SEEDS = 1.6, 3, 3, 2, 3
PURE = {
    "width": Coefficients(depth=1, width=STEP**0.5, resolution=1),
    "depth": Coefficients(depth=STEP, width=1, resolution=1),
    "resolution": Coefficients(depth=1, width=1, resolution=STEP**0.5),
}
MARGIN = 0.003
ROUNDS, NEAR, WHOLE = 6, 0.12, 40
LOOSE = 0.2
"""A tolerance for families that grow one thing only, as they round coarsely.

The report says how far off each member is.
"""


def base() -> Architecture:
    def stage(number: int, channels: int, stride: int, count: int) -> Stage:
        ops = (
            FusedMBConv(expand=2, channels=channels, stride=stride if i == 0 else 1)
            for i in range(count)
        )
        return Stage(f"stage{number}", tuple(ops))

    return Architecture(
        Shape(1, 28),
        (
            Stage("stem", (Conv(kernel=3, channels=16, stride=2),)),
            stage(1, 24, 1, 2),
            stage(2, 32, 2, 3),
            stage(3, 48, 2, 4),
            Stage("head", (Conv(channels=96), Classifier(classes=10))),
        ),
    )


def as_space(network: Architecture) -> SearchSpace:
    """The space of this network alone, as `nas latency build` takes it."""
    return SearchSpace(
        name=f"n{network.digest}",
        input=network.input,
        slots=tuple(fixed(s.name, *s.ops) for s in network.stages),
    )


def plan(table: Table | None, tolerance: float = TOLERANCE) -> Plan:
    """By the table's latency, or by macs."""

    def cost(network: Architecture) -> float:
        return network.macs if table is None else table.estimate(network).latency_ms

    return Plan(
        base=base(), cost=cost, unit="ms", step=STEP, divisor=4, pixels=2, tolerance=tolerance
    )


def planned(
    table: Table,
) -> tuple[list[tuple[Coefficients, Member]], dict[str, tuple[Member, ...]]]:
    """The candidates of the fit, and the families that need no fit."""
    pure = {}
    for name, coefficients in PURE.items():
        pure[name] = family(plan(table, LOOSE), coefficients, MEMBERS, name=name)
    return candidates(plan(table), DIVISIONS)[0], pure


def make_table(out: Path, seconds_per_row: float) -> None:
    """Rows for every layer that a plan can meet, then a correction from whole networks.

    First come all networks near a step of any direction by macs, and the base among them, as rows
    timed in small company meet warmer caches; then those that latency puts near a step, until none
    lacks a row.
    """
    networks = [base(), *near(plan(None), NEAR)]
    for number in range(ROUNDS):
        table = build_table(
            "here",
            [as_space(network) for network in networks],
            OnnxRuntime(1),
            out,
            seconds_per_row=seconds_per_row,
        )
        close = near(plan(table), NEAR)
        bare = [network for network in close if not covered(table, network)]
        print(
            f"round {number}: {len(table.rows)} rows, {len(bare)} of {len(close)} networks lack "
            f"some",
            flush=True,
        )
        if not bare:
            break
        networks += bare
    every = [base(), *close]
    spaced = every[:: max(1, len(every) // WHOLE)]
    chosen = {network.digest: network for network in spaced}
    timed, blocks = time_networks(
        [("family", network) for network in chosen.values()],
        OnnxRuntime(1),
        threads=1,
        seconds=10 * seconds_per_row,
        seed=0,
        reference_ms=table.info.reference_ms,
    )
    verdict = verify(table, timed, correct=True, under=Circumstances(unreliable=remarks(blocks)))
    print(
        f"{len(timed)} whole networks, a correction from four fifths of them in turn: "
        f"{verdict.every}; "
        f"{verdict.unreliable}"
    )


def near(plan: Plan, share: float) -> list[Architecture]:
    """All networks within that share of a step, of any direction and number of steps."""
    ways = {str(c): c for c in (*directions(STEP, DIVISIONS), *PURE.values())}.values()
    networks: dict[str, Architecture] = {}
    for way in ways:
        for steps in range(1, MEMBERS + 1):
            for member in plan.near("", way, steps):
                if abs(plan.deviation(member)) < share:
                    networks[member.network.digest] = member.network
    return list(networks.values())


def covered(table: Table, network: Architecture) -> bool:
    return all(table.row(layer) is not None for layer in network.layers)


def fit(out: Path, table: Table, trainer: Trainer, seeds: int) -> Fitted:
    members = candidates(plan(table), DIVISIONS)[0]
    return Fit(members, trainer, out / "fit", seeds=seeds).run(watch=show_fit)


def show_fit(progress: Progress[str]) -> None:
    accuracy = progress.figures.get("accuracy")
    score = "failed" if accuracy is None else f"{accuracy:.4f}"
    left = "" if progress.eta_seconds is None else f"  {progress.eta_seconds:.0f} s left"
    print(f"fit {progress.done}/{progress.planned}  {score}{left}", flush=True)


def families(table: Table, coefficients: Coefficients) -> dict[str, tuple[Member, ...]]:
    known = planned(table)[1]
    return {"fitted": family(plan(table, LOOSE), coefficients, MEMBERS, name="fitted"), **known}


def train(out: Path, table: Table, trainer: Trainer, seeds: tuple[int, int]) -> None:
    fitted = fit(out, table, trainer, seeds[0])
    print(f"kept: {fitted.best[0]}", flush=True)
    file = out / "members.jsonl"
    done = {(row["digest"], row["seed"]) for row in trainings(file)}
    wanted = {}
    for seed in range(100, 100 + seeds[1]):
        for members in families(table, fitted.best[0]).values():
            for member in members[1:]:
                wanted[member.network.digest, seed] = member.network
    missing = [key for key in wanted if key not in done]
    start, work, total = time.monotonic(), 0, sum(wanted[key].macs for key in missing)
    if missing:
        images, labels = trainer.splits.open_test(file)
    for digest, seed in missing:
        network = wanted[digest, seed]
        began = time.monotonic()
        module = trainer.train(network, seed)
        accuracy = trainer.test(module, network.input.size, images, labels)["accuracy"]
        ledger.append(
            file,
            {
                "kind": "training",
                "digest": digest,
                "seed": seed,
                "accuracy": accuracy,
                "seconds": time.monotonic() - began,
            },
        )
        work += network.macs
        left = (time.monotonic() - start) / work * (total - work)
        print(f"member {digest} seed {seed}  {accuracy:.4f}  {left:.0f} s left", flush=True)


def trainings(file: Path) -> list[dict[str, Any]]:
    """The record's rows but for openings of the test set."""
    return [row for row in ledger.read(file) if row["kind"] == "training"]


def measure_members(out: Path, table: Table, trainer: Trainer, seeds: int) -> None:
    """Time each network twice, interleaved, and keep the mean.

    The table's correction saw whole networks in the same way.
    """
    every = families(table, fit(out, table, trainer, seeds).best[0])
    networks = {m.network.digest: m.network for members in every.values() for m in members}
    timed, blocks = time_networks(
        [("family", network) for network in networks.values()],
        OnnxRuntime(1),
        threads=1,
        seconds=3.0,
        seed=1,
    )
    apart = max(abs(one.first_ms / one.second_ms - 1) for one in timed)
    print(f"{len(timed)} networks, both measurements within {apart:.1%}; {remarks(blocks)}")
    times = {one.network.digest: one.latency_ms for one in timed}
    (out / "measured.json").write_text(json.dumps(times, indent=1) + "\n")


def show(table: Table) -> None:
    """The candidates and the families that need no fit, as planned."""
    fit_members, known = planned(table)
    for coefficients, member in fit_members:
        print(
            f"candidate  {coefficients}  {member.network.input}  {member.network.macs / 1e6:.1f} "
            f"M macs"
        )
    for name, members in known.items():
        for member in members[1:]:
            assert member.target is not None
            off = table.estimate(member.network).latency_ms / member.target - 1
            print(
                f"{name:11} {member.network.input}  {member.network.macs / 1e6:.1f} M macs  "
                f"{off:+.1%} of its step"
            )


def report(out: Path, table: Table, trainer: Trainer, seeds: int) -> None:
    fitted = fit(out, table, trainer, seeds)
    for coefficients, member, accuracy in fitted.ranked:
        print(
            f"  {accuracy:.4f}  {coefficients}  {member.network.input}  "
            f"{coefficients.pure and f'({coefficients.pure} alone)'}"
        )
    print(
        f"fit: {len(fitted.candidates)} candidates x {seeds} seeds, {fitted.core_seconds:.0f} "
        f"core-seconds; kept {fitted.best[0]}"
    )
    every = families(table, fitted.best[0])
    file = out / "measured.json"
    times = json.loads(file.read_text()) if file.exists() else {}
    record = trainings(out / "members.jsonl")
    scores: dict[str, dict[int, float]] = {}
    for row in record:
        scores.setdefault(row["digest"], {})[row["seed"]] = row["accuracy"]
    base_ms = times.get(base().digest)
    print(
        "\nfamily      member  input  params   planned ms  table ms  measured ms  off  "
        "step/planned   test accuracy by seed"
    )
    for name, members in every.items():
        for place, member in enumerate(members[1:], 1):
            network, ms = member.network, times.get(member.network.digest, math.nan)
            assert member.target is not None
            own = " ".join(f"{v:.4f}" for _, v in sorted(scores.get(network.digest, {}).items()))
            print(
                f"{name:11} {place}       {network.input.size:2}  {network.params:8,}  "
                f"{member.target:10.4f}  "
                f"{table.estimate(network).latency_ms:8.4f}  {ms:11.4f}  "
                f"{ms / member.target - 1:+.1%}  "
                f"{ms / (base_ms or math.nan) / STEP**place - 1:+.1%}  {own}"
            )
    means = {}
    for name, members in every.items():
        values: list[float] = []
        for member in members[1:]:
            values += scores[member.network.digest].values()
        means[name] = fmean(values)
    print(
        "\nmean test accuracy: " + ", ".join(f"{name} {value:.4f}" for name, value in means.items())
    )
    best = max(PURE, key=lambda name: means[name])
    pairs = []
    for fitted_member, other in zip(every["fitted"][1:], every[best][1:], strict=True):
        ours, theirs = scores[fitted_member.network.digest], scores[other.network.digest]
        pairs.append([ours[seed] - theirs[seed] for seed in ours])
    mean, low = bound(pairs)
    verdict = "met" if low >= -MARGIN else "not met"
    print(
        f"fitted minus {best} alone, the best of the three: {100 * mean:+.2f} points, 95 % lower "
        f"bound {100 * low:+.2f} "
        f"({sum(map(len, pairs))} pairs); not worse by more than {100 * MARGIN:.1f}: {verdict}"
    )
    spent = {}
    for name, members in every.items():
        digests = {member.network.digest for member in members[1:]}
        spent[name] = sum(row["seconds"] for row in record if row["digest"] in digests)
    print(
        f"core-seconds: fit {fitted.core_seconds:.0f}; training the members: "
        + ", ".join(f"{n} {s:.0f}" for n, s in spent.items())
    )


def bound(pairs: list[list[float]]) -> tuple[float, float]:
    """Mean difference, and its one-sided 95 % lower bound."""
    values = [value for each in pairs for value in each]
    freedom = sum(len(each) - 1 for each in pairs)
    spread = sum((value - fmean(each)) ** 2 for each in pairs for value in each)
    if not freedom:
        return fmean(values), -math.inf
    error = math.sqrt(spread / freedom / len(values))
    return fmean(values), fmean(values) - float(student.ppf(0.95, freedom)) * error


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("what", choices=("table", "plan", "train", "measure", "report", "all"))
    options.add_argument("--out", type=Path, default=Path("runs/scale"))
    options.add_argument("--data", default="fashion-mnist")
    options.add_argument(
        "--slice", action="store_true", help="twenty steps and one seed, to see that it works"
    )
    given = options.parse_args()
    recipe = Short(images=4800, epochs=1, batch_size=32, lr=0.05)
    fit_seeds, seeds, row_seconds = FIT_SEEDS, SEEDS, 0.06
    if given.slice:
        recipe, fit_seeds, seeds, row_seconds = Short(images=1280, epochs=1, lr=0.1), 1, 1, 0.02
    every = given.what == "all"
    if every or given.what == "table":
        make_table(given.out, row_seconds)
    table = Table.load(given.out / "here.csv")
    trainer = Trainer(load(given.data), recipe)
    if every or given.what == "plan":
        show(table)
    if every or given.what == "train":
        train(given.out, table, trainer, (fit_seeds, seeds))
    with threads(1):
        if every or given.what == "measure":
            measure_members(given.out, table, trainer, fit_seeds)
    if every or given.what == "report":
        report(given.out, table, trainer, fit_seeds)


if __name__ == "__main__":
    main()
