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
FOLDS = 30
"""Folds of rows left out. Up to thirty rows, each is left out by itself."""
# `DeviceModel` refuses an error of 1 and more.
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


@dataclass(frozen=True)
class _Form:
    """A form of the model, tried."""

    names: tuple[str, ...]
    """The amounts that it prices."""
    amounts: Floats
    """(rows, names)."""
    errors: Floats
    """(rows,). Relative errors of rows left out of the fit."""


def fit_model(rows: Mapping[str, Row]) -> Fit:
    """Fit the prices to all rows, ops and kernels weighing the same in total.

    Raises `TableError` for fewer than 8 rows of work.
    """
    kernels = {key: _kernels(key) for key in rows}
    working = {key: run for key, run in kernels.items() if run}
    if len(working) < FEWEST_ROWS:
        raise TableError(
            f"a device model needs at least {FEWEST_ROWS} rows of work to fit, not {len(working)}"
        )
    kinds = [_kind(key, run) for key, run in working.items()]
    works = [work(run) for run in working.values()]
    ms = np.array([rows[key].latency_ms for key in working])
    # A table has many more rows of the one kind than of the other, and both have to be priced.
    weight = _weights(kinds)
    forms = [_tried(names, works, ms, weight) for names in (AMOUNTS, _by_kind(works))]
    # Of two equally good forms, `min` takes the first and simpler one.
    best = min(forms, key=lambda form: float(np.abs(form.errors) @ weight))
    # A single row off by more than itself would otherwise decide the spread of all.
    spread = math.sqrt(float(np.mean(np.square(np.clip(best.errors, -1, 1)))))
    model = DeviceModel(
        prices=_prices(best.names, _solve(best.amounts, ms, weight)),
        row_sd=round(min(spread, LARGEST_SD), 4),
        common_sd=COMMON_SD,
    )
    return Fit(model, _known_error(kinds, best.errors))


def _kind(key: str, kernels: Sequence[Kernel]) -> str:
    """What a row is told under: ``op``, or the kind of its kernel."""
    return "op" if "@" in key else kernels[0].kind


def _weights(kinds: Sequence[str]) -> Floats:
    """A weight for every row, so that ops and kernels weigh the same in total: (rows,)."""
    is_op = np.array([kind == "op" for kind in kinds])
    of_op, of_kernel = 1 / max(1, is_op.sum()), 1 / max(1, (~is_op).sum())
    return np.asarray(np.where(is_op, of_op, of_kernel))


def _by_kind(works: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
    """The six amounts, and of those by kind the ones that enough rows have."""
    names = [*AMOUNTS]
    for name in KIND_AMOUNTS:
        having = sum(amounts[name] > 0 for amounts in works)
        if having >= FEWEST_ROWS:
            names.append(name)
    return tuple(names)


def _tried(
    names: tuple[str, ...], works: Sequence[Mapping[str, float]], ms: Floats, weight: Floats
) -> _Form:
    amounts = np.array([[row[name] for name in names] for row in works])
    errors = _left_out(amounts, ms, weight) / ms - 1
    return _Form(names, amounts, errors)


def _prices(names: Sequence[str], solved: Floats) -> dict[str, float]:
    """Prices with six digits; of amounts by kind, those alone that are priced."""
    prices: dict[str, float] = {}
    for name, solution in zip(names, solved, strict=True):
        price = float(f"{solution:.6g}")
        if price or name in AMOUNTS:
            prices[name] = price
    return prices


def _known_error(kinds: Sequence[str], errors: Floats) -> dict[str, float]:
    """Mean absolute error of rows left out, by kind."""
    by_kind: dict[str, list[float]] = {}
    for kind, error in zip(kinds, errors, strict=True):
        by_kind.setdefault(f"leave_one_out_{kind}_mape", []).append(abs(float(error)))
    return {name: round(float(np.mean(errors)), 4) for name, errors in sorted(by_kind.items())}


def _kernels(key: str) -> tuple[Kernel, ...]:
    kernel = kernel_from_key(key)
    if kernel is not None:
        return (kernel,)
    layer = layer_from_key(key)
    return layer.kernels if layer is not None else ()


def _solve(amounts: Floats, ms: Floats, weight: Floats) -> Floats:
    """amounts: (rows, names). The prices, (names,), that make relative errors small."""
    # Imported here: who only reads a table need not wait for scipy.
    from scipy.optimize import nnls

    # Divided by the measured time, a squared residual is a squared relative error.
    scaled = amounts * (np.sqrt(weight) / ms)[:, None]
    # Amounts differ by orders of magnitude, and the solver has one tolerance for all of them.
    norm = np.sqrt((scaled**2).sum(axis=0))
    norm[norm == 0] = 1.0
    prices, _ = nnls(scaled / norm, np.sqrt(weight), maxiter=1000)
    return np.asarray(prices / norm)


def _left_out(amounts: Floats, ms: Floats, weight: Floats) -> Floats:
    """Every row as the others predict it.

    With more rows than `FOLDS`, as those outside its fold do.
    """
    fold = np.arange(len(ms)) % FOLDS
    predicted = np.empty(len(ms))
    for number in range(min(FOLDS, len(ms))):
        out = fold == number
        prices = _solve(amounts[~out], ms[~out], weight[~out])
        predicted[out] = amounts[out] @ prices
    return predicted
