"""Weights that move: another head, another network, names of timm and torchvision."""

from pathlib import Path

import pytest
import torch

from nas import networks
from nas.arch import Architecture, Stage
from nas.errors import ArchitectureError
from nas.model import build
from nas.model.blocks import NORM_EPS
from nas.model.weights import load, load_weights
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Shape

FOLDER = Path(__file__).parent / "state_dicts"
NORM = ("weight", "bias", "running_mean", "running_var")


def small(classes=4, channels=16):
    return Architecture(
        Shape(1, 8),
        (
            Stage("stem", (Conv(kernel=3, channels=8),)),
            Stage("stage1", (MBConv(channels=channels), MBConv(channels=channels, se=0.25))),
            Stage("head", (Classifier(classes=classes),)),
        ),
    )


def synthetic(name):
    """A state dict with the published names and shapes, of random values."""
    draw = torch.Generator().manual_seed(0)
    state = {}
    for line in (FOLDER / f"{name}.txt").read_text().splitlines()[1:]:
        words = line.split(" ")
        shape = tuple(map(int, words[-1].split("x")))
        for part in NORM if words[1] == "norm" else ("",):
            state[f"{words[0]}.{part}".rstrip(".")] = torch.rand(shape, generator=draw) + 0.5
        if words[1] == "norm":
            state[f"{words[0]}.num_batches_tracked"] = torch.tensor(7)
    return state


FILES = {
    "timm_mobilenetv2_100": ("mobilenet_v2", 1e-5),
    "timm_efficientnet_b0": ("efficientnet_b0", 1e-5),
    "timm_semnasnet_100": ("mnasnet_a1", 1e-5),
    "timm_mobilenetv3_large_100": ("mobilenet_v3_large", 1e-5),
    "timm_mobilenetv4_conv_small": ("mobilenet_v4_conv_small", 1e-5),
    "timm_mobilenetv4_hybrid_medium": ("mobilenet_v4_hybrid_medium", 1e-5),
    "timm_ghostnet_100": ("ghostnet_100", 1e-5),
    "timm_gcresnext26ts": ("gcresnext26ts", 1e-5),
    "timm_skresnet18": ("skresnet18", 1e-5),
    "timm_repvgg_a0": ("repvgg_a0", 1e-5),
    "timm_mobileone_s1": ("mobileone_s1", 1e-5),
    "timm_halonet26t": ("halonet26t", 1e-5),
    "torchvision_resnet50": ("resnet50", 1e-5),
    "torchvision_mobilenet_v2": ("mobilenet_v2", 1e-5),
    "torchvision_mobilenet_v3_small": ("mobilenet_v3_small", 1e-3),
    "torchvision_efficientnet_b0": ("efficientnet_b0", 1e-5),
    "torchvision_mnasnet1_0": ("mnasnet_b1", 1e-5),
    "torchvision_efficientnet_v2_s": ("efficientnet_v2_s", 1e-3),
}


@pytest.mark.parametrize("name", FILES)
def test_every_tensor_of_a_published_file_is_loaded(name):
    published, eps = FILES[name]
    given, network = synthetic(name), build(networks.get(published, resolution=32))
    found = load(network, given, name)
    assert found.whole
    assert not found.unknown
    assert f"epsilon {eps:g}" in found.origin
    own = network.state_dict()
    assert len(own) == len(given)
    total = sum(
        value.double().sum()
        for key, value in given.items()
        if not key.endswith(("tracked", "weight"))
    )
    mine = sum(
        value.double().sum()
        for key, value in own.items()
        if not key.endswith(("tracked", "weight"))
    )
    assert float(mine) == pytest.approx(float(total))


def test_attention_meets_its_names_in_timm_and_two_classifiers_become_their_mean():
    given = synthetic("timm_efficientformerv2_s0")
    network = build(networks.get("efficientformerv2_s0"))
    found = load(network, given, "file")
    assert found.whole
    own = network.state_dict()
    for here, there in {
        "stem.1.conv.weight": "stem.conv2.conv.weight",
        "stage3.5.attend.bias.table": "stages.2.blocks.4.token_mixer.attention_biases",
        "stage3.5.attend.before.weight": "stages.2.blocks.4.token_mixer.talking_head1.weight",
        "stage3.5.scale.factor": "stages.2.blocks.4.ls1.gamma",
        "stage4.0.conv.conv.weight": "stages.3.downsample.conv.conv.weight",
        "stage4.0.attend.bias.table": "stages.3.downsample.attn.attention_biases",
        "stage4.0.attend.query.local.weight": "stages.3.downsample.attn.q.local.weight",
        "head.0.running_mean": "norm.running_mean",
    }.items():
        assert torch.equal(own[f"stages.{here}"], given[there]), here
    mean = (given["head.weight"] + given["head_dist.weight"]) / 2
    assert torch.equal(own["stages.head.1.linear.weight"], mean)
    smaller = build(networks.get("efficientformerv2_s0", resolution=192))
    with pytest.raises(ArchitectureError, match=r"biases .8x49. does not fit .* of another size"):
        load(smaller, given, "file")


def test_a_classifier_takes_in_the_norms_of_two_that_have_each_their_own():
    given = synthetic("timm_levit_128s")
    network = build(networks.get("levit_128s"))
    assert load(network, given, "file").whole
    features = torch.rand(3, 384, generator=torch.Generator().manual_seed(0)).double()
    expected = []
    for head in ("head", "head_dist"):
        part = {name: given[f"{head}.bn.{name}"].double() for name in NORM}
        normed = (features - part["running_mean"]) / torch.sqrt(part["running_var"] + 1e-5)
        normed = normed * part["weight"] + part["bias"]
        linear = given[f"{head}.linear.weight"].double()
        expected.append(normed @ linear.T + given[f"{head}.linear.bias"].double())
    with torch.no_grad():
        found = network.stages.head.double().eval()(features[:, :, None, None])
    torch.testing.assert_close(found, sum(expected) / 2, rtol=1e-5, atol=1e-4)


def test_networks_of_layer_norms_load_whole_and_name_no_epsilon():
    for name in ("convnext_tiny", "edgenext_xx_small"):
        given, network = synthetic(f"timm_{name}"), build(networks.get(name, resolution=32))
        found = load(network, given, name)
        assert found.whole
        assert "epsilon" not in found.origin


def test_parts_of_a_block_meet_their_names_in_timm():
    given = synthetic("timm_efficientnet_b0")
    network = build(networks.get("efficientnet_b0", resolution=32))
    load(network, given, "file")
    own = network.state_dict()
    for here, there in {
        "stem.0.conv.weight": "conv_stem.weight",
        "stage1.0.project.conv.weight": "blocks.0.0.conv_pw.weight",
        "stage2.1.expand.conv.weight": "blocks.1.1.conv_pw.weight",
        "stage2.1.depthwise.conv.weight": "blocks.1.1.conv_dw.weight",
        "stage2.1.depthwise.norm.running_mean": "blocks.1.1.bn2.running_mean",
        "stage2.1.se.expand.bias": "blocks.1.1.se.conv_expand.bias",
        "stage7.0.project.norm.running_var": "blocks.6.0.bn3.running_var",
        "head.0.conv.weight": "conv_head.weight",
        "head.1.linear.weight": "classifier.weight",
    }.items():
        assert torch.equal(own[f"stages.{here}"], given[there]), here
    assert torch.equal(
        own["stages.stage2.1.se.reduce.weight"],
        given["blocks.1.1.se.conv_reduce.weight"].flatten(1),
    )


def test_attention_and_layer_scales_meet_their_names_in_timm():
    given = synthetic("timm_mobilenetv4_hybrid_medium")
    network = build(networks.get("mobilenet_v4_hybrid_medium", resolution=32))
    load(network, given, "file")
    own = network.state_dict()
    for here, there in {
        "stage2.0.first.conv.weight": "blocks.1.0.dw_start.conv.weight",
        "stage2.0.depthwise.norm.running_var": "blocks.1.0.dw_mid.bn.running_var",
        "stage2.1.scale.factor": "blocks.1.1.layer_scale.gamma",
        "stage3.4.norm.bias": "blocks.2.4.norm.bias",
        "stage3.4.attention.key.down.conv.weight": "blocks.2.4.attn.key.down_conv.weight",
        "stage3.4.attention.value.project.weight": "blocks.2.4.attn.value.proj.weight",
        "stage4.14.attention.project.weight": "blocks.3.14.attn.output.proj.weight",
        "final.0.conv.weight": "blocks.4.0.conv.weight",
        "head.0.hidden.norm.bias": "norm_head.bias",
    }.items():
        assert torch.equal(own[f"stages.{here}"], given[there]), here


def test_the_path_beside_a_block_is_last_here_and_first_in_timms_byobnet():
    given = synthetic("timm_gcresnext26ts")
    network = build(networks.get("gcresnext26ts", resolution=32))
    load(network, given, "file")
    own = network.state_dict()
    for here, there in {
        "stem.0.conv.weight": "stem.conv1.conv.weight",
        "stage1.0.reduce.conv.weight": "stages.0.0.conv1_1x1.conv.weight",
        "stage1.0.shortcut.conv.weight": "stages.0.0.shortcut.conv.weight",
        "stage1.0.gc.norm.weight": "stages.0.0.attn.mlp_add.norm.weight",
        "stage4.0.shortcut.norm.running_var": "stages.3.0.shortcut.bn.running_var",
        "stage4.1.expand.norm.bias": "stages.3.1.conv3_1x1.bn.bias",
    }.items():
        assert torch.equal(own[f"stages.{here}"], given[there]), here


def test_a_norm_of_another_epsilon_gives_the_same_values():
    given = synthetic("timm_mobilenetv2_100")
    network = build(networks.get("mobilenet_v2", resolution=32)).eval()
    load(network, given, "file")
    maps = torch.randn(2, 32, 4, 4)
    scale, bias, mean, variance = (given[f"bn1.{part}"] for part in NORM)
    there = torch.nn.functional.batch_norm(maps, mean, variance, scale, bias, eps=1e-5)
    norm = network.stages.stem[0].norm
    assert norm.eps == NORM_EPS
    assert torch.allclose(norm(maps), there, atol=1e-6)


def test_a_published_file_takes_a_head_of_other_classes():
    network = build(networks.get("mobilenet_v2", resolution=32, classes=10))
    found = load(network, synthetic("torchvision_mobilenet_v2"), "file")
    assert found.head == ("stages.head.1.linear.weight", "stages.head.1.linear.bias")
    assert "2 of the head are new" in "\n".join(found.lines())


def test_a_published_file_for_colours_meets_grey_images():
    network = build(networks.get("mobilenet_v2", resolution=32, in_channels=1))
    with pytest.raises(
        ArchitectureError, match=r"1 of another shape \(stages.stem.0.conv.weight\)"
    ):
        load(network, synthetic("torchvision_mobilenet_v2"), "file")
    found = load(network, synthetic("torchvision_mobilenet_v2"), "file", partial=True)
    assert found.mismatched == ("stages.stem.0.conv.weight",)
    assert len(found.loaded) == 313


def test_a_published_file_of_another_network_is_refused():
    message = (
        r"timm's blocks.0.0.se.conv_reduce \(8x32x1x1\) does not fit .*stage1.0.project.conv .*: "
        "the file is of another network; it has 131 layers and norms, this network 105"
    )
    with pytest.raises(ArchitectureError, match=message):
        load(
            build(networks.get("mobilenet_v2", resolution=32)),
            synthetic("timm_efficientnet_b0"),
            "file",
        )
    wider = build(networks.get("mobilenet_v2", resolution=32, width=1.4))
    with pytest.raises(
        ArchitectureError,
        match=r"timm's conv_stem \(32x3x3x3\) does not fit this network's .*48x3x3x3",
    ):
        load(wider, synthetic("timm_mobilenetv2_100"), "file")


def test_a_head_of_other_classes_stays_fresh_and_the_rest_is_loaded():
    source, target = build(small(4), seed=1), build(small(7), seed=2)
    fresh = target.state_dict()["stages.head.0.linear.weight"].clone()
    found = load(target, source.state_dict(), "file")
    assert torch.equal(target.state_dict()["stages.head.0.linear.weight"], fresh)
    assert torch.equal(target.stages.stem[0].conv.weight, source.stages.stem[0].conv.weight)
    assert not found.whole
    assert len(found.loaded) + 2 == len(source.state_dict())


def test_what_does_not_fit_is_refused_or_left_out():
    source, target = build(small(channels=16), seed=1), build(small(channels=24), seed=2)
    with pytest.raises(
        ArchitectureError,
        match=r"weights old.pt are not this network's: .* of another shape \(stages.stage1",
    ):
        load(target, source.state_dict(), "old.pt")
    found = load(target, source.state_dict(), "old.pt", partial=True)
    assert torch.equal(target.stages.stem[0].conv.weight, source.stages.stem[0].conv.weight)
    text = "\n".join(found.lines())
    assert f"{len(found.mismatched)} mismatched: stages.stage1.0.project" in text
    with pytest.raises(ArchitectureError, match=r"1 unknown \(a\)"):
        load(target, {"a": torch.zeros(1)}, "old.pt", partial=True)


def test_a_tensor_that_is_not_finite_is_never_taken():
    state = build(small()).state_dict()
    state["stages.stem.0.conv.weight"][0] = torch.nan
    with pytest.raises(ArchitectureError, match=r"1 not finite \(stages.stem.0.conv.weight"):
        load(build(small()), state, "bad.pt", partial=True)


def test_a_folder_means_its_weights(tmp_path):
    source, target = build(small(), seed=1), build(small(), seed=2)
    with pytest.raises(ArchitectureError, match=r"holds no weights.pt: a search keeps no weights"):
        load_weights(target, tmp_path)
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    assert load_weights(target, tmp_path).whole
    assert torch.equal(target.stages.stem[0].conv.weight, source.stages.stem[0].conv.weight)
