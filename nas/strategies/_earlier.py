"""Earlier trainings of a space's networks, on other images, and what they let one expect.

A Gaussian process is fitted once to networks that were trained before. The loss that it expects of
a network is a covariate of a search's own process, which learns from its trials what that is worth.
Vizier's transfer learning (Golovin et al. 2017, https://doi.org/10.1145/3097983.3098043, section
3.3) takes it for the prior mean instead.
"""

import csv
import hashlib
import io
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas.errors import UsageError
from nas.sheets import Sheet, SheetRow, read_sheet
from nas.space import SearchSpace
from nas.statistics import rng
from nas.strategies import _gp
from nas.strategies._features import Features
from nas.trial import Genes
from nas.units import counted

__all__ = ["FEWEST", "Earlier", "Expectation", "Training"]

Floats = NDArray[np.float64]

LOSS, SOURCE = "loss", "source"
"""Columns beside those of the genes."""
FEWEST = 10
"""Networks of a source: of fewer it could not be told which loss is a good one there."""
MOST = 400
"""Networks that the process is fitted to: a fit takes the cube of their number."""
DRAWS = 256
"""Random networks by which expectations are put to scale."""


@dataclass(frozen=True)
class Training:
    """A network that was trained."""

    genes: Genes
    """Canonical ones."""
    loss: float
    """In the unit of its source, lower is better."""
    source: str
    """Whatever trained it by one recipe on one set of images: losses compare within a source."""


@dataclass(frozen=True)
class Earlier:
    """Trainings of networks of one space. Raises `UsageError` for a source of few networks."""

    trainings: tuple[Training, ...]

    def __post_init__(self) -> None:
        for source in self.sources:
            count = sum(training.source == source for training in self.trainings)
            if count < FEWEST:
                raise UsageError(
                    f"{source} has {counted(count, 'trained network')}: "
                    f"to learn from it takes at least {FEWEST}"
                )

    @property
    def sources(self) -> tuple[str, ...]:
        """Each once."""
        return tuple(dict.fromkeys(training.source for training in self.trainings))

    @cached_property
    def losses(self) -> Floats:
        """In the spread of each source, median 0: (n,)."""
        losses = np.array([training.loss for training in self.trainings])
        sources = np.array([training.source for training in self.trainings])
        for source in self.sources:
            own = sources == source
            losses[own] = _gp.squash(losses[own])
        return losses

    @cached_property
    def genes(self) -> NDArray[np.int64]:
        """(n, number of choices)."""
        return np.array([training.genes for training in self.trainings], np.int64)

    def to_csv(self, space: SearchSpace) -> str:
        """A line per network: its options by their labels, its loss, its source."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*space.gene_names, LOSS, SOURCE])
        for training in self.trainings:
            picked = zip(space.choices, training.genes, strict=True)
            labels = [choice.labels[gene] for choice, gene in picked]
            writer.writerow([*labels, repr(training.loss), training.source])
        return file.getvalue()

    @classmethod
    def from_csv(cls, text: str, space: SearchSpace) -> "Earlier":
        """What `to_csv` wrote.

        Raises `UsageError` for a table of another space, and for what is no such table.
        """
        try:
            sheet = read_sheet(text)
        except ValueError as error:
            raise UsageError(f"no table of earlier trainings: {error}") from None
        if sheet.columns != (*space.gene_names, LOSS, SOURCE):
            raise UsageError(f"no table of trainings of space '{space.name}': other columns")
        return cls(tuple(_training(sheet, row, space) for row in sheet.rows))

    def digest(self, space: SearchSpace) -> str:
        """Names the trainings: 20 hex digits."""
        return hashlib.sha256(self.to_csv(space).encode()).hexdigest()[:20]


def _training(sheet: Sheet, row: SheetRow, space: SearchSpace) -> Training:
    genes = []
    for name, choice in zip(space.gene_names, space.choices, strict=True):
        if row[name] not in choice.labels:
            raise UsageError(
                f"line {row.line}: {name} is '{row[name][:40]}', which is none of its options "
                f"in space '{space.name}'"
            )
        genes.append(choice.labels.index(row[name]))
    try:
        loss = sheet.number(row, LOSS)
    except ValueError as error:
        raise UsageError(f"line {row.line}: {error}") from None
    if not math.isfinite(loss):
        raise UsageError(f"line {row.line}: a loss must be finite, not {loss}")
    return Training(tuple(genes), loss, row[SOURCE])


class Expectation:
    """The loss that earlier trainings let one expect, in standard deviations of the domain's own.

    Without trainings it is no column at all.
    """

    def __init__(self, features: Features, earlier: Earlier | None) -> None:
        self.features, self.earlier = features, earlier

    @cached_property
    def _fitted(self) -> "_Fitted | None":
        """Fitted when it is first asked for: a plan that is never run needs none."""
        return None if self.earlier is None else _fitted(self.features, self.earlier)

    def __call__(self, points: _gp.Points) -> Floats:
        """points: without covariates. (n, 1), or (n, 0)."""
        if self._fitted is None:
            return np.zeros((len(points.genes), 0))
        expected = self._fitted.process.predict(points)[0]
        return np.asarray((expected - self._fitted.mean) / self._fitted.deviation)[:, None]


@dataclass(frozen=True)
class _Fitted:
    """What trainings have taught."""

    process: _gp.Posterior
    mean: float
    """Of its expectations over random networks of the domain."""
    deviation: float


def _fitted(features: Features, earlier: Earlier) -> _Fitted:
    genes, losses = earlier.genes, earlier.losses
    if len(genes) > MOST:
        kept = np.sort(rng(0, "earlier", len(genes)).permutation(len(genes))[:MOST])
        genes, losses = genes[kept], losses[kept]
    points = features.points(genes)
    process = _gp.Posterior(points, losses, _gp.fit(points, losses))
    drawn = features.domain.sample_many(DRAWS, rng(0, "expectation", 0))
    expected = process.predict(features.points(drawn))[0]
    return _Fitted(process, float(expected.mean()), float(expected.std()) or 1.0)
