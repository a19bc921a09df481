"""Retrain networks of a front beside random ones of the same latency, and score both on *test*.

Members: the front, best quality first, is cut into ``top`` equal parts, and the first of each is
taken. Random networks: as many for each member, drawn uniformly from its band (each cost among the
objectives, else the first device's latency, within 5 % of the member's, wider where that holds no
other network) and from the run's bounds. Both sides get the same recipe, longer than the search's,
and seeds that no search uses.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas import catalog
from nas.arch import Architecture
from nas.domain import Bound, Domain
from nas.errors import BoundError, NasError, RunError, UsageError
from nas.files import one_line
from nas.objectives import QUALITY
from nas.record import ledger
from nas.record.identity import check_same
from nas.record.journal import RunLock
from nas.run import confirmation
from nas.run.confirmation import Confirmation
from nas.run.run import Run
from nas.statistics import rng
from nas.study.evaluator import Retraining
from nas.trial import Genes, Trial
from nas.units import counted

__all__ = ["EPOCHS_FACTOR", "Step", "band_networks", "confirm", "members"]

EPOCHS_FACTOR = 3.0
BANDS = (0.05, 0.1, 0.2, 0.4)
DRAWS = 64


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where a confirmation stands: trainings done of those planned, the last one's score, time left."""

    done: int
    planned: int
    digest: str
    score: float | None
    eta_seconds: float


def confirm(
    run: Run,
    *,
    top: int = 3,
    random: int = 3,
    seeds: int = 2,
    epochs_factor: float = EPOCHS_FACTOR,
    seed: int = 0,
    data: str | None = None,
    say: Callable[[Sequence[str]], None] = lambda lines: None,
    watch: Callable[[Step], None] = lambda step: None,
) -> Confirmation:
    """Train what is missing of ``top`` members and ``random`` networks with ``seeds`` seeds each, and report.

    ``epochs_factor``: how many times the search's schedule. ``data``: where the data lies now, if
    it has moved. Opens the test set once, unless nothing is missing. Raises `NasError` in one line.
    """
    if random < min(top, len(run.front_trials)):
        raise UsageError(
            f"--random {random} leaves members without a partner: it must be at least --top, {top}"
        )
    if not run.front_trials:
        raise RunError(
            f"run '{run.folder}' has no finished trial. Go on with nas search --resume {run.folder}"
        )
    lock = RunLock(run.folder)
    try:
        trainer = _trainer(run, epochs_factor, data)
        found = _planned(run, trainer, top, random, seeds, seed)
        say(_lines(run, found, trainer, top))
        if found.missing:
            trainer.open_test(run.folder / confirmation.FILE)
            _train(run, found, trainer, watch)
    finally:
        lock.release()
    finished = confirmation.read(run.folder)
    assert finished is not None
    return finished


def _trainer(run: Run, factor: float, data: str | None) -> Retraining:
    """What trains on the run's own data, which must be what it was."""
    settings = run.record.run_file.settings
    kind = catalog.evaluator(settings["evaluator"])
    dataset = kind.open_data(
        data or settings["data"], strict=settings["strict"], groups=settings.get("groups")
    )
    trainer = catalog.retraining()(dataset, run.identity.proxy, factor)
    check_same(run.folder, {"data": run.identity.data}, {"data": trainer.describe_data()})
    return trainer


# -- which networks -------------------------------------------------------------------------------


def members(run: Run, top: int) -> list[Trial]:
    """The front, best in the first objective first, cut into ``top`` equal parts: the first of each."""
    ordered = sorted(run.front_trials, key=lambda trial: run.objectives.losses(trial.metrics))
    count = min(top, len(ordered))
    return [ordered[i * len(ordered) // count] for i in range(count)]


def band_networks(
    run: Run, member: Trial, count: int, seed: int, taken: set[str]
) -> tuple[float, list[Genes]]:
    """The band's half-width as a share, and ``count`` networks from it, none of ``taken``, to which they are added."""
    for share in BANDS:
        try:
            domain = _band(run, member, share)
        except BoundError:
            continue
        drawn = domain.sample_many(DRAWS, rng(seed, f"confirm:{member.digest}", round(100 * share)))
        fresh = {
            run.space.decode(genes).digest: genes
            for genes in (tuple(map(int, row)) for row in drawn)
        }
        left = [(digest, genes) for digest, genes in fresh.items() if digest not in taken][:count]
        if len(left) == count:
            taken.update(digest for digest, _ in left)
            return share, [genes for _, genes in left]
    raise RunError(
        f"fewer than {count} other networks cost what trial {member.number} does, within {BANDS[-1]:.0%}: try a smaller --random"
    )


def _band(run: Run, member: Trial, share: float) -> Domain:
    bounds = {bound.metric: bound for bound in run.domain.bounds}
    compiled = run.domain.compiled
    for name in band_metrics(run):
        value, own = member.metrics[name], bounds.get(name, Bound(name))
        # A maximum, such as peak memory, has no lower side to draw from.
        lower = -np.inf if compiled.maxima[compiled.column(name)] else value * (1 - share)
        bounds[name] = Bound(name, min(own.upper, value * (1 + share)), max(own.lower, lower))
    return Domain(run.space, compiled, list(bounds.values()))


def band_metrics(run: Run) -> list[str]:
    """The costs that a member and its random networks share."""
    costs = [name for name in run.objectives.names if name in run.domain.compiled.names]
    return costs or [run.latency]


def _planned(
    run: Run, trainer: Retraining, top: int, random: int, seeds: int, seed: int
) -> Confirmation:
    """Record the plan, unless it is the last one recorded already."""
    chosen = members(run, top)
    taken = {trial.digest for trial in run.front_trials}
    entries = []
    for place, trial in enumerate(chosen):
        count = random // len(chosen) + (place < random % len(chosen))
        share, others = band_networks(run, trial, count, seed, taken)
        entries.append({**_entry(run, trial.genes), "trial": trial.number, "band": share,
                        "random": [_entry(run, genes) for genes in others]})  # fmt: skip
    # An evaluator that trains nothing has an objective of its own; what it should find is accuracy.
    quality = [name for name in run.objectives.names if name in QUALITY]
    plan = {
        "kind": "plan", "metric": (quality or QUALITY)[0], "seed": seed, "seeds": seeds,
        "recipe": trainer.describe_training(), "threads": trainer.thread_count, "members": entries,
    }  # fmt: skip
    before = confirmation.read(run.folder)
    if before is None or before.plan != plan:
        ledger.append(run.folder / confirmation.FILE, plan)
    found = confirmation.read(run.folder)
    assert found is not None
    return found


def _entry(run: Run, genes: Genes) -> dict[str, Any]:
    costs = run.domain.costs(genes)
    return {"digest": run.space.decode(genes).digest, "genes": list(genes),
            "costs": {name: costs[name] for name in band_metrics(run)}}  # fmt: skip


# -- training -------------------------------------------------------------------------------------


def training_seed(seed: int, digest: str, repeat: int) -> int:
    """0 to 2^32 - 1, of another stream than the search's."""
    return int.from_bytes(
        hashlib.sha256(f"confirm:{seed}:{digest}:{repeat}".encode()).digest()[:4], "big"
    )


def _train(
    run: Run, found: Confirmation, trainer: Retraining, watch: Callable[[Step], None]
) -> None:
    plan = found.plan
    genes = {
        e["digest"]: tuple(e["genes"])
        for member in plan["members"]
        for e in (member, *member["random"])
    }
    missing, start = found.missing, time.monotonic()
    for done, (digest, repeat) in enumerate(missing, 1):
        row = _training(
            trainer, run.space.decode(genes[digest]), training_seed(plan["seed"], digest, repeat)
        )
        row = {
            "kind": "training",
            "digest": digest,
            "repeat": repeat,
            "seed": plan["seed"],
            "recipe": plan["recipe"],
            **row,
        }
        ledger.append(run.folder / confirmation.FILE, row)
        each = (time.monotonic() - start) / done
        watch(
            Step(
                done=len(found.wanted) - len(missing) + done,
                planned=len(found.wanted),
                digest=digest,
                score=row.get("metrics", {}).get(plan["metric"]),
                eta_seconds=each * (len(missing) - done),
            )
        )


def _training(trainer: Retraining, network: Architecture, seed: int) -> Mapping[str, Any]:
    start = time.monotonic()
    try:
        metrics: Mapping[str, Any] = {"metrics": dict(trainer.evaluate(network, seed))}
    except (UsageError, RunError):
        raise
    except NasError as error:
        metrics = {"reason": one_line(error, 300)}
    return {**metrics, "seconds": round(time.monotonic() - start, 3)}


def _lines(run: Run, found: Confirmation, trainer: Retraining, top: int) -> list[str]:
    plan = found.plan
    others = sum(len(member["random"]) for member in plan["members"])
    widest = max(member["band"] for member in plan["members"])
    return [
        f"run        {run.folder}",
        f"networks   {len(plan['members'])} of the front, the best of each of as many equal parts of it; {others} random "
        f"within {widest:.0%} of their {', '.join(band_metrics(run))}",
        *(
            [f"           --top is {top}, but the front has no more: a longer search may"]
            if len(plan["members"]) < top
            else []
        ),
        *trainer.lines(),
        f"trainings  {len(found.missing)} of {len(found.wanted)} to do, {counted(plan['seeds'], 'seed')} a network",
    ]
