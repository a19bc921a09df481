"""Does a cheap score rank networks as their short training does? Asked in the run itself, beside what costs nothing."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nas.domain import Domain
from nas.errors import RunError, TrainingError, UsageError
from nas.evaluate.session import TrainingSession
from nas.evaluate.training import TrainingEvaluator
from nas.evaluate.zero_cost import TRIVIAL
from nas.files import write_json
from nas.progress import Pace, Watch, ignore
from nas.record import ledger
from nas.statistics import kendall_tau, rng, tau_lead_interval
from nas.study.study import evaluation_seed
from nas.trial import Genes, Metrics

__all__ = ["Cheap", "check", "check_count", "verdict"]

ROWS, FILE = "fidelity.jsonl", "fidelity.json"
RESAMPLES = 1000
FEWEST, MOST = 4, 1000
Floats = NDArray[np.float64]


def check_count(evaluator: str, count: int) -> None:
    """Raise `UsageError` unless so many networks can be checked: none, or enough for a rank correlation."""
    if (
        isinstance(count, bool)
        or not isinstance(count, int)
        or not (count == 0 or FEWEST <= count <= MOST)
    ):
        raise UsageError(
            f"check of evaluator '{evaluator}' must be 0 or {FEWEST} to {MOST} networks, not {count}"
        )


class Cheap(Protocol):
    """An evaluator that does not train each network."""

    def evaluate(self, architecture: Any, seed: int) -> Metrics:
        """See `nas.study.study.Evaluator`."""


def check(
    cheap: Cheap,
    trained: TrainingSession | TrainingEvaluator,
    domain: Domain,
    folder: Path,
    *,
    seed: int,
    count: int,
    watch: Watch = ignore,
) -> dict[str, Any]:
    """Train ``count`` random networks of the domain for a short while each, and compare; ``fidelity.json``'s content.

    The truth is the accuracy on *selection* after the training; the cheap score is read on
    *search*, where it is one of images.
    """
    file = folder / ROWS
    drawn = [domain.sample(rng(seed, "fidelity", number)) for number in range(count)]
    found = ledger.read(file)[:count]
    _check_rows(file, found, drawn)
    pace = Pace("fidelity", count, done=len(found))
    for number in range(len(found), count):
        network = domain.space.decode(drawn[number])
        score, truth = (
            cheap.evaluate(network, 0),
            trained.evaluate(network, evaluation_seed(seed, network.digest, 0)),
        )
        if not math.isfinite(_quality(score)):
            raise TrainingError(
                f"the cheap score of network {network.digest} is {_quality(score)}: the training diverged. Start anew, with another "
                "--out and a lower learning rate (--proxy lr=..)"
            )
        depth = sum(kernel.kind in ("conv", "dwconv", "linear") for kernel in network.kernels())
        row = {
            "kind": "network", "genes": list(drawn[number]), "cheap": _quality(score), "trained": truth["accuracy"],
            "macs": network.macs, "params": network.params, "depth": depth,
        }  # fmt: skip
        ledger.append(file, row)
        found.append(row)
        watch(pace.at(number + 1))
    report = _report(
        {
            name: np.array([row[name] for row in found], float)
            for name in ("cheap", "trained", *TRIVIAL)
        }
    )
    write_json(folder / FILE, report)
    return report


def _check_rows(file: Path, found: Sequence[Mapping[str, Any]], drawn: Sequence[Genes]) -> None:
    """Raise `RunError` unless the rows are those of these networks."""
    for row, genes in zip(found, drawn, strict=False):
        figures = [row.get(name) for name in ("cheap", "trained", *TRIVIAL)]
        if row.get("genes") != list(genes) or not all(
            type(value) in (int, float) for value in figures
        ):
            raise RunError(f"{file} is damaged, or another run's. Remove it to make it anew")


def _quality(metrics: Metrics) -> float:
    return -metrics["search_loss"] if "search_loss" in metrics else metrics["proxy_score"]


def _report(columns: dict[str, Floats]) -> dict[str, Any]:
    truth = columns["trained"]
    taus = {name: kendall_tau(columns[name], truth) or 0.0 for name in ("cheap", *TRIVIAL)}
    best = max(TRIVIAL, key=lambda name: taus[name])
    low, high = tau_lead_interval(columns["cheap"], columns[best], truth, resamples=RESAMPLES)
    return {
        "networks": len(truth),
        "tau": taus,
        "best_trivial": best,
        "lead_low": low,
        "lead_high": high,
    }


def verdict(report: dict[str, Any]) -> str:
    """One line for people: "use macs" unless the cheap score is the better one."""
    tau, best = report["tau"], report["best_trivial"]
    told = f"Kendall's tau with short training over {report['networks']} networks: {tau['cheap']:.2f}, {best} alone {tau[best]:.2f}"
    span = f"95 % interval of the difference {report['lead_low']:.2f} to {report['lead_high']:.2f}"
    if tau["cheap"] <= tau[best]:
        return f"{told} ({span}): no better than {best}. Use {best}"
    return f"{told} ({span})" + ("" if report["lead_low"] > 0 else ": not shown to be better")
