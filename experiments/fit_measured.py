"""Tables of six measured devices, learnt from whole networks that others timed on them.

    python experiments/fit_measured.py [--data DIR] [--device NAME ..] [--write]

The data (``--data``, else NAS_DATA) holds 5,000 FBNet networks at 32x32 with 100 classes, timed
whole on six devices (H. Lee et al., HELP, https://github.com/HayeonLee/HELP, MIT). A table is what
`nas.latency.adapt` learns from the first 500 of them and pixel3's table, as ``nas latency adapt``
does; its error is that of the last 1,000, which nothing has seen. Prints the errors; with
``--write`` it writes the tables into `latency_tables/`. Nothing of the data itself is written.
"""

import argparse
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas import catalog
from nas.latency.adapt import adapt
from nas.latency.files import write_table
from nas.latency.fitting import fit_model
from nas.latency.info import TableInfo
from nas.latency.rows import Row
from nas.latency.table import Table
from nas.statistics import kendall_tau

TABLES = Path(__file__).parent.parent / "latency_tables"
SOURCE = "pixel3"
LEARNT, HELD = 500, 1000
DIGITS = 5
SOURCES = (
    {
        "what": "whole FBNet networks at 32x32, timed on the device",
        "who": "H. Lee et al., HELP, https://arxiv.org/abs/2106.08630",
        "where": "https://github.com/HayeonLee/HELP (45f70eb)",
        "licence": "MIT",
    },
    {
        "what": f"table {SOURCE}, from which what networks do not tell of layers was taken",
        "who": "C. Li et al., HW-NAS-Bench, https://arxiv.org/abs/2103.10584",
        "where": "https://github.com/GATECH-EIC/HW-NAS-Bench",
        "licence": "MIT",
    },
)


@dataclass(frozen=True)
class Device:
    """A device of the data."""

    column: str
    title: str
    hardware: str
    batch: int = 1
    caveats: tuple[str, ...] = ()


DEVICES = {
    "rtx2080ti": Device("2080ti_1", "NVIDIA RTX 2080 Ti, one image", "NVIDIA RTX 2080 Ti"),
    "rtx2080ti_batch64": Device(
        "2080ti_64", "NVIDIA RTX 2080 Ti, 64 images", "NVIDIA RTX 2080 Ti", 64
    ),
    "xeon_gold_6226": Device("gold_6226", "Intel Xeon Gold 6226", "Intel Xeon Gold 6226"),
    "xeon_silver_4114": Device("silver_4114", "Intel Xeon Silver 4114", "Intel Xeon Silver 4114"),
    "pixel2": Device(
        "pixel2",
        "Google Pixel 2",
        "Google Pixel 2",
        caveats=("The timings were whole milliseconds, and noisy.",),
    ),
    "galaxy_a50": Device(
        "samsung_a50",
        "Samsung Galaxy A50",
        "Samsung Galaxy A50",
        caveats=("The timings were whole milliseconds, and noisy.",),
    ),
}

Floats = NDArray[np.float64]


def held_out(table: Table, genes: NDArray[np.int64], ms: Floats) -> dict[str, float]:
    """Errors of the last networks, as a table's JSON states them."""
    space = catalog.space("fbnet", resolution=32, classes=100)
    estimated = np.array(
        [table.estimate(space.decode(row)).latency_ms for row in genes[-HELD:].tolist()]
    )
    measured = ms[-HELD:]
    errors = estimated / measured - 1
    tau = kendall_tau(estimated, measured)
    return {
        "held_out_networks_mape": round(float(np.abs(errors).mean()), 4),
        "held_out_networks_rms": round(float(np.sqrt((errors**2).mean())), 4),
        "held_out_networks_tau_short_of_1": round(1 - (tau or 0.0), 4),
    }


def fitted(name: str, genes: NDArray[np.int64], ms: Floats) -> Table:
    """The table of a device; its errors are of networks that were left out."""
    device = DEVICES[name]
    space, source = catalog.space("fbnet", resolution=32, classes=100), catalog.device(SOURCE)
    networks = [space.decode(row).layers for row in genes[:LEARNT].tolist()]
    layers = sorted(space.layers, key=str)
    found = adapt(source, networks, ms[:LEARNT].tolist(), layers)
    rows = {
        key: Row(latency_ms=float(f"{row.latency_ms:.{DIGITS}g}"), source=row.source)
        for key, row in found.rows.items()
    }
    model = fit_model(rows).model
    bare = Table(rows, TableInfo(name=name, model=model))
    errors = held_out(bare, genes, ms)
    spread = min(errors["held_out_networks_rms"], 0.99)
    info = TableInfo(
        name=name,
        title=f"{device.title}, FBNet blocks at 32x32",
        kind=(
            f"learnt from {LEARNT} whole networks timed on the device and the table of {SOURCE}; "
            "no layer was timed; device model fitted to the rows"
        ),
        conditions={
            "runtime": "not stated with the figures",
            "dtype": "not stated with the figures",
            "threads": "not stated with the figures",
            "batch": device.batch,
            "hardware": device.hardware,
            "date": "2021, as published",
        },
        sources=SOURCES,
        fitted=(
            f"Layer times by a Gaussian model with the terms: {', '.join(found.used) or 'slope'} "
            "(experiments/fit_measured.py)."
        ),
        # FBNet's networks differ in blocks alone: what others cost, they do not tell.
        predicts=("conv", "classifier"),
        # What has no row is trusted no more than an unverified table (`fitting.COMMON_SD`).
        model=replace(model, common_sd=max(spread, 0.1)),
        rows_common_sd=spread,
        known_error=errors,
        caveats=(
            "Rows are what whole networks teach of layers: sums hold, a single row may not.",
            "Prices FBNet's blocks at 32x32 alone; other blocks and sizes are refused. Stem and "
            "head, which all of its networks share, are a guess.",
            *device.caveats,
        ),
    )
    return replace(bare, info=info)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", default=os.environ.get("NAS_DATA", ""), help="folder (default: NAS_DATA)"
    )
    parser.add_argument("--device", action="append", choices=DEVICES, help="default: all")
    parser.add_argument("--write", action="store_true", help="write latency_tables/")
    given = parser.parse_args()
    path = Path(given.data) / "fbnet_cifar100_device_latency.npz"
    if not path.is_file():
        raise SystemExit(f"no data in '{given.data}': give --data DIR or set NAS_DATA")
    data = np.load(path, allow_pickle=False)
    genes = data["arch"].astype(np.int64)
    print(f"{'device':18s} {'mean %':>7s} {'rms %':>7s} {'tau':>6s}  of {HELD} held-out networks")
    for name in given.device or DEVICES:
        start = time.perf_counter()
        table = fitted(name, genes, data[f"lat_{DEVICES[name].column}"].astype(np.float64))
        mape, rms, short = table.info.known_error.values()
        print(
            f"{name:18s} {100 * mape:7.2f} {100 * rms:7.2f} {1 - short:6.3f}  "
            f"({time.perf_counter() - start:.0f} s)",
            flush=True,
        )
        if given.write:
            write_table(table.rows, table.info, TABLES)


if __name__ == "__main__":
    main()
