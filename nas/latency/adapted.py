"""A table written for a device from a CSV of networks timed on it and another device's table."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nas.arch import Architecture, Layer
from nas.errors import NasError, TableError
from nas.latency.adapt import Adapted, adapt
from nas.latency.files import write_table
from nas.latency.fitting import fit_model
from nas.latency.info import TableInfo
from nas.latency.naming import check_name
from nas.latency.table import Table
from nas.space import SearchSpace

__all__ = ["Measurement", "adapt_table", "read_measurements"]

COLUMNS = (("genes", "latency_ms"), ("network", "latency_ms"))
NAMED = "network"
CONDITIONS = ("runtime", "dtype", "threads", "hardware")


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A whole network, timed on the new device."""

    network: Architecture
    latency_ms: float


def adapt_table(
    name: str,
    source: Table,
    space: SearchSpace,
    measurements: Sequence[Measurement],
    folder: Path,
    *,
    measured_in: str = "measurements",
) -> tuple[Table, Adapted]:
    """Write a table with a row for every layer of the space, and tell how sure it is.

    ``measured_in`` names where the measurements come from, for the table's JSON. See
    `nas.latency.adapt` for how layers are learnt. Raises `UsageError` for a name that is none, and
    `TableError` for too few measurements.
    """
    check_name(name)
    adapted = adapt(
        source,
        [_with_kernels(one.network.layers) for one in measurements],
        [one.latency_ms for one in measurements],
        sorted(_with_kernels(space.layers), key=str),
    )
    folder.mkdir(parents=True, exist_ok=True)
    info = _info(name, source, len(measurements), measured_in, adapted)
    return Table.load(write_table(adapted.rows, info, folder)), adapted


def _with_kernels(layers: Sequence[Layer]) -> list[Layer]:
    """Those that take time."""
    return [layer for layer in layers if layer.kernels]


def read_measurements(
    path: Path, space: SearchSpace, named: Callable[[str], Architecture]
) -> list[Measurement]:
    """Read ``genes,latency_ms``, genes with spaces between, or ``network,latency_ms``.

    ``named`` gives the network of a name. Raises `TableError` with the line.
    """
    return list(_read(path, space, named))


def _read(
    path: Path, space: SearchSpace, named: Callable[[str], Architecture]
) -> Iterator[Measurement]:
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"cannot read {path}: {error}") from None
    if not lines or tuple(lines[0]) not in COLUMNS:
        raise TableError(
            f"{path} line 1: the columns must be genes,latency_ms or network,latency_ms"
        )
    by_name = lines[0][0] == NAMED
    for number, fields in enumerate(lines[1:], 2):
        try:
            text, ms = fields
            network = named(text) if by_name else space.decode(_genes(text))
            yield Measurement(network=network, latency_ms=float(ms))
        except (ValueError, NasError) as error:
            raise TableError(f"{path} line {number}: {error}") from None


def _genes(text: str) -> list[int]:
    return [int(gene) for gene in text.split()]


def _info(name: str, source: Table, count: int, measured_in: str, adapted: Adapted) -> TableInfo:
    fit = fit_model(adapted.rows)
    spread = round(min(adapted.rms, 0.99), 4)
    terms = ", ".join(adapted.used) or "slope"
    return TableInfo(
        name=name,
        title=f"{name}, adapted from {source.name}",
        kind=(
            f"learnt from {count} whole networks and the table of {source.name}; no layer was timed"
        ),
        conditions=dict.fromkeys(CONDITIONS, "as the networks were timed"),
        sources=(
            {"what": f"{count} whole networks of {measured_in}"},
            {"what": f"table {source.name} {source.digest}"},
        ),
        fitted=f"Layer times by a Gaussian model with the terms: {terms}.",
        # What has no row is trusted no more than an unverified table (`fitting.COMMON_SD`).
        model=replace(fit.model, common_sd=max(spread, 0.1)),
        rows_common_sd=spread,
        known_error={
            "left_out_networks_mape": round(adapted.mape, 4),
            "left_out_networks_rms": spread,
        },
        caveats=("Rows are what whole networks teach of layers: sums hold, a single row may not.",),
    )
