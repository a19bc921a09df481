"""What a sum over a table misses, learnt from a few whole networks.

A layer's time becomes ``slope * ms + layer_ms``, with one slope for all ops or one for each, and a network's gets
``constant_ms`` on top. So a corrected latency is still a sum over layers, and compiles as one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import TableError

__all__ = ["Correction", "Parts", "fit_correction"]

Floats = NDArray[np.float64]

Parts = Sequence[tuple[str, float]]
"""A network as the table knows it: op key and milliseconds of every layer."""

EVERY = "*"
LARGEST = 1e6
LEAST_SCALE = 0.05  # no layer is ever free
FOLDS = 5
FEWEST_NETWORKS = 10
# A Gaussian prior around no correction, and the noise of a timed network, both relative.
PRIOR_SD, NOISE_SD = 0.3, 0.02
FORMS: tuple[tuple[str, ...], ...] = (
    (),
    ("slope",),
    ("slope", "constant"),
    ("slope", "layer"),
    ("slope", "layer", "constant"),
    ("slopes",),
    ("slopes", "layer"),
)


@dataclass(frozen=True, kw_only=True)
class Correction:
    """``slopes``: by op key, ``*`` for all others. ``common_sd``: relative error of networks it was not fitted to."""

    slopes: Mapping[str, float]
    layer_ms: float = 0.0
    constant_ms: float = 0.0
    common_sd: float = 0.0

    def __post_init__(self) -> None:
        numbers = (*self.slopes.values(), self.layer_ms, self.constant_ms, self.common_sd)
        if (
            not all(abs(number) <= LARGEST for number in numbers)  # NaN too
            or min(self.slopes.values(), default=0) <= 0
            or EVERY not in self.slopes
        ):
            raise TableError(
                f"a correction needs slopes above 0, one of them '*', and finite terms below a million, not {self}"
            )
        if not 0 <= self.common_sd < 1:
            raise TableError(f"common_sd of a correction must be a fraction below 1, not {self.common_sd}")

    def scale(self, op: str, latency_ms: float) -> float:
        """The factor on a layer's time, at least 0.05."""
        return max(self.slopes.get(op, self.slopes[EVERY]) + self.layer_ms / latency_ms, LEAST_SCALE)

    def latency_ms(self, parts: Parts) -> float:
        """A network's corrected time."""
        return self.constant_ms + sum(ms * self.scale(op, ms) for op, ms in parts if ms)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**vars(self), "slopes": dict(self.slopes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Correction":
        """The ``correction`` object of a table's JSON file."""
        try:
            slopes = {str(op): float(slope) for op, slope in data["slopes"].items()}
            terms = {name: float(data[name]) for name in ("layer_ms", "constant_ms", "common_sd")}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TableError(
                f"the correction of a table needs slopes, layer_ms, constant_ms and common_sd: {error!r}"
            ) from None
        return cls(slopes=slopes, **terms)


def fit_correction(networks: Sequence[Parts], measured_ms: Sequence[float]) -> Correction | None:
    """The form with the least error on networks left out, in five folds; None where no correction is better."""
    if len(networks) < FEWEST_NETWORKS:
        raise TableError(f"a correction needs at least {FEWEST_NETWORKS} timed networks, not {len(networks)}")
    measured = np.array(measured_ms)
    errors = {form: _left_out(networks, measured, form) for form in FORMS}
    rms = {form: math.sqrt(float(np.mean(found**2))) for form, found in errors.items()}
    best = min(FORMS, key=lambda form: rms[form])
    if not best:
        return None
    return _fit(networks, measured, best, common_sd=round(min(rms[best], 0.99), 5))


def _left_out(networks: Sequence[Parts], measured: Floats, form: tuple[str, ...]) -> Floats:
    fold = np.arange(len(networks)) % FOLDS
    errors = np.empty(len(networks))
    for number in range(FOLDS):
        held = fold == number
        fitted = _fit(_where(networks, ~held), measured[~held], form)
        errors[held] = np.array([fitted.latency_ms(parts) for parts in _where(networks, held)]) / measured[held] - 1
    return errors


def _where(networks: Sequence[Parts], mask: NDArray[np.bool_]) -> list[Parts]:
    return [parts for parts, keep in zip(networks, mask, strict=True) if keep]


def _fit(networks: Sequence[Parts], measured: Floats, form: tuple[str, ...], *, common_sd: float = 0.0) -> Correction:
    """Least squares on relative errors under the prior."""
    ops = sorted({op for parts in networks for op, _ in parts}) if "slopes" in form else [EVERY]
    sums = np.array([[sum(ms for op, ms in parts if o in (op, EVERY)) for o in ops] for parts in networks])
    counts = np.array([float(sum(ms > 0 for _, ms in parts)) for parts in networks])
    typical = float(np.mean(sums.sum(axis=1) / counts))
    columns = {"layer": counts * typical, "constant": np.full(len(networks), typical)}
    extra = [name for name in columns if name in form]
    x = np.column_stack([sums, *(columns[name] for name in extra)]) / measured[:, None]
    prior = np.array([1.0] * len(ops) + [0.0] * len(extra))
    if not form:
        found = prior
    else:
        strength = (NOISE_SD / PRIOR_SD) ** 2
        left = x.T @ x + strength * np.eye(len(prior))
        found = prior + np.linalg.solve(left, x.T @ (1 - x @ prior))
    terms = dict(zip(extra, (found[len(ops) :] * typical).tolist(), strict=True))
    slopes = {op: max(slope, LEAST_SCALE) for op, slope in zip(ops, found[: len(ops)].tolist(), strict=True)}
    slopes.setdefault(EVERY, float(np.mean(list(slopes.values()))))
    return Correction(
        slopes=slopes,
        layer_ms=terms.get("layer", 0.0),
        constant_ms=terms.get("constant", 0.0),
        common_sd=common_sd,
    )
