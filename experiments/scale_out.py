"""A study on 1 to 1,000 asynchronous workers, in virtual time: real strategies, real loop, real record.

    python experiments/scale_out.py OUT [--evaluations 2000] [--record 100000]

Time is simulated, work is not: every ask, claim, finish and tell is done, timed, and charged to the one driver, which
serves workers in turn; an evaluation takes a log-normal time around ``--minutes``. Three strategies search an NK
landscape over FBNet with W workers. Then a record grows to ``--record`` trials, and what the driver needs for one
trial is read off at each power of ten. Prints two tables; writes scale_out.json and docs/scale_out.png.
"""

import argparse
import heapq
import json
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from nas.arch import Architecture
from nas.benchmarks import Problem
from nas.benchmarks.nk import benchmark
from nas.capsule import identity
from nas.domain import Domain
from nas.objectives import Objective, Objectives
from nas.store import Claim, Store
from nas.strategies import make
from nas.strategies.base import Proposal
from nas.study import Study
from nas.trial import Metrics
from nas.workers import Measured, Task

WORKERS = (1, 4, 16, 64, 256, 1000)
STRATEGIES = ("random", "local-search", "evolution:population=50,sample=10")
SPREAD = 0.5


class Truth:
    """The landscape as an evaluator; `take` and `give` are called beside it, so it is asked for its value alone."""

    noisy = False

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def evaluate(self, architecture: Architecture, seed: int) -> Metrics:
        """Nobody calls this."""
        raise NotImplementedError


@dataclass
class Driver:
    """The one process that asks and records: when it is free again, in virtual seconds, and what it has worked."""

    free: float = 0.0
    busy: float = 0.0

    def serve(self, at: float, took: float) -> float:
        """Start no sooner than ``at``; when it is done."""
        self.free = max(self.free, at) + took
        self.busy += took
        return self.free


def new_store(folder: Path, domain: Domain, seed: int) -> Store:
    objectives = Objectives((Objective("train_ms", "minimize"),))
    reference = identity(domain, Objectives((Objective("macs", "minimize"),)), strategy="simulated", seed=seed)
    return Store.create(folder, domain.space, reference | {"objectives": objectives.to_json(), "reference": [10.0]})


def simulate(folder: Path, spec: str, workers: int, evaluations: int, minutes: float, seed: int) -> dict[str, float]:
    """One search; ``train_ms`` stands for the loss, shifted above zero."""
    problem = benchmark(seed=seed)
    draw = np.random.default_rng(seed)
    with new_store(folder, problem.domain, seed) as store:
        study = Study(problem.domain, make(spec, problem.domain, seed=seed), Truth(problem), store)
        study.begin(trials=evaluations)
        driver, events, best = Driver(), list[tuple[float, int, Task | None]](), np.inf
        events = [(0.0, -worker - 1, None) for worker in range(workers)]
        end, waited = 0.0, list[float]()
        while events:
            now, _, task = heapq.heappop(events)
            start = time.perf_counter()
            if task is not None:
                loss = problem.observe(study.claim_of(task.number).proposal.genes)[0]
                best = min(best, loss - problem.best)
                start = time.perf_counter()
                study.give(task.number, Measured(metrics={"train_ms": loss + 10}, seconds=60 * minutes))
                end = now
            fresh = study.take()
            ready = driver.serve(now, time.perf_counter() - start)
            waited.append(ready - now)
            if fresh is not None:
                length = 60 * minutes * float(draw.lognormal(-(SPREAD**2) / 2, SPREAD))
                heapq.heappush(events, (ready + length, fresh.number, fresh))
    return {
        "workers": workers, "hours": end / 3600, "trials_per_hour": evaluations / (end / 3600), "regret": best,
        "driver_busy": driver.busy / end, "wait_s": fmean(waited), "driver_ms": 1e3 * driver.busy / evaluations,
    }  # fmt: skip


def growing(folder: Path, most: int) -> list[dict[str, float]]:
    """Milliseconds of claim and finish, and seconds and bytes of a resume, as the record grows."""
    problem = benchmark(seed=0)
    domain, found = problem.domain, list[dict[str, float]]()
    genes = domain.sample_many(most, np.random.default_rng(0)).tolist()
    marks = [n for n in (100, 1000, 10_000, 100_000) if n <= most]
    store, start, last = new_store(folder, domain, 0), time.perf_counter(), 0
    for number in range(most):
        claim = Claim(number=number, proposal=Proposal(tuple(genes[number])), digest=f"{number:020x}")
        store.finish(store.claim(claim, told=number), "complete", {"train_ms": 10.0}, seconds=1.0)
        if number + 1 in marks:
            each = 1e3 * (time.perf_counter() - start) / (number + 1 - last)
            conditions = store.capsule["identity"]
            store.close()
            begun = time.perf_counter()
            store = Store.resume(folder, domain.space, conditions)
            opened = time.perf_counter() - begun
            size = (folder / "journal.log").stat().st_size
            found.append({"trials": number + 1, "record_ms": each, "open_s": opened, "journal_mb": size / 1e6})
            print(f"| {number + 1} | {each:.1f} | {opened:.2f} | {size / 1e6:.1f} |", flush=True)
            start, last = time.perf_counter(), number + 1
    store.close()
    return found


def draw_picture(rows: list[dict[str, object]], minutes: float, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for spec in STRATEGIES:
        own = [row for row in rows if row["strategy"] == spec]
        workers = [row["workers"] for row in own]
        left.loglog(workers, [row["trials_per_hour"] for row in own], "o-", label=spec.partition(":")[0])
        right.semilogx(workers, [row["regret"] for row in own], "o-", label=spec.partition(":")[0])
    left.loglog(WORKERS, [w * 60 / minutes for w in WORKERS], "k:", label="no driver at all")
    left.set(xlabel="workers", ylabel="trials an hour", title=f"Throughput, {minutes:g} min an evaluation")
    right.set(
        xlabel="workers", ylabel="regret (standard deviations)", title="Regret after as many evaluations, mean of seeds"
    )
    left.legend(frameon=False)
    right.set_ylim(bottom=0)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--evaluations", type=int, default=2000)
    parser.add_argument("--record", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--picture", type=Path, default=Path("docs/scale_out.png"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    log = given.out / "scale_out.jsonl"
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    for seed in range(given.seeds):
        for spec in STRATEGIES:
            for workers in WORKERS:
                key = {"strategy": spec, "seed": seed, "workers": workers, "evaluations": given.evaluations}
                if any(all(row.get(k) == v for k, v in key.items()) for row in done):
                    continue
                folder = given.out / f"run-{time.time_ns()}"
                row = {**key, **simulate(folder, spec, workers, given.evaluations, given.minutes, seed)}
                done.append(row)
                with log.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    names = ("trials_per_hour", "driver_busy", "driver_ms", "wait_s", "regret")
    print("| strategy | workers | " + " | ".join(names) + " |\n|" + " --- |" * (len(names) + 2))
    means = []
    for spec in STRATEGIES:
        for workers in WORKERS:
            own = [row for row in done if row["strategy"] == spec and row["workers"] == workers]
            mean = {name: fmean(row[name] for row in own) for name in names}
            means.append({"strategy": spec, "workers": workers, **mean})
            print(f"| `{spec}` | {workers} | " + " | ".join(f"{mean[name]:.3g}" for name in names) + " |")
    draw_picture(means, given.minutes, given.picture)
    if given.record:
        print("\n| trials | claim and finish, ms | open, s | journal, MB |\n| --- | --- | --- | --- |")
        growing(given.out / f"record-{time.time_ns()}", given.record)


if __name__ == "__main__":
    main()
