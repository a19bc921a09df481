"""Any table of networks and their metrics: somebody else's benchmark as one CSV file.

A column ``genes`` holds option indices (``2-0-1``, ``(2, 0, 1)``), of a space given beside or of
one that the table implies. Without it every column that is no objective and not ignored is a
choice, its distinct values the options. Rows of one network are repeats. Worst and best of the
table fix the hypervolume's box.
"""

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.benchmarks import Problem
from nas.benchmarks._grid import grid, unpriced
from nas.benchmarks._tables import Lookup
from nas.errors import DataError, UsageError, unknown
from nas.files import UNREADABLE, read_text
from nas.sheets import Sheet, SheetRow, read_sheet
from nas.space import Choice, SearchSpace
from nas.trial import Genes

__all__ = ["benchmark"]

LARGEST_FILE_BYTES = 256 << 20
GENES = "genes"


def benchmark(
    *,
    seed: int,
    variant: str,
    maximize: str = "",
    minimize: str = "",
    ignore: str = "",
    space: SearchSpace | None = None,
    noisy: bool = False,
) -> Problem:
    """``variant`` is the file; objectives and ignored columns are joined by ``+``.

    Maximized ones are negated.
    The truth is the mean of a network's rows; ``noisy`` searches see one of them. A network that
    the table lacks cannot be evaluated.
    """
    signs = dict.fromkeys(_split(maximize), -1.0)
    signs |= dict.fromkeys(_split(minimize), 1.0)
    if not signs:
        raise UsageError(
            f"say which columns of {variant} count: maximize=NAME or minimize=NAME, "
            "several joined by +"
        )
    sheet = _read(Path(variant))
    no_choices = [*signs, *_split(ignore)]
    for name in no_choices:
        if name not in sheet.columns:
            raise unknown(f"column of {variant}", name, sheet.columns)
    losses = _losses(sheet, signs, variant)
    space, genes = _networks(sheet, set(no_choices), space, variant)
    domain = unpriced(space)
    repeats: dict[Genes, list[NDArray[np.float64]]] = {}
    for one, row in zip(genes, losses, strict=True):
        repeats.setdefault(domain.canonical(one), []).append(row)
    stacked = {key: np.array(rows_of_one) for key, rows_of_one in repeats.items()}
    lookup = Lookup(domain, stacked, seed, noisy)
    means = lookup.inside()
    ideal, worst = means.min(axis=0), means.max(axis=0)
    return Problem(
        domain=domain,
        losses=tuple(_loss_name(name, sign) for name, sign in signs.items()),
        observe=lookup.observe,
        truth=lookup.truth,
        best=float(ideal[0]),
        ideal=tuple(ideal.tolist()),
        # A column of one value would give a box of no width, in whose units nothing is.
        reference=tuple(np.where(worst > ideal, worst, ideal + 1).tolist()),
    )


def _losses(sheet: Sheet, signs: Mapping[str, float], file: str) -> NDArray[np.float64]:
    """The columns that count, times their signs: (rows, columns)."""
    columns = []
    for name, sign in signs.items():
        columns.append([sign * _number(sheet, row, name, file) for row in sheet.rows])
    return np.array(columns).T


def _loss_name(name: str, sign: float) -> str:
    return name if sign > 0 else f"minus_{name}"


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split("+") if name.strip()]


# Once for all seeds of an arena.
@cache
def _read(path: Path) -> Sheet:
    try:
        sheet = read_sheet(
            read_text(path, LARGEST_FILE_BYTES, "too large for a benchmark", DataError)
        )
    except UNREADABLE as error:
        raise DataError(f"cannot read the table {path}: {error}") from None
    if not sheet.rows:
        raise DataError(f"{path} has no row below its header")
    return sheet


def _number(sheet: Sheet, row: SheetRow, name: str, file: str) -> float:
    try:
        value = sheet.number(row, name)
    except ValueError as error:
        raise DataError(f"{file} line {row.line}: {error}") from None
    if not math.isfinite(value):
        raise DataError(
            f"{file} line {row.line}: column '{name}' must hold finite numbers, not {row[name]!r}"
        )
    return value


def _networks(
    sheet: Sheet,
    others: set[str],
    space: SearchSpace | None,
    file: str,
) -> tuple[SearchSpace, list[Genes]]:
    """The space and the genes of each row. ``others``: columns that are no choices."""
    rows = sheet.rows
    if GENES in sheet.columns:
        return _networks_by_genes([row[GENES] for row in rows], space, file)
    columns = [name for name in sheet.columns if name not in others]
    if space is not None or not columns:
        raise DataError(
            f"{file} needs a column 'genes' with option indices, "
            "or columns of choices and no space beside"
        )
    options = {}
    for name in columns:
        # Sorted: genes must not depend on the order of the rows.
        options[name] = sorted({row[name] for row in rows})
    genes = []
    for row in rows:
        genes.append(tuple(options[name].index(row[name]) for name in columns))
    return _implied(options), genes


def _networks_by_genes(
    texts: Sequence[str], space: SearchSpace | None, file: str
) -> tuple[SearchSpace, list[Genes]]:
    """The same from option indices as text; without a space, the largest is the last option's."""
    genes = [tuple(map(int, re.findall(r"\d+", text))) for text in texts]
    if space is None:
        space = _space_of(genes, file)
    return space, [space.check(one) for one in genes]


def _space_of(genes: Sequence[Genes], file: str) -> SearchSpace:
    """The smallest space that has these genes."""
    lengths = {len(one) for one in genes}
    if len(lengths) != 1 or 0 in lengths:
        raise DataError(
            f"column 'genes' of {file} must hold equally many option indices in every row"
        )
    options = {}
    for place, column in enumerate(zip(*genes, strict=True)):
        options[f"gene{place}"] = list(range(max(column) + 1))
    return _implied(options)


def _implied(options: Mapping[str, Sequence[object]]) -> SearchSpace:
    return grid("csv", [Choice(name, values) for name, values in options.items()])
