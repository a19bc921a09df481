"""A space over several input sizes: the size is a gene like any other."""

from itertools import product

import numpy as np
import pytest

from nas import catalog
from nas.cost.costs import space_costs
from nas.domain import Bound, Domain
from nas.errors import SpaceError
from nas.networks.membership import membership
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Shape
from nas.space import Choice, SearchSpace, Slot, at_sizes, fixed
from nas.statistics import rng

SIZES = (8, 12, 16)


def tiny(size: int, kernels=(3, 5)) -> SearchSpace:
    """Slots whose repeats overlap, so that different genes give one network."""

    def make(picked, shape):
        for _ in range(picked["repeats"]):
            yield MBConv(kernel=picked["kernel"], channels=8)

    choices = (Choice("kernel", kernels, ordinal=True), Choice("repeats", (0, 1, 2), ordinal=True))
    return SearchSpace(
        name="tiny",
        input=Shape(3, size),
        slots=(
            fixed("stem", Conv(channels=8, stride=2)),
            Slot(name="a", stage="a", choices=choices, make=make),
            Slot(name="b", stage="b", choices=choices, make=make),
            fixed("head", Classifier(classes=2)),
        ),
    )


def every(space):
    return list(product(*map(range, space.gene_sizes)))


def test_networks_are_those_of_the_sizes():
    space = at_sizes(tiny, SIZES)
    alone = {size: tiny(size) for size in SIZES}
    assert space.gene_names[0] == "input.resolution"
    assert space.cardinality == 3 * tiny(8).cardinality
    for genes in every(space):
        size = SIZES[genes[0]]
        network = space.decode(genes)
        assert network == alone[size].decode(genes[1:])
        assert network.input == Shape(3, size)


def test_counting_spelling_and_reading_agree_with_brute_force():
    space = at_sizes(tiny, SIZES)
    least = {}
    for genes in every(space):
        least.setdefault(space.decode(genes).digest, genes)
    assert space.distinct == len(least) == 3 * tiny(8).distinct
    for genes in every(space):
        network = space.decode(genes)
        assert space.canonical(genes) == space.parse(network.layers) == least[network.digest]


def test_the_size_is_active():
    space = at_sizes(tiny, SIZES)
    genes = np.array(every(space))
    assert space.active(genes)[:, 0].all()


def test_costs_are_those_of_the_network_and_a_bound_decides_on_the_size():
    space = at_sizes(tiny, SIZES)
    costs = space_costs(space, ())
    genes = np.array(every(space))
    priced = costs.price(genes)[:, costs.column("macs")]
    assert priced.tolist() == [space.decode(row).macs for row in genes]
    largest_of_small = max(tiny(8).decode(row).macs for row in every(tiny(8)))
    domain = Domain(space, costs, (Bound("macs", upper=largest_of_small),))
    drawn = domain.sample_many(50, rng(0, "sizes", 0))
    macs = costs.price(drawn)[:, costs.column("macs")]
    assert macs.max() <= largest_of_small
    assert len(set(drawn[:, 0].tolist())) > 1


def test_one_size_is_no_choice():
    assert at_sizes(tiny, [8, 8]).gene_names == tiny(8).gene_names


def test_no_size_is_refused():
    with pytest.raises(SpaceError, match="at least one size"):
        at_sizes(tiny, [])


def test_a_space_with_other_choices_at_another_size_is_refused():
    with pytest.raises(SpaceError, match="at 8 and 16 pixels: slot 'a' has other choices"):
        at_sizes(lambda size: tiny(size, (3, 5) if size == 16 else (3, 7)), (8, 16))
    with pytest.raises(SpaceError, match="not one space at 32 and 64 pixels"):
        catalog.space("mobilenet_v3", resolution=(32, 64))


def test_the_papers_space_over_its_resolutions():
    space = catalog.space("mobilenet_v3", resolution=[128, 176, 224])
    assert space.distinct == 3 * 7371**5
    assert str(space).startswith("mobilenet_v3 3x128x128 to 3x224x224: 51 choices")


def test_a_network_of_a_smaller_size_is_a_member():
    space = at_sizes(tiny, SIZES)
    found = membership(tiny(12).decode((1, 2, 0, 1)), space)
    assert found.verdict == "in"
    assert found.genes == space.canonical((1, 1, 2, 0, 1))
    assert membership(tiny(20).decode((0, 0, 0, 0)), space).verdict == "outside"
