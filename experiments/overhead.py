"""What the record and the strategies cost at scale: milliseconds a trial, seconds of a resume.

    python experiments/overhead.py OUT [STRATEGY ...] [--trials 10000] [--more 20]

Makes a run of so many finished trials over FBNet's space (random networks, an instant evaluator;
kept in OUT), then, for each strategy: opens it (read, repair, tell all), asks once, and goes on for
some trials. ``cold_s`` is that resume without ``strategy.cache``, ``resume_s`` as a run leaves it:
with that file, where the strategy keeps one. ``study_ms`` is the whole loop without the strategy's
own ask and tell: decoding, claim, finish, progress. Times are the process's own, so that other work
on the machine does not count; ``study_wall_ms`` is that of a clock, with the disk's part.
"""

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nas.objectives import Objectives, parse_objectives
from nas.record.identity import Identity, identity
from nas.record.store import Claim, Store, read
from nas.strategies import make
from nas.strategies.base import Proposal, Strategy
from nas.study.snapshots import FILE
from nas.study.study import Study
from nas.testing.strategies import bounded_domain
from nas.testing.toys import HashEvaluator
from nas.trial import Genes, Trial
from search_spaces import fbnet

STRATEGIES = (
    "random",
    "local-search",
    "evolution",
    "gp",
    "trust-region",
    "optuna:TPE",
    "optuna:NSGA-II",
    "optuna:NSGA-III",
    "optuna:QMC",
    "optuna:Random",
    "optuna:GP",
    "rl",
    "rl:tunas",
)
NEVER_ASKED = ("optuna:GP",)
"""A covariance of all trials: 10,000 take gigabytes and minutes."""
MORE = 20
COLUMNS = (
    "open_s",
    "tell_s",
    "cold_s",
    "resume_s",
    "first_ask_s",
    "ask_ms",
    "study_ms",
    "study_wall_ms",
)
NOTES = {
    "rl": {"log_probability": -48.0},
    "trust-region": {"region": 0},
    "local-search": {"climb": 0},
}


class Timed(Strategy):
    """Another strategy, and what it takes."""

    def __init__(self, inner: Strategy) -> None:
        self.inner, self.ask_seconds, self.tell_seconds = inner, list[float](), 0.0

    def ask(self, number: int, pending: tuple[Proposal, ...] = ()) -> Proposal:
        """See `Strategy`."""
        start = time.process_time()
        proposal = self.inner.ask(number, pending)
        self.ask_seconds.append(time.process_time() - start)
        return proposal

    def tell(self, trial: Trial) -> None:
        """See `Strategy`."""
        start = time.process_time()
        self.inner.tell(trial)
        self.tell_seconds += time.process_time() - start

    def snapshot(self) -> bytes | None:
        """See `Strategy`."""
        return self.inner.snapshot()

    def restore(self, snapshot: bytes, told: Sequence[Trial]) -> None:
        """See `Strategy`."""
        start = time.process_time()
        self.inner.restore(snapshot, told)
        self.tell_seconds += time.process_time() - start

    def recommend(self) -> Genes:
        """See `Strategy`."""
        return self.inner.recommend()


def conditions(objectives: int) -> tuple[Objectives, Identity]:
    domain = bounded_domain(fbnet.space())
    names = ["accuracy", "macs"][:objectives]
    parsed = Objectives(parse_objectives(names, domain.compiled.names))
    return parsed, identity(domain, parsed, strategy="any", seed=1)


def record(folder: Path, trials: int, note: dict[str, float], objectives: int) -> None:
    """A run of random networks; killed itself, it goes on."""
    domain = bounded_domain(fbnet.space())
    open_store = Store.resume if (folder / "run.json").exists() else Store.create
    opened = open_store(folder, domain.space, conditions(objectives)[1])
    evaluator = HashEvaluator()
    genes = domain.sample_many(trials, np.random.default_rng(0)).tolist()
    with opened as store:
        for claim in store.opened.claims:
            store.finish(claim, "failed", {}, reason="killed")
        for number in range(len(store.opened.trials) + len(store.opened.claims), trials):
            network = domain.space.decode(genes[number])
            claim = Claim(
                number=number, proposal=Proposal(tuple(genes[number]), note), digest=network.digest
            )
            metrics = {**domain.costs(tuple(genes[number])), **evaluator.evaluate(network, 0)}
            store.finish(store.claim(claim, told=number), "complete", metrics, seconds=1.0)


def measured(folder: Path, spec: str, objectives: int, more: int) -> dict[str, float]:
    cold = resumed(folder, spec, objectives)
    figures = {**cold, "cold_s": cold["resume_s"]}
    if (folder / FILE).exists():
        figures["resume_s"] = resumed(folder, spec, objectives)["resume_s"]
    if spec not in NEVER_ASKED:
        figures |= asked(folder, spec, objectives, more)
    return figures


def resumed(folder: Path, spec: str, objectives: int) -> dict[str, float]:
    """One resume, and nothing after it."""
    domain = bounded_domain(fbnet.space())
    strategy = Timed(make(spec, domain, seed=1, objectives=objectives))
    start = time.process_time()
    with Store.resume(folder, domain.space, conditions(objectives)[1]) as store:
        opened = time.process_time()
        Study(domain, strategy, HashEvaluator(), store)
        told = time.process_time()
    return {"open_s": opened - start, "tell_s": strategy.tell_seconds, "resume_s": told - start}


def asked(folder: Path, spec: str, objectives: int, more: int) -> dict[str, float]:
    """The first proposal after a resume, then some more trials."""
    domain = bounded_domain(fbnet.space())
    strategy = Timed(make(spec, domain, seed=1, objectives=objectives))
    with Store.resume(folder, domain.space, conditions(objectives)[1]) as store:
        study = Study(domain, strategy, HashEvaluator(), store)
        study.run(trials=study.evaluated + 1)
        strategy.tell_seconds, first = 0.0, strategy.ask_seconds[0]
        strategy.ask_seconds.clear()
        start, wall = time.process_time(), time.perf_counter()
        study.run(trials=study.evaluated + more)
        took, wall = time.process_time() - start, time.perf_counter() - wall
    asks = sum(strategy.ask_seconds)
    return {
        "first_ask_s": first,
        "ask_ms": 1e3 * asks / len(strategy.ask_seconds),
        "study_ms": 1e3 * (took - asks - strategy.tell_seconds) / more,
        "study_wall_ms": 1e3 * (wall - asks - strategy.tell_seconds) / more,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("strategies", nargs="*")
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument(
        "--more",
        type=int,
        default=MORE,
        help="trials after the first ask; few for samplers that need seconds",
    )
    given = parser.parse_args()
    print(f"| strategy, {given.trials} trials | " + " | ".join(COLUMNS) + " |")
    print("|" + " --- |" * (len(COLUMNS) + 1))
    for spec in given.strategies or STRATEGIES:
        name, objectives = spec.partition(":")[0], 1 if spec.startswith("rl") else 2
        note = NOTES.get(name, {})
        base = given.out / f"record-{given.trials}-{objectives}-{'-'.join(note) or 'plain'}"
        record(base, given.trials, note, objectives)
        copy = given.out / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(base, copy)
        figures = measured(copy, spec, objectives, given.more)
        cells = [f"{figures[key]:.2f}" if key in figures else "-" for key in COLUMNS]
        print(f"| `{spec}` | " + " | ".join(cells) + " |", flush=True)
        with (given.out / "overhead.jsonl").open("a") as file:
            file.write(
                json.dumps({"strategy": spec, "trials": len(read(base).trials), **figures}) + "\n"
            )


if __name__ == "__main__":
    main()
