"""The contract of a search space, for test suites: ours and those of people who write their own."""

from collections.abc import Callable

import numpy as np

from nas.arch import Architecture
from nas.cost.costs import SIZE_METRICS, space_costs
from nas.lint import lint
from nas.space import SearchSpace

__all__ = ["check_space"]


def check_space(
    make: Callable[..., SearchSpace],
    *,
    resolution: int = 32,
    classes: int = 7,
    in_channels: int = 1,
    samples: int = 50,
) -> None:
    """Raise AssertionError unless ``make(resolution, classes, in_channels)`` gives a sound space.

    It takes the three settings, has no lint errors, decodes the same way twice, survives JSON,
    prices whole populations as it prices single networks, and gives equal networks one digest and
    one canonical form.
    """
    space = make(resolution=resolution, classes=classes, in_channels=in_channels)
    assert (space.input.channels, space.input.size) == (in_channels, resolution), (
        f"the input is {space.input}"
    )
    report = lint(space)
    assert report.ok, "; ".join(
        str(found) for found in report.findings if found.severity == "error"
    )
    assert 1 <= space.distinct <= space.cardinality
    again = make(resolution=resolution, classes=classes, in_channels=in_channels)
    assert space.gene_names == again.gene_names
    assert space.gene_sizes == again.gene_sizes

    rng = np.random.default_rng(0)
    genes = np.stack([rng.integers(size, size=samples) for size in space.gene_sizes], axis=1)
    prices = space_costs(space, ()).price(genes)
    for row, price in zip(genes, prices, strict=True):
        network = space.decode(row)
        name = f"the network of genes {tuple(map(int, row))}"
        assert network == again.decode(row), f"{name} differs when the space is made twice"
        assert network.out_shape.channels == classes, (
            f"{name} has {network.out_shape.channels} classes, not {classes}"
        )
        rebuilt = Architecture.from_json(network.to_json())
        assert (rebuilt, rebuilt.digest) == (network, network.digest), (
            f"{name} changes in its JSON form"
        )
        # Equal to the last bit: all of these are whole numbers, which doubles hold exactly.
        single = [getattr(rebuilt, metric) for metric in SIZE_METRICS]
        assert single == price.tolist(), (
            f"{name} costs {single} alone and {price.tolist()} in a population"
        )
        _check_canonical(space, tuple(map(int, row)), network)


def _check_canonical(space: SearchSpace, genes: tuple[int, ...], network: Architecture) -> None:
    least = space.canonical(genes)
    assert least <= genes, f"canonical genes {least} are not the least form of {genes}"
    assert space.canonical(least) == least, f"canonical genes {least} have another canonical form"
    assert space.decode(least).digest == network.digest, (
        f"genes {genes} and their canonical {least} differ in digest"
    )
