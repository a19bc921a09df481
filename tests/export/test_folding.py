"""Branches of convolutions are trained, and shipped as the one convolution that they are."""

import pytest
import torch

from nas.arch import Architecture, Stage
from nas.errors import ArchitectureError
from nas.export import export
from nas.export.products import backbone_product, segmenter_product
from nas.export.verification import shake
from nas.metadata import UNKNOWN
from nas.model import build
from nas.model.rep import RepConv as RepConvModule
from nas.model.rep import folded
from nas.model.segmenter import segmenter
from nas.model.weights import load, read_weights
from nas.ops.conv import Classifier
from nas.ops.rep import RepConv
from nas.shape import Shape

BODY = (
    RepConv(channels=8, stride=2),
    RepConv(branches=3),
    RepConv(depthwise=True, kernel=5, act="gelu"),
    RepConv(kernel=1, branches=2, channels=12, act=""),
    RepConv(stride=2, channels=16),
    RepConv(depthwise=True, stride=2),
    RepConv(kernel=1, stride=2),
)
SMALL = Architecture(Shape(1, 32), (Stage("body", BODY), Stage("head", (Classifier(classes=3),))))


@pytest.fixture
def trained():
    network = build(SMALL, seed=5)
    shake(network)
    return network.eval()


def difference(one, other):
    images = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = one(images), other(images)
    return float((expected - found).abs().max() / expected.abs().max())


def test_what_is_folded_gives_what_the_branches_give(trained):
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    one = folded(trained)
    assert difference(trained, one) <= 1e-5
    assert not any(isinstance(part, RepConvModule) for part in one.modules())
    assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items())
    shipped = build(SMALL.deployed)
    assert load(shipped, one.state_dict(), "folded.pt").whole
    assert difference(one, shipped.eval()) == 0
    assert folded(one) is one


def test_an_export_ships_one_convolution_for_all_branches(tmp_path, trained):
    onnx = pytest.importorskip("onnx")
    torch.save(trained.state_dict(), tmp_path / "trained.pt")
    made = export(SMALL, tmp_path, name="small", weights=tmp_path / "trained.pt")
    assert max(made.python_difference, made.onnx_difference) <= 1e-5
    assert Architecture.load(made.files["json"]) == SMALL.deployed
    assert made.params == SMALL.params
    nodes = [node.op_type for node in onnx.load(made.files["onnx"]).graph.node]
    assert nodes.count("Conv") == len(BODY)
    assert "Add" not in nodes


def test_backbones_and_segmenters_are_folded_too(tmp_path, trained):
    torch.save(trained.state_dict(), tmp_path / "trained.pt")
    layers = backbone_product(SMALL, read_weights(tmp_path / "trained.pt"), UNKNOWN)
    torch.save(segmenter(SMALL, 4).state_dict(), tmp_path / "masks.pt")
    masks = segmenter_product(SMALL, read_weights(tmp_path / "masks.pt"), UNKNOWN)
    for product in (layers, masks):
        assert product.loaded.whole
        assert product.params == sum(value.numel() for value in product.module.parameters())
        assert "RepConv" not in product.source()


def test_weights_of_the_other_form_are_refused_in_one_line(trained):
    with pytest.raises(
        ArchitectureError,
        match=r"weights old.pt are of the form that is trained, and this network is the folded one",
    ):
        load(build(SMALL.deployed), trained.state_dict(), "old.pt")
    with pytest.raises(
        ArchitectureError,
        match=r"weights new.pt are folded, and this network is the form that is trained: its "
        r"stages.body.0 has branches",
    ):
        load(build(SMALL), folded(trained).state_dict(), "new.pt")
