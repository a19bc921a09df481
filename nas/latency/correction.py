"""What a sum over a table misses, learnt from a few whole networks.

A layer's time becomes ``slope * ms + warm * warm_ms + layer_ms + weights_ms * weights + moved_ms *
moved``, with one slope for all ops or one for each, and a network's gets ``constant_ms`` on top.
``ms`` was timed after other graphs had run, when neither weights nor activations lay in a cache,
``warm_ms`` straight after itself, when both did; inside a network the truth lies between. So a
corrected latency is still a sum over layers, and compiles as one.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nas.errors import TableError

__all__ = ["Correction", "Part", "Parts", "fit_correction"]

Floats = NDArray[np.float64]


class Part(NamedTuple):
    """A layer as the table knows it.

    ``warm_ms``: milliseconds of a run straight after itself.
    ``weights``: millions, at most half a million each, about what a second-level cache holds.
    ``moved``: millions of activations read and written.
    """

    op: str
    ms: float
    warm_ms: float = 0.0
    weights: float = 0.0
    moved: float = 0.0


Parts = Sequence[Part]
"""A network, layer by layer."""

EVERY = "*"
LARGEST = 1e6
LEAST_SCALE = 0.05  # no layer is ever free
FOLDS = 5
FEWEST_NETWORKS = 10
# Gaussian priors around no correction, and of an op's slope around that of all; the noise of a
# timed network. All relative.
PRIOR_SD, SLOPE_SD, NOISE_SD = 0.3, 0.1, 0.03
FORMS: tuple[tuple[str, ...], ...] = (
    (),
    ("slope",),
    ("slope", "constant"),
    ("slope", "layer"),
    ("slope", "layer", "constant"),
    ("slopes",),
    ("slopes", "layer"),
    ("slope", "warm"),
    ("slope", "warm", "layer"),
    ("slopes", "warm"),
    ("slopes", "warm", "weights", "moved"),
    ("slopes", "warm", "layer", "weights", "moved"),
)
TERMS = ("warm", "layer_ms", "weights_ms", "moved_ms", "constant_ms")


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What to make of a layer's milliseconds, see the module.

    ``slopes``: by op key, ``*`` for all others. ``common_sd``: relative error of networks it was
    not fitted to.
    """

    slopes: Mapping[str, float]
    warm: float = 0.0
    layer_ms: float = 0.0
    weights_ms: float = 0.0
    moved_ms: float = 0.0
    constant_ms: float = 0.0
    common_sd: float = 0.0

    def __post_init__(self) -> None:
        numbers = (*self.slopes.values(), *(getattr(self, name) for name in TERMS), self.common_sd)
        if (
            not all(abs(number) <= LARGEST for number in numbers)  # NaN too
            or min(self.slopes.values(), default=0) <= 0
            or EVERY not in self.slopes
        ):
            raise TableError(
                "a correction needs slopes above 0, one of them '*', and finite terms below a "
                f"million, not {self}"
            )
        if not 0 <= self.common_sd < 1:
            raise TableError(
                f"common_sd of a correction must be a fraction below 1, not {self.common_sd}"
            )

    def layer(self, part: Part) -> float:
        """A layer's corrected milliseconds, at least 0.05 of what it was."""
        slope = self.slopes.get(part.op, self.slopes[EVERY])
        found = slope * part.ms + self.warm * part.warm_ms + self.layer_ms
        return max(
            found + self.weights_ms * part.weights + self.moved_ms * part.moved,
            LEAST_SCALE * part.ms,
        )

    def latency_ms(self, parts: Parts) -> float:
        """A network's corrected time."""
        return self.constant_ms + sum(self.layer(part) for part in parts if part.ms)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**vars(self), "slopes": dict(self.slopes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Correction":
        """The ``correction`` object of a table's JSON file."""
        try:
            slopes = {str(op): float(slope) for op, slope in data["slopes"].items()}
            terms = {name: float(data[name]) for name in ("layer_ms", "constant_ms", "common_sd")}
            terms |= {
                name: float(data.get(name, 0.0)) for name in ("warm", "weights_ms", "moved_ms")
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TableError(
                "the correction of a table needs slopes, layer_ms, constant_ms and common_sd: "
                f"{error!r}"
            ) from None
        return cls(slopes=slopes, **terms)


def fit_correction(networks: Sequence[Parts], measured_ms: Sequence[float]) -> Correction | None:
    """The form with the least error on networks left out, in five folds.

    None if no correction is better. Raises `TableError` for fewer than 10 networks.
    """
    if len(networks) < FEWEST_NETWORKS:
        raise TableError(
            f"a correction needs at least {FEWEST_NETWORKS} timed networks, not {len(networks)}"
        )
    measured = np.array(measured_ms)
    warm = all(part.warm_ms for parts in networks for part in parts if part.ms)
    errors = {
        form: _left_out(networks, measured, form) for form in FORMS if warm or "warm" not in form
    }
    rms = {form: math.sqrt(float(np.mean(found**2))) for form, found in errors.items()}
    best = min(rms, key=lambda form: rms[form])
    if not best:
        return None
    return _fit(networks, measured, best, common_sd=round(min(rms[best], 0.99), 5))


def _left_out(networks: Sequence[Parts], measured: Floats, form: tuple[str, ...]) -> Floats:
    fold = np.arange(len(networks)) % FOLDS
    errors = np.empty(len(networks))
    for number in range(FOLDS):
        held = fold == number
        fitted = _fit(_where(networks, ~held), measured[~held], form)
        errors[held] = (
            np.array([fitted.latency_ms(parts) for parts in _where(networks, held)])
            / measured[held]
            - 1
        )
    return errors


def _where(networks: Sequence[Parts], mask: NDArray[np.bool_]) -> list[Parts]:
    return [parts for parts, keep in zip(networks, mask, strict=True) if keep]


def _fit(
    networks: Sequence[Parts], measured: Floats, form: tuple[str, ...], *, common_sd: float = 0.0
) -> Correction:
    """Least squares on relative errors under the priors.

    They are around no correction, or around the middle between ``ms`` and ``warm_ms``.
    """
    ops = sorted({part.op for parts in networks for part in parts}) if "slopes" in form else []
    columns = {
        "slope": _sums(networks, lambda part: part.ms),
        "warm": _sums(networks, lambda part: part.warm_ms),
        "layer": _sums(networks, lambda part: float(part.ms > 0)),
        "weights": _sums(networks, lambda part: part.weights),
        "moved": _sums(networks, lambda part: part.moved),
        "constant": np.ones(len(networks)),
    }
    names = [
        "slope",
        *(name for name in columns if name in form and name != "slope" and columns[name].any()),
    ]
    unit = {
        name: 1.0 if name in ("slope", "warm") else _ratio(columns["slope"], columns[name])
        for name in names
    }
    by_op = [
        np.array([sum(part.ms for part in parts if part.op == op) for parts in networks])
        for op in ops
    ]
    x = (
        np.column_stack([*(columns[name] * unit[name] for name in names), *by_op])
        / measured[:, None]
    )
    start = 0.5 if "warm" in names else 1.0
    prior = np.array(
        [start if name in ("slope", "warm") else 0.0 for name in names] + [0.0] * len(ops)
    )
    found = prior
    if form:
        strength = np.square(NOISE_SD / np.array([PRIOR_SD] * len(names) + [SLOPE_SD] * len(ops)))
        found = prior + np.linalg.solve(x.T @ x + np.diag(strength), x.T @ (1 - x @ prior))
    terms = {name: float(value) * unit[name] for name, value in zip(names, found, strict=False)}
    own = {
        op: terms["slope"] + float(value)
        for op, value in zip(ops, found[len(names) :], strict=True)
    }
    return Correction(
        slopes={
            op: max(slope, LEAST_SCALE) for op, slope in {**own, EVERY: terms["slope"]}.items()
        },
        warm=terms.get("warm", 0.0),
        layer_ms=terms.get("layer", 0.0),
        weights_ms=terms.get("weights", 0.0),
        moved_ms=terms.get("moved", 0.0),
        constant_ms=terms.get("constant", 0.0),
        common_sd=common_sd,
    )


def _ratio(first: Floats, second: Floats) -> float:
    """What makes the second as large as the first, in the mean."""
    return float(first.sum() / second.sum())


def _sums(networks: Sequence[Parts], of: Callable[[Part], float]) -> Floats:
    return np.array([sum(of(part) for part in parts) for parts in networks], dtype=np.float64)
