"""A device model fitted to measured rows: non-negative prices by least squares on relative errors.

The form is the six prices of `nas.latency.device`, or those with prices for each kind of kernel,
whichever predicts rows left out better. A fit says how far off it is for rows it has not seen:
every kernel row is predicted by prices fitted without it, and the errors are told per kernel kind.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.errors import TableError
from nas.latency.device import AMOUNTS, KIND_AMOUNTS, DeviceModel, work
from nas.latency.keys import kernel_from_key, layer_from_key
from nas.latency.rows import Row
from nas.shape import Kernel

__all__ = ["COMMON_SD", "FEWEST_ROWS", "FITTED", "Fit", "fit_model"]

Floats = NDArray[np.float64]

FEWEST_ROWS = 8
LARGEST_SD = 0.99
COMMON_SD = 0.10
"""A judgement, until a table is verified: naive sums of timed ops were seen 14 % low."""
FITTED = (
    "Non-negative prices by least squares on relative errors, ops and kernels weighing the same."
)
"""How the model was fitted, as a table's JSON says it."""


@dataclass(frozen=True)
class Fit:
    """A model, and how far off it is."""

    model: DeviceModel
    known_error: Mapping[str, float]
    """Mean absolute errors of rows left out of the fit, by kernel kind, and of ops."""


def fit_model(rows: Mapping[str, Row]) -> Fit:
    """Fit the prices to all rows, ops and kernels weighing the same in total."""
    named = {key: found for key in rows if (found := _kernels(key))}
    if len(named) < FEWEST_ROWS:
        raise TableError(
            f"a device model needs at least {FEWEST_ROWS} rows of work to fit, not {len(named)}"
        )
    kinds = ["op" if "@" in key else kernels[0].kind for key, kernels in named.items()]
    works = [work(kernels) for kernels in named.values()]
    ms = np.array([rows[key].latency_ms for key in named])
    ops = np.array([kind == "op" for kind in kinds])
    weight = np.where(ops, 1 / max(1, ops.sum()), 1 / max(1, (~ops).sum()))
    tried = {}
    for form in (AMOUNTS, _by_kind(works)):
        x = np.array([[amounts[name] for name in form] for amounts in works])
        errors = _left_out(x, ms, weight) / ms - 1
        tried[form] = float(np.abs(errors) @ weight), x, errors
    form = min(tried, key=lambda form: tried[form][0])
    _, x, errors = tried[form]
    prices = {
        name: float(f"{price:.6g}") for name, price in zip(form, _solve(x, ms, weight), strict=True)
    }
    by_kind: dict[str, list[float]] = {}
    for kind, error in zip(kinds, errors, strict=True):
        by_kind.setdefault(f"leave_one_out_{kind}_mape", []).append(abs(float(error)))
    spread = math.sqrt(float(np.mean(np.square(np.clip(errors, -1, 1)))))
    model = DeviceModel(
        prices={name: price for name, price in prices.items() if price or name in AMOUNTS},
        row_sd=round(min(spread, LARGEST_SD), 4),
        common_sd=COMMON_SD,
    )
    return Fit(
        model, {name: round(float(np.mean(found)), 4) for name, found in sorted(by_kind.items())}
    )


def _by_kind(works: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    """The six amounts, and of those by kind the ones that enough rows have."""
    return (
        *AMOUNTS,
        *(
            name
            for name in KIND_AMOUNTS
            if sum(amounts[name] > 0 for amounts in works) >= FEWEST_ROWS
        ),
    )


def _kernels(key: str) -> tuple[Kernel, ...]:
    kernel = kernel_from_key(key)
    if kernel is not None:
        return (kernel,)
    layer = layer_from_key(key)
    return layer.kernels if layer is not None else ()


def _solve(x: Floats, ms: Floats, weight: Floats) -> Floats:
    from scipy.optimize import nnls

    scaled = x * (np.sqrt(weight) / ms)[:, None]
    norm = np.sqrt((scaled**2).sum(axis=0))
    norm[norm == 0] = 1.0
    prices, _ = nnls(scaled / norm, np.sqrt(weight), maxiter=1000)
    return np.asarray(prices / norm)


FOLDS = 30


def _left_out(x: Floats, ms: Floats, weight: Floats) -> Floats:
    """Every row as the others predict it.

    With more rows than `FOLDS`, as those outside its fold do.
    """
    fold = np.arange(len(ms)) % FOLDS
    predicted = np.empty(len(ms))
    for number in range(min(FOLDS, len(ms))):
        held = fold == number
        predicted[held] = x[held] @ _solve(x[~held], ms[~held], weight[~held])
    return predicted
