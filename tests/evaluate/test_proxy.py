# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from nas import networks
from nas.arch import Architecture, Stage
from nas.data import load
from nas.errors import UsageError
from nas.evaluate import PRESETS, Proxy, preset, slim
from nas.model import build
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import MBConv
from nas.shape import Shape
from nas.size import parse_size
from search_spaces import fbnet, fused_mbconv, mnasnet, uninet


def test_parse_changes_the_base() -> None:
    base = Proxy(lr=0.3)
    found = Proxy.parse("resolution=24, width=0.5,epochs=3.5", base)
    assert (found.resolution, found.width, found.epochs, found.lr) == (24, 0.5, 3.5, 0.3)
    assert Proxy.parse("", base) == base
    assert Proxy.parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resolutoin=8", "no proxy setting named 'resolutoin'. Did you mean 'resolution'"),
        ("width", "proxy settings are name=value, each once, not 'width'"),
        ("width=1,width=2", "each once, not 'width=2'"),
        ("resolution=1.5", "proxy resolution must be a size such as 224, or 240x320 .*, not '1.5'"),
        ("width=wide", "proxy width must be a number, not 'wide'"),
        ("width=nan", "proxy width must be 0.01 to 4, not nan"),
        ("epochs=0", "proxy epochs must be 0.01 to 10000, not 0"),
        ("batch_size=1", "proxy batch_size must be 2 to 65536, not 1"),
    ],
)
def test_a_proxy_that_breaks_a_rule(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Proxy.parse(text)


def test_steps_are_bounded_by_epochs_and_by_images() -> None:
    proxy = Proxy(epochs=4, images=1000, batch_size=50)
    assert proxy.schedule(100).steps == 8
    assert proxy.schedule(10**6).steps == 20


def test_the_preset_follows_the_size_of_the_images() -> None:
    name, proxy = preset(load("digits"))
    assert (name, proxy.resolution) == ("small", 8)


@pytest.mark.parametrize("module", [fbnet, fused_mbconv, mnasnet], ids=lambda m: m.__name__)
@pytest.mark.parametrize("resolution", [8, 16, 30])
def test_slim_networks_keep_their_ops_and_run(module, resolution: int) -> None:
    space = module.space(224, classes=1000)
    full = space.decode([size // 2 for size in space.gene_sizes])
    small = slim(full, Proxy(resolution=resolution), in_channels=1, classes=5)
    assert [type(layer.op) for layer in small.layers] == [type(layer.op) for layer in full.layers]
    assert small.input == Shape(1, resolution)
    assert small.macs < full.macs / 20
    assert [s.name for s in small.stages] == [s.name for s in full.stages]
    assert build(small).eval()(torch.zeros(2, 1, resolution, resolution)).shape == (2, 5)


def strides(architecture: Architecture) -> list[int]:
    return [layer.op.stride for layer in architecture.layers if getattr(layer.op, "stride", 1) > 1]


@pytest.mark.parametrize(
    ("resolution", "final", "kept"), [(8, 1, 3), (8, 2, 2), (16, 1, 4), (16, 4, 2), (64, 1, 5)]
)
def test_late_strides_are_dropped_first(resolution: int, final: int, kept: int) -> None:
    full = fbnet.space(224).decode([0] * 22)
    small = slim(full, Proxy(resolution=resolution, final=final), in_channels=3, classes=10)
    assert len(strides(small)) == kept
    assert small.layers[-1].shape.size >= final
    at_full = [i for i, layer in enumerate(full.layers) if getattr(layer.op, "stride", 1) > 1]
    at_small = [i for i, layer in enumerate(small.layers) if getattr(layer.op, "stride", 1) > 1]
    assert at_small == at_full[:kept]


def test_a_quarter_of_the_width_keeps_all_channels_apart() -> None:
    full = mnasnet.space(224).decode([0] * 42)
    wide = [layer.op.channels for layer in full.layers if hasattr(layer.op, "channels")]
    small = slim(full, Proxy(width=0.25), 3, 10)
    thin = [layer.op.channels for layer in small.layers if hasattr(layer.op, "channels")]
    assert [4 * channels for channels in thin] == wide


def test_local_attention_stays_local_on_a_slimmed_map() -> None:
    space = uninet.space(224)
    genes = [2] * len(space.gene_sizes)
    genes[space.gene_names.index("stage3.op")] = list(uninet.OPS).index("local_attention")
    full, small = space.decode(genes), slim(space.decode(genes), PRESETS["large"], 3, 10)
    windows = {
        (layer.op.window, thin.op.window, thin.shape.size)
        for layer, thin in zip(full.layers, small.layers, strict=True)
        if getattr(layer.op, "window", 0)
    }
    assert windows == {(7, 2, 4)}


def test_no_residual_appears_where_the_full_network_has_none() -> None:
    ops = (
        Conv(channels=16),
        MBConv(channels=24),
        MBConv(channels=24),
        MBConv(channels=24, stride=2, skip="pool"),
    )
    full = Architecture(Shape(3, 64), (Stage("body", ops), Stage("head", (Classifier(),))))
    small = slim(full, Proxy(resolution=8, width=0.25), 3, 10)
    assert [layer.op.has_residual(layer.shape) for layer in small.layers[1:4]] == [
        False,
        True,
        True,
    ]


def test_heads_get_narrower_with_the_maps_they_attend_to():
    network = networks.get("efficientformerv2_s0")
    slimmed = slim(network, PRESETS["small"], 1, 10)
    widths = {(op.key_channels, op.value_channels) for op in attentions(slimmed)}
    assert widths == {(8, 32), (4, 16)}


def attentions(network):
    return [layer.op for layer in network.layers if hasattr(layer.op, "value_channels")]


@pytest.mark.parametrize(
    ("changes", "input_size", "size"),
    [
        ("resolution=32", "240x320", "28x37"),
        ("resolution=24x32", "240x320", "24x32"),
        ("resolution=32,input=240x320", "120x160", "14x18"),
        ("resolution=24x32,input=240x320", "240x320", "24x32"),
        ("resolution=16,input=160", "120x160", "12x16"),
        ("resolution=16", "1x1024", "1x512"),
        ("resolution=16", "224", "16"),
        ("resolution=16,input=224", "192", "14"),
    ],
)
def test_short_trainings_keep_the_proportions(changes, input_size, size):
    assert Proxy.parse(changes).size(parse_size(input_size)) == parse_size(size)


def test_a_proxy_with_a_rectangle_is_described_as_it_is_written():
    proxy = Proxy.parse("resolution=24x32")
    assert proxy.described()["resolution"] == "24x32"
    assert Proxy.parse(str(proxy)) == proxy
