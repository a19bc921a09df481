# ruff: noqa: E402
"""Declared parameters, MACs and shapes equal torch's, for every distinct layer of every space that
ships."""

import pytest

torch = pytest.importorskip("torch")

from nas.model import module
from nas.ops.conv import Classifier, Conv
from nas.ops.ghost import GhostBottleneck
from nas.ops.mbconv import FusedMBConv, MBConv
from nas.ops.mqa import MobileMQA
from nas.ops.rep import RepConv
from nas.ops.residual import BasicBlock, Bottleneck, MaxPool
from nas.ops.selective import SelectiveBlock
from nas.ops.uib import UIB
from nas.shape import Op, Shape
from nas.space import SearchSpace
from nas.testing.ops import check_op
from search_spaces import fbnet, mnasnet


@pytest.mark.parametrize(
    ("space", "least"),
    [
        (fbnet.space(), 100),
        (fbnet.space(32, classes=10, in_channels=1), 100),
        (mnasnet.space(32), 2000),
    ],
    ids=["fbnet", "fbnet-32", "mnasnet-32"],
)
def test_every_layer_of_a_space(space: SearchSpace, least: int) -> None:
    layers = space.layers
    assert len(layers) >= least
    for layer in layers:
        check_op(layer.op, layer.shape, module)


@pytest.mark.parametrize(
    "op",
    [
        Conv(kernel=3, groups=4, act="hswish"),
        Conv(kernel=5, channels=12, stride=2, act=""),
        Classifier(classes=7),
        MBConv(expand=1.5, se=0.3, act="swish", channels=24),
        MBConv(expand=1, groups=2, se=0.25),
        MBConv(expand=3, groups=4, stride=2, skip="pool", act="gelu"),
        FusedMBConv(expand=4, se=0.25, channels=24, act="relu6"),
        FusedMBConv(expand=1, se=0.25, skip="pool", stride=2),
        Classifier(classes=7, hidden=24, hidden_norm=True),
        MobileMQA(key_channels=12),
        MobileMQA(heads=3, kv_stride=2, kernel=5),
        UIB(),
        UIB(first=3, kernel=5, expand=1.7, act="gelu", scale=True),
        UIB(first=5, kernel=0, stride=2),
        UIB(first=5, kernel=3, stride=2, scale=True, channels=24),
        UIB(kernel=0, expand=2, skip="none"),
        UIB(kernel=0, skip="pool", channels=24),
        MBConv(expand=3, eca=True),
        FusedMBConv(expand=1, channels=24, eca=True),
        GhostBottleneck(expand=2.3, channels=24, se=0.25),
        GhostBottleneck(expand=3, channels=9, stride=2, kernel=5, eca=True, act="hswish"),
        GhostBottleneck(expand=1),
        MaxPool(),
        SelectiveBlock(channels=24, stride=2),
        SelectiveBlock(split=True, ratio=0.5, least=4, act="swish"),
        RepConv(branches=2, channels=24, stride=2),
        RepConv(depthwise=True, kernel=5),
        RepConv(kernel=1, act=""),
        BasicBlock(channels=24, stride=2, kernel=5, se=0.25, gate_at="middle"),
        BasicBlock(gc=0.25, act="swish"),
        Bottleneck(channels=24, eca=True),
        Bottleneck(ratio=0.5, groups=32, gc=0.25, gate_at="middle", stride=2),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [1, 7, 8])
def test_settings_no_space_uses(op: Op, size: int) -> None:
    check_op(op, Shape(16, size), module)


class Tiled(torch.nn.Module):
    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.inner(maps).repeat(1, 1, 2, 2)


class Twice(Tiled):
    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.inner(maps) + self.inner(maps)


def test_a_wrong_declaration_is_caught() -> None:
    with pytest.raises(AssertionError, match="torch has"):
        check_op(Conv(kernel=3), Shape(8, 8), lambda op, shape: module(Conv(kernel=5), shape))
    with pytest.raises(AssertionError, match="hands over"):
        check_op(Conv(), Shape(8, 4), lambda op, shape: Tiled(module(op, shape)))
    with pytest.raises(AssertionError, match="MACs"):
        check_op(Conv(kernel=3), Shape(8, 8), lambda op, shape: Twice(module(op, shape)))
