"""A study on 1 to 1,000 asynchronous workers, in virtual time.

    python experiments/scale_out.py OUT [--evaluations 1000] [--seeds 3] [--seconds 200]
    python experiments/scale_out.py OUT --long 100000 [--seconds 200]

Strategies, loop and record are real. Time is simulated, work is not: every ask, claim, finish and
tell is done, timed (the process's own time, so that other work on the machine does not count), and
charged to the one driver, which serves workers in turn; an evaluation takes a log-normal time
around ``--minutes``. Three strategies search an NK landscape over FBNet with W workers. ``--long``:
one search of so many evaluations by 1,000 workers, and what the driver needs for a trial, the
journal's size and the time to open it at each power of ten. ``--seconds``: end after so long with
exit code 3; the same call goes on. Prints tables; writes scale_out.jsonl, long.jsonl and
docs/scale_out.png.
"""

import argparse
import heapq
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from nas.arch import Architecture
from nas.benchmarks import Problem
from nas.benchmarks.nk import benchmark
from nas.domain import Domain
from nas.files import write_json
from nas.objectives import Objective, Objectives
from nas.record import ledger
from nas.record.identity import identity
from nas.record.store import Store
from nas.statistics import rng
from nas.strategies import make
from nas.study.evaluator import Evaluator
from nas.study.study import Study
from nas.study.workers import Measured
from nas.trial import Metrics

WORKERS = (1, 4, 16, 64, 256, 1000)
STRATEGIES = ("random", "local-search", "evolution:population=50,sample=10")
LONGEST = "local-search"
SPREAD = 0.5
MARKS = (100, 1000, 10_000, 100_000)
NAMES = ("trials_per_hour", "driver_busy", "driver_ms", "wait_s", "regret")


class Truth(Evaluator):
    """The landscape as an evaluator. `take` and `give` are called beside it."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def evaluate(self, architecture: Architecture, seed: int) -> Metrics:
        """Nobody calls this."""
        raise NotImplementedError


@dataclass
class State:
    """A simulation between two events, in virtual seconds.

    ``free``: when the driver is. ``busy``, ``waited``: what it has worked, and workers waited for
    it. ``events``: when which trial's evaluation ends; minus a worker before its first. ``since``:
    what it had worked at the last mark.
    """

    free: float = 0.0
    busy: float = 0.0
    waited: float = 0.0
    end: float = 0.0
    best: float = 1e9
    done: int = 0
    since: tuple[int, float] = (0, 0.0)
    events: list[tuple[float, int]] = field(default_factory=list)


def opened(folder: Path, domain: Domain, seed: int) -> Store:
    objectives = Objectives((Objective("train_ms", "minimize"),))
    reference = identity(
        domain, Objectives((Objective("macs", "minimize"),)), strategy="simulated", seed=seed
    )
    conditions = replace(reference, objectives=objectives, reference=(10.0,))
    open_store = Store.resume if (folder / "run.json").exists() else Store.create
    return open_store(folder, domain.space, conditions)


def read_state(folder: Path, workers: int) -> State:
    file = folder / "state.json"
    if not file.exists():
        return State(events=[(0.0, -worker - 1) for worker in range(workers)])
    kept = json.loads(file.read_text())
    kept["events"] = [tuple(event) for event in kept["events"]]
    kept["since"] = tuple(kept["since"])
    return State(**kept)


def simulate(
    folder: Path, spec: str, workers: int, evaluations: int, minutes: float, seed: int, until: float
) -> dict[str, float] | None:
    """One search, begun or gone on with; None if the time was up first.

    ``train_ms`` is the loss, shifted above 0.
    """
    problem = benchmark(seed=seed)
    state = read_state(folder, workers)
    start = time.process_time()
    with opened(folder, problem.domain, seed) as store:
        study = Study(problem.domain, make(spec, problem.domain, seed=seed), Truth(problem), store)
        if study.evaluated != state.done:
            raise SystemExit(f"{folder} was killed in the middle: remove it")
        if state.done:
            kept = {"kind": "open", "trials": state.done, "open_s": time.process_time() - start}
            ledger.append(folder / "marks.jsonl", kept)
        study.begin(trials=evaluations)
        for _ in store.opened.claims:
            study.take()
        while state.events:
            step(study, problem, state, minutes, seed)
            if state.done in MARKS and state.done > state.since[0]:
                mark(folder, state)
            if time.monotonic() > until:
                write_json(folder / "state.json", asdict(state))
                return None
    write_json(folder / "state.json", asdict(state))
    return {
        "hours": state.end / 3600,
        "trials_per_hour": evaluations / (state.end / 3600),
        "regret": state.best,
        "driver_busy": state.busy / state.end,
        "wait_s": state.waited / evaluations,
        "driver_ms": 1e3 * state.busy / evaluations,
    }


def step(study: Study, problem: Problem, state: State, minutes: float, seed: int) -> None:
    """The next evaluation ends, and its worker gets another network."""
    now, number = heapq.heappop(state.events)
    loss = problem.observe(study.claim_of(number).proposal.genes)[0] if number >= 0 else 0.0
    start = time.process_time()
    if number >= 0:
        study.give(number, Measured(metrics={"train_ms": loss + 10}, seconds=60 * minutes))
        state.best = min(state.best, loss - problem.best)
        state.end = now
        state.done += 1
    fresh = study.take()
    took = time.process_time() - start
    state.free = max(state.free, now) + took
    state.busy += took
    if fresh is not None:
        state.waited += state.free - now
        spread = float(rng(seed, "length", fresh.number).lognormal(-(SPREAD**2) / 2, SPREAD))
        heapq.heappush(state.events, (state.free + 60 * minutes * spread, fresh.number))


def mark(folder: Path, state: State) -> None:
    """What a trial cost the driver since the last mark, and what its record has grown to."""
    done, busy = state.since
    each = 1e3 * (state.busy - busy) / (state.done - done)
    megabytes = (folder / "journal.log").stat().st_size / 1e6
    row = {
        "kind": "mark",
        "trials": state.done,
        "driver_ms": each,
        "journal_mb": megabytes,
        "regret": state.best,
    }
    ledger.append(folder / "marks.jsonl", row)
    state.since = state.done, state.busy


def grid(out: Path, evaluations: int, seeds: int, minutes: float, until: float) -> bool:
    """All strategies, numbers of workers and seeds; whether all are done."""
    log = out / "scale_out.jsonl"
    for seed in range(seeds):
        for spec in STRATEGIES:
            for workers in WORKERS:
                key = {
                    "strategy": spec,
                    "seed": seed,
                    "workers": workers,
                    "evaluations": evaluations,
                }
                if any(all(row.get(k) == v for k, v in key.items()) for row in ledger.read(log)):
                    continue
                folder = out / f"run-{spec.partition(':')[0]}-{workers}-{seed}-{evaluations}"
                found = simulate(folder, spec, workers, evaluations, minutes, seed, until)
                if found is None:
                    return False
                ledger.append(log, {"kind": "search", **key, **found})
    return True


def means(out: Path, evaluations: int) -> list[dict[str, Any]]:
    """By strategy and workers, over seeds."""
    done = [
        row for row in ledger.read(out / "scale_out.jsonl") if row["evaluations"] == evaluations
    ]
    found = []
    for spec in STRATEGIES:
        for workers in WORKERS:
            own = [row for row in done if row["strategy"] == spec and row["workers"] == workers]
            if own:
                figures = {name: fmean(row[name] for row in own) for name in NAMES}
                found.append({"strategy": spec, "workers": workers, "seeds": len(own), **figures})
    return found


def draw_picture(
    found: list[dict[str, Any]],
    marks: list[dict[str, Any]],
    evaluations: int,
    minutes: float,
    path: Path,
) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, 3 if marks else 2, figsize=(15 if marks else 11, 4.2), layout="constrained"
    )
    for place, spec in enumerate(STRATEGIES):
        own = [row for row in found if row["strategy"] == spec]
        workers = [row["workers"] for row in own]
        name = spec.partition(":")[0]
        width, dot = 4 - 1.2 * place, 10 - 2.5 * place  # equal lines are all seen
        axes[0].loglog(
            workers, [row["trials_per_hour"] for row in own], "o-", label=name, lw=width, ms=dot
        )
        axes[1].semilogx(
            workers, [row["regret"] for row in own], "o-", label=name, lw=width, ms=dot
        )
    axes[0].loglog(WORKERS, [w * 60 / minutes for w in WORKERS], "k:", label="no driver, no end")
    title = f"Throughput, {evaluations} evaluations of {minutes:g} min"
    axes[0].set(xlabel="workers", ylabel="trials an hour", title=title)
    axes[1].set(
        xlabel="workers",
        ylabel="regret (standard deviations)",
        title="Regret after them, mean of seeds",
    )
    axes[0].legend(frameon=False)
    axes[1].set_ylim(bottom=0)
    if marks:
        timed = [row for row in marks if row["kind"] == "open"]
        marks = [row for row in marks if row["kind"] == "mark"]
        trials = [row["trials"] for row in marks]
        axes[2].loglog(
            trials, [row["driver_ms"] for row in marks], "o-", label="driver, ms a trial"
        )
        axes[2].loglog(trials, [row["journal_mb"] for row in marks], "s-", label="journal, MB")
        axes[2].loglog(
            [row["trials"] for row in timed],
            [row["open_s"] for row in timed],
            "^-",
            label="to open it, s",
        )
        axes[2].set(xlabel="trials in the record", title=f"One driver, 1,000 workers, {LONGEST}")
        axes[2].legend(frameon=False)
    figure.savefig(path, dpi=110)


def table(names: Iterable[str], found: Iterable[dict[str, Any]]) -> str:
    names = list(names)
    lines = [names, ["---"] * len(names)]
    for row in found:
        lines.append(
            [
                f"{row[n]:.3g}" if isinstance(row.get(n), float) else str(row.get(n, "-"))
                for n in names
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--evaluations", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--long", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--picture", type=Path, default=Path("docs/scale_out.png"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    until, folder = time.monotonic() + given.seconds, given.out / "long"
    if given.long:
        found = simulate(folder, LONGEST, WORKERS[-1], given.long, given.minutes, 0, until)
        ended = found is not None
        if found is not None:
            simulate(
                folder, LONGEST, WORKERS[-1], given.long, given.minutes, 0, until
            )  # to time its opening
            ledger.append(
                given.out / "long.jsonl", {"kind": "long", "evaluations": given.long, **found}
            )
            print(table(("evaluations", *NAMES), [{"evaluations": given.long, **found}]))
    else:
        ended = grid(given.out, given.evaluations, given.seeds, given.minutes, until)
    done, marks = means(given.out, given.evaluations), ledger.read(folder / "marks.jsonl")
    print(table(("strategy", "workers", "seeds", *NAMES), done))
    print("\n" + table(("trials", "driver_ms", "journal_mb", "regret", "open_s"), marks))
    draw_picture(done, marks, given.evaluations, given.minutes, given.picture)
    sys.exit(0 if ended else 3)


if __name__ == "__main__":
    main()
