"""A score without training: the mean rank of a network's zero-cost proxies among random networks of the space."""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas.arch import Architecture
from nas.data import Dataset
from nas.domain import Domain
from nas.errors import RunError, UsageError, unknown
from nas.evaluate.fidelity import check, check_count, verdict
from nas.evaluate.proxy import Proxy, preset
from nas.evaluate.session import TrainingSession, open_data
from nas.evaluate.zero_cost import PROXIES, TRIVIAL, proxies
from nas.model import build
from nas.objectives import UNTRAINED
from nas.progress import Pace, Watch, ignore
from nas.record import ledger
from nas.settings import check_kind
from nas.statistics import rng
from nas.study.evaluator import EvaluatorKind
from nas.train import threads
from nas.trial import Metrics

__all__ = ["KIND", "Untrained", "UntrainedSession", "make"]

FILE = "proxies.jsonl"
IMAGES = 32
KNOWN = (*PROXIES, *TRIVIAL)

# Chosen among all sets of these scores on half of NAS-Bench-Macro's networks; the other half and
# FBNet's space are reported (docs/supernets.md). No other set was better there.
ENSEMBLE = "naswot+grad_norm"


@dataclass(frozen=True, kw_only=True)
class Untrained:
    """``score``: names joined by ``+``, whose ranks are averaged. ``reference``: random networks that ranks refer to.

    ``check``: networks trained for a short while to see what the score is worth; 0 for none.
    """

    score: str = ENSEMBLE
    reference: int = 64
    check: int = 8

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_kind(
                f"{field.name} of evaluator 'zero_cost'", getattr(self, field.name), field.type
            )
        for name in self.names:
            if name not in KNOWN:
                raise unknown("zero-cost proxy", name, KNOWN)
        if not 2 <= self.reference <= 10_000:
            raise UsageError(
                f"reference of evaluator 'zero_cost' must be 2 to 10000 networks, not {self.reference}"
            )
        check_count("zero_cost", self.check)

    @property
    def names(self) -> tuple[str, ...]:
        """The proxies of the score."""
        return tuple(self.score.split("+"))


class UntrainedSession(TrainingSession):
    """Scores networks at initialisation on a few images of *weights*; no other set is read.

    Metrics: ``proxy_score``, 0..1, higher is better, and each proxy as ``proxy_NAME``. Slimmed as
    for a training.
    """

    qualities = UNTRAINED
    trains = False
    followable = False
    prepares = True

    def __init__(
        self, dataset: Dataset, proxy: Proxy, recipe: str, thread_count: int, untrained: Untrained
    ) -> None:
        super().__init__(dataset, proxy, recipe, thread_count)
        self.untrained = untrained
        self._reference: dict[str, np.ndarray] = {}

    def describe_training(self) -> dict[str, Any]:
        """See `TrainingSession`."""
        return {
            **super().describe_training(),
            "evaluator": ",".join(
                f"{k}={v}" for k, v in dataclasses.asdict(self.untrained).items()
            ),
        }

    def lines(self) -> list[str]:
        """See `TrainingSession`."""
        told = f"no training: mean rank of {self.untrained.score} among {self.untrained.reference} random networks"
        return [
            *super().lines()[:-1],
            f"proxy      {told}, at {self.proxy.resolution} px, width {self.proxy.width:g}",
        ]

    def prepare(
        self,
        domain: Domain,
        folder: Path,
        *,
        seed: int,
        watch: Watch = ignore,
    ) -> None:
        """Score the random networks that ranks refer to; a row of ``proxies.jsonl`` each."""
        file = folder / FILE
        total = self.untrained.reference
        drawn = [domain.sample(rng(seed, "reference", number)) for number in range(total)]
        found = ledger.read(file)[:total]
        for row, genes in zip(found, drawn, strict=False):
            figures = [row.get(name) for name in KNOWN]
            if row.get("genes") != list(genes) or not all(
                type(value) in (int, float) for value in figures
            ):
                raise RunError(f"{file} is damaged, or another run's. Remove it to make it anew")
        pace = Pace("proxies", total, done=len(found))
        for number in range(len(found), total):
            genes = drawn[number]
            scores = self.proxies(domain.space.decode(genes), number)
            ledger.append(file, {"kind": "reference", "genes": list(genes), **scores})
            found.append(scores)
            watch(pace.at(number + 1))
        self._reference = {name: np.sort([row[name] for row in found]) for name in KNOWN}
        if self.untrained.check:
            short = TrainingSession(self.dataset, self.proxy, self.recipe, self.thread_count)
            self.remarks = [
                verdict(
                    check(
                        self,
                        short,
                        domain,
                        folder,
                        seed=seed,
                        count=self.untrained.check,
                        watch=watch,
                    )
                )
            ]

    def proxies(self, architecture: Architecture, seed: int) -> dict[str, float]:
        """All proxies of one network, initialised from the seed."""
        images, labels = self.weights
        with threads(self.thread_count):
            network = build(self.slim(architecture), seed=seed).to(self.device)
            return proxies(network, images[:IMAGES], labels[:IMAGES])

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
        """The mean over the score's proxies of the share of reference networks below, ties counted half."""
        ranks = [
            (
                np.searchsorted(self._reference[name], scores[name])
                + np.searchsorted(self._reference[name], scores[name], "right")
            )
            / (2 * len(self._reference[name]))
            for name in self.untrained.names
        ]
        return float(np.mean(ranks))


def make(
    dataset: Dataset, proxy_text: str = "", *, threads: int = 1, **settings: Any
) -> UntrainedSession:
    """The evaluator for a data set; ``settings`` are those of `Untrained`."""
    name, base = preset(dataset)
    return UntrainedSession(
        dataset, Proxy.parse(proxy_text, base), f"preset '{name}'", threads, Untrained(**settings)
    )


KIND = EvaluatorKind(
    name="zero_cost",
    factory=make,
    open_data=open_data,
    settings=tuple(field.name for field in dataclasses.fields(Untrained)),
)
