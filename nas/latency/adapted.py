"""A table written for a device from a CSV of networks timed on it and another device's table."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from nas.arch import Architecture, Layer
from nas.errors import NasError, TableError
from nas.files import read_text
from nas.latency.adapt import Adapted, adapt
from nas.latency.files import LARGEST_FILE_BYTES, write_table
from nas.latency.fitting import fit_model
from nas.latency.info import TableInfo
from nas.latency.naming import check_name
from nas.latency.table import Table
from nas.sheets import read_sheet
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
        text = read_text(path, LARGEST_FILE_BYTES, "not measurements", TableError)
        sheet = read_sheet(text, partial(_check_columns, path))
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise TableError(f"cannot read {path}: {error}") from None
    by_name = sheet.columns[0] == NAMED
    for row in sheet.rows:
        try:
            network = named(row[NAMED]) if by_name else space.decode(_genes(row["genes"]))
            yield Measurement(network=network, latency_ms=sheet.number(row, "latency_ms"))
        except (ValueError, NasError) as error:
            raise TableError(f"{path} line {row.line}: {error}") from None


def _check_columns(path: Path, columns: tuple[str, ...]) -> None:
    if columns not in COLUMNS:
        raise TableError(
            f"{path} line 1: the columns must be genes,latency_ms or network,latency_ms, "
            f"not '{','.join(columns)[:80]}'"
        )


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
