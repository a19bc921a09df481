"""How far interpolated layers are off: layers that were timed, told by a share of them.

    nas latency build --device here --space mnasnet --resolution 64 --minutes 5 --no-verify
    python experiments/interpolation.py here.csv [..]

Of each table's timed layers a random share is kept, and the others are interpolated between them.
Prints the mean absolute relative error of these beside that of the table's device model, and the
share inside 90 % intervals.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from nas.arch import Layer
from nas.latency.interpolation import FEWEST_TIMED, Interpolation
from nas.latency.keys import layer_from_key
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


def compare(path: Path) -> None:
    table = Table.load(path)
    model = table.model
    if model is None:
        sys.exit(f"{path} has no device model: give a table that nas latency build made")
    timed = timed_layers(table)
    priors = {layer: sum(map(model.latency_ms, layer.kernels)) for layer in timed}
    layers = list(timed)
    order = np.random.default_rng(0).permutation(len(layers)).tolist()
    for share in SHARES:
        count = int(share * len(layers))
        if count < FEWEST_TIMED:
            continue
        kept = {layers[number]: timed[layers[number]] for number in order[:count]}
        others = [layers[number] for number in order[count:]]
        told = np.array(Interpolation(kept, priors).predict(others, priors))
        true_ms = np.array([timed[layer] for layer in others])
        prior_ms = np.array([priors[layer] for layer in others])
        inside = np.abs(told[:, 0] - true_ms) < Z_90 * told[:, 1]
        print(
            f"{path.name}: {count} of {len(layers)} timed layers tell the others: "
            f"{100 * np.abs(told[:, 0] / true_ms - 1).mean():.1f} % off, device model "
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
