# ruff: noqa: E402
from dataclasses import dataclass

import pytest

torch = pytest.importorskip("torch")

from nas.arch import Architecture, Stage
from nas.errors import ArchitectureError
from nas.model import build, module
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Kernel, Op, Shape
from search_spaces import fbnet, mnasnet


def small(name: str = "body") -> Architecture:
    ops = (
        Conv(kernel=3, channels=8),
        MBConv(expand=2, se=0.5),
        MBConv(expand=1, groups=2, pointwise=True),
    )
    return Architecture(Shape(1, 8), (Stage(name, ops), Stage("head", (Classifier(classes=3),))))


def test_parameter_names_are_stable() -> None:
    names = set(build(small()).state_dict())
    assert {
        "stages.body.0.conv.weight",
        "stages.body.1.expand.norm.running_mean",
        "stages.body.1.depthwise.conv.weight",
        "stages.body.1.se.reduce.bias",
        "stages.body.2.project.norm.weight",
        "stages.head.0.linear.bias",
    } <= names
    assert (
        "stages.stage2.0.expand.conv.weight" in build(fbnet.space(32).decode([0] * 22)).state_dict()
    )


@pytest.mark.parametrize(
    "space", [fbnet.space(32, classes=5), mnasnet.space(32, classes=5)], ids=str
)
def test_whole_networks(space) -> None:
    architecture = space.decode([size - 1 for size in space.gene_sizes])
    network = build(architecture)
    assert sum(p.numel() for p in network.parameters()) == architecture.params
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 5)


def test_the_seed_decides_and_the_global_generator_is_left_alone() -> None:
    state = torch.random.get_rng_state()
    first, again, other = build(small(), seed=1), build(small(), seed=1), build(small(), seed=2)
    assert torch.equal(state, torch.random.get_rng_state())
    weights = [n.state_dict()["stages.body.0.conv.weight"] for n in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_variance_is_kept_through_a_deep_network() -> None:
    network = build(fbnet.space(32).decode([7] * 22)).train()
    logits = network(torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert 1e-4 < logits.std() < 10


def test_shuffle_mixes_groups() -> None:
    block = module(MBConv(expand=1, groups=2, pointwise=True, skip="none"), Shape(8, 4)).eval()
    first = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    second = first.clone()
    second[:, 0] += (
        1  # only the first group's input changes; without a shuffle only half of the output would
    )
    with torch.no_grad():
        changed = (block(first) != block(second)).flatten(2).any(2)[0]
    assert changed[:4].any()
    assert changed[4:].any()


def test_dropout_acts_on_the_classifier_in_training_only() -> None:
    network = build(small(), dropout=0.5)
    assert [m.p for m in network.modules() if isinstance(m, torch.nn.Dropout)] == [0.5]
    with pytest.raises(ArchitectureError, match="dropout must be at least 0 and below 1, not 1"):
        build(small(), dropout=1)


@pytest.mark.parametrize("name", ["a.b", "", "head", "forward"])
def test_a_stage_name_torch_cannot_take(name: str) -> None:
    with pytest.raises(ArchitectureError, match="cannot name a torch module"):
        build(small(name))


@dataclass(frozen=True, kw_only=True)
class Unbuilt(Op):
    key = "unbuilt"

    def out_shape(self, shape: Shape) -> Shape:
        return shape

    def kernels(self, shape: Shape) -> tuple[Kernel, ...]:
        return ()


def test_an_op_without_a_module_says_where_to_register_it() -> None:
    with pytest.raises(
        ArchitectureError, match=r"op 'unbuilt' has no torch module.*entry-point group 'nas.model'"
    ):
        module(Unbuilt(), Shape(8, 8))
