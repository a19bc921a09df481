# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

import numpy as np
from tiny_space import cut_mobilenet_v4, small, tiny

from nas.errors import ArchitectureError, UsageError
from nas.model import build
from nas.space import SearchSpace
from nas.supernet.cover import covering
from nas.supernet.network import Supernet
from search_spaces import fbnet, nas_bench_macro


def genes_of(space: SearchSpace, count: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    return [tuple(int(rng.integers(size)) for size in space.gene_sizes) for _ in range(count)]


def test_a_cover_shows_every_option_at_every_state() -> None:
    space = tiny()
    seen = [set() for _ in space.chain]
    for genes in covering(space):
        state = 0
        for slot, step in enumerate(space.chain):
            option = space.slot_option(slot, genes)
            seen[slot].add((state, option))
            state = int(step.next[state, option])
    assert [len(found) for found in seen] == [step.next.size for step in space.chain]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Supernet(tiny(), small, share="none"),
        lambda: Supernet(tiny(), small, share="elastic"),
        lambda: Supernet(nas_bench_macro.space(), small, share="none"),
        lambda: Supernet(cut_mobilenet_v4(), small, share="elastic"),
    ],
)
def test_a_path_is_the_network_with_the_shared_weights(make) -> None:
    supernet = make()
    space = supernet.space
    images = torch.randn(3, 1, 8, 8)
    for genes in genes_of(space, 3):
        path = supernet.path(genes).train()
        alone = build(small(space.decode(genes))).train()
        mine = [view.leaf for view in supernet.views(genes)]
        for theirs, ours in zip(alone.parameters(), mine, strict=True):
            assert theirs.shape == ours.shape
            theirs.data.copy_(ours.data)
        torch.testing.assert_close(path(images), alone(images), rtol=1e-4, atol=1e-4)


def test_last_norms_start_at_zero_in_networks_alone_and_above_in_supernets() -> None:
    space = nas_bench_macro.space()
    genes = (1,) * 8
    starts = []
    for part in build(space.decode(genes)).modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            starts.append(float(part.weight.detach().max()))
    # Of the eight blocks the five whose shapes stay are beside a shortcut.
    assert starts.count(0) == 5
    supernet = Supernet(space, small)
    norms = [view.leaf for view in supernet.views(genes) if view.name.endswith("norm.weight")]
    assert len(norms) == len(starts)
    for norm, alone in zip(norms, starts, strict=True):
        assert norm.tolist() == pytest.approx([alone or 5**-0.5] * len(norm))


def test_layer_scales_start_at_a_hundred_thousandth_in_networks_alone_and_above_in_supernets() -> (
    None
):
    space = cut_mobilenet_v4()
    names = space.gene_names
    genes = [0] * len(names)
    for name, option in (("6.style", 1), ("7.style", 2), ("7_attention.heads", 1)):
        genes[names.index(f"stage3_{name}")] = option
    alone = [
        value for name, value in build(space.decode(genes)).named_parameters() if "factor" in name
    ]
    assert [float(value.detach().max()) for value in alone] == pytest.approx([1e-5] * 3)
    supernet = Supernet(space, small, share="elastic")
    shared = [view.leaf for view in supernet.views(genes) if view.name.endswith("factor")]
    # Of three blocks that can be beside a shortcut.
    assert [float(value.detach().min()) for value in shared] == pytest.approx([3**-0.5] * 3)


def test_weights_start_as_those_of_a_network_built_alone() -> None:
    supernet = Supernet(tiny(), lambda architecture: architecture, share="elastic")
    for genes in [(1, 1), (0, 0)]:
        for view in supernet.views(genes):
            if view.name.endswith("depthwise.conv.weight"):
                assert 0.1 < float(view.leaf.detach().std()) < 1  # He, fan-out of one filter


def test_elastic_options_share_what_they_have_in_common() -> None:
    supernet = Supernet(tiny(), lambda architecture: architecture, share="elastic")
    by_name = {
        view.name.rpartition("/")[2]: view
        for view in supernet.views((0, 0))
        if view.name.startswith("one/")
    }
    wide = {
        view.name.rpartition("/")[2]: view
        for view in supernet.views((1, 1))
        if view.name.startswith("one/")
    }
    with torch.no_grad():
        wide["depthwise.conv.weight"].leaf.fill_(7.0)
    assert by_name["depthwise.conv.weight"].leaf.shape[2:] == (3, 3)
    assert (by_name["depthwise.conv.weight"].leaf == 7).all()
    assert Supernet(tiny(), lambda a: a, share="none").params > supernet.params


def test_sharing_is_chosen_by_how_many_layers_can_stand_at_a_place() -> None:
    assert Supernet(nas_bench_macro.space(), small).share == "none"
    assert Supernet(fbnet.space(), small).share == "elastic"
    with pytest.raises(UsageError, match="share must be one of auto, none, elastic, not 'all'"):
        Supernet(tiny(), small, share="all")


def test_the_weights_follow_from_the_seed_alone() -> None:
    torch.manual_seed(5)
    first = Supernet(tiny(), small, seed=3)
    before = torch.random.get_rng_state()
    first.path((1, 1))
    second = Supernet(tiny(), small, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first.shared[name], value) for name, value in second.shared.items())
    other = Supernet(tiny(), small, seed=4)
    assert any(not torch.equal(first.shared[name], value) for name, value in other.shared.items())


def test_weights_of_another_space_are_refused() -> None:
    supernet = Supernet(tiny(), small)
    with pytest.raises(
        ArchitectureError, match="the checkpoint is that of another supernet than 'nas_bench_macro'"
    ):
        Supernet(nas_bench_macro.space(), small).load(supernet.state())
