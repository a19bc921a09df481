"""What a user's table of this machine is worth, space by space, third by third.

    python experiments/table_audit.py --out DIR [--space mnasnet ..] [--resolution 64]
        [--build-minutes 3] [--fit 24] [--networks 24] [--picks 10] [--minutes 25]

For each space it does what ``nas latency build`` does (rows for so many minutes, then whole
networks that correct the table), and holds the table against networks that it has not seen: some
spread over all latencies, and picks. A pick is what any search tends to: of thousands of networks
that keep a random budget with confidence 0.95, the one with the most macs.
Prints errors, Kendall's tau beside that of two measurements, the share within 10 %, the coverage of
90 % intervals, and what the picks took of their budgets, beside the goals.

What is timed is kept in ``--out``: a run that was stopped, or whose ``--minutes`` were over, goes
on when called again. The machine should do nothing else; what was disturbed is printed.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from nas import catalog
from nas.arch import Architecture
from nas.cost.compiled import Compiled, compile_costs
from nas.latency.audit import Audit, audit, band_audits
from nas.latency.table import Table
from nas.measure.build import build_table
from nas.measure.drawing import draw_spread, pool
from nas.measure.runners import OnnxRuntime
from nas.measure.timing import disturbed_share
from nas.measure.verify import load_remarks, verify_on
from nas.measure.whole import Timed, time_networks
from nas.progress import Progress
from nas.reading import to_json
from nas.space import SearchSpace
from nas.statistics import rng

SPACES = ("mnasnet", "fbnet", "uninet")
CONFIDENCE = 0.95
HELD_SEED = 1000
"""Added to the seed of the networks that are held out."""
COLUMNS = "num  mean %  bias %   in 5  in 10  in 90     tau  repeat"


class Slice:
    """Says where the work stands, and ends it, everything kept, when its minutes are over."""

    def __init__(self, minutes: float | None) -> None:
        self.start = time.monotonic()
        self.end = self.start + 60 * minutes if minutes else float("inf")
        self.what = ""

    def watch(self, progress: Progress[object]) -> None:
        """Print where the work stands; leave if the time is over."""
        gone = (time.monotonic() - self.start) / 60
        left = "" if progress.eta_seconds is None else f", {progress.eta_seconds:.0f} s left of it"
        print(
            f"[{gone:5.1f} min] {self.what}: {progress.what} {progress.done}/{progress.planned}"
            f"{left}",
            file=sys.stderr,
            flush=True,
        )
        if time.monotonic() > self.end and progress.done != progress.planned:
            sys.exit("the slice is over; call again to go on")


def line(name: str, found: Audit) -> str:
    """A line of the table that is printed."""
    taus = "".join(
        "       -" if tau is None else f" {tau:7.3f}" for tau in (found.tau, found.tau_repeat)
    )
    shares = (found.within_5, found.within_10, found.coverage_90)
    return (
        f"{name:38s} {found.networks:4d} {100 * found.mape:7.2f} {100 * found.bias:+7.2f}"
        + "".join(f" {100 * share:6.0f}" for share in shares)
        + taus
    )


@dataclasses.dataclass(frozen=True)
class Pick:
    """A budget, and the network picked for it."""

    budget_ms: float
    network: Architecture


def sure_ms(table: Table, parts: Compiled, genes: NDArray[np.int64]) -> NDArray[np.float64]:
    """What networks keep with the confidence, (networks,); as `sure_latency_ms` has it."""
    ms, common, variance = parts.price(genes).T
    stretch = np.array([table.stretch(value) for value in ms.tolist()])
    z = NormalDist().inv_cdf(CONFIDENCE)
    return np.asarray(ms + z * np.sqrt(variance + (stretch * common) ** 2))


def kept(
    table: Table, space: SearchSpace, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Genes of networks of all latencies, and what each keeps with the confidence."""

    def of(layer: object) -> list[float]:
        estimate = table.layer(layer)  # type: ignore[arg-type]
        return [estimate.latency_ms, estimate.common_sd_ms, estimate.variance_ms2]

    table.foresee(space.layers)
    names = ("latency_ms", "common", "variance")
    parts = compile_costs(space, names, of, once={"latency_ms": table.constant_ms})
    genes = pool(parts, "latency_ms", seed)
    return genes, sure_ms(table, parts, genes)


def picks(table: Table, space: SearchSpace, count: int, seed: int) -> list[Pick]:
    """Of the networks that keep a budget, the one with the most macs; budgets by factors."""
    genes, kept_ms = kept(table, space, seed + HELD_SEED)
    macs = compile_costs(space, ("macs",), lambda layer: [layer.macs])
    work = macs.price(genes)[:, 0]
    low, high = kept_ms.min(), kept_ms.max()
    chosen = []
    for number in range(count):
        # One budget in each of so many bands of equal factors: the fast end is where errors were.
        within = (number + rng(seed, "table audit picks", number).uniform(0.1, 1.0)) / count
        budget = float(low * (high / low) ** within)
        inside = np.flatnonzero(kept_ms <= budget)
        best = genes[inside[work[inside].argmax()]]
        chosen.append(Pick(budget, space.decode(best.tolist())))
    return chosen


def made_table(
    spec: str, space: SearchSpace, given: argparse.Namespace, out: Path, slot: Slice
) -> Table:
    """The table as ``nas latency build`` makes it; that of an earlier call, if it was finished."""
    name, done = out.name, out / "built.json"
    if done.exists():
        return Table.load(out / f"{name}.csv")
    slot.what = f"{spec} rows"
    build_table(
        name,
        [space],
        OnnxRuntime(),
        out,
        seconds_per_row=given.seconds_per_row,
        minutes=given.build_minutes,
        seed=given.seed,
        watch=slot.watch,
    )
    slot.what = f"{spec} correction"
    verdict = verify_on(
        Table.load(out / f"{name}.csv"),
        {spec: space},
        networks=given.fit,
        correct=True,
        force=given.force,
        seconds=given.seconds,
        seed=given.seed,
        watch=slot.watch,
    )
    seen = [one.network.digest for one in verdict.held]
    done.write_text(json.dumps({"refused": list(verdict.refused), "seen": seen}))
    return verdict.table


def timed(
    networks: Sequence[Architecture],
    table: Table,
    path: Path,
    given: argparse.Namespace,
    slot: Slice,
) -> tuple[list[Timed], str]:
    """Networks with their times, and what may be said of the machine."""
    runner = OnnxRuntime()
    found, blocks = time_networks(
        [("held", network) for network in networks],
        runner,
        threads=1,
        seconds=given.seconds,
        seed=given.seed,
        journal=path,
        reference_ms=table.info.reference_ms,
        watch=slot.watch,
    )
    remarks = [f"{100 * disturbed_share(blocks):.0f} % of the timings disturbed"]
    remarks += load_remarks(table, runner, blocks)
    return found, "; ".join(remarks)


def audit_space(spec: str, given: argparse.Namespace, slot: Slice) -> list[Audit]:
    """Everything about one space, printed; the audits of its thirds."""
    space = catalog.space(spec, resolution=given.resolution)
    out = Path(given.out) / spec.replace(":", "_").replace("=", "_")
    out.mkdir(parents=True, exist_ok=True)
    table = made_table(spec, space, given, out, slot)
    made = json.loads((out / "built.json").read_text())
    # The fastest and the slowest network are of both draws.
    more = draw_spread(space, table.uncorrected(), given.networks + 2, seed=given.seed + HELD_SEED)
    held = [network for network in more if network.digest not in made["seen"]][: given.networks]
    slot.what = f"{spec} held out"
    measured, held_remarks = timed(held, table, out / "held.journal", given, slot)
    chosen = picks(table, space, given.picks, given.seed)
    slot.what = f"{spec} picks"
    # Named after the table: picks of another one are other networks.
    path = out / f"picks_{table.digest}.journal"
    picked, pick_remarks = timed([pick.network for pick in chosen], table, path, given, slot)

    first = [one.first_ms for one in measured]
    second = [one.second_ms for one in measured]
    estimates = [table.estimate(one.network) for one in measured]
    bare = [table.uncorrected().estimate(one.network) for one in measured]
    print(f"\n{spec} at {space.input.size} pixels: {len(table.rows)} rows; {held_remarks}")
    for reason in made["refused"]:
        print(f"the correction is not stored: {reason}")
    for caveat in table.info.caveats:
        if "were not timed" in caveat:
            print(caveat)
    print(f"table's own audit: {table.info.reliability()}")
    print(f"correction: {json.dumps(to_json(table.correction))}")
    print(f"{'held-out networks':38s} {COLUMNS}")
    print(line("all, uncorrected", audit(bare, first, second)))
    print(line("all", audit(estimates, first, second)))
    bands = band_audits(estimates, first, second, bare)
    for band in bands:
        print(line(f"{band.low_ms:8.2f} to {band.high_ms:7.2f} ms", band.audit))
    print(f"picks at confidence {CONFIDENCE:g}, most macs inside a budget; {pick_remarks}")
    print("  budget ms  estimate ms  timed ms  off %  unused %")
    for pick, one in zip(chosen, picked, strict=True):
        estimate = table.estimate(pick.network).latency_ms
        print(
            f"  {pick.budget_ms:9.3f}  {estimate:11.3f}  {one.latency_ms:8.3f}  "
            f"{100 * (estimate / one.latency_ms - 1):+5.1f}  "
            f"{100 * (1 - one.latency_ms / pick.budget_ms):+8.1f}"
        )
    unused = [1 - one.latency_ms / pick.budget_ms for pick, one in zip(chosen, picked, strict=True)]
    kept = sum(share >= 0 for share in unused)
    print(
        f"  {kept} of {len(unused)} within budget; {100 * statistics.median(unused):.1f} % unused "
        "in the median"
    )
    print_goals([band.audit for band in bands], kept, unused)
    return [band.audit for band in bands]


def print_goals(bands: Sequence[Audit], kept: int, unused: Sequence[float]) -> None:
    """Each goal with what was reached."""

    def goal(name: str, figure: str, met: bool) -> None:
        print(f"  {name:56s} {figure:>12s}   {'met' if met else 'MISSED'}")

    worst = max(band.mape for band in bands)
    goal("mean error of every third at most 3 %", f"{100 * worst:.2f} %", worst <= 0.03)
    short = max((band.tau_repeat or 0) - (band.tau or 0) for band in bands)
    goal("tau of every third at least the repeat's less 0.02", f"{-short:+.3f}", short <= 0.02)
    within = statistics.mean(band.within_10 for band in bands)
    goal("98 % within 10 %", f"{100 * within:.0f} %", within >= 0.98)
    covered = statistics.mean(band.coverage_90 for band in bands)
    goal("90 % intervals cover 85 to 95 %", f"{100 * covered:.0f} %", 0.85 <= covered <= 0.95)
    goal("19 of 20 picks within budget", f"{kept}/{len(unused)}", kept >= 0.95 * len(unused))
    middle = statistics.median(unused)
    goal("median slack at most 5 %", f"{100 * middle:.1f} %", middle <= 0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", required=True, help="folder of the tables and of what was timed")
    parser.add_argument(
        "--space", action="append", help=f"space, repeatable (default: {', '.join(SPACES)})"
    )
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--build-minutes", type=float, default=3.0, help="for a table's rows")
    parser.add_argument("--fit", type=int, default=24, help="networks that correct a table")
    parser.add_argument("--networks", type=int, default=24, help="held-out networks of a space")
    parser.add_argument("--picks", type=int, default=10, help="picks of a space")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a network, in all")
    parser.add_argument("--seconds-per-row", type=float, default=0.04)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--force", action="store_true", help="store a correction made under load")
    parser.add_argument("--minutes", type=float, help="stop after so long; call again to go on")
    given = parser.parse_args()
    slot = Slice(given.minutes)
    for spec in given.space or SPACES:
        audit_space(spec, given, slot)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
