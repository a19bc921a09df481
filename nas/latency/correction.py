"""What a sum over a table misses, learnt from a few whole networks.

A layer's time becomes ``slope * ms + warm * warm_ms + layer_ms + weights_ms * weights + moved_ms *
moved``, with one slope for all ops or one for each, and a network's gets ``constant_ms`` on top.
``ms`` was timed after other graphs had run, when neither weights nor activations lay in a cache,
``warm_ms`` straight after itself, when both did; inside a network the truth lies between. So a
corrected latency is still a sum over layers, and compiles as one.

A search goes to the ends of what it is offered, so a correction must hold there. Errors count
relative to each network. The constant is at least zero and at most what an empty graph takes. No
layer is priced far below the least it was timed at. A form that is worse than none for the fastest,
the middle or the slowest third of the networks is not taken.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from nas.errors import TableError

__all__ = [
    "EVERY",
    "FEWEST_NETWORKS",
    "Correction",
    "Part",
    "Parts",
    "fit_correction",
    "fit_near",
    "worse_bands",
]

Floats = NDArray[np.float64]


class Part(NamedTuple):
    """A layer as the table knows it."""

    op: str
    """Its op's key."""
    ms: float
    warm_ms: float = 0.0
    """Milliseconds of a run straight after itself."""
    weights: float = 0.0
    """Millions of weights, at most half a million: about what a second-level cache holds."""
    moved: float = 0.0
    """Millions of activations read and written."""

    @property
    def least_ms(self) -> float:
        """The lesser of its two timings."""
        return min(self.ms, self.warm_ms) if self.warm_ms else self.ms

    @property
    def floor_ms(self) -> float:
        """What it takes at least, whatever a correction says."""
        return LEAST_SCALE * self.least_ms


Parts = Sequence[Part]
"""A network, layer by layer."""

EVERY = "*"
"""Stands for all ops that have no slope of their own."""
LARGEST = 1e6
LEAST_SCALE = 0.5
"""Of the least that a layer was timed at. One that is nearly free would fill every network."""
LEAST_SLOPE = 0.05
FLOOR_FITS = 4
"""Fits, one after the other, that find which layers lie at their floor."""
FOLDS = 5
BANDS = 3
WORSE = 0.005
"""By how much the mean error of a third must grow to be worse: less is noise of the timings."""
SURE = 1.6449
"""And by how many standard errors of that growth: one-sided 95 %."""
GROWTH = 1.0
"""A deviation grows by so many times itself with every factor of two outside the fitted range."""
FEWEST_NETWORKS = 10

# Gaussian priors around no correction, and of an op's slope around that of all; the noise of a
# timed network. All relative. Twenty networks do not determine ten slopes: without a prior they
# would be fitted to noise.
PRIOR_SD = 0.3
SLOPE_SD = 0.2
NOISE_SD = 0.03

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
"""The terms that are tried together, the simplest first: of equally good ones the first is taken.

``slopes`` is a slope for each op beside the common one.
"""
NEAR_FORMS: tuple[tuple[str, ...], ...] = (("slope",), ("slope", "warm"))
"""Those of networks of one latency. How much of them is cold depends on how large they are."""
TERMS = ("warm", "layer_ms", "weights_ms", "moved_ms", "constant_ms")


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What to make of a layer's milliseconds, see the module.

    Raises `TableError` for slopes that are not above 0, and for terms that are not finite.
    """

    slopes: Mapping[str, float]
    """By op key; ``*`` for all others."""
    warm: float = 0.0
    layer_ms: float = 0.0
    weights_ms: float = 0.0
    moved_ms: float = 0.0
    constant_ms: float = 0.0
    common_sd: float = 0.0
    """Relative error of networks that it was not fitted to, 0..1."""
    low_ms: float = 0.0
    """The fastest network that it was fitted to."""
    high_ms: float = 0.0
    """The slowest one; 0 in tables from before this was recorded."""

    def __post_init__(self) -> None:
        terms = [getattr(self, name) for name in TERMS]
        numbers = (*self.slopes.values(), *terms, self.common_sd, self.low_ms, self.high_ms)
        # A bound and no call of `isfinite`: a slope of a million is as wrong as an infinite one.
        are_finite = all(abs(number) <= LARGEST for number in numbers)  # false for NaN too
        least_slope = min(self.slopes.values(), default=0)
        if not are_finite or least_slope <= 0 or EVERY not in self.slopes:
            raise TableError(
                "a correction needs slopes above 0, one of them '*', and finite terms below a "
                f"million, not {self!r}"
            )
        if not 0 <= self.common_sd < 1:
            raise TableError(
                f"common_sd of a correction must be a fraction below 1, not {self.common_sd}"
            )

    def __str__(self) -> str:
        others = [f"{op} by {slope:.2f}" for op, slope in self.slopes.items() if op != EVERY]
        slopes = f"layers times {self.slopes[EVERY]:.2f}"
        if others:
            slopes += f" ({', '.join(others)})"
        terms = [
            (self.warm, "of what a layer takes warm"),
            (self.layer_ms, "ms a layer"),
            (self.weights_ms, "ms a million weights"),
            (self.moved_ms, "ms a million values moved"),
            (self.constant_ms, "ms a network"),
        ]
        parts = [slopes] + [f"{value:+.3g} {what}" for value, what in terms if value]
        if self.high_ms:
            parts.append(f"fitted to {self.low_ms:.3g} to {self.high_ms:.3g} ms")
        return ", ".join(parts)

    def times(self, factor: float) -> "Correction":
        """The same with all prices multiplied; floors stay where they are."""
        slopes = {op: factor * slope for op, slope in self.slopes.items()}
        terms = {name: factor * getattr(self, name) for name in TERMS}
        return replace(self, slopes=slopes, **terms)

    def layer(self, part: Part) -> float:
        """A layer's corrected milliseconds, at least its floor."""
        return max(self._by_terms(part), part.floor_ms)

    def is_at_floor(self, part: Part) -> bool:
        """Whether the terms alone would price a layer below its floor."""
        return self._by_terms(part) < part.floor_ms

    def _by_terms(self, part: Part) -> float:
        slope = self.slopes.get(part.op, self.slopes[EVERY])
        ms = slope * part.ms + self.warm * part.warm_ms + self.layer_ms
        ms += self.weights_ms * part.weights
        ms += self.moved_ms * part.moved
        return ms

    def stretch(self, latency_ms: float) -> float:
        """What the deviation of a network is multiplied by: above 1 outside the fitted range."""
        if not 0 < self.low_ms <= self.high_ms or latency_ms <= 0:
            return 1.0
        nearest_ms = min(max(latency_ms, self.low_ms), self.high_ms)
        return 1 + GROWTH * abs(math.log2(latency_ms / nearest_ms))

    def latency_ms(self, parts: Parts) -> float:
        """A network's corrected time."""
        # What takes no time, such as a skip, gets no milliseconds per layer either.
        return self.constant_ms + sum(self.layer(part) for part in parts if part.ms)

    def to_json(self) -> dict[str, object]:
        """Plain JSON."""
        return {**vars(self), "slopes": dict(self.slopes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Correction":
        """The ``correction`` object of a table's JSON file."""
        try:
            slopes = {str(op): float(slope) for op, slope in data["slopes"].items()}
            terms = {name: float(data[name]) for name in ("layer_ms", "constant_ms", "common_sd")}
            # Older corrections lack these.
            for name in ("warm", "weights_ms", "moved_ms", "low_ms", "high_ms"):
                terms[name] = float(data.get(name, 0.0))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TableError(
                "the correction of a table needs slopes, layer_ms, constant_ms and common_sd: "
                f"{error!r}"
            ) from None
        return cls(slopes=slopes, **terms)


def fit_correction(
    networks: Sequence[Parts],
    measured_ms: Sequence[float],
    *,
    call_ms: float = 0.0,
    allowed: Callable[[Correction], bool] | None = None,
) -> Correction | None:
    """The form with the least error on networks left out, in five folds.

    ``call_ms``: what an empty graph takes, the most that the constant may be. ``allowed``: what a
    correction must meet to be taken. None if no correction is better than none, overall and in
    every third by latency. Raises `TableError` for fewer than 10 networks.
    """
    if len(networks) < FEWEST_NETWORKS:
        raise TableError(
            f"a correction needs at least {FEWEST_NETWORKS} timed networks, not {len(networks)}"
        )
    measured = np.array(measured_ms)
    errors = {
        form: _left_out(networks, measured, form, call_ms) for form in _usable_forms(networks)
    }
    # By networks left out: more terms always fit those seen better.
    rms = {form: math.sqrt(float(np.mean(of_form**2))) for form, of_form in errors.items()}
    for form in sorted(rms, key=lambda form: rms[form]):
        if not form:
            return None
        if worse_bands(errors[()], errors[form], measured):
            continue
        fitted = _fit(networks, measured, form, call_ms)
        fitted = replace(
            fitted,
            common_sd=round(min(rms[form], 0.99), 5),
            low_ms=float(measured.min()),
            high_ms=float(measured.max()),
        )
        if allowed is None or allowed(fitted):
            return fitted
    return None


def fit_near(
    networks: Sequence[Parts], measured_ms: Sequence[float], before: Correction | None
) -> tuple[Correction, Floats]:
    """The best correction for networks of about one latency, and its errors on them left out.

    It is one of `NEAR_FORMS`, or the one ``before``, multiplied by a factor. Errors are relative,
    in five folds: (networks,). Few networks do not determine more terms, and near one latency none
    are needed.
    """
    measured = np.array(measured_ms)
    best, errors = _multiplied(networks, measured, before or Correction(slopes={EVERY: 1.0}))
    for form in NEAR_FORMS:
        if form not in _usable_forms(networks):
            continue
        left_out = _left_out(networks, measured, form, 0.0)
        if np.square(left_out).mean() < np.square(errors).mean():
            best, errors = _fit(networks, measured, form, 0.0), left_out
    fitted = replace(
        best,
        common_sd=round(min(math.sqrt(float(np.square(errors).mean())), 0.99), 5),
        low_ms=float(measured.min()),
        high_ms=float(measured.max()),
    )
    return fitted, errors


def _multiplied(
    networks: Sequence[Parts], measured: Floats, before: Correction
) -> tuple[Correction, Floats]:
    """A correction times what networks took for their prices, and errors by the other folds."""
    ratios = measured / np.array([before.latency_ms(parts) for parts in networks])
    fold = np.arange(len(networks)) % FOLDS
    errors = np.empty(len(networks))
    for number in range(FOLDS):
        out = fold == number
        if out.any():
            errors[out] = ratios[~out].mean() / ratios[out] - 1
    return before.times(float(ratios.mean())), errors


def worse_bands(before: Floats, after: Floats, measured: Floats) -> list[tuple[float, float]]:
    """The thirds by latency whose mean error grew, each by its least and its largest latency.

    It grew if that is more than chance among so few networks would do.

    before, after: (networks,). Relative errors. measured: (networks,). Milliseconds.
    """
    worse = []
    for band in np.array_split(np.argsort(measured), BANDS):
        grown = np.abs(after[band]) - np.abs(before[band])
        doubt = SURE * float(grown.std(ddof=1)) / math.sqrt(len(band)) if len(band) > 1 else 0.0
        if float(grown.mean()) > max(WORSE, doubt):
            worse.append((float(measured[band].min()), float(measured[band].max())))
    return worse


def _usable_forms(networks: Sequence[Parts]) -> list[tuple[str, ...]]:
    """All forms, or those without ``warm`` if a layer that takes time has no warm timing."""
    layers = [part for parts in networks for part in parts]
    if all(part.warm_ms for part in layers if part.ms):
        return list(FORMS)
    return [form for form in FORMS if "warm" not in form]


def _left_out(
    networks: Sequence[Parts], measured: Floats, form: tuple[str, ...], call_ms: float
) -> Floats:
    """Relative errors of every network by a fit to the other folds: (networks,)."""
    fold = np.arange(len(networks)) % FOLDS
    errors = np.empty(len(networks))
    for number in range(FOLDS):
        out = fold == number
        fitted = _fit(_where(networks, ~out), measured[~out], form, call_ms)
        estimates = np.array([fitted.latency_ms(parts) for parts in _where(networks, out)])
        errors[out] = estimates / measured[out] - 1
    return errors


def _where(networks: Sequence[Parts], mask: NDArray[np.bool_]) -> list[Parts]:
    return [parts for parts, keep in zip(networks, mask, strict=True) if keep]


# -- least squares --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Term:
    """A term of the linear model."""

    name: str
    """Of a form, or an op's key."""
    amounts: Floats
    """(networks,). What its weight is multiplied by."""
    unit: float = 1.0
    """What makes its amounts as large as the networks' times, so that one prior fits all terms."""
    prior: float | None = 0.0
    """The mean of its weight's prior, in that unit; None: the first term's weight."""
    prior_sd: float = PRIOR_SD
    least: float = -math.inf
    most: float = math.inf
    """What the weight may be, in milliseconds for an amount of one."""


def _fit(
    networks: Sequence[Parts], measured: Floats, form: tuple[str, ...], call_ms: float
) -> Correction:
    """Least squares on relative errors under the priors.

    They are around no correction, or around the middle between ``ms`` and ``warm_ms``. A layer that
    a fit puts at its floor stays there for the next fit: what it takes follows from no term.
    """
    if not form:
        return Correction(slopes={EVERY: 1.0})
    fits: list[tuple[float, int, Correction]] = []
    free, fixed_ms = networks, np.zeros(len(networks))
    for _ in range(FLOOR_FITS):
        made = _linear_fit(free, measured, fixed_ms, form, call_ms)
        estimates = np.array([made.latency_ms(parts) for parts in networks])
        fits.append((float(np.square(estimates / measured - 1).mean()), len(fits), made))
        free, fixed_ms = _without_floors(networks, made)
        if not all(free) or not fixed_ms.any():
            break
    return min(fits)[2]


def _without_floors(networks: Sequence[Parts], made: Correction) -> tuple[list[Parts], Floats]:
    """The layers that are above their floors, and what the others take: (networks,)."""
    free: list[Parts] = []
    fixed_ms = []
    for parts in networks:
        free.append([part for part in parts if not made.is_at_floor(part)])
        fixed_ms.append(sum(part.floor_ms for part in parts if made.is_at_floor(part)))
    return free, np.array(fixed_ms)


def _linear_fit(
    networks: Sequence[Parts],
    measured: Floats,
    fixed_ms: Floats,
    form: tuple[str, ...],
    call_ms: float,
) -> Correction:
    """The same without floors. fixed_ms: (networks,), what other layers take."""
    terms = _terms(networks, form, call_ms)
    of_term: dict[str, float] = {}
    of_op: dict[str, float] = {}
    for term, weight in zip(terms, _weights(terms, measured, fixed_ms), strict=True):
        # An op may be named as a term is.
        found = of_op if term.prior is None else of_term
        found[term.name] = weight * term.unit
    slopes = {EVERY: of_term["slope"], **of_op}
    return Correction(
        slopes=slopes,
        warm=of_term.get("warm", 0.0),
        layer_ms=of_term.get("layer", 0.0),
        weights_ms=of_term.get("weights", 0.0),
        moved_ms=of_term.get("moved", 0.0),
        constant_ms=of_term.get("constant", 0.0),
    )


def _terms(networks: Sequence[Parts], form: tuple[str, ...], call_ms: float) -> list[_Term]:
    """The slope, or a slope for each op, and the terms of the form that any network has."""
    ms = _sums(networks, lambda part: part.ms)
    warm_ms = _sums(networks, lambda part: part.warm_ms)
    is_between = "warm" in form and bool(warm_ms.any())
    start = 0.5 if is_between else 1.0
    if "slopes" in form:
        # No layer has the common slope: it is what the slopes of the ops lie around.
        terms = [_Term(name="slope", amounts=0 * ms, prior=start, least=LEAST_SLOPE)]
        terms += [_op_slope(networks, op) for op in _ops(networks)]
    else:
        terms = [_Term(name="slope", amounts=ms, prior=start, least=LEAST_SLOPE)]
    if is_between:
        terms.append(_Term(name="warm", amounts=warm_ms, prior=start, least=0.0))
    amounts_by_name = {
        "layer": _sums(networks, lambda part: float(part.ms > 0)),
        "weights": _sums(networks, lambda part: part.weights),
        "moved": _sums(networks, lambda part: part.moved),
    }
    for name, amounts in amounts_by_name.items():
        if name in form and amounts.any():
            unit = float(ms.sum() / amounts.sum())
            terms.append(_Term(name=name, amounts=amounts, unit=unit))
    if "constant" in form and call_ms > 0:
        unit = float(ms.mean())
        ones = np.ones(len(networks))
        terms.append(_Term(name="constant", amounts=ones, unit=unit, least=0.0, most=call_ms))
    return terms


def _ops(networks: Sequence[Parts]) -> list[str]:
    return sorted({part.op for parts in networks for part in parts})


def _op_slope(networks: Sequence[Parts], op: str) -> _Term:
    amounts = _sums(networks, lambda part: part.ms if part.op == op else 0.0)
    return _Term(name=op, amounts=amounts, prior=None, prior_sd=SLOPE_SD, least=LEAST_SLOPE)


def _weights(terms: Sequence[_Term], measured: Floats, fixed_ms: Floats) -> list[float]:
    """The most probable weight of every term within its bounds, in its unit."""
    # Divided by the measured times, residuals are relative errors.
    x = np.column_stack([term.amounts * term.unit for term in terms]) / measured[:, None]
    rows = [*(x / NOISE_SD)]
    targets = [*((1 - fixed_ms / measured) / NOISE_SD)]
    for place, term in enumerate(terms):
        row = np.zeros(len(terms))
        row[place] = 1 / term.prior_sd
        if term.prior is None:
            row[0] = -1 / term.prior_sd
        rows.append(row)
        targets.append((term.prior or 0.0) / term.prior_sd)
    least = [term.least / term.unit for term in terms]
    most = [term.most / term.unit for term in terms]
    found = lsq_linear(np.array(rows), np.array(targets), bounds=(least, most))
    weights: list[float] = found.x.tolist()
    return weights


def _sums(networks: Sequence[Parts], of: Callable[[Part], float]) -> Floats:
    """An amount of every network: (networks,)."""
    return np.array([sum(of(part) for part in parts) for parts in networks], dtype=np.float64)
