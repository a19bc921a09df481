# ruff: noqa: E402
"""ONNX files of small networks, one per kind of layer, agree with torch to 1e-5, and compute no
size at run time."""

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from nas.arch import Architecture, Stage
from nas.export.onnx import write_onnx
from nas.export.verification import shake
from nas.model import build
from nas.ops.conv import Classifier, Conv
from nas.ops.down import GlobalDown, LocalDown, LocalGlobalDown
from nas.ops.ghost import GhostBottleneck
from nas.ops.mbconv import FusedMBConv, MBConv
from nas.ops.mqa import MobileMQA
from nas.ops.rep import RepConv
from nas.ops.residual import BasicBlock, Bottleneck, MaxPool
from nas.ops.selective import SelectiveBlock
from nas.ops.uib import UIB
from nas.ops.unified import AttentionBlock, ConvBlock, TokenMLPBlock
from nas.shape import Shape

OPS = (
    Conv(kernel=3, channels=12, stride=2, act="hswish"),
    MBConv(expand=1, groups=2, pointwise=True),
    MBConv(expand=3, stride=2, channels=24, skip="pool", kernel=5, se=0.25, act="swish"),
    MBConv(
        expand=2.3, se=0.25, se_base="expanded", se_act="relu", se_gate="hsigmoid", act="hswish"
    ),
    FusedMBConv(expand=1, channels=24, skip="pool", act="relu6"),
    FusedMBConv(expand=4, kernel=5),
    Classifier(classes=4, hidden=8, hidden_norm=True),
    MobileMQA(key_channels=12),
    MobileMQA(heads=3, kv_stride=2, kernel=5),
    UIB(first=3, kernel=5, scale=True, act="gelu"),
    UIB(first=5, kernel=0, stride=2, channels=24),
    UIB(kernel=0, expand=2),
    MBConv(expand=3, eca=True),
    GhostBottleneck(expand=3, channels=24, stride=2, se=0.25),
    GhostBottleneck(expand=2, channels=9, eca=True),
    MaxPool(),
    SelectiveBlock(channels=24, stride=2, split=True, least=4),
    RepConv(branches=2),
    RepConv(depthwise=True, stride=2),
    BasicBlock(channels=24, stride=2, act="swish", gc=0.25),
    Bottleneck(groups=4, ratio=0.5, se=0.25, gate_at="middle"),
    AttentionBlock(head_channels=8),
    AttentionBlock(window=4, head_channels=8),
    ConvBlock(depthwise=False, expand=2),
    ConvBlock(expand=1, channels=24),
    TokenMLPBlock(tokens=5),
    LocalDown(channels=24),
    LocalGlobalDown(channels=24),
    LocalGlobalDown(channels=24, stride=1),
    GlobalDown(channels=24),
    Classifier(classes=4, hidden=8, act="hswish"),
    Classifier(classes=4, hidden=8, hidden_bias=False, act="hswish"),
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", OPS, ids=str)
def test_onnx_agrees_with_torch(op, tmp_path):
    ops = (op,) if isinstance(op, Classifier) else (op, Classifier(classes=4))
    network = build(Architecture(Shape(16, 7), (Stage("body", ops),)))
    shake(network)
    network.eval()
    write_onnx(network, Shape(16, 7), tmp_path / "network.onnx", {})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(tmp_path / "network.onnx"), options, providers=["CPUExecutionProvider"]
    )
    images = torch.randn(3, 16, 7, 7, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(images)
    (found,) = session.run(None, {"image": images.numpy()})
    assert abs(torch.from_numpy(found) - expected).max() <= 1e-5 * expected.abs().max()
    kinds = {node.op_type for node in onnx.load(tmp_path / "network.onnx").graph.node}
    assert not kinds & {"Shape", "Gather"}
