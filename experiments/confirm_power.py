"""How often a confirmation says "better" where it should, and where it should not.

Simulated: nothing is trained. A network's score is its quality plus the luck of its training. The
qualities of a band's networks lean to the left, as accuracies do: minus an exponential, of
deviation 1. A search sees them through noise of deviation .05 and finds the best of 16; the luck of
a training has deviation .12. These two deviations were fitted to what an audit had found. By a
bootstrap over the differences (`nas.statistics.paired_interval`), as `nas confirm` judged before:
"better" in 12 % of cases from three pairs of two seeds, in 59 % from six pairs of one seed. By the
exact permutation test (`nas.statistics.permutation_interval`), as it judges now: 42 % from three
members with three random networks each, 69 % with five each.

Where the search found nothing there are three tables. In the first, members are drawn as their
random networks are: that is what the permutation test asks about, and whatever the shape of the
distribution it errs in at most .025 of cases. In the second, members have the mean of their random
networks but another shape: normal are the random networks, as named are the members. In the third
the differences of pairs have the shape themselves, as if random networks were all alike. No test of
so few networks is sure to keep its rate in these two; how far each is off is to be seen. "Worse" is
as frequent as "better" of the mirrored shape.

Six members with a random network each are the default: they keep to .025 in both of the first
tables. Four members with two each find more, but say "better" too often in the second.

    python experiments/confirm_power.py

Under a minute on one core. The standard errors of rates of .025 are .0025 by bootstrap, .0004 by
permutation.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.statistics import (
    LEVELS,
    PAIRED_RESAMPLES,
    claim,
    paired_interval,
    permutation_interval,
    rng,
)
from nas.units import text_table

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]

BEST_OF = 16
SEARCH_NOISE = 0.05
LUCK = 0.12
LOG_DEVIATION = 0.5
CHECKED = 20
CHUNK = 2000


@dataclass(frozen=True)
class Design:
    """How many networks are trained, how often, and what judges them."""

    members: int
    each: int
    """Random networks of each member."""
    seeds: int
    exact: bool
    """Whether the permutation test judges, and not the bootstrap."""

    @property
    def trainings(self) -> int:
        """In all."""
        return self.members * (1 + self.each) * self.seeds

    def __str__(self) -> str:
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds} seeds"
        test = "permutation" if self.exact else "bootstrap"
        return f"{self.members} members, {self.each} random each, {seeds}, {test}"


BEFORE = Design(3, 1, 2, exact=False)
NOW = Design(6, 1, 1, exact=True)
DESIGNS = (
    BEFORE,
    Design(6, 1, 1, exact=False),
    NOW,
    Design(3, 3, 1, exact=True),
    Design(4, 2, 1, exact=True),
    Design(3, 5, 1, exact=True),
)


# -- distributions, of mean 0 and deviation 1 -----------------------------------------------------


def normal(draw: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return draw.normal(size=shape)


def exponential(draw: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return draw.exponential(size=shape) - 1


def lognormal(draw: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    variance = LOG_DEVIATION**2
    mean = np.exp(variance / 2)
    deviation = mean * np.sqrt(np.exp(variance) - 1)
    return np.asarray((draw.lognormal(0, LOG_DEVIATION, size=shape) - mean) / deviation)


def alike(draw: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return np.zeros(shape)


def mirrored(distribution: Draw) -> Draw:
    return lambda draw, shape: -distribution(draw, shape)


SHAPES: dict[str, Draw] = {
    "normal": normal,
    "exponential": exponential,
    "exponential, left": mirrored(exponential),
    "lognormal": lognormal,
    "lognormal, left": mirrored(lognormal),
}


# -- cases ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Where the scores of members, and of random networks, come from."""

    members: Draw
    random: Draw
    luck: float = LUCK
    """The deviation of one training."""

    def scores(
        self, design: Design, count: int, draw: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Of so many confirmations: members (n, members), random networks (n, members, each)."""
        own = self.members(draw, (count, design.members))
        others = self.random(draw, (count, design.members, design.each))
        luck = self.luck / np.sqrt(design.seeds)
        return own + luck * normal(draw, own.shape), others + luck * normal(draw, others.shape)


def best_found(draw: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """The quality of the network that a search found the best of 16."""
    qualities = mirrored(exponential)(draw, (*shape, BEST_OF))
    seen = qualities + SEARCH_NOISE * normal(draw, qualities.shape)
    places = seen.argmax(axis=-1)[..., None]
    return np.take_along_axis(qualities, places, axis=-1)[..., 0]


FOUND = Case(members=best_found, random=mirrored(exponential))


# -- judging many at once -------------------------------------------------------------------------


def better(design: Design, own: Floats, others: Floats) -> NDArray[np.bool_]:
    """own: (n, members), others: (n, members, each). Whether each confirmation says "better"."""
    judge = _by_permutation if design.exact else _by_bootstrap
    parts = []
    for start in range(0, len(own), CHUNK):
        parts.append(judge(own[start : start + CHUNK], others[start : start + CHUNK]))
    return np.concatenate(parts)


def _by_permutation(own: Floats, others: Floats) -> NDArray[np.bool_]:
    # With as many others in each stratum the statistic grows with the sum of the chosen scores.
    gained = np.concatenate([np.zeros_like(own)[..., None], others - own[..., None]], axis=-1)
    sums = gained[:, 0]
    for member in range(1, own.shape[1]):
        sums = (sums[:, :, None] + gained[:, member, None, :]).reshape(len(own), -1)
    as_good = (sums >= -1e-12).mean(axis=1)
    return np.asarray(as_good <= LEVELS[0])


def _by_bootstrap(own: Floats, others: Floats) -> NDArray[np.bool_]:
    from scipy.stats import norm, t

    differences = own - others.mean(axis=-1)
    count = differences.shape[1]
    picks = rng(0, "confirm", count).integers(count, size=(PAIRED_RESAMPLES, count))
    weights = np.apply_along_axis(np.bincount, 1, picks, minlength=count) / count
    # Few pairs have few different resamples, and sorting those alone is much faster.
    kinds, times = np.unique(weights, axis=0, return_counts=True)
    means = differences @ kinds.T
    order = means.argsort(axis=1)
    reached = np.cumsum(times[order], axis=1)
    place = (reached <= LEVELS[0] * (PAIRED_RESAMPLES - 1)).sum(axis=1)
    low = np.take_along_axis(means, np.take_along_axis(order, place[:, None], 1), 1)[:, 0]
    student = t.ppf(LEVELS[1], count - 1) / norm.ppf(LEVELS[1])
    mean = differences.mean(axis=1)
    return np.asarray(mean - student * np.sqrt(count / (count - 1)) * (mean - low) > 0)


def says_better(design: Design, own: Floats, others: Floats) -> bool:
    """own: (members,), others: (members, each). What `nas.statistics` says of one confirmation."""
    if not design.exact:
        return claim(paired_interval((own - others.mean(axis=1)).tolist())) == "better"
    strata = list(zip(own.tolist(), others.tolist(), strict=True))
    return claim(permutation_interval(strata)) == "better"


def rate(design: Design, case: Case, count: int, seed: int = 0) -> float:
    """The share of so many confirmations that say "better"."""
    draw = np.random.default_rng([seed, design.members, design.each, design.seeds])
    own, others = case.scores(design, count, draw)
    said = better(design, own, others)
    for place in range(CHECKED):
        assert said[place] == says_better(design, own[place], others[place])
    return float(said.mean())


def table(
    title: str, cases: dict[str, Case], count: int, designs: Sequence[Design] = DESIGNS
) -> str:
    """Rates by design and case, of ``count`` confirmations; by bootstrap of a fiftieth as many."""
    rows = []
    for design in designs:
        row = [str(design), str(design.trainings)]
        for case in cases.values():
            row.append(f"{rate(design, case, count if design.exact else count // 50):.3f}")
        rows.append(row)
    return f"{title}\n{text_table(['design', 'trainings', *cases], rows)}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--count", type=int, default=200_000, help="simulated confirmations")
    given = options.parse_args()
    drawn = {name: Case(members=shape, random=shape) for name, shape in SHAPES.items()}
    skewed = {name: Case(members=shape, random=normal) for name, shape in SHAPES.items()}
    pairs = {name: Case(shape, alike, luck=0.0) for name, shape in SHAPES.items()}
    found = {"best of 16": FOUND}
    print(table('"better" where the search found the best of 16', found, given.count))
    print()
    print(table('"better" where members are drawn as random networks are', drawn, given.count))
    print()
    print(table('"better" where members have their mean, not their shape', skewed, given.count))
    print()
    only_pairs = [design for design in DESIGNS if design.each == 1]
    print(table('"better" where differences have the shape', pairs, given.count, only_pairs))


if __name__ == "__main__":
    main()
