"""Recipes of trainings: what papers did, each a frozen value that can be changed.

Sources. MnasNet: Tan et al. 2018, https://arxiv.org/abs/1807.11626. FBNet: Wu et al. 2018,
https://arxiv.org/abs/1812.03443, the weights' recipe of its search. EfficientNet: Tan and Le 2019,
https://arxiv.org/abs/1905.11946 (its AutoAugment is left out). EfficientNetV2: Tan and Le 2021,
https://arxiv.org/abs/2104.00298; the growth presets ``s`` to ``xl`` are those of its code,
``paper-s`` to ``paper-l`` those of its table 6. UniNet: Liu et al. 2022,
https://arxiv.org/abs/2207.05420, and its code's settings. Rates are stated per ``lr_batch`` images,
as published, and scaled to the batch.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TypedDict

from nas.errors import UsageError, unknown
from nas.reading import to_json
from nas.settings import Ranges, changed, check_ranges
from nas.size import Size, each_side, rescaled, shorter
from nas.train.schedule import DECAYS, OPTIMISERS, Schedule

__all__ = ["GROWTH", "RECIPES", "GrowthStage", "Recipe", "recipe"]


@dataclass(frozen=True, kw_only=True)
class GrowthStage:
    """One stage of progressive learning."""

    end: float
    """Where it ends, as a share of the steps."""
    size: Size
    """Of its images."""
    dropout: float
    randaugment: float
    mixup: float
    cutmix: float


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides a training beside network and data.

    For more see `nas.train.schedule.Schedule` and, of progressive learning, `plan`.
    """

    epochs: float = 60.0
    """Passes over the images."""
    steps: int | None = None
    """Batches; overrides ``epochs``."""
    batch_size: int = 64
    """Images in each step."""
    accumulate: int = 1
    """Equal parts that a batch is worked off in, one after the other."""
    optimiser: str = "sgd"
    """See `nas.train.optimisers`."""
    lr: float = 0.05
    """Peak rate, for ``lr_batch`` images a batch."""
    lr_batch: int = 0
    """Images that ``lr`` is stated for; 0: for any."""
    momentum: float = 0.9
    eps: float = 0.0
    """Of ``rmsprop`` and ``adamw``; 0: the optimiser's own, .001 and 1e-8."""
    weight_decay: float = 1e-4
    """Spares norms and biases."""
    warmup: float = 0.1
    """Share of the steps with a rising rate."""
    decay: str = "cosine"
    """``cosine`` or ``exponential``."""
    drop: float = 0.97
    """Factor of the exponential decay."""
    drop_every: float = 0.01
    """Share of the steps after which the rate drops."""
    average: float = 0.1
    """Share of the steps, at the end, whose weights are averaged."""
    ema: float = 0.0
    """Decay of an exponential average instead; 0: none."""
    label_smoothing: float = 0.1
    dropout: float = 0.0
    """The classifier's."""
    drop_path: float = 0.0
    """Rate at the last block."""
    norm_momentum: float = 0.1
    """Share of a batch in the running statistics of batch norms: torch's momentum."""
    shift: float = 0.125
    """Largest random shift, as a share of the side; of a rectangle's, the shorter one."""
    crop: float = 0.0
    """Least share of an image's area that a random crop shows, instead of the shift; 0: none.

    Of image files only: arrays of pixels are shifted.
    """
    randaugment: float = 0.0
    """Magnitude as in the papers' code: 10 is the whole range; 0: none."""
    mixup: float = 0.0
    """Alpha; 0: none."""
    cutmix: float = 0.0
    """Alpha; 0: none."""
    stages: int = 1
    """Above 1: progressive learning, in which the size and ``..._start`` values grow."""
    smallest: float = 1.0
    """First size, as a share of the largest."""
    dropout_start: float = 0.0
    randaugment_start: float = 0.0
    mixup_start: float = 0.0
    train_share: float = 1.0
    """Largest size that is trained at, as a share of ``resolution``."""
    resolution: Size | None = None
    """None is the network's own."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, "recipe")
        for name, known in (("optimiser", OPTIMISERS), ("decay", DECAYS)):
            if getattr(self, name) not in known:
                raise unknown(f"recipe {name}", getattr(self, name), known)
        if self.average and self.ema:
            raise UsageError(
                "weights are averaged one way: --set average=0 or --set ema=0, "
                f"not {self.average:g} and {self.ema:g}"
            )

    @property
    def peak_lr(self) -> float:
        """The rate of this batch size."""
        return self.lr * self.batch_size / self.lr_batch if self.lr_batch else self.lr

    def schedule(self, images: int) -> Schedule:
        """The schedule for so many images."""
        steps = math.ceil(self.epochs * images / self.batch_size)
        return Schedule(
            steps=self.steps or max(1, steps),
            batch_size=self.batch_size,
            accumulate=self.accumulate,
            optimiser=self.optimiser,
            lr=self.peak_lr,
            momentum=self.momentum,
            eps=self.eps,
            weight_decay=self.weight_decay,
            warmup=self.warmup,
            decay=self.decay,
            drop=self.drop,
            drop_every=self.drop_every,
            average=self.average,
            ema=self.ema,
            label_smoothing=self.label_smoothing,
        )

    def plan(self, resolution: Size) -> tuple[GrowthStage, ...]:
        """The stages for a network of that resolution; a single one where nothing grows.

        As EfficientNetV2's code has it: with k of n stages done, the size is ``(k + 1) / n`` of the
        way from the smallest to the largest, and the rest ``k / (n - 1)`` of the way.
        """
        largest = rescaled(resolution, self.train_share)
        steps = []
        for k in range(self.stages):
            step = GrowthStage(
                end=(k + 1) / self.stages,
                size=each_side(largest, partial(self._side, stage=k)),
                dropout=self._grown("dropout", k),
                randaugment=self._grown("randaugment", k),
                mixup=self._grown("mixup", k),
                cutmix=self.cutmix,
            )
            steps.append(step)
        return tuple(steps)

    def padding(self, size: Size) -> int:
        """Pixels of the largest shift of images of that size."""
        return round(self.shift * shorter(size))

    def _side(self, largest: int, stage: int) -> int:
        """The side of a stage's images whose side is ``largest`` in the end."""
        smallest = self.smallest * largest
        side = smallest + (largest - smallest) * (stage + 1) / self.stages
        # Down, as the code does; a whole number that came out a hair too small is meant.
        return max(1, int(side + 1e-9))

    def _grown(self, name: str, stage: int) -> float:
        last: float = getattr(self, name)
        start: float = getattr(self, f"{name}_start")
        if self.stages == 1:
            return last
        return start + (last - start) * stage / (self.stages - 1)

    def __str__(self) -> str:
        changes = []
        for name, value in to_json(self).items():
            if value != getattr(_PLAIN, name):
                text = f"{value:g}" if isinstance(value, float) else str(value)
                changes.append(f"{name}={text}")
        return ",".join(changes)


_RANGES: Ranges = {
    "epochs": (1e-6, 1e6),
    "steps": (1, 1e9),
    "batch_size": (2, 1 << 20),
    "accumulate": (1, 1 << 16),
    "lr": (1e-9, 100),
    "lr_batch": (0, 1 << 20),
    "momentum": (0, 0.9999),
    "eps": (0, 1),
    "weight_decay": (0, 1),
    "warmup": (0, 0.999),
    "drop": (1e-6, 1),
    "drop_every": (1e-6, 1),
    "average": (0, 1),
    "ema": (0, 0.999999),
    "label_smoothing": (0, 0.9),
    "dropout": (0, 0.95),
    "drop_path": (0, 0.95),
    "norm_momentum": (1e-5, 1),
    "shift": (0, 0.5),
    "crop": (0, 1),
    "randaugment": (0, 30),
    "mixup": (0, 100),
    "cutmix": (0, 100),
    "stages": (1, 100),
    "smallest": (0.01, 1),
    "dropout_start": (0, 0.95),
    "randaugment_start": (0, 30),
    "mixup_start": (0, 100),
    "train_share": (0.05, 1),
    "resolution": (1, 4096),
    "seed": (0, 2**63 - 1),
}
_PLAIN = Recipe()
INCEPTION_CROP = 0.08
"""Of the area at least: Szegedy et al. 2014, https://arxiv.org/abs/1409.4842, as all these do."""


class Growth(TypedDict):
    """Changes of a recipe that make it learn progressively."""

    stages: int
    smallest: float
    train_share: float
    dropout: float
    dropout_start: float
    randaugment: float
    randaugment_start: float
    mixup: float
    mixup_start: float


# Training and evaluation size, smallest size 128; dropout, RandAugment, mixup at the end. Four
# stages, RandAugment from 5.
_CODE = {
    "s": (300, 384, 0.2, 10, 0.0),
    "m": (384, 480, 0.3, 15, 0.2),
    "l": (384, 480, 0.4, 20, 0.5),
    "xl": (384, 512, 0.4, 20, 0.5),
}
# Table 6: dropout grows too, from 0.1. Evaluation sizes as in the code.
_PAPER = {
    "s": (300, 384, 0.3, 15, 0.0),
    "m": (380, 480, 0.4, 20, 0.2),
    "l": (380, 480, 0.5, 25, 0.5),
}


def _growth(
    train: int, test: int, dropout: float, randaugment: float, mixup: float, start: float
) -> Growth:
    return {
        "stages": 4,
        "smallest": 128 / train,
        "train_share": train / test,
        "dropout": dropout,
        "dropout_start": start,
        "randaugment": float(randaugment),
        "randaugment_start": 5.0,
        "mixup": mixup,
        "mixup_start": 0.0,
    }


# In the code dropout does not grow, though table 6 has it grow from 0.1.
GROWTH: Mapping[str, Growth] = MappingProxyType(
    {name: _growth(*row, start=row[2]) for name, row in _CODE.items()}
    | {f"paper-{name}": _growth(*row, start=0.1) for name, row in _PAPER.items()}
)
"""Presets of progressive learning, as changes of any recipe."""

# MnasNet, section 5: rate 0 to 0.256 in the first 5 epochs, then times 0.97 every 2.4 epochs, for
# batches of 4K images. Batches of 256 fit one device; the rate is scaled to them.
_MNASNET = Recipe(
    epochs=350,
    batch_size=256,
    optimiser="rmsprop",
    lr=0.256,
    lr_batch=4096,
    weight_decay=1e-5,
    warmup=5 / 350,
    decay="exponential",
    drop=0.97,
    drop_every=2.4 / 350,
    average=0.0,
    label_smoothing=0.1,
    dropout=0.2,
    crop=INCEPTION_CROP,
    # Its code's decay of .99, in torch's terms.
    norm_momentum=0.01,
)
# EfficientNet, section 5: as MnasNet, with stochastic depth of survival 0.8. The average is its
# code's.
_EFFICIENTNET = dataclasses.replace(_MNASNET, ema=0.9999, drop_path=0.2)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "default": _PLAIN,
        "efficientnet": _EFFICIENTNET,
        **{
            f"efficientnetv2-{name}": dataclasses.replace(_EFFICIENTNET, **GROWTH[name])
            for name in _CODE
        },
        # What trains the weights in FBNet's search: SGD, a cosine without warm-up.
        "fbnet": Recipe(
            epochs=90,
            batch_size=192,
            lr=0.1,
            weight_decay=1e-4,
            warmup=0.0,
            average=0.0,
            label_smoothing=0.0,
            crop=INCEPTION_CROP,
        ),
        "mnasnet": _MNASNET,
        "uninet": Recipe(
            epochs=300,
            batch_size=256,
            optimiser="adamw",
            lr=5e-4,
            lr_batch=512,
            weight_decay=0.05,
            warmup=5 / 300,
            average=0.0,
            ema=0.99996,
            randaugment=9.0,
            mixup=0.8,
            cutmix=1.0,
            crop=INCEPTION_CROP,
        ),
    }
)


def recipe(name: str = "default", growth: str = "", settings: str = "") -> Recipe:
    """The recipe of a name, with a preset of `GROWTH`, then changed by ``name=value,...``.

    Raises `UsageError`.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    if growth and growth not in GROWTH:
        raise unknown("preset of progressive learning", growth, GROWTH)
    base = RECIPES[name]
    if growth:
        base = dataclasses.replace(base, **GROWTH[growth])
    return changed(base, settings, "recipe")
