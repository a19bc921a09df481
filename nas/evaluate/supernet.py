"""Accuracy by weight sharing: evaluator ``supernet``.

One supernet is trained, then every network is scored with its weights.
"""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.arch import Architecture
from nas.compute import USUAL, Compute
from nas.data import Dataset, split
from nas.domain import Domain
from nas.errors import RunError, SpaceError, UsageError, unknown
from nas.evaluate.fidelity import check, check_count, verdict
from nas.evaluate.images import ImageEvaluator, open_data, search_metrics
from nas.evaluate.proxy import Proxy, chosen, preset
from nas.evaluate.training import short_training
from nas.progress import Watch, ignore
from nas.reading import to_json
from nas.record.identity import space_digest
from nas.space import SearchSpace
from nas.study.evaluator import EvaluatorKind
from nas.supernet.network import Supernet
from nas.supernet.recipe import Sharing, train
from nas.supernet.scoring import recalibrate, score_path
from nas.supernet.training import SupernetTraining, sampler
from nas.train import Augment, Schedule
from nas.train.accelerator import device_of
from nas.trial import Genes, Metrics

__all__ = ["KIND", "PRESETS", "Preset", "SupernetSession", "make"]

FILE = "supernet.pt"
NOT_OF_THE_WEIGHTS = ("check", "recalibrate", "tell")
"""Settings that the supernet's weights do not depend on."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Settings by one name, ``--evaluator supernet:preset=NAME``; settings beside it win."""

    sharing: Mapping[str, Any] = field(default_factory=dict)
    """Settings of `Sharing`."""
    recipe: str = ""
    """How the supernet's recipe differs from the short training of one network.

    Settings of `Proxy` as ``name=value,...``; those of ``--proxy`` win.
    """


# ``rank``: 12,000 steps of 64 images. All that decides its training is named, pixels aside: what is
# known of it holds when the short training of one network changes. The ramp is 1,200 steps, a
# little more than the default's: without one FBNet's supernet stays at chance.
PRESETS: Mapping[str, Preset] = {
    "quick": Preset(),
    "rank": Preset(
        sharing={"longer": 1.0, "ramp": 0.1},
        recipe="width=0.5,epochs=1000,images=768000,batch_size=64,lr=0.1,weight_decay=4e-5,"
        "average=0.2,shift=1,score_images=3000",
    ),
}


class SupernetSession(ImageEvaluator):
    """Trains a supernet once (`prepare`), then scores networks without training them (`evaluate`).

    The supernet trains on *weights*; batch norms are recalibrated on images of *weights*; scores
    are of *search* and *selection*, under the names that `TrainingEvaluator` gives them. ``base``
    is the short training of one network, ``proxy`` that of the supernet: ``shared``, or else the
    former, for ``sharing.longer`` times its length.
    """

    trains = False
    prepares = True

    def __init__(
        self,
        dataset: Dataset,
        proxy: Proxy,
        recipe: str,
        thread_count: int,
        sharing: Sharing,
        shared: Proxy | None = None,
        compute: Compute = USUAL,
    ) -> None:
        if compute.precision == "float16":
            raise UsageError(
                "--precision float16 needs scaled losses, which a supernet's training has not: "
                "take bfloat16, or float32"
            )
        super().__init__(
            split(dataset),
            (shared or proxy).times(sharing.longer),
            recipe=recipe,
            thread_count=thread_count,
            device=device_of(compute.accelerator),
            precision=compute.precision,
        )
        # The short recipe of one network is kept beside: the check trains by it.
        self.base, self.sharing = proxy, sharing
        self._supernet: Supernet | None = None

    @property
    def schedule(self) -> Schedule:
        """That of the supernet's training."""
        planned = self.proxy.schedule(len(self.weights[0]))
        return dataclasses.replace(planned, accumulate=self.sharing.accumulate)

    def describe_training(self) -> dict[str, object]:
        """The short training of one network, and how the supernet's differs from it."""
        return {
            **super().describe_training(),
            **to_json(self.base),
            "evaluator": f"{self.sharing},{self.proxy}",
        }

    def lines(self) -> list[str]:
        """The data, the supernet's training and how it shares weights."""
        return [
            *super().lines(),
            f"supernet   trained once, every network scored with its weights; {self.sharing}",
        ]

    def prepare(self, domain: Domain, folder: Path, *, seed: int, watch: Watch = ignore) -> None:
        """Train the supernet, see `train_supernet`, and ask what its scores are worth."""
        self.train_supernet(domain, folder, seed=seed, watch=watch)
        if self.sharing.check:
            trained = short_training(self, self.base)
            report = check(
                self, trained, domain, folder, seed=seed, count=self.sharing.check, watch=watch
            )
            self.remarks = [verdict(report)]

    def train_supernet(
        self,
        domain: Domain,
        folder: Path,
        *,
        seed: int,
        watch: Watch = ignore,
        stop_after: float | None = None,
    ) -> bool:
        """Train the supernet of the domain's space, or go on, or read it, in ``supernet.pt``.

        See `nas.supernet.recipe.train`. Whether the training is finished, which it may not be after
        ``stop_after`` seconds.
        """
        space, sharing = domain.space, self.sharing
        supernet = Supernet(space, self.slim, share=sharing.share, seed=seed, device=self.device)
        training = self._training(supernet, seed)
        identity = self._identity(space, seed)
        with self.computing():
            finished = train(training, folder / FILE, identity, watch=watch, stop_after=stop_after)
        self._supernet = supernet
        return finished

    def _training(self, supernet: Supernet, seed: int) -> SupernetTraining:
        images, labels = self.weights
        schedule, sharing = self.schedule, self.sharing
        return SupernetTraining(
            supernet,
            images,
            labels,
            schedule,
            sampler(supernet.space, sharing.sampling, sharing.paths),
            seed=seed,
            augment=Augment(pad=self.proxy.shift, flip=self.dataset.flip),
            # In-place distillation needs the largest network in every step, as the sandwich has it
            # (BigNAS).
            distil=sharing.sampling == "sandwich",
            ramp=round(sharing.ramp * schedule.steps),
        )

    def _identity(self, space: SearchSpace, seed: int) -> dict[str, Any]:
        """What the supernet's weights depend on."""
        settings = self.sharing.to_json()
        for name in NOT_OF_THE_WEIGHTS:
            del settings[name]
        return {
            "space": space_digest(space),
            "data": self.dataset.digest,
            "seed": seed,
            "recipe": str(self.proxy),
            **settings,
        }

    def evaluate(self, architecture: Architecture, seed: int) -> Metrics:
        """Score one network of the space; ``seed`` has no influence.

        Raises `RunError` before `prepare`, and `SpaceError` for a network of another space.
        """
        start = time.perf_counter()
        scores = self.scores(architecture, search=True, selection=True)
        self.seconds.append(time.perf_counter() - start)
        return scores

    def scores(
        self, architecture: Architecture, *, search: bool, selection: bool
    ) -> dict[str, float]:
        """The metrics of one or both sets, with batch norms recalibrated for this network."""
        space = self._trained().space
        genes = space.parse(architecture.layers)
        if genes is None:
            raise SpaceError(f"network {architecture.digest} is not one of space '{space.name}'")
        return self.scores_of(genes, search=search, selection=selection)

    def _trained(self) -> Supernet:
        if self._supernet is None:
            raise RunError("a supernet must be trained before it can score a network")
        return self._supernet

    def scores_of(self, genes: Genes, *, search: bool, selection: bool) -> dict[str, float]:
        """`scores` of genes as they are: each spelling of a network has weights of its own."""
        scores: dict[str, float] = {}
        with self.computing():
            path = self._trained().path(genes)
            # Norms are shared: their statistics are of the networks that came last.
            recalibrate(path, self.weights[0], self.sharing.recalibrate)
            if selection:
                scores |= score_path(path, *self.selection)
            if search:
                scores |= search_metrics(score_path(path, *self.search), self.sharing.tell)
        return scores


def make(
    dataset: Dataset,
    changes: str = "",
    *,
    threads: int = 1,
    compute: Compute = USUAL,
    **settings: Any,
) -> SupernetSession:
    """The evaluator for a data set; ``settings`` are those of `Sharing` and ``preset``."""
    name = str(settings.pop("preset", "quick"))
    if name not in PRESETS:
        raise unknown("preset of evaluator 'supernet'", name, PRESETS)
    recipe, proxy = chosen(dataset, changes)
    shared = Proxy.parse(changes, Proxy.parse(PRESETS[name].recipe, preset(dataset)[1]))
    sharing = Sharing(**{**PRESETS[name].sharing, **settings})
    check_count("supernet", sharing.check)
    words = f"supernet preset '{name}', {recipe}"
    return SupernetSession(dataset, proxy, words, threads, sharing, shared, compute)


KIND = EvaluatorKind(
    name="supernet",
    factory=make,
    open_data=open_data,
    takes_compute=True,
    settings=("preset", *(setting.name for setting in dataclasses.fields(Sharing))),
)
