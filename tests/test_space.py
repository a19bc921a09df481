from itertools import product

import numpy as np
import pytest

from nas.errors import SpaceError
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Shape
from nas.space import Choice, SearchSpace, Slot, fixed, make_divisible, relax_strides
from search_spaces import fbnet, mnasnet


def tiny() -> SearchSpace:
    """Two slots whose repeats and kernels overlap, so that different genes give one network."""

    def make(picked, shape):
        for _ in range(picked["repeats"]):
            yield MBConv(kernel=picked["kernel"], channels=8)

    choices = (Choice("kernel", (3, 5), ordinal=True), Choice("repeats", (0, 1, 2), ordinal=True))
    return SearchSpace(
        name="tiny",
        input=Shape(3, 8),
        slots=(
            fixed("stem", Conv(channels=8)),
            Slot(name="a", stage="a", choices=choices, make=make),
            Slot(name="b", stage="b", choices=choices, make=make),
            fixed("head", Classifier(classes=2)),
        ),
    )


def every(space):
    return list(product(*map(range, space.gene_sizes)))


def test_distinct_counts_networks_not_genes():
    space = tiny()
    assert space.cardinality == 36
    assert space.distinct == len({space.decode(genes).digest for genes in every(space)}) < 36


def test_slots_of_one_function_and_the_same_choices_share_their_words():
    def make(picked, shape):
        if picked["kernel"]:
            yield MBConv(kernel=picked["kernel"], channels=shape.channels)

    def layer(name, choices):
        return Slot(name=name, stage="body", choices=choices, make=make)

    kernels = (Choice("kernel", (0, 3, 5, 7)),)
    slots = (
        layer("one", kernels),
        layer("two", kernels),
        layer("three", (Choice("kernel", (3,)),)),
    )
    space = SearchSpace("shared", Shape(8, 8), (*slots, fixed("head", Classifier(classes=2))))
    one, two, three, _ = space.chain
    assert one.words[0] is two.words[0]
    assert len(three.words[0]) == 1
    every = product(*map(range, space.gene_sizes))
    assert space.distinct == len({space.decode(genes).digest for genes in every}) == 13


def test_canonical_is_the_least_parse():
    space = tiny()
    by_digest = {}
    for genes in every(space):  # in order, so the first seen is the least
        by_digest.setdefault(space.decode(genes).digest, genes)
    for genes in every(space):
        assert space.canonical(genes) == by_digest[space.decode(genes).digest]


def test_a_gene_is_active_if_another_option_of_it_makes_another_network():
    """Of `tiny`, a kernel that is repeated no time changes nothing; a repeat always does."""
    space = tiny()
    genes = np.array(every(space))
    kernel_a, repeats_a, kernel_b, repeats_b = range(4)
    active = space.active(genes)
    assert (active[:, kernel_a] == (genes[:, repeats_a] > 0)).all()
    assert (active[:, kernel_b] == (genes[:, repeats_b] > 0)).all()
    assert active[:, [repeats_a, repeats_b]].all()


def test_fbnet_counts_as_published():
    space = fbnet.space()
    assert len(space.slots) == 24
    assert space.cardinality == 9**22
    assert space.distinct == 327_700_343_401_999_790_625


def test_fbnet_macro_at_224_and_32():
    big, small = (
        fbnet.space().decode([0] * 22),
        fbnet.space(resolution=32, classes=100).decode([0] * 22),
    )
    assert [layer.shape.size for layer in big.layers] == [224] + [112] * 2 + [56] * 4 + [28] * 4 + [
        14
    ] * 8 + [7] * 6
    assert [layer.shape.size for layer in small.layers] == [32] * 7 + [16] * 4 + [8] * 8 + [4] * 6
    assert big.layers[-2].op.channels == 1984
    assert small.layers[-2].op.channels == 1504
    assert small.out_shape == Shape(100, 1)


def test_mnasnet_counts_432_options_a_block():
    space = mnasnet.space()
    assert {slot.options for slot in space.slots} == {1, 432}
    assert space.cardinality == 432**7
    assert space.distinct < space.cardinality


@pytest.mark.parametrize("module", [fbnet, mnasnet])
@pytest.mark.parametrize("resolution", [8, 28, 32, 224])
def test_random_genes_decode_and_canonical_keeps_the_network(module, resolution):
    space = module.space(resolution=resolution, classes=7, in_channels=1)
    rng = np.random.default_rng(0)
    for _ in range(30):
        genes = tuple(int(rng.integers(size)) for size in space.gene_sizes)
        network, least = space.decode(genes), space.canonical(genes)
        assert network.out_shape == Shape(7, 1)
        assert least <= genes
        assert space.decode(least).digest == network.digest
        assert space.canonical(least) == least


def test_describe_and_slot_genes_agree_with_option_order():
    space = mnasnet.space()
    genes = tuple(size - 1 for size in space.gene_sizes)
    assert space.describe(genes)["block1.op"] == "mbconv_e6"
    for option in (0, 17, 431):
        assert space.slot_option(1, space.slot_genes(1, option) + genes[6:]) == option


def test_relaxed_strides():
    assert relax_strides((2, 1, 2, 2, 2, 1, 2, 1), 224) == (2, 1, 2, 2, 2, 1, 2, 1)
    assert relax_strides((2, 1, 2, 2, 2, 1, 2, 1), 32) == (
        1,
        1,
        1,
        2,
        2,
        1,
        2,
        1,
    )  # HW-NAS-Bench's CIFAR setting
    assert relax_strides((2, 2), 3) == (1, 1)


def test_make_divisible_never_loses_a_tenth():
    assert [make_divisible(c) for c in (1, 8, 11, 12, 16 * 1.4, 24 * 0.75)] == [
        8,
        8,
        16,
        16,
        24,
        24,
    ]
    assert all(make_divisible(c) >= 0.9 * c and make_divisible(c) % 8 == 0 for c in range(1, 500))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: tiny().decode([0]), "space 'tiny' takes 4 genes, not 1"),
        (
            lambda: tiny().decode([0, 3, 0, 0]),
            "gene 'a.repeats' of space 'tiny' must be 0 to 2, not 3",
        ),
        (lambda: Choice("empty", ()), "at least one option"),
        (lambda: Choice("twice", (1, 1)), "no label twice"),
        (lambda: SearchSpace("s", Shape(1, 1), (fixed("a"), fixed("a"))), "two slots of one name"),
    ],
)
def test_errors_name_rule_and_value(run, message):
    with pytest.raises(SpaceError, match=message):
        run()
