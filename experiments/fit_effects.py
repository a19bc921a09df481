"""Main effects of networks really trained on ImageNet, for the benchmark `effects:imagenet`.

    python experiments/fit_effects.py SEED1.csv SEED2.csv

The files are ``plots/ablations_plots/csvs/proxified-seed1.csv`` and ``-seed2.csv`` of
https://github.com/afzalxo/Accel-NASBench (Ahmad et al. 2024, https://arxiv.org/abs/2404.08005,
Apache-2.0): networks of seven blocks, trained twice each at a reduced schedule. Ridge regression on
one-hot options whose four penalties, one per kind of choice, have the largest marginal likelihood.
Prints the effects in points of accuracy, and how well each network is predicted from the others.
The effects shipped are of 110 networks: our copy of the files lacked nine.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

KINDS = ("expand", "kernel", "layers", "se")
BLOCKS = 7
ACCURACY, GENES = 4, 9
"""Columns: top-1 in percent; the first of seven expansions, kernels, layers and squeezes."""

Floats = NDArray[np.float64]


def read(path: Path) -> dict[tuple[str, ...], float]:
    """Accuracy in points by genes."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    return {tuple(row[GENES : GENES + 4 * BLOCKS]): float(row[ACCURACY]) for row in rows}


def one_hot(genes: NDArray[np.str_]) -> tuple[Floats, list[tuple[int, str]]]:
    """genes: (n, 28). Centred columns, (n, columns), and the gene and option of each."""
    columns, names = [], []
    for place, column in enumerate(genes.T):
        options = sorted(set(column.tolist()))
        for option in options:
            columns.append((column == option) - 1 / len(options))
            names.append((place, option))
    return np.array(columns).T, names


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs=2, type=Path)
    first, second = map(read, parser.parse_args().files)
    both = sorted(first.keys() & second.keys())
    accuracy = np.array([[first[genes], second[genes]] for genes in both])
    y = accuracy.mean(axis=1)
    y -= y.mean()
    columns, names = one_hot(np.array(both))
    kinds = np.array([place // BLOCKS for place, _ in names])

    def covariance(theta: Floats) -> Floats:
        """In units of the residual variance."""
        return np.asarray((columns * np.exp(theta)[kinds]) @ columns.T + np.eye(len(y)))

    def loss(theta: Floats) -> float:
        matrix = covariance(theta)
        variance = y @ np.linalg.solve(matrix, y) / len(y)
        return float(0.5 * len(y) * np.log(variance) + 0.5 * np.linalg.slogdet(matrix)[1])

    theta = minimize(loss, np.zeros(len(KINDS)), method="Nelder-Mead").x
    inverse = np.linalg.inv(covariance(theta))
    effects = np.exp(theta)[kinds] * (columns.T @ inverse @ y)
    left_out = inverse @ y / inverse.diagonal()
    noise = np.std(accuracy[:, 0] - accuracy[:, 1]) / np.sqrt(2)
    print(f"{len(y)} networks, standard deviation {y.std():.2f} points, one training {noise:.2f}")
    print(f"each predicted from the others: R2 {1 - left_out.var() / y.var():.2f}")
    for number, kind in enumerate(KINDS):
        for block in range(BLOCKS):
            place = BLOCKS * number + block
            mine = [index for index, (gene, _) in enumerate(names) if gene == place]
            centred = effects[mine] - effects[mine].mean()
            options = [names[index][1] for index in mine]
            pairs = zip(options, centred, strict=True)
            print(kind, block + 1, ", ".join(f"{name} {value:+.2f}" for name, value in pairs))


if __name__ == "__main__":
    main()
