import pytest

from nas import catalog
from nas.errors import UsageError
from nas.ops.mbconv import FusedMBConv
from search_spaces import fused_mbconv, mnasnet, uninet


@pytest.mark.parametrize(
    ("name", "gene_tuples", "distinct"),
    [
        ("fbnet", 9**22, 327_700_343_401_999_790_625),
        ("mnasnet", 432**7, 342_378_257_213_030_400),
        ("fused_mbconv", 27_993_600_000, 27_993_600_000),
        ("fused_mbconv:base=b0", 4_031_078_400, 4_031_078_400),
        ("fused_mbconv:base=b4", 1_007_769_600_000, 1_007_769_600_000),
        ("uninet", 1875**5, 9_682_980_468_750_000),
    ],
)
def test_sizes(name, gene_tuples, distinct):
    space = catalog.space(name)
    assert (space.cardinality, space.distinct) == (gene_tuples, distinct)


def test_the_bases_of_fused_mbconv():
    assert fused_mbconv.space().name == "fused_mbconv"
    assert (
        catalog.space(fused_mbconv.space(base="b4").name).input
        == fused_mbconv.space(base="b4").input
    )
    with pytest.raises(
        UsageError, match=r"no base of space 'fused_mbconv' named 'b5'.*Known: b0, b4, s"
    ):
        fused_mbconv.space(base="b5")


def test_only_mbconv_has_squeeze_and_excitation_in_fused_mbconv():
    network = fused_mbconv.space().decode([1, 0, 1, 0] * 6)
    ops = [op for stage in network.stages[1:-1] for op in stage.ops]
    assert all(isinstance(op, FusedMBConv) and op.se == 0 for op in ops)


def test_floors_and_rounding_of_mnasnet():
    space = mnasnet.space()
    smallest = space.decode([0, 0, 0, 0, 0, 0] * 7)
    assert [len(stage.ops) for stage in smallest.stages] == [1, 1, 1, 2, 3, 2, 2, 1, 2]
    assert [stage.ops[-1].settings["channels"] for stage in smallest.stages[1:-1]] == [
        16,
        24,
        24,
        48,
        72,
        120,
        240,
    ]


def test_a_stage_of_uninet_without_blocks_keeps_its_module_and_idles_its_operator():
    space = uninet.space(32)
    empty, other = [0, 0, 2, 0, 0] * 5, [4, 3, 2, 0, 0] * 5
    network = space.decode(empty)
    assert [len(stage.ops) for stage in network.stages] == [1, 1, 1, 1, 2, 2, 3, 2]
    assert [op.key for op in network.stages[2].ops] == ["down_local"]
    assert space.canonical(other)[:2] == (0, 0)


def test_small_images_keep_a_last_map_of_at_least_four_pixels():
    for name in catalog.space_names():
        space = catalog.space(name, resolution=16)
        assert min(state.size for state in space.chain[-1].states) >= 4
