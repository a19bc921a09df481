"""How far interpolated layers are off: layers that were timed, told by a share of them.

    nas latency build --device here --space mnasnet --resolution 64 --minutes 5 --no-verify
    python experiments/interpolation.py here.csv [..]

Of each table's timed layers a random share is kept, and the others are interpolated between them.
Prints the mean absolute relative error of these beside that of the table's device model, and the
share inside 90 % intervals.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nas.arch import Layer
from nas.latency.device import DeviceModel
from nas.latency.interpolation import FEWEST_TIMED, Untimed, fit_interpolation
from nas.latency.keys import layer_from_key, layer_key
from nas.latency.table import Table

SHARES = (0.1, 0.25, 0.5, 0.8)
Z_90 = 1.645


def timed_layers(table: Table) -> dict[Layer, float]:
    """Milliseconds of the layers that were timed."""
    found = {}
    for key, row in table.rows.items():
        layer = layer_from_key(key)
        if layer is not None and layer.kernels and row.source == "measured":
            found[layer] = row.latency_ms
    return found


def told_by(table: Table, model: DeviceModel, kept: Iterable[Layer]) -> Untimed:
    """What a table of these layers alone tells of others."""
    rows = {}
    for layer in kept:
        key = layer_key(layer.op, layer.shape)
        rows[key] = table.rows[key]
    fitted, _ = fit_interpolation(rows, model)
    assert fitted is not None
    return Untimed(rows, model, fitted)


def compare(path: Path) -> None:
    table = Table.load(path)
    model = table.model
    if model is None:
        sys.exit(f"{path} has no device model: give a table that nas latency build made")
    timed = timed_layers(table)
    layers = list(timed)
    order = np.random.default_rng(0).permutation(len(layers)).tolist()
    for share in SHARES:
        count = int(share * len(layers))
        if count < FEWEST_TIMED:
            continue
        by_some = told_by(table, model, [layers[number] for number in order[:count]])
        others = [layers[number] for number in order[count:]]
        by_some.foresee(others)
        # Those of ops that too few layers of are kept are left to the device model.
        rows = {layer: by_some.row(layer) for layer in others}
        told = {layer: row for layer, row in rows.items() if row is not None}
        told_ms = np.array([row.latency_ms for row in told.values()])
        sd_ms = np.array([row.sd_ms for row in told.values()])
        true_ms = np.array([timed[layer] for layer in told])
        prior_ms = np.array([sum(map(model.latency_ms, layer.kernels)) for layer in told])
        inside = np.abs(told_ms - true_ms) < Z_90 * sd_ms
        print(
            f"{path.name}: {count} of {len(layers)} timed layers tell {len(told)} others: "
            f"{100 * np.abs(told_ms / true_ms - 1).mean():.1f} % off, device model "
            f"{100 * np.abs(prior_ms / true_ms - 1).mean():.1f} %; "
            f"{100 * inside.mean():.0f} % in 90 % intervals"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tables", nargs="+", type=Path)
    for path in parser.parse_args().tables:
        compare(path)


if __name__ == "__main__":
    main()
