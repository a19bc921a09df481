"""A table of this machine, held against whole networks of four spaces.

    python experiments/latency_audit.py --out DIR [--minutes 20] [--space fbnet ..]
        [--resolution 128]

Times, in one random mix of interleaved rounds, every row of a table and whole random networks of
each space, in four passes: some to learn a correction from, others held out; two measurements of a
network are of two passes each. Then the ops of held-out networks one after the other, as one would
naively, and networks picked at random budgets with confidence 0.95. Prints errors, coverage and
picks beside the goals. What is timed is kept in ``--out``: a run that was stopped, or given a slice
of ``--minutes``, goes on when called again. The machine should do nothing else; what made the
timings doubtful is printed last.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from nas import catalog
from nas.cost.confidence import margin, sure_latency_ms
from nas.cost.costs import latency_metric, space_costs, sure_metric
from nas.domain import Bound, Domain
from nas.latency.audit import Audit, audit
from nas.latency.estimate import Estimate
from nas.latency.keys import layer_key
from nas.latency.table import Table
from nas.measure.build import keys_of, subject, table_of, time_missing
from nas.measure.drawing import draw
from nas.measure.journal import Journal
from nas.measure.runners import OnnxRuntime, pinned
from nas.measure.timing import remarks
from nas.measure.verify import Circumstances, Verdict, verify
from nas.measure.whole import Timed, network_subject
from nas.progress import Pace, Progress
from nas.reading import to_json
from nas.space import SearchSpace
from nas.statistics import rng

SPACES = ("fbnet", "mnasnet", "fused_mbconv:base=b0", "uninet")
CONFIDENCE, INSIDE = 0.95, 256
NAIVE_RUNS, NAIVE_SECONDS = 30, 0.05
MIXED = range(4)  # passes over each network; each is open, and timed, on its own


class Slice:
    """Says where the work stands, and ends it, everything kept, when its minutes are over."""

    def __init__(self, minutes: float | None) -> None:
        self.end = time.monotonic() + 60 * minutes if minutes else float("inf")

    def watch(self, what: str, progress: Progress[object]) -> None:
        """Print how far ``what`` is; leave if the time is over."""
        left = "" if progress.eta_seconds is None else f", {progress.eta_seconds / 60:.0f} min left"
        print(f"{what}: {progress.done}/{progress.planned}{left}", file=sys.stderr, flush=True)
        if time.monotonic() > self.end and progress.done != progress.planned:
            sys.exit("the slice is over; call again to go on")


def line(name: str, found: Audit) -> str:
    taus = (found.tau, found.tau_repeat, found.tau_band, found.tau_repeat_band)
    return (
        f"{name:34s} {found.networks:4d} {100 * found.mape:7.2f} {100 * found.bias:+7.2f} "
        f"{100 * found.within_5:6.0f}"
        f" {100 * found.within_10:6.0f} {100 * found.coverage_90:6.0f}"
        + "".join("       -" if tau is None else f" {tau:7.3f}" for tau in taus)
    )


def drawn(spaces: Sequence[SearchSpace], fit: int, networks: int, seed: int) -> list[Timed]:
    """Distinct networks of each space, the first ``fit`` to learn from; without times yet."""
    return [
        Timed(space=space.name, network=network, first_ms=0.0, second_ms=0.0)
        for space in spaces
        for network in draw(space, fit + networks, seed=seed)
    ]


def drawn_keys(networks: Iterable[Timed]) -> list[str]:
    """The rows that the drawn networks need."""
    layers = (layer for one in networks for layer in one.network.layers if layer.kernels)
    return list(dict.fromkeys(layer_key(layer.op, layer.shape) for layer in layers))


def time_everything(
    given: argparse.Namespace, spaces: Sequence[SearchSpace], runner: OnnxRuntime, slot: Slice
) -> tuple[Table, list[Timed], list[Timed], Circumstances]:
    """Time rows and networks, and build the table.

    Returns the table, the networks to learn from and those held out, each with its times, and what
    made the times doubtful.
    """
    networks = drawn(spaces, given.fit, given.networks, given.seed)
    of_space = given.fit + given.networks
    held = set()
    for place, one in enumerate(networks):
        if place % of_space >= given.fit:
            held.add(one.network.digest)
    keys = drawn_keys(networks) if given.drawn_rows else keys_of(spaces)
    subjects = [subject(key) for key in keys]
    for one in networks:
        for number in MIXED:
            name = f"network {one.network.digest} {number}"
            subjects.append(network_subject(name, one.network))
    out = Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    with Journal(out / "here.journal", runner.conditions()) as journal:
        time_missing(
            journal,
            subjects,
            runner,
            1,
            given.seconds,
            0,
            lambda progress: slot.watch("timed", progress),
        )
        table = table_of(journal, "here", spaces, runner, out)
        timed = journal.at_pace(journal.best_reference_ms())
        call_ms = statistics.median(block.call_ms for block in journal.blocks)
        under = Circumstances(unreliable=remarks(journal.blocks), call_ms=call_ms)
    timed_networks = []
    for one in networks:
        passes = [timed[f"network {one.network.digest} {number}"].latency_ms for number in MIXED]
        first, second = statistics.mean(passes[::2]), statistics.mean(passes[1::2])
        timed_networks.append(dataclasses.replace(one, first_ms=first, second_ms=second))
    return (
        table,
        [one for one in timed_networks if one.network.digest not in held],
        [one for one in timed_networks if one.network.digest in held],
        under,
    )


def naive_times(
    keys: Iterable[str], runner: OnnxRuntime, path: Path, slot: Slice
) -> dict[str, float]:
    """Times of ops one after the other: the median, with nothing taken off.

    Each op runs at most thirty times in a row.
    """
    known: dict[str, float] = {}
    if path.exists():
        known = dict(json.loads(text) for text in path.read_text().splitlines())
    missing = [key for key in keys if key not in known]
    pace = Pace("naive", len(missing))
    with pinned(1), path.open("a") as file:
        for done, key in enumerate(missing):
            run = runner.open(subject(key).graph())
            run()
            times: list[float] = []
            while len(times) < NAIVE_RUNS and (len(times) < 5 or sum(times) < 1e3 * NAIVE_SECONDS):
                times.append(run())
            known[key] = statistics.median(times)
            file.write(json.dumps([key, known[key]]) + "\n")
            if done % 100 == 99:
                slot.watch("naive", pace.at(done + 1))
    return known


def naive_audit(held: Sequence[Timed], runner: OnnxRuntime, out: Path, slot: Slice) -> Audit:
    alone = naive_times(drawn_keys(held), runner, out / "naive.jsonl", slot)
    sums = []
    for one in held:
        layers = [layer for layer in one.network.layers if layer.kernels]
        total = sum(alone[layer_key(layer.op, layer.shape)] for layer in layers)
        sums.append(Estimate(measured_ms=total))
    return audit(sums, [one.first_ms for one in held], [one.second_ms for one in held])


def picks(
    table: Table, spaces: Sequence[SearchSpace], count: int, seed: int
) -> list[tuple[float, Timed]]:
    """Budgets, each with the network picked for it.

    Budgets are uniform over a space's middle. Of the networks inside, the one is picked that uses
    most of its budget.
    """
    chosen = []
    for number in range(count):
        space, draws = spaces[number % len(spaces)], rng(seed, "audit picks", number)
        genes = np.stack([draws.integers(size, size=1000) for size in space.gene_sizes], axis=1)
        costs = space_costs(space, [table])
        low, high = np.quantile(
            costs.price(genes)[:, costs.column(latency_metric(table.name))], (0.1, 0.9)
        )
        budget = float(draws.uniform(low, high))
        costs = space_costs(space, [table], {table.name: margin(space, table, budget, CONFIDENCE)})
        bound = Bound(sure_metric(table.name, CONFIDENCE), budget)
        inside = Domain(space, costs, [bound]).sample_many(INSIDE, draws)
        networks = [space.decode(genes) for genes in inside]
        best = max(
            networks, key=lambda network: sure_latency_ms(table.estimate(network), CONFIDENCE)
        )
        pick = Timed(space=space.name, network=best, first_ms=0.0, second_ms=0.0)
        chosen.append((budget, pick))
    return chosen


def picks_kept(
    table: Table,
    spaces: Sequence[SearchSpace],
    given: argparse.Namespace,
    runner: OnnxRuntime,
    slot: Slice,
) -> tuple[int, list[float], list[float]]:
    """How many picks met their budget when measured; each one's slack, and its error, as shares."""
    chosen = picks(table, spaces, given.picks, given.seed)
    subjects = {
        one.network.digest: network_subject(one.network.digest, one.network) for _, one in chosen
    }
    with Journal(
        Path(given.out) / "picks.journal", {**runner.conditions(), "table": table.digest}
    ) as journal:
        time_missing(
            journal,
            list(subjects.values()),
            runner,
            1,
            1.0,
            0,
            lambda progress: slot.watch("picks", progress),
        )
        rows = journal.at_pace(table.info.reference_ms or 0.0)
        measured = [rows[one.network.digest].latency_ms for _, one in chosen]
    slack = [1 - ms / budget for (budget, _), ms in zip(chosen, measured, strict=True)]
    errors = [
        table.estimate(one.network).latency_ms / ms - 1
        for (_, one), ms in zip(chosen, measured, strict=True)
    ]
    return sum(share >= 0 for share in slack), slack, errors


def print_goal(name: str, figure: str, met: bool) -> None:
    print(f"  {name:58s} {figure:>12s}   {'met' if met else 'MISSED'}")


def report(found: Verdict, naive: Audit, kept: tuple[int, list[float], list[float]] | None) -> None:
    assert found.before is not None
    print(
        f"\n{'held-out networks of':34s}  num  MAPE %  bias %   in 5  in 10  in 90     tau  "
        f"repeat tau ±10  repeat"
    )
    for name, own in found.spaces.items():
        print(line(f"{name}, corrected", own))
    print(line("all, corrected", found.every))
    print(line("all, rows as built", found.before))
    print(line("all, ops one after the other", naive))
    print(f"\ncorrection {to_json(found.table.correction)}\n\ngoals")
    for name, own in found.spaces.items():
        print_goal(f"{name}: MAPE at most 3 %", f"{100 * own.mape:.2f} %", own.mape <= 0.03)
        print_goal(
            f"{name}: at least 98 % within 10 %",
            f"{100 * own.within_10:.0f} %",
            own.within_10 >= 0.98,
        )
        print_goal(
            f"{name}: Kendall's tau at least 0.92", f"{own.tau or 0:.3f}", (own.tau or 0) >= 0.92
        )
    every = found.every
    print_goal(
        f"90 % intervals cover 85 to 95 % of {every.networks}",
        f"{100 * every.coverage_90:.1f} %",
        0.85 <= every.coverage_90 <= 0.95 and every.networks >= 200,
    )
    if kept is None:
        return
    number, slack, errors = kept
    enough = number >= 0.9 * len(slack)
    print_goal(
        f"picks at confidence {CONFIDENCE:g} within budget: at least 9 of 10",
        f"{number} of {len(slack)}",
        enough,
    )
    middle = statistics.median(slack)
    print_goal("their median slack at most 5 %", f"{100 * middle:.2f} %", middle <= 0.05)
    print(
        f"  picks: mean error {100 * statistics.mean(errors):+.2f} %, worst overrun "
        f"{-100 * min(0.0, *slack):.2f} %"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--space", action="append", help=f"space, repeatable (default: {', '.join(SPACES)})"
    )
    parser.add_argument(
        "--resolution", type=int, default=128, help="input size (default 128, to be affordable)"
    )
    parser.add_argument(
        "--fit", type=int, default=24, help="networks of each space to learn the correction from"
    )
    parser.add_argument("--networks", type=int, default=50, help="held-out networks of each space")
    parser.add_argument("--picks", type=int, default=40, help="picks at random budgets")
    parser.add_argument("--seconds", type=float, default=0.1, help="of a row, or of a network")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the networks drawn; forms of the correction were chosen on 0",
    )
    parser.add_argument(
        "--drawn-rows", action="store_true", help="only rows that the drawn networks need; no picks"
    )
    parser.add_argument("--minutes", type=float, help="stop after so long; call again to go on")
    parser.add_argument("--out", required=True, help="folder of the table and of what was timed")
    given = parser.parse_args()
    spaces = [catalog.space(name, resolution=given.resolution) for name in given.space or SPACES]
    runner, slot, out = OnnxRuntime(), Slice(given.minutes), Path(given.out)
    table, seen, held, under = time_everything(given, spaces, runner, slot)
    print(
        f"{len(table.rows)} rows, {len(table.info.noisy or ())} noisy; {len(seen)} networks seen, "
        f"{len(held)} held out"
    )
    for name, error in table.info.known_error.items():
        print(f"  {name}: {100 * error:.1f} %")
    found = verify(table, held, correct=True, force=True, seen=seen, under=under)
    naive = naive_audit(held, runner, out, slot)
    kept = None if given.drawn_rows else picks_kept(found.table, spaces, given, runner, slot)
    report(found, naive, kept)
    for remark in under.unreliable:
        print(f"doubtful: {remark}")


if __name__ == "__main__":
    main()
