"""Whether a cheap score ranks networks as their short training does.

A run asks this itself, beside the scores that cost nothing.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.arch import Architecture
from nas.domain import Domain
from nas.errors import RunError, TrainingError, UsageError
from nas.evaluate.zero_cost_scores import TRIVIAL, trivial_scores
from nas.files import write_json
from nas.objectives import Objective
from nas.progress import Watch, ignore
from nas.record import ledger
from nas.statistics import kendall_tau, rng, tau_lead_interval
from nas.study.evaluator import Evaluator
from nas.study.study import evaluation_seed
from nas.trial import Genes

__all__ = ["check", "check_count", "read_rows", "verdict"]

ROWS, FILE = "fidelity.jsonl", "fidelity.json"
COMPARED = ("cheap", "trained", *TRIVIAL)
RESAMPLES = 1000
# A tau over three networks has three pairs: one swap moves it by 0.67, and no interval is narrow.
FEWEST, MOST = 4, 1000
Floats = NDArray[np.float64]


def check_count(evaluator: str, count: int) -> None:
    """Raise `UsageError` unless so many networks can be checked: none, or enough to rank."""
    whole = isinstance(count, int) and not isinstance(count, bool)
    if not whole or not (count == 0 or FEWEST <= count <= MOST):
        raise UsageError(
            f"check of evaluator '{evaluator}' must be 0 or {FEWEST} to {MOST} networks, "
            f"not {count}"
        )


def check(
    cheap: Evaluator,
    trained: Evaluator,
    domain: Domain,
    folder: Path,
    *,
    seed: int,
    count: int,
    watch: Watch = ignore,
) -> dict[str, Any]:
    """Train ``count`` random networks of the domain for a short while each, and compare.

    The truth is the accuracy on *selection* after the training; the cheap score is what strategies
    are told, which is read on *search* where it is one of images. ``fidelity.jsonl`` in the folder
    gets a row for each network, ``fidelity.json`` what this returns.
    """
    file = folder / ROWS
    drawn = [domain.sample(rng(seed, "fidelity", number)) for number in range(count)]
    rows = read_rows(file, drawn, COMPARED)

    def step(number: int) -> ledger.Row:
        scores = _scores(cheap, trained, domain.space.decode(drawn[number]), seed)
        return {"kind": "network", "genes": list(drawn[number]), **scores}

    rows += ledger.complete(file, "fidelity", range(count), range(len(rows)), step, watch=watch)
    report = _report({name: np.array([row[name] for row in rows], float) for name in COMPARED})
    write_json(folder / FILE, report)
    return report


def read_rows(file: Path, drawn: Sequence[Genes], figures: Sequence[str]) -> list[ledger.Row]:
    """The rows of the first of the networks drawn, each with its ``genes`` and figures.

    Raises `RunError` unless the rows are those of these networks.
    """
    rows: list[ledger.Row] = list(ledger.read(file)[: len(drawn)])
    for row, genes in zip(rows, drawn, strict=False):
        numbers = all(type(row.get(name)) in (int, float) for name in figures)
        if row.get("genes") != list(genes) or not numbers:
            raise RunError(f"{file} is damaged, or another run's. Remove it to make it anew")
    return rows


def _scores(
    cheap: Evaluator, trained: Evaluator, network: Architecture, seed: int
) -> dict[str, float]:
    # The truth is trained with the seed that a search would give this network.
    measured = cheap.evaluate(network, 0)
    score = 1 - Objective(cheap.qualities[0], "maximize").told(measured)
    truth = trained.evaluate(network, evaluation_seed(seed, network.digest, 0))
    # Of the loss too: a likelihood of an infinite loss is 0, which looks like any score.
    infinite = [name for name, value in measured.items() if not math.isfinite(value)]
    if infinite:
        raise TrainingError(
            f"the cheap score of network {network.digest} cannot be used, for its {infinite[0]} is "
            f"{measured[infinite[0]]}: the training diverged. "
            "Start anew, with another --out and a lower learning rate (--proxy lr=..)"
        )
    return {"cheap": score, "trained": truth["accuracy"], **trivial_scores(network)}


def _report(columns: Mapping[str, Floats]) -> dict[str, Any]:
    truth = columns["trained"]
    # A score that is the same for all networks has no tau, and orders nothing.
    taus = {name: kendall_tau(columns[name], truth) or 0.0 for name in ("cheap", *TRIVIAL)}
    # The hardest rival is chosen on the same networks, which is to the cheap score's disadvantage.
    best = max(TRIVIAL, key=lambda name: taus[name])
    # Both taus are taken on the same resampled networks: what they share cancels.
    low, high = tau_lead_interval(columns["cheap"], columns[best], truth, resamples=RESAMPLES)
    return {
        "networks": len(truth),
        "tau": taus,
        "best_trivial": best,
        "lead_low": low,
        "lead_high": high,
    }


def verdict(report: Mapping[str, Any]) -> str:
    """One line for people: "use macs" unless the cheap score is the better one."""
    tau, best = report["tau"], report["best_trivial"]
    figures = (
        f"Kendall's tau with short training over {report['networks']} networks: "
        f"{tau['cheap']:.2f}, {best} alone {tau[best]:.2f} "
        f"(95 % interval of the difference {report['lead_low']:.2f} to {report['lead_high']:.2f})"
    )
    if tau["cheap"] <= tau[best]:
        return f"{figures}: no better than {best}. Use {best}"
    if report["lead_low"] <= 0:
        return f"{figures}: not shown to be better"
    return figures
