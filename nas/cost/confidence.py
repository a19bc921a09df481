"""A latency that is kept with a stated probability, as a cost that adds up over a chain.

An estimate's error is normal with variance ``v + c**2``: rows' independent errors add in ``v``,
common errors in ``c``. The bound ``m + z * sqrt(v + c**2) <= T`` is no sum, but the root has linear
upper bounds. For ``0 <= c <= C`` and any ``sigma > 0``

    sqrt(v + c**2)  <=  a * c + v / (2 * sigma) + sigma / 2,
    a  =  C / (2 * sigma) if sigma >= C, else 1 - sigma / (2 * C)

because the root is convex in c (so c = 0 and c = C decide) and concave in v (so its tangents lie
above it). It is an equality at ``c = C, v = sigma**2 - C**2``. A network whose ``c`` exceeds ``C =
share * T`` takes more than T by itself, as no layer's ``c`` exceeds that share of its time; so
whatever meets the linear bound meets the exact one.

Outside the range that a table's correction was fitted in, a network's ``c`` is stretched by a
factor that depends on its latency. The bound takes the factor of the slowest network that can meet
it. Since ``m + z * sqrt(v + c**2)`` grows with m all the same, faster ones meet it, too.
"""

import math
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from nas.cost.compiled import compile_costs
from nas.errors import UsageError
from nas.latency.estimate import Estimate
from nas.latency.table import Table
from nas.reading import LEFT_OUT
from nas.space import SearchSpace

__all__ = ["Margin", "check_confidence", "margin", "sure_latency_ms"]

DRAWS = 1024
NEAREST = 256
"""Of the networks drawn, those nearest to the bound: their errors make sigma."""
DIGITS = 4
ROUNDS = 20


def check_confidence(confidence: float) -> float:
    """The confidence, if it can be one: at least 0.5, below 1."""
    if not 0.5 <= confidence < 1:
        raise UsageError(
            f"a confidence is a probability from 0.5 to below 1, such as 0.95, not {confidence:g}"
        )
    return confidence


def sure_latency_ms(estimate: Estimate, confidence: float) -> float:
    """The latency that is kept with that probability: ``m + z * sqrt(v + c**2)``."""
    z = NormalDist().inv_cdf(check_confidence(confidence))
    return estimate.latency_ms + z * estimate.latency_sd_ms


@dataclass(frozen=True, kw_only=True)
class Margin:
    """The linear bound on top of the mean."""

    confidence: float
    sigma_ms: float
    """Sigma: where the tangent touches the root."""
    most_common_ms: float
    """C: the largest common error of any network at the bound."""
    # Left out where it is 1, as in runs from before there was one.
    stretch: float = field(default=1.0, metadata=LEFT_OUT)
    """What multiplies common errors, as the bound lies outside of what the table was fitted to."""

    @property
    def z(self) -> float:
        """The normal quantile."""
        return NormalDist().inv_cdf(self.confidence)

    @property
    def common_weight(self) -> float:
        """The weight a of common errors."""
        if self.sigma_ms >= self.most_common_ms:
            return self.most_common_ms / (2 * self.sigma_ms)
        return 1 - self.sigma_ms / (2 * self.most_common_ms)

    @property
    def constant_ms(self) -> float:
        """What a whole network gets once."""
        return self.z * self.sigma_ms / 2

    def layer_ms(self, estimate: Estimate) -> float:
        """A layer's part of the latency that is kept."""
        common = self.common_weight * self.stretch * estimate.common_sd_ms
        spread = common + estimate.variance_ms2 / (2 * self.sigma_ms)
        return estimate.latency_ms + self.z * spread


def margin(space: SearchSpace, table: Table, upper_ms: float, confidence: float) -> Margin:
    """The bound that is tightest for networks of the space that take about ``upper_ms``."""
    check_confidence(confidence)
    table.foresee(space.layers)
    parts = compile_costs(
        space, ("ms", "common", "variance"), lambda layer: _parts(table.layer(layer))
    )
    layers = np.concatenate([values.reshape(-1, 3) for values in parts.values])
    timed = layers[layers[:, 0] > 0]
    share = float((timed[:, 1] / timed[:, 0]).max(initial=0.0))
    stretch = _stretch(table, upper_ms, share, NormalDist().inv_cdf(confidence))
    share *= stretch
    # Both bound the common error from above; the smaller one makes the tighter line.
    by_bound = share * max(upper_ms - table.constant_ms, 0.0)
    by_space, _ = parts.extreme("common", largest=True)
    most = min(by_bound, stretch * by_space)
    # Any sigma is true; the draws only make it a tight one. So the seed may be fixed.
    rng = np.random.default_rng(0)
    # Drawn over all genes, not under the bound: the domain of the bound is made of this margin.
    drawn = np.stack([rng.integers(size, size=DRAWS) for size in space.gene_sizes], axis=1)
    ms, common, variance = _typical(parts.price(drawn), upper_ms)
    most = _rounded_up(most)
    sigma = _best_sigma(most, min(stretch * common, most), variance)
    # It divides: a table without errors gets a margin of next to nothing.
    sigma = max(sigma, 1e-6 * ms, 1e-9)
    return Margin(
        confidence=confidence, sigma_ms=_rounded_up(sigma), most_common_ms=most, stretch=stretch
    )


def _stretch(table: Table, upper_ms: float, share: float, z: float) -> float:
    """The factor of common errors of the slowest network that keeps the bound, rounded up."""
    latency_ms = upper_ms
    for _ in range(ROUNDS):
        latency_ms = upper_ms / (1 + z * share * table.stretch(latency_ms))
    factor = max(table.stretch(latency_ms), 1.0)
    return 1.0 if factor == 1 else _rounded_up(factor)


def _parts(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.latency_ms, estimate.common_sd_ms, estimate.variance_ms2


def _typical(costs: NDArray[np.float64], upper_ms: float) -> tuple[float, float, float]:
    """Time, common sd and variance of networks at the bound, scaled from the draws nearest."""
    near = costs[np.argsort(np.abs(costs[:, 0] - upper_ms))[:NEAREST]].mean(axis=0)
    # A table written by hand may price a network at nothing.
    scale = upper_ms / near[0] if near[0] > 0 else 1.0
    return upper_ms, float(near[1] * scale), float(near[2] * scale)


def _best_sigma(most: float, common: float, variance: float) -> float:
    """Where the linear bound of one network is least."""
    # On each branch of a, the derivative by sigma of a * c + v / (2 * sigma) + sigma / 2 vanishes.
    wide = math.sqrt(most * common + variance)
    if wide >= most:
        return wide
    if common >= most:
        return most
    return min(most, math.sqrt(variance / (1 - common / most)))


def _rounded_up(value: float) -> float:
    """To a few digits, so that it is the same on every machine.

    Any value at or above is as true.
    """
    if value <= 0:
        return 0.0
    scale = 10.0 ** (DIGITS - 1 - math.floor(math.log10(value)))
    return math.ceil(value * scale) / scale
