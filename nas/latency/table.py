"""Latency tables: rows, and what tells layers that have none.

A row prices a whole op at one input shape, or one kernel. Other layers are interpolated between
those that were timed, or priced by a device model. `Table.layer` says what a layer takes and how
that is known. Nothing is ever priced at zero for want of a row.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from nas.arch import Architecture, Layer
from nas.errors import TableError
from nas.latency.calibration import Calibration
from nas.latency.correction import EVERY, Correction, Part, fit_near
from nas.latency.device import DeviceModel
from nas.latency.estimate import Estimate
from nas.latency.files import digest_of, read_table, table_document
from nas.latency.info import ColumnInfo, TableInfo
from nas.latency.interpolation import Untimed
from nas.latency.keys import as_run, kernel_key, layer_from_key, layer_key
from nas.latency.rows import PRICED, Row, implausible
from nas.shape import Kernel

__all__ = ["FEWEST_NEAR", "Table"]

CACHED_WEIGHTS = 500_000
"""About what a second-level cache of 2 MiB holds."""
FEWEST_NEAR = 4
"""Networks of one latency that a calibration is made by, at least."""


@dataclass(frozen=True, eq=False)
class Table:
    """A device's latencies."""

    rows: Mapping[str, Row]
    """By key, see `nas.latency.keys`."""
    info: TableInfo
    digest: str = ""
    path: Path = Path()
    """The CSV file it was read from."""
    _known: dict[Layer, Estimate] = field(default_factory=dict, init=False, repr=False)
    _views: dict[str, "Table"] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def load(cls, path: str | Path) -> "Table":
        """Read ``path`` (``.csv`` or ``.json``) and its sibling.

        Anything doubtful raises `TableError`, with the line.
        """
        files = read_table(Path(path))
        return cls(files.rows, files.info, files.digest, files.path)

    def to_json(self) -> dict[str, object]:
        """The content of its JSON file."""
        return table_document(self.rows, self.info)

    @property
    def name(self) -> str:
        """The device's name."""
        return self.info.name

    @property
    def model(self) -> DeviceModel | None:
        """What prices layers and kernels without a row."""
        return self.info.model

    @property
    def correction(self) -> Correction | None:
        """What `nas latency verify` learnt from whole networks, if it did."""
        return self.info.correction

    @cached_property
    def doubts(self) -> tuple[str, ...]:
        """Rows that are implausible, a line each: they are priced as they stand."""
        return tuple(f"table '{self.name}': {text}" for text in implausible(self.rows))

    @property
    def constant_ms(self) -> float:
        """What a network takes beyond its layers."""
        return 0.0 if self.correction is None else self.correction.constant_ms

    def uncorrected(self) -> "Table":
        """The same rows and model without the correction."""
        return self.corrected(None)

    def corrected(self, correction: Correction | None) -> "Table":
        """The same rows and model with that correction, of the whole table."""
        return self._with(replace(self.info, correction=correction, calibration=None), self.digest)

    def calibrated(
        self,
        networks: Sequence[Architecture],
        measured_ms: Sequence[float],
        latency_ms: float,
        space: str = "",
    ) -> "Table":
        """The same rows and model, corrected by networks of about one latency alone.

        measured_ms: what each network took. latency_ms, space: the budget that they are of, and the
        space. It is another table, with a digest of its own, and lies in no file yet. Raises
        `TableError` for fewer than four networks.
        """
        if len(networks) < FEWEST_NEAR:
            raise TableError(
                f"a calibration needs at least {FEWEST_NEAR} networks, not {len(networks)}"
            )
        parts = [[self.part(layer) for layer in network.layers] for network in networks]
        correction, errors = fit_near(parts, measured_ms, self.correction)
        priced_ms = [self.estimate(network).latency_ms for network in networks]
        before = [priced / ms - 1 for priced, ms in zip(priced_ms, measured_ms, strict=True)]
        # Of a table that was calibrated before, that of all latencies is still the first one.
        made = self.info.calibration
        whole = self.correction if made is None else made.whole
        calibration = Calibration.of(latency_ms, space, measured_ms, before, errors.tolist(), whole)
        info = replace(self.info, correction=correction, calibration=calibration)
        return self._with(info, digest_of(self.path, table_document(self.rows, info)))

    def for_kin(self, network: Architecture) -> "Table":
        """The table for networks of the kind of this one at any latency.

        Itself, unless it is calibrated. Then its correction for all latencies takes the place of
        that for one, multiplied so that this network is priced as before.
        """
        made = self.info.calibration
        if made is None:
            return self
        correction = made.whole or Correction(slopes={EVERY: 1.0})
        whole = self.corrected(correction)
        factor = self.estimate(network).latency_ms / whole.estimate(network).latency_ms
        return self.corrected(correction.times(factor))

    def _with(self, info: TableInfo, digest: str) -> "Table":
        table = replace(self, info=info, digest=digest)
        # It depends on no correction, and takes a while to be made ready.
        vars(table)["_untimed"] = self._untimed
        return table

    # -- other columns ----------------------------------------------------------------------------

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """What else the table prices, by the names metrics use: ``train_ms``, ``energy_mj``."""
        present: set[str] = set()
        for row in self.rows.values():
            present.update(row.extra)
        return tuple(name for name in PRICED if name in present)

    def column(self, name: str) -> "Table":
        """Another column as a table: its rows and what is said of it, in place of the latency's.

        Raises `TableError` if the table has no such column.
        """
        if name not in self.columns:
            known = "latencies alone"
            if self.columns:
                known = ", ".join(self.columns)
            raise TableError(
                f"table '{self.name}' has no column {name}: it has {known}. "
                "See nas latency build --help"
            )
        if name not in self._views:
            rows = {
                key: Row(latency_ms=row.extra[name])
                for key, row in self.rows.items()
                if name in row.extra
            }
            unsaid = ColumnInfo(rows_common_sd=self.info.rows_common_sd)
            info = self.info.of_column(self.info.columns.get(name, unsaid))
            self._views[name] = Table(rows, info, self.digest, self.path)
        return self._views[name]

    # -- what a network takes ---------------------------------------------------------------------

    def estimate(self, architecture: Architecture) -> Estimate:
        """The time of a network, batch 1 unless the conditions say otherwise.

        Its deviation is larger outside the range that the correction was fitted in.
        """
        total = self.sum(architecture.layers) + Estimate(predicted_ms=self.constant_ms)
        stretched_ms = self.stretch(total.latency_ms) * total.common_sd_ms
        return replace(total, common_sd_ms=stretched_ms)

    def stretch(self, latency_ms: float) -> float:
        """What multiplies the common deviation of a network of that latency, at least 1."""
        return 1.0 if self.correction is None else self.correction.stretch(latency_ms)

    def sum(self, layers: Iterable[Layer]) -> Estimate:
        """The time of layers, one after the other."""
        every = tuple(layers)
        self.foresee(every)
        return sum(map(self.layer, every), Estimate())

    def foresee(self, layers: Iterable[Layer]) -> None:
        """Make ready to price many layers, as of a whole space: one by one would take long."""
        if self._untimed is None:
            return
        unknown = [layer for layer in layers if layer not in self._known]
        self._untimed.foresee(
            layer for layer in unknown if self._may_predict(layer) and self.row(layer) is None
        )

    def layer(self, layer: Layer) -> Estimate:
        """The time of one layer.

        By its own row, else interpolated, else by its kernels' rows, else by the device model.
        Raises `TableError` if it has none of them.
        """
        if layer not in self._known:
            self._known[layer] = self._corrected(layer, self._uncorrected(layer))
        return self._known[layer]

    def row(self, layer: Layer) -> Row | None:
        """The row of a layer, or of an op that runs the very same kernels.

        So ``skip=none`` finds the row of the same op where nothing can be added.
        """
        # Its own row first: it was timed as this op, whatever else runs the same kernels.
        own = self.rows.get(layer_key(layer.op, layer.shape))
        return own or self._by_kernels.get(as_run(layer.kernels))

    @cached_property
    def _by_kernels(self) -> dict[tuple[Kernel, ...], Row]:
        """Rows of ops by what they run."""
        # An op without kernels takes no time, whatever row it has: it must not price others.
        rows: dict[tuple[Kernel, ...], Row] = {}
        for key, row in self.rows.items():
            layer = layer_from_key(key)
            if layer is not None and layer.kernels:
                rows[as_run(layer.kernels)] = row
        return rows

    def part(self, layer: Layer) -> Part:
        """The layer as a correction sees it, whether or not the table has one."""
        latency_ms = self._uncorrected(layer).latency_ms
        row = self._own_or_interpolated(layer)
        warm_ms = None if row is None else row.extra.get("warm_ms")
        if warm_ms is None:
            warm_ms = self._warm_share * latency_ms
        return Part(
            op=layer.op.key,
            ms=latency_ms,
            warm_ms=warm_ms,
            weights=min(layer.params, CACHED_WEIGHTS) / 1e6,
            moved=(layer.shape.elements + layer.out_shape.elements) / 1e6,
        )

    @cached_property
    def _warm_share(self) -> float:
        """What a warm run takes of a layer's time, if its row does not say: the others' median.

        0 if no row says.
        """
        shares = [
            row.extra["warm_ms"] / row.latency_ms
            for row in self.rows.values()
            if "warm_ms" in row.extra
        ]
        return statistics.median(shares) if shares else 0.0

    def _corrected(self, layer: Layer, estimate: Estimate) -> Estimate:
        if self.correction is None or not estimate.latency_ms:
            return estimate
        # One factor for all parts, so that shares of measured and predicted time stay.
        scale = self.correction.layer(self.part(layer)) / estimate.latency_ms
        return Estimate(
            measured_ms=scale * estimate.measured_ms,
            summed_ms=scale * estimate.summed_ms,
            predicted_ms=scale * estimate.predicted_ms,
            variance_ms2=scale**2 * estimate.variance_ms2,
            # The error on networks left out takes the place of the one stated for rows.
            common_sd_ms=scale * estimate.latency_ms * self.correction.common_sd,
        )

    def _uncorrected(self, layer: Layer) -> Estimate:
        row = self._own_or_interpolated(layer)
        return self._from_kernels(layer) if row is None else self._from_row(row)

    def _own_or_interpolated(self, layer: Layer) -> Row | None:
        row = self.row(layer)
        if row is None and self._untimed is not None and self._may_predict(layer):
            return self._untimed.row(layer)
        return row

    @cached_property
    def _untimed(self) -> Untimed | None:
        """Rows of layers that were not timed, if the table can tell them."""
        if self.model is None or self.info.interpolation is None:
            return None
        return Untimed(self.rows, self.model, self.info.interpolation)

    def _from_row(self, row: Row) -> Estimate:
        is_measured = row.source == "measured"
        # The row holds a mean, so its error falls with the root of the count.
        sd_of_mean = row.sd_ms / math.sqrt(row.count)
        return Estimate(
            measured_ms=row.latency_ms if is_measured else 0.0,
            predicted_ms=0.0 if is_measured else row.latency_ms,
            variance_ms2=sd_of_mean**2,
            common_sd_ms=self.info.rows_common_sd * row.latency_ms,
        )

    def _from_kernels(self, layer: Layer) -> Estimate:
        total = Estimate()
        predicted_ms = 0.0
        for kernel in layer.kernels:
            row = self.rows.get(kernel_key(kernel))
            if row is not None:
                total += self._from_kernel_row(row)
            elif self.model is not None and self._may_predict(layer):
                predicted_ms += self.model.latency_ms(kernel)
            elif self.model is not None:
                raise TableError(
                    f"table '{self.name}' ({self.info.title}) has no row for {layer}, and what it "
                    "was learnt from does not tell what that takes. Use another device, or build "
                    "a table of yours"
                )
            else:
                raise TableError(
                    f"table '{self.name}' has no row for {layer} nor for its {kernel_key(kernel)}, "
                    "and no device model. Measure it, or use a device that covers this network"
                )
        if self.model is not None and predicted_ms:
            # The model's errors are those of whole layers: its kernels are summed first.
            total += Estimate(
                predicted_ms=predicted_ms,
                variance_ms2=(self.model.row_sd * predicted_ms) ** 2,
                common_sd_ms=self.model.common_sd * predicted_ms,
            )
        return total

    def _may_predict(self, layer: Layer) -> bool:
        return self.info.predicts is None or layer.op.key in self.info.predicts

    def _from_kernel_row(self, row: Row) -> Estimate:
        estimate = self._from_row(row)
        return Estimate(
            summed_ms=estimate.latency_ms,
            variance_ms2=estimate.variance_ms2,
            common_sd_ms=estimate.common_sd_ms,
        )
