"""Whether what a search picks takes what the search says, and stays inside its budget.

    python experiments/search_picks.py --out DIR --table mnasnet=DIR/mnasnet.csv [--table ..]
        [--searches 14] [--trials 6] [--confidence 0.95] [--resolution 64]

Tables are of this machine, such as `table_audit.py` leaves behind. For each it makes real searches
of budgets spread over the space's latencies: `nas search --latency T --confidence 0.95 --data
digits`, with shorter trainings, all else as by default. So every search corrects its copy of the
table near its budget before it begins, and times its front as whole networks before it ends. After
all searches of a table, their picks are timed once more, side by side.

Prints each pick with what the table said, what the search printed, and what it took, then the goals
of the project. Kept in ``--out``: a call that was stopped goes on. The machine should do nothing
else.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from table_audit import Slice, kept, timed

from nas import catalog
from nas.arch import Architecture
from nas.latency.table import Table
from nas.run.calibrate import calibrated
from nas.run.execute import execute
from nas.run.plan import plan
from nas.run.resume import resumed
from nas.run.run import Run
from nas.run.settings import Search
from nas.statistics import rng

PROXY = "epochs=6,images=1000"
"""Short, but enough that networks differ in what they have learnt."""


@dataclass(frozen=True, kw_only=True)
class Picked:
    """What a search came to."""

    network: Architecture
    budget_ms: float
    table_ms: float
    printed_ms: float
    """What the search says of its pick: timed, where it was timed."""


def budgets(space_spec: str, table: Table, given: argparse.Namespace) -> list[float]:
    """One in each of so many bands of equal factors, fastest first."""
    space = catalog.space(space_spec, resolution=given.resolution)
    _, kept_ms = kept(table, space, given.seed)
    low, high = float(kept_ms.min()), float(kept_ms.max())
    chosen = []
    for number in range(given.searches):
        share = (number + rng(given.seed, "budgets", number).uniform(0.2, 1.0)) / given.searches
        chosen.append(low * (high / low) ** share)
    return chosen


def searched(space_spec: str, table: Table, given: argparse.Namespace) -> Iterator[Picked]:
    """The searches of one table, made or read."""
    for number, budget_ms in enumerate(budgets(space_spec, table, given)):
        folder = given.out / f"{space_spec}_{number}"
        if not (folder / "front.csv").exists():
            settings = Search().changed(
                space=space_spec,
                devices=(str(table.path),),
                latency_ms=budget_ms,
                confidence=given.confidence,
                resolution=given.resolution,
                proxy=PROXY,
                trials=given.trials,
                seed=given.seed + number,
            )
            if (folder / "run.json").exists():
                execute(plan(resumed(folder, {})), folder, resume=True)
            else:
                execute(calibrated(plan(settings), print), folder)
        run = Run(folder)
        pick = run.pick()
        print(f"{folder.name}: {pick}", file=sys.stderr, flush=True)
        yield Picked(
            network=pick.network,
            budget_ms=budget_ms,
            table_ms=run.tables[0].estimate(pick.network).latency_ms,
            printed_ms=pick.trial.metrics[run.latency],
        )


def judged(space_spec: str, table: Table, given: argparse.Namespace) -> list[tuple[Picked, float]]:
    """The picks of one table with what they took, printed."""
    picks = list(searched(space_spec, table, given))
    path = given.out / f"{space_spec}_picks.journal"
    again, remarks = timed([one.network for one in picks], table, path, given, Slice(None))
    print(f"\n{space_spec} at {given.resolution} pixels; {remarks}")
    print("  budget ms  table ms  printed ms  timed anew  table off %  printed off %  unused %")
    found = []
    for pick, one in zip(picks, again, strict=True):
        ms = one.latency_ms
        print(
            f"  {pick.budget_ms:9.3f}  {pick.table_ms:8.3f}  {pick.printed_ms:10.3f}  {ms:10.3f}"
            f"  {100 * (pick.table_ms / ms - 1):+11.1f}  {100 * (pick.printed_ms / ms - 1):+13.1f}"
            f"  {100 * (1 - ms / pick.budget_ms):+8.1f}"
        )
        found.append((pick, ms))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", action="append", required=True, help="SPACE=FILE, repeatable")
    parser.add_argument("--searches", type=int, default=14, help="of each table")
    parser.add_argument("--trials", type=int, default=6, help="of each search")
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a pick's timing, in all")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    found = []
    for pair in given.table:
        spec, _, path = pair.partition("=")
        found += judged(spec, Table.load(path), given)
    unused = [1 - ms / pick.budget_ms for pick, ms in found]
    within = sum(share >= 0 for share in unused)
    close = sum(abs(pick.printed_ms / ms - 1) <= 0.05 for pick, ms in found)
    print(f"\n{within} of {len(found)} picks within budget (goal: 19 of 20)")
    print(f"{100 * statistics.median(unused):.1f} % of the budget unused in the median (goal: 5 %)")
    print(f"{close} of {len(found)} within 5 % of what the search printed (goal: 19 of 20)")


if __name__ == "__main__":
    main()
