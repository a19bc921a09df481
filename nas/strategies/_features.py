"""Networks as points: what options have in common decides how near they are, not their numbers."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from nas.domain import Domain
from nas.space import Choice
from nas.strategies._gp import Points

__all__ = ["Features"]

Floats = NDArray[np.float64]


class Features:
    """Columns in groups; a Gaussian process learns how much each group matters.

    Per choice of more than two options two groups: whether the options are the same, and their
    attributes: the place in the order of an ordinal choice, the numeric settings (kernel,
    expansion) of ops. One group per cost.
    """

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.sizes: list[int] = []
        self.options = np.array(domain.space.gene_sizes)
        self.tables: list[Floats] = []
        for choice in domain.space.choices:
            groups = _groups(choice)
            self.sizes += [group.shape[1] for group in groups]
            table = np.concatenate(groups, axis=1)
            # Centred: what two genes are worth together is then apart from what each is alone.
            self.tables.append(table - table.mean(axis=0))
        compiled = domain.compiled
        self.sizes += [1] * len(compiled.names)
        low, high = [], []
        for name in compiled.names:
            low.append(compiled.extreme(name)[0])
            high.append(compiled.extreme(name, largest=True)[0])
        self.low = np.array(low)
        span = np.array(high) - self.low
        # A cost that all networks have in common would divide by zero.
        self.span = np.where(span > 0, span, 1)

    def points(self, genes: NDArray[np.int64]) -> Points:
        """genes: (n, number of choices). Squared distances are 0..1 in each group.

        The points have no covariates.
        """
        columns = [table[genes[:, i]] for i, table in enumerate(self.tables)]
        # Centred as the tables are.
        costs = self.scaled(self.domain.compiled.price(genes)) - 0.5
        none = np.zeros((len(genes), 0))
        features = np.concatenate([*columns, costs], axis=1)
        return Points(genes, features, self.sizes, self.options, none, none)

    def scaled(self, costs: Floats) -> Floats:
        """costs: (..., costs). 0 for the space's least, 1 for its most."""
        return np.asarray((costs - self.low) / self.span)

    def costs(self, points: Points) -> Floats:
        """Costs as scaled: (n, costs)."""
        return points.features[:, points.features.shape[1] - len(self.low) :] + 0.5


def _groups(choice: Choice) -> list[Floats]:
    """Tables of a choice, (options, columns): the option itself, and its attributes if any."""
    # Two rows of the unit matrix are sqrt(2) apart: divided, a squared distance is 0 or 1.
    groups = [np.eye(len(choice)) / np.sqrt(2)]
    if len(choice) > 2:  # of two options, attributes would say the same once more
        attributes = _attributes(choice)
        if attributes.shape[1]:
            groups.append(attributes)
    return groups


def _attributes(choice: Choice) -> Floats:
    """Numeric settings scaled to 0..1: (options, columns).

    All columns together have a squared distance of at most 1.
    """
    if choice.ordinal:
        return np.linspace(0, 1, len(choice))[:, None]
    settings = [_numbers(option) for option in choice.options]
    # A set of names has another order in every process, and columns must not.
    names = sorted(set().union(*settings))
    table = np.zeros((len(choice), len(names)))
    for column, name in enumerate(names):
        # What an op lacks is 0 of it: so kernel 3 is nearer to kernel 5 than to no layer.
        table[:, column] = [numbers.get(name, 0.0) for numbers in settings]
    low = table.min(axis=0, initial=np.inf)
    high = table.max(axis=0, initial=-np.inf)
    varies = high > low
    scaled = (table[:, varies] - low[varies]) / (high - low)[varies]
    return np.asarray(scaled / np.sqrt(max(1, scaled.shape[1])))


def _numbers(option: object) -> dict[str, float]:
    """The numeric settings of an op by name; a number that is an option is its only setting."""
    if isinstance(option, int | float):
        return {"value": float(option)}
    if not dataclasses.is_dataclass(option):
        return {}
    numbers = {}
    for field in dataclasses.fields(option):
        value = getattr(option, field.name)
        if isinstance(value, int | float):
            numbers[field.name] = float(value)
    return numbers
