"""A score without training: evaluator ``zero_cost``.

It is the mean rank of a network's zero-cost proxies among random networks of the space.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nas.arch import Architecture
from nas.compute import USUAL, Compute
from nas.data import Dataset, split
from nas.domain import Domain
from nas.errors import RunError, UsageError, unknown
from nas.evaluate.fidelity import check, check_count, read_rows, verdict
from nas.evaluate.images import ImageEvaluator, open_data
from nas.evaluate.proxy import Proxy, chosen
from nas.evaluate.training import short_training
from nas.evaluate.zero_cost_scores import (
    IMAGES,
    PROXIES,
    TRIVIAL,
    VERSION,
    proxies,
    trivial_scores,
)
from nas.model import build
from nas.objectives import UNTRAINED
from nas.progress import Watch, ignore
from nas.record import ledger
from nas.settings import check_kind
from nas.statistics import rng
from nas.study.evaluator import EvaluatorKind
from nas.train import threads
from nas.train.accelerator import device_of
from nas.trial import Genes, Metrics

__all__ = ["KIND", "ZeroCost", "ZeroCostSession", "make"]

FILE = "proxies.jsonl"
KNOWN = (*PROXIES, *TRIVIAL)

# Chosen among all sets of these scores on half of NAS-Bench-Macro's networks; the other half and
# FBNet's space are reported (docs/supernets.md). No other set was better there.
ENSEMBLE = "naswot+grad_norm"


@dataclass(frozen=True, kw_only=True)
class ZeroCost:
    """The settings of evaluator ``zero_cost``. Raises `UsageError` for what cannot be."""

    score: str = ENSEMBLE
    """The proxies whose ranks are averaged, joined by ``+``."""
    reference: int = 64
    """Random networks that ranks refer to, 2 to 10,000."""
    check: int = 8
    """Networks trained for a short while to see what the score is worth; 0 for none."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            what = f"{field.name} of evaluator 'zero_cost'"
            check_kind(what, getattr(self, field.name), field.type)
        for name in self.names:
            if name not in KNOWN:
                raise unknown("zero-cost proxy", name, KNOWN)
        if not 2 <= self.reference <= 10_000:
            raise UsageError(
                "reference of evaluator 'zero_cost' must be 2 to 10000 networks, "
                f"not {self.reference}"
            )
        check_count("zero_cost", self.check)

    @property
    def names(self) -> tuple[str, ...]:
        """The proxies of the score."""
        return tuple(self.score.split("+"))

    def __str__(self) -> str:
        return ",".join(f"{name}={value}" for name, value in dataclasses.asdict(self).items())


class ZeroCostSession(ImageEvaluator):
    """Scores networks at initialisation on a few images of *weights*; no other set is read.

    Metrics: ``proxy_score``, 0..1, higher is better, and each proxy as ``proxy_NAME``. Networks are
    slimmed, with their own strides if they fit.
    """

    qualities = UNTRAINED
    trains = False
    prepares = True

    def __init__(
        self,
        dataset: Dataset,
        proxy: Proxy,
        recipe: str,
        thread_count: int,
        settings: ZeroCost,
        compute: Compute = USUAL,
    ) -> None:
        super().__init__(
            split(dataset),
            proxy,
            recipe=recipe,
            thread_count=thread_count,
            device=device_of(compute.accelerator),
            precision=compute.precision,
        )
        self.settings = settings
        self._reference: dict[str, np.ndarray] = {}

    def describe_training(self) -> dict[str, object]:
        """The short training beside which the score is judged, and the score with its version."""
        evaluator = f"{self.settings},version={VERSION}"
        return {**super().describe_training(), "evaluator": evaluator}

    def lines(self) -> list[str]:
        """The data, then the score."""
        settings = self.settings
        return [
            *self.splits.lines(),
            f"proxy      no training: mean rank of {settings.score} among {settings.reference} "
            f"random networks, at {self.proxy.usual} px, width {self.proxy.width:g}",
        ]

    def prepare(self, domain: Domain, folder: Path, *, seed: int, watch: Watch = ignore) -> None:
        """Score the random networks that ranks refer to, and ask what the score is worth.

        ``proxies.jsonl`` in the folder gets a row for each.
        """
        rows = self._reference_rows(domain, folder / FILE, seed, watch)
        # Sorted, as the binary search of `_rank` needs it.
        self._reference = {name: np.sort([row[name] for row in rows]) for name in KNOWN}
        if self.settings.check:
            trained = short_training(self, self.proxy)
            report = check(
                self, trained, domain, folder, seed=seed, count=self.settings.check, watch=watch
            )
            self.remarks = [verdict(report)]

    def _reference_rows(
        self, domain: Domain, file: Path, seed: int, watch: Watch
    ) -> list[ledger.Row]:
        """The scores of the random networks by name, read or made."""
        count = self.settings.reference
        drawn = [domain.sample(rng(seed, "reference", number)) for number in range(count)]
        rows = read_rows(file, drawn, KNOWN)
        step = partial(self._reference_row, domain, drawn)
        done = range(len(rows))
        return rows + ledger.complete(file, "proxies", range(count), done, step, watch=watch)

    def _reference_row(self, domain: Domain, drawn: Sequence[Genes], number: int) -> ledger.Row:
        scores = self.proxies(domain.space.decode(drawn[number]), number)
        return {"kind": "reference", "genes": list(drawn[number]), **scores}

    def proxies(self, architecture: Architecture, seed: int) -> dict[str, float]:
        """All proxies of one network, initialised from the seed, and the trivial scores."""
        with threads(self.thread_count):
            network = build(self.slim_untrained(architecture), seed=seed).to(self.device)
            images, labels = self.images("weights", network.architecture.input.size)
            scores = proxies(network, images[:IMAGES], labels[:IMAGES])
        trivial = trivial_scores(network.architecture)
        return scores | {name: float(value) for name, value in trivial.items()}

    def evaluate(self, architecture: Architecture, seed: int) -> Metrics:
        """See the class. Raises `RunError` before `prepare`."""
        if not self._reference:
            raise RunError("the networks that ranks refer to must be scored before any other")
        start = time.perf_counter()
        scores = self.proxies(architecture, seed)
        self.seconds.append(time.perf_counter() - start)
        return {
            "proxy_score": self.score(scores),
            **{f"proxy_{name}": value for name, value in scores.items()},
        }

    def score(self, scores: Mapping[str, float]) -> float:
        """The mean rank, 0..1, of a network whose proxies these are."""
        return float(np.mean([self._rank(name, scores[name]) for name in self.settings.names]))

    def _rank(self, name: str, value: float) -> float:
        """The share of the random networks with a lower proxy, ties counted half."""
        reference = self._reference[name]
        # Ranks, for the proxies have no scale in common to be averaged on.
        below = np.searchsorted(reference, value)
        not_above = np.searchsorted(reference, value, "right")
        return float((below + not_above) / (2 * len(reference)))


def make(
    dataset: Dataset,
    changes: str = "",
    *,
    threads: int = 1,
    compute: Compute = USUAL,
    **settings: Any,
) -> ZeroCostSession:
    """The evaluator for a data set; ``settings`` are those of `ZeroCost`."""
    recipe, proxy = chosen(dataset, changes)
    return ZeroCostSession(dataset, proxy, recipe, threads, ZeroCost(**settings), compute)


KIND = EvaluatorKind(
    name="zero_cost",
    factory=make,
    open_data=open_data,
    takes_compute=True,
    settings=tuple(field.name for field in dataclasses.fields(ZeroCost)),
)
