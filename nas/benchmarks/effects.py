"""Landscapes of main effects, as real trainings have them, with small interactions and noise.

A network's value is a sum over its genes, each by itself, and over pairs of genes up to ``reach``
apart. The genes' effects fall off from the strongest to the weakest, those of pairs with the
distance too; a share of the genes has none. An ordinal gene gains less with every step. Real
landscapes are like this: of 5,138 networks of a MnasNet-like space that were trained on ImageNet,
main effects explain 90 % of the variance, where an NK landscape with K of 2 has next to none.

The variant ``imagenet`` has the main effects of real trainings: expansion, kernel, layers and
squeeze-and-excitation of seven blocks, 28 genes, `IMAGENET`. Seeds 0 to 19 are for development, 100
to 119 to report.
"""

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.benchmarks import Problem
from nas.benchmarks._grid import grid as grid_of
from nas.benchmarks._grid import unpriced
from nas.benchmarks._windows import Windows, landscape_problem, macs_domain, relevant
from nas.domain import Domain
from nas.errors import UsageError, unknown
from nas.space import Choice, SearchSpace
from nas.statistics import rng
from nas.trial import Genes

__all__ = ["IMAGENET", "Effects", "benchmark"]

Floats = NDArray[np.float64]

# Main effects on ImageNet accuracy, in points, of each option over the mean of its choice; a row is
# a block. Fitted by `experiments/fit_effects.py` to 110 of the 119 networks that Accel-NASBench
# (Ahmad et al. 2024, https://arxiv.org/abs/2404.08005) trained several times each at a reduced
# schedule, mostly the mean of two trainings. They explain 88 % of the variance, each network
# predicted from the others; one training has a standard deviation of .30 points, networks of 3.6.
IMAGENET = {
    "expand": (
        (1, 4, 6),
        (
            (-0.66, 0.48, 0.17),
            (-0.78, 0.29, 0.48),
            (-0.65, 0.12, 0.53),
            (-0.93, -0.08, 1.01),
            (-1.15, 0.44, 0.71),
            (-2.15, 0.88, 1.27),
            (-2.78, 0.64, 2.13),
        ),
    ),
    "kernel": (
        (3, 5),
        (
            (-0.02, 0.02),
            (0.03, -0.03),
            (-0.06, 0.06),
            (-0.06, 0.06),
            (0.0, 0.0),
            (-0.23, 0.23),
            (-0.15, 0.15),
        ),
    ),
    "layers": (
        (1, 2, 3),
        (
            (-0.22, 0.25, -0.03),
            (-0.32, 0.02, 0.3),
            (-0.2, -0.02, 0.21),
            (-0.66, 0.14, 0.52),
            (-0.83, 0.26, 0.57),
            (-0.77, -0.1, 0.48, 0.39),
            (-0.9, 0.4, 0.5),
        ),
    ),
    "se": (
        (0, 1),
        (
            (-0.03, 0.03),
            (0.01, -0.01),
            (0.0, 0.0),
            (0.03, -0.03),
            (-0.04, 0.04),
            (-0.02, 0.02),
            (-0.05, 0.05),
        ),
    ),
}
IMAGENET_ERROR = {"expand": 0.17, "kernel": 0.1, "layers": 0.17, "se": 0.06}
"""Standard errors of these effects, in points. Every seed draws its own effects within them."""
VARIANTS = ("imagenet",)
GRID = "14x3o+14x2"


def benchmark(
    *,
    seed: int,
    variant: str = "",
    space: SearchSpace | None = None,
    grid: str = "",
    interactions: float = 0.1,
    reach: int = 4,
    decay: float = 0.8,
    noise: float = 0.1,
    irrelevant: float = 0.25,
    max_macs: float = math.inf,
) -> Problem:
    """Loss: minus the value, in standard deviations of the landscape over uniform genes; mean 0.

    ``interactions``: their share of the variance. ``reach``: how many genes apart the two of a pair
    are at most. ``decay``: the deviation of a gene over that of the next stronger one.
    ``noise``: standard deviation, in the loss's unit, of what a search sees, fixed per network.
    ``irrelevant``: the share of genes without effect.

    Genes are those of ``space``, where ``max_macs`` may bound, or of a ``grid``: ``14x3o+14x2`` is
    14 choices of three ordered options and 14 of two without order, as by default.
    """
    if variant and variant not in VARIANTS:
        raise unknown("variant of effects", variant, VARIANTS)
    if max_macs < math.inf and space is None:
        raise UsageError("max_macs bounds networks: give a space with it, such as space=fbnet")
    if (space is not None) + bool(grid) + bool(variant) > 1:
        raise UsageError("effects takes one of space, grid and the variant imagenet")
    if variant:
        domain = unpriced(grid_of("effects", imagenet_choices()))
        effects = imagenet_effects(seed)
        places = list(range(len(effects)))
        landscape = Effects(
            domain, places, effects, seed=seed, interactions=interactions, reach=reach
        )
        return landscape_problem(landscape, noise)
    if not 0 <= irrelevant < 1 or not 0 < decay <= 1:
        raise UsageError(
            "effects takes irrelevant from 0 to below 1 and decay from above 0 to 1, not "
            f"{irrelevant:g} and {decay:g}"
        )
    if space is None:
        domain = unpriced(grid_of("effects", grid_choices(str(grid) or GRID)))
    else:
        domain = macs_domain(space, max_macs)
    places = relevant(len(domain.space.choices), irrelevant, seed)
    choices = [domain.space.choices[place] for place in places]
    effects = drawn_effects(choices, decay, seed)
    landscape = Effects(domain, places, effects, seed=seed, interactions=interactions, reach=reach)
    return landscape_problem(landscape, noise)


class Effects(Windows):
    """``effects``: of each relevant gene, one number per option; only their differences count."""

    def __init__(
        self,
        domain: Domain,
        relevant: Sequence[int],
        effects: Sequence[Floats],
        *,
        seed: int,
        interactions: float,
        reach: int,
    ) -> None:
        if not 0 <= interactions < 1 or reach < 1:
            raise UsageError(
                "effects takes interactions from 0 to below 1 and a reach of at least 1, "
                f"not {interactions:g} and {reach}"
            )
        centred = [effect - effect.mean() for effect in effects]
        # Heredity: what interacts most are genes that matter by themselves.
        self.sizes_of_effects = [float(effect.std()) for effect in centred]
        scale = math.sqrt((1 - interactions) / max(_squares(self.sizes_of_effects), 1e-12))
        self.effects = [scale * effect for effect in centred]
        k = min(reach, len(relevant) - 1) if interactions else 0
        pairs: list[float] = []
        for first in range(len(relevant)):
            for second in range(first + 1, min(first + k + 1, len(relevant))):
                pairs.append(self._pair_size(first, second))
        self.pair_scale = math.sqrt(interactions / max(_squares(pairs), 1e-12))
        super().__init__(domain, relevant, k, seed)

    def _pair_size(self, first: int, second: int) -> float:
        """The deviation of a pair, half as large one gene further apart, in units of all pairs'."""
        both = self.sizes_of_effects[first] * self.sizes_of_effects[second]
        return math.sqrt(both) * 0.5 ** (second - first - 1)

    def table(self, j: int) -> Floats:
        """See `Windows`: the gene's effect and its pairs with the next genes."""
        window = self.windows[j]
        shape = [self.sizes[i] for i in window]
        total = np.zeros(shape)
        for axis, i in enumerate(window):
            # The gene itself stands along the first axis, its pair with another along two.
            along = [1] * len(shape)
            along[0], along[axis] = shape[0], shape[axis]
            part = self.effects[j] if axis == 0 else self._pair(j, i)
            total = total + part.reshape(along)
        return total

    def _pair(self, first: int, second: int) -> Floats:
        """(options of the first, options of the second); every row and column has mean 0."""
        generator = rng(self.seed, "pair", (first << 16) + second)
        drawn = generator.standard_normal((self.sizes[first], self.sizes[second]))
        drawn -= drawn.mean(axis=0)
        drawn -= drawn.mean(axis=1, keepdims=True)
        size = self.pair_scale * self._pair_size(first, second)
        return np.asarray(drawn * (size / max(float(drawn.std()), 1e-12)))

    def loss(self, genes: Genes) -> float:
        """See `Windows`."""
        return -self.value(genes)

    def least_loss(self) -> float:
        """See `Windows`."""
        return -self.most()


def drawn_effects(choices: Sequence[Choice], decay: float, seed: int) -> list[Floats]:
    """An effect per choice, of deviations that fall off by ``decay`` in an order drawn."""
    generator = rng(seed, "effects", 0)
    ranks = generator.permutation(len(choices))
    effects = []
    for choice, rank in zip(choices, ranks.tolist(), strict=True):
        drawn = generator.standard_normal(len(choice))
        if _is_ordinal(choice):
            drawn = _saturating(len(choice), generator)
        drawn = drawn - drawn.mean()
        effects.append(drawn * (decay**rank / max(float(drawn.std()), 1e-12)))
    return effects


def _is_ordinal(choice: Choice) -> bool:
    numbers = all(isinstance(option, int | float) for option in choice.options)
    return choice.ordinal or numbers


def _saturating(options: int, generator: np.random.Generator) -> Floats:
    """A curve over ordered options that rises ever less, or falls so from the other end."""
    steps = np.sort(generator.exponential(size=options - 1))[::-1]
    curve = np.concatenate([[0.0], np.cumsum(steps)])
    return curve if generator.random() < 0.5 else curve[::-1]


def _squares(values: Sequence[float]) -> float:
    return float(np.square(values).sum())


# -- genes ----------------------------------------------------------------------------------------


def grid_choices(text: str) -> list[Choice]:
    """The choices of a grid as it is written. Raises `UsageError`."""
    choices: list[Choice] = []
    for part in text.split("+"):
        match = re.fullmatch(r"\s*(\d{1,3})x(\d{1,3})(o?)\s*", part)
        if match is None or int(match[1]) < 1 or int(match[2]) < 2:
            raise UsageError(
                f"a grid is written 14x3o+14x2, choices times options and o for ordered ones, "
                f"not '{text[:80]}'"
            )
        for _ in range(int(match[1])):
            ordinal = bool(match[3])
            options: list[object] = list(range(int(match[2])))
            if not ordinal:
                options = [f"option{option}" for option in options]
            choices.append(Choice(f"gene{len(choices)}", options, ordinal=ordinal))
    return choices


def imagenet_choices() -> list[Choice]:
    """Four choices per block, block by block."""
    choices = []
    for block in range(7):
        for name, (options, rows) in IMAGENET.items():
            # A block of one more option than the others has one more layer.
            named = [*options, options[-1] + 1][: len(rows[block])]
            choices.append(Choice(f"block{block + 1}_{name}", named, ordinal=True))
    return choices


def imagenet_effects(seed: int) -> list[Floats]:
    """The fitted effects, each moved by a draw of its standard error."""
    generator = rng(seed, "effects", 0)
    effects = []
    for block in range(7):
        for name, (_, rows) in IMAGENET.items():
            fitted = np.array(rows[block])
            effects.append(fitted + IMAGENET_ERROR[name] * generator.standard_normal(len(fitted)))
    return effects
