"""Layers that were not timed, as the timed layers most like them tell.

A large space has more layers than one has minutes. What the device model says of an op is off by a
fifth, but it is off alike for layers that are alike. So the logarithm of what a layer took, less
that of what the model says, is a Gaussian process over layers (`nas.latency.process`). What a run
straight after itself takes is told likewise, by how much less it is than a first one.

A table's JSON holds the scales that were fitted, and its rows all else: a layer is interpolated
when it is asked for.
"""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from nas.arch import Layer
from nas.latency.device import DeviceModel
from nas.latency.keys import layer_from_key
from nas.latency.process import Floats, Process, Scales, Settings, fitted_scales
from nas.latency.rows import Row
from nas.reading import LEFT_OUT

__all__ = ["FEWEST_OF_AN_OP", "FEWEST_TIMED", "Interpolation", "Untimed", "fit_interpolation"]

FEWEST_TIMED = 50
"""Timed layers below which the scales are guesses."""
FEWEST_OF_AN_OP = 8
"""Timed layers of an op below which its other layers are left to the device model."""
MOST_TIMED = 1500
"""Timed layers that predictions go by; more hardly add to what they tell, and take long."""
CHUNK = 2000
"""Layers that are predicted at a time, for memory's sake."""

SMALL = 0.05
"""Of the median layer: what is shorter is mostly the clock's error, and counts as that much."""
LEAST = 0.01
"""Of a prediction, what is left at least when `SMALL` is taken off again."""
DIGITS = 5
"""Of what is interpolated, so that it is the same on every machine and in every company."""


@dataclass(frozen=True, kw_only=True)
class Interpolation:
    """What a table's JSON holds of it: the scales that were fitted."""

    latency: Scales
    """Of what layers take, by what the device model says of them."""
    warm: Scales | None = field(default=None, metadata=LEFT_OUT)
    """Of their ``warm_ms``, by what they take; None if too few rows have it."""


def fit_interpolation(
    rows: Mapping[str, Row], model: DeviceModel
) -> tuple[Interpolation | None, dict[str, float]]:
    """The scales by the rows, and the error of a layer that is interpolated by its name.

    None and no error if fewer than `FEWEST_TIMED` layers were timed.
    """
    timed = _Timed(rows, model)
    if not timed.are_enough:
        return None, {}
    latency = timed.fitted(timed.latency)
    warm = None if timed.warm is None else timed.fitted(timed.warm)
    # Relative to the layer and `SMALL`, so that the shortest ones do not decide it.
    errors = np.expm1(timed.process(latency, timed.latency).left_out)
    known_error = {"leave_one_out_interpolated_mape": round(float(np.abs(errors).mean()), 4)}
    return Interpolation(latency=latency, warm=warm), known_error


class Untimed:
    """Rows of a table's layers that were not timed, made when they are asked for."""

    def __init__(
        self, rows: Mapping[str, Row], model: DeviceModel, interpolation: Interpolation
    ) -> None:
        self._timed = _Timed(rows, model)
        self._interpolation = interpolation
        self._rows: dict[Layer, Row] = {}

    def row(self, layer: Layer) -> Row | None:
        """What a layer takes, with a deviation; None if too few layers of its op were timed."""
        if layer not in self._rows:
            self.foresee([layer])
        return self._rows.get(layer)

    def foresee(self, layers: Iterable[Layer]) -> None:
        """Interpolate all of them at once, which takes a tenth of the time of one by one."""
        distinct = [layer for layer in dict.fromkeys(layers) if layer not in self._rows]
        wanted = [layer for layer in distinct if self._timed.tell(layer)]
        for start in range(0, len(wanted), CHUNK):
            part = wanted[start : start + CHUNK]
            self._rows.update(zip(part, self._predicted(part), strict=True))

    def _predicted(self, layers: Sequence[Layer]) -> list[Row]:
        timed = self._timed
        features = timed.settings.features(layers)
        priors_ms = np.array([timed.prior_ms(layer) for layer in layers])
        latency_ms, sd_ms = timed.latency.times(priors_ms, *self._latency.predict(features))
        extra: list[dict[str, float]] = [{} for _ in layers]
        if timed.warm is not None and self._warm is not None:
            warm_ms, _ = timed.warm.times(latency_ms, self._warm.means(features))
            extra = [{"warm_ms": value} for value in _rounded(warm_ms)]
        rows = []
        for value, sd, other in zip(_rounded(latency_ms), _rounded(sd_ms), extra, strict=True):
            rows.append(Row(latency_ms=value, sd_ms=sd, source="interpolated", extra=other))
        return rows

    @cached_property
    def _latency(self) -> Process:
        return self._timed.process(self._interpolation.latency, self._timed.latency)

    @cached_property
    def _warm(self) -> Process | None:
        scales, ratios = self._interpolation.warm, self._timed.warm
        if scales is None or ratios is None:
            return None
        return self._timed.process(scales, ratios)


def _rounded(values: Floats) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]


class _Timed:
    """The layers of a table that were timed, looked at when they are needed."""

    def __init__(self, rows: Mapping[str, Row], model: DeviceModel) -> None:
        self._rows, self._model = rows, model

    @cached_property
    def rows(self) -> dict[Layer, Row]:
        """In the order of their keys, so that a table tells the same however it was made."""
        timed = {}
        for key in sorted(self._rows):
            row, layer = self._rows[key], layer_from_key(key)
            if row.source == "measured" and layer is not None and layer.kernels:
                timed[layer] = row
        return timed

    @property
    def are_enough(self) -> bool:
        """Whether they tell what others take."""
        return len(self.rows) >= FEWEST_TIMED

    def tell(self, layer: Layer) -> bool:
        """Whether they tell what this one takes."""
        if not layer.kernels or not self.are_enough:
            return False
        return self._by_op[layer.op.deployed.key] >= FEWEST_OF_AN_OP

    @cached_property
    def _by_op(self) -> Counter[str]:
        return Counter(layer.op.key for layer in self.rows)

    @cached_property
    def chosen(self) -> list[Layer]:
        """Those that predictions go by."""
        every = list(self.rows)
        if len(every) <= MOST_TIMED:
            return every
        places = np.random.default_rng(0).choice(len(every), MOST_TIMED, replace=False)
        return [every[place] for place in places]

    @cached_property
    def settings(self) -> Settings:
        """What layers are compared by."""
        return Settings.of(self.chosen)

    @cached_property
    def features(self) -> Floats:
        """(chosen, features)."""
        return self.settings.features(self.chosen)

    def prior_ms(self, layer: Layer) -> float:
        """What the device model says."""
        return sum(map(self._model.latency_ms, layer.kernels))

    @cached_property
    def latency(self) -> "_Ratios":
        """What they took, by what the device model says."""
        timed_ms = {layer: row.latency_ms for layer, row in self.rows.items()}
        return self._ratios(timed_ms, {layer: self.prior_ms(layer) for layer in self.chosen})

    @cached_property
    def warm(self) -> "_Ratios | None":
        """What they took warm, by what they took; None if too few say."""
        warm_ms = {}
        for layer, row in self.rows.items():
            if "warm_ms" in row.extra:
                warm_ms[layer] = row.extra["warm_ms"]
        if sum(layer in warm_ms for layer in self.chosen) < FEWEST_TIMED:
            return None
        return self._ratios(warm_ms, {layer: self.rows[layer].latency_ms for layer in self.chosen})

    def _ratios(
        self, timed_ms: Mapping[Layer, float], priors_ms: Mapping[Layer, float]
    ) -> "_Ratios":
        """Of those of the chosen layers that have a time."""
        places = [place for place, layer in enumerate(self.chosen) if layer in timed_ms]
        layers = [self.chosen[place] for place in places]
        small_ms = SMALL * statistics.median(timed_ms.values())
        ratios = [(timed_ms[one] + small_ms) / (priors_ms[one] + small_ms) for one in layers]
        return _Ratios(self.features[places], np.log(ratios), small_ms)

    def fitted(self, ratios: "_Ratios") -> Scales:
        """The likeliest scales of a process that has seen these ratios."""
        return fitted_scales(self.settings, ratios.features, ratios.logs)

    def process(self, scales: Scales, ratios: "_Ratios") -> Process:
        """A process that has seen these ratios."""
        return Process(self.settings, scales, ratios.features, ratios.logs)


@dataclass(frozen=True)
class _Ratios:
    """Times of layers by what was said of them before."""

    features: Floats
    """(n, features)."""
    logs: Floats
    """(n,)."""
    small_ms: float
    """What is added to both times of a ratio."""

    def times(
        self, priors_ms: Floats, means: Floats, deviations: Floats | float = 0.0
    ) -> tuple[Floats, Floats]:
        """Milliseconds above 0 of other layers, by their logs, and their deviations: (m,) each."""
        sums_ms = (priors_ms + self.small_ms) * np.exp(means)
        return np.maximum(sums_ms - self.small_ms, LEAST * sums_ms), sums_ms * deviations
