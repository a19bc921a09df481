"""SIGKILL at random moments of every strategy and every verb.

    python experiments/kill_everything.py OUT

Counted is what is lost and what is done twice, and the end is compared with an unbroken run's.
Prints a table (Markdown), and adds each finished line to OUT/kills.jsonl: killed itself, it goes
on. A verb is run once unbroken and once killed; a kill comes at a moment drawn uniformly from the
time that the unbroken run took.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from nas.arch import Architecture
from nas.domain import Domain
from nas.files import write_json
from nas.objectives import Objectives, parse_objectives
from nas.record import ledger, store
from nas.record.identity import identity
from nas.strategies import make
from nas.study.processes import Processes
from nas.study.study import Study
from nas.testing.toys import HashEvaluator, toy_domain
from nas.trial import Metrics

SEQUENTIAL = (
    "random",
    "local-search",
    "evolution:population=8,sample=3",
    "gp:initial=4",
    "trust-region:initial=4",
    "optuna:TPE",
    "optuna:NSGA-II,population_size=8",
    "optuna:NSGA-III,population_size=8",
    "optuna:QMC",
    "optuna:Random",
    "rl:mnasnet,batch=4",
    "rl:tunas,batch=4",
)
TRIALS = 40
SLEEP_SECONDS = 0.03
TINY = ("--proxy", "images=64,resolution=8,score_images=40", "--latency", "40ms")


class Logged(HashEvaluator):
    """Writes the digest of each evaluation that begins into a file."""

    def __init__(self, log: Path) -> None:
        super().__init__(failing=0.1, sleep_seconds=SLEEP_SECONDS)
        self.log = log

    def evaluate(self, architecture: Architecture, seed: int) -> Metrics:
        """See `Evaluator`."""
        with self.log.open("a") as file:
            file.write(architecture.digest + "\n")
        return super().evaluate(architecture, seed)


def victim(folder: Path, spec: str, workers: int) -> None:
    """The study that is killed: a real strategy, store and journal over a small space."""
    names = ("accuracy",) if spec.startswith("rl") else ("accuracy", "params")
    domain: Domain = toy_domain()
    objectives = Objectives(parse_objectives(names, domain.compiled.names))
    conditions = identity(domain, objectives, strategy=spec, seed=11)
    begun = (folder / "run.json").exists()
    open_store = store.Store.resume if begun else store.Store.create
    opened = open_store(folder, domain.space, conditions)
    evaluator = partial(Logged, folder.with_suffix(".calls"))
    with opened as record:
        study = Study(
            domain, make(spec, domain, seed=11, objectives=len(names)), evaluator(), record
        )
        if workers == 1:
            study.run(trials=TRIALS)
        else:
            with Processes([evaluator] * workers) as crew:
                study.run(trials=TRIALS, workers=crew)


@dataclass(frozen=True)
class Verb:
    """A verb of the command line; every function takes its output folder."""

    name: str
    command: Callable[[Path], list[str]]
    """The arguments that begin it, or go on with it."""

    finished: Callable[[Path], list[str]]
    """What is done, in order."""

    result: Callable[[Path], str] | None
    """What must equal the unbroken run's; None if the run is asynchronous."""

    kills: int
    begun: Callable[[Path], list[str]] = field(default=lambda folder: [])
    """What was started, with repeats."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """What kills did to one verb."""

    verb: str
    kills: int
    finished: int
    lost: int
    """Finished things that were gone after a kill."""

    repeated: int
    """Finished things that were done again."""

    equal: str
    """Whether the end equals the unbroken run's: yes, NO or asynchronous."""


def nas(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "nas", *map(str, arguments)]


def trials_finished(folder: Path) -> list[str]:
    if not (folder / "run.json").exists():
        return []
    return [trial.digest for trial in store.read(folder).trials]


def lines_of(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def search_verb(spec: str, kills: int, workers: int = 1) -> Verb:
    return Verb(
        f"search {spec}" + (f" --workers {workers}" if workers > 1 else ""),
        lambda folder: [sys.executable, __file__, "--victim", str(folder), spec, str(workers)],
        trials_finished,
        store.canonical if workers == 1 else None,
        kills,
        lambda folder: lines_of(folder.with_suffix(".calls")),
    )


def supernet_verb(name: str, kills: int, *arguments: object) -> Verb:
    """A search of the command line that trains shared weights first."""

    def command(folder: Path) -> list[str]:
        if (folder / "run.json").exists():
            return nas("search", "--resume", folder)
        return nas("search", *TINY, *arguments, "--out", folder)

    return Verb(f"search {name}", command, trials_paid, store.canonical, kills)


def trials_paid(folder: Path) -> list[str]:
    if not (folder / "run.json").exists():
        return []
    record = store.read(folder)
    return [trial.digest for trial in record.trials if trial.number not in record.answered]


def trained(path: Path) -> str:
    import hashlib

    import torch

    state = torch.load(path / "weights.pt", weights_only=True)
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in state.values())).hexdigest()


def confirmed(folder: Path) -> list[str]:
    return [f"{row['digest']} {row['repeat']}" for row in trainings_confirmed(folder)]


def trainings_confirmed(folder: Path) -> list[dict[str, Any]]:
    return [row for row in ledger.read(folder / "confirm.jsonl") if row["kind"] == "training"]


def scores(folder: Path) -> str:
    """All that the confirmation keeps but for the time that it took."""
    rows = []
    for row in trainings_confirmed(folder):
        rows.append({key: value for key, value in row.items() if key != "seconds"})
    return json.dumps(rows, sort_keys=True)


def timed(folder: Path) -> list[str]:
    path = folder / "cpu.journal"
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    return [row["key"] for row in rows if "key" in row]


def rows_of_table(folder: Path) -> str:
    lines = (folder / "cpu.csv").read_text().splitlines()
    return "\n".join(sorted(line.split(",")[0] for line in lines))


def cells(folder: Path) -> list[str]:
    if not folder.exists():
        return []
    return sorted(path.name for path in (folder / "cells").glob("[!.]*.json"))


def cells_written(folder: Path) -> list[str]:
    """With their times: one that is written again is another one."""
    return [f"{name} {(folder / 'cells' / name).stat().st_mtime_ns}" for name in cells(folder)]


def regrets(folder: Path) -> str:
    """The searches' regrets, evaluation by evaluation."""
    curves = []
    for name in cells(folder):
        cell = json.loads((folder / "cells" / name).read_text())
        curve = [row["regret"] for row in cell["rows"]]
        curves.append([cell["strategy"], cell["seed"], curve])
    return json.dumps(curves)


def training_files(folder: Path) -> list[str]:
    names = ("train.json", "weights.pt", "result.json")
    return [name for name in names if (folder / name).exists()]


def latency_build(folder: Path) -> list[str]:
    flags = (
        "--device cpu --space nas_bench_macro --resolution 32 --seconds-per-row 0.01 --no-verify"
    )
    return nas("latency", "build", *flags.split(), "--out", folder)


def arena(folder: Path) -> list[str]:
    flags = "--benchmark nk:space=nas_bench_macro --strategy evolution --seeds 4 --budget 60"
    return nas("arena", *flags.split(), "--out", folder)


def verbs(out: Path) -> list[Verb]:
    base = out / "base"
    if not (base / "front.png").exists():
        subprocess.run(
            nas("search", *TINY, "--trials", 3, "--out", base), check=True, capture_output=True
        )

    def confirm(folder: Path) -> list[str]:
        if not folder.exists():
            subprocess.run(["cp", "-r", str(base), str(folder)], check=True)
        return nas("confirm", folder, "--top", 2, "--random", 2, "--seeds", 2, "--epochs-factor", 1)

    def train(folder: Path) -> list[str]:
        flags = "--data digits --resolution 16 --steps 60 --batch-size 8 --threads 1"
        return nas("train", f"{base}:0", *flags.split(), "--checkpoint", "0.5s", "--out", folder)

    return [
        *(search_verb(spec, 2) for spec in SEQUENTIAL),
        search_verb("local-search", 6, workers=2),
        search_verb("optuna:TPE", 4, workers=2),
        Verb("confirm", confirm, confirmed, scores, 5),
        Verb("train", train, training_files, trained, 5),
        Verb("latency build", latency_build, timed, rows_of_table, 5, timed),
        Verb("arena", arena, cells_written, regrets, 3),
        search_verb("optuna:GP", 2),
        supernet_verb("differentiable", 3, "--strategy", "differentiable"),
        supernet_verb(
            "differentiable:fbnet", 2, "--strategy", "differentiable:fbnet,epochs=3", "--trials", 3
        ),
        supernet_verb("--evaluator supernet", 3, "--evaluator", "supernet:check=4", "--trials", 20),
    ]


@dataclass
class Tally:
    """What the attempts at a verb have shown so far."""

    took: float
    """Seconds of the unbroken run."""

    done: int = 0
    """Kills so far."""

    lost: int = 0
    repeated: int = 0
    before: list[str] = field(default_factory=list)
    """What was finished after the last attempt."""

    begun: int = 0
    """How much was started by then."""


def harmed(verb: Verb, out: Path, draw: random.Random, kills: int) -> Line:
    """Run a verb unbroken, then killed so often, and say what the kills cost.

    It goes on after the last attempt that it noted.
    """
    name = "".join(c if c.isalnum() else "-" for c in verb.name)
    whole, killed, noted = out / f"{name}-unbroken", out / f"{name}-killed", out / f"{name}.json"
    if noted.exists():
        tally = Tally(**json.loads(noted.read_text()))
    else:
        clear(whole)
        clear(killed)
        start = time.monotonic()
        subprocess.run(verb.command(whole), check=True, capture_output=True)
        tally = Tally(time.monotonic() - start)
    ended = False
    while not (ended and tally.done >= kills):
        if ended:  # before its last kill: once more from the start
            clear(killed)
            tally.before, tally.begun = [], 0
        share = draw.uniform(0.05, 1.0) if tally.done < kills else None
        ended = attempt(verb, killed, tally, share)
        now, begun = verb.finished(killed), verb.begun(killed)
        tally.lost += sum(item not in now for item in tally.before)
        again = sum(item in tally.before for item in begun[tally.begun :])
        tally.repeated += again if verb.begun(whole) else len(now) - len(set(now))
        tally.before, tally.begun = now, len(begun)
        write_json(noted, asdict(tally))
    return Line(
        verb=verb.name,
        kills=tally.done,
        finished=len(tally.before),
        lost=tally.lost,
        repeated=tally.repeated,
        equal=comparison(verb, whole, killed),
    )


def comparison(verb: Verb, whole: Path, killed: Path) -> str:
    if verb.result is None:
        return "asynchronous"
    return "yes" if verb.result(killed) == verb.result(whole) else "NO"


def clear(folder: Path) -> None:
    subprocess.run(["rm", "-rf", str(folder), str(folder.with_suffix(".calls"))], check=True)


def attempt(verb: Verb, folder: Path, tally: Tally, share: float | None) -> bool:
    """Begin a verb, or go on, and kill it after a share of the time that it takes.

    True if it came to its end. It is not killed if ``share`` is None.
    """
    with subprocess.Popen(
        verb.command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        if share is not None:
            try:
                process.wait(share * tally.took)
            except subprocess.TimeoutExpired:
                process.kill()
                tally.done += 1
        problem = process.communicate()[1]
    if process.returncode not in (0, -9):
        raise RuntimeError(f"{verb.name} after {tally.done} kills: {problem.decode()}")
    return process.returncode == 0


def table(lines: list[Mapping[str, object]]) -> str:
    names = ("verb", "kills", "finished", "lost", "repeated", "equal")
    total = {
        "verb": "all",
        **{n: sum(int(str(line[n])) for line in lines) for n in names[1:5]},
        "equal": "",
    }
    rows = [" | ".join(names), " | ".join(["---"] * len(names))]
    for line in (*lines, total):
        rows.append(" | ".join(str(line[name]) for name in names))
    return "\n".join(f"| {row} |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--victim", nargs=3)
    given = parser.parse_args()
    if given.victim:
        victim(Path(given.victim[0]), given.victim[1], int(given.victim[2]))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    log = given.out / "kills.jsonl"
    known = {row["verb"]: row for row in ledger.read(log)}
    for place, verb in enumerate(verbs(given.out)):
        if verb.name in known:
            continue
        # Drawn anew at each start: an attempt that the experiment's own end broke off is not
        # repeated in its moment.
        draw = random.Random(f"{given.seed} {place} {time.time()}")
        line = asdict(harmed(verb, given.out, draw, verb.kills))
        ledger.append(log, {"kind": "verb", **line})
        known[verb.name] = line
        print(verb.name, line, file=sys.stderr)
    print(table(list(known.values())))


if __name__ == "__main__":
    main()
