# ruff: noqa: E402
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from nas import networks
from nas.arch import Architecture, Stage
from nas.errors import ArchitectureError
from nas.model import build, module
from nas.model.unified import Attention
from nas.ops.conv import Classifier
from nas.ops.down import GlobalDown, LocalDown, LocalGlobalDown
from nas.ops.unified import AttentionBlock, ConvBlock, TokenMLPBlock
from nas.shape import Shape
from nas.testing.ops import check_op
from search_spaces import uninet

OPS = (
    AttentionBlock(expand=2),
    AttentionBlock(expand=2, window=4),
    ConvBlock(depthwise=False, expand=2),
    ConvBlock(expand=3, kernel=5),
    ConvBlock(expand=1, channels=24),
    TokenMLPBlock(expand=2, tokens=9),
)
DOWNS = tuple(
    kind(channels=channels, stride=stride)
    for kind in (LocalDown, LocalGlobalDown, GlobalDown)
    for channels, stride in ((24, 2), (40, 1))
)


@pytest.mark.parametrize("size", [1, 3, 7, 8, 10])
@pytest.mark.parametrize("op", OPS + DOWNS, ids=str)
def test_windows_and_strides_that_do_not_divide(op, size):
    check_op(op, Shape(16, size), module)
    images = torch.randn(2, 16, size, size, generator=torch.Generator().manual_seed(0))
    assert module(op, Shape(16, size)).eval()(images).isfinite().all()


@pytest.mark.parametrize("first", OPS, ids=str)
@pytest.mark.parametrize("down", DOWNS[::2], ids=str)
@pytest.mark.parametrize("second", OPS, ids=str)
def test_every_mix_of_neighbours_trains(first, down, second):
    ops = (first, down, second, Classifier(classes=3))
    network = build(Architecture(Shape(8, 5), (Stage("body", ops),)))
    network(torch.randn(2, 8, 5, 5, generator=torch.Generator().manual_seed(0))).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_a_local_window_is_attention_among_its_own_real_tokens():
    torch.manual_seed(0)
    local = Attention(8, size=(10, 10), window=(4, 4), count=2)
    tokens = torch.randn(3, 100, 8)
    with torch.no_grad():
        maps = local(tokens).reshape(3, 10, 10, 8)
        for rows in (slice(0, 4), slice(4, 8), slice(8, 10)):
            for columns in (slice(0, 4), slice(4, 8), slice(8, 10)):
                window = tokens.reshape(3, 10, 10, 8)[:, rows, columns]
                height, width = window.shape[1:3]
                qkv = (
                    local.qkv(window.flatten(1, 2))
                    .reshape(3, height * width, 3, 2, 4)
                    .permute(2, 0, 3, 1, 4)
                )
                mixed = (
                    torch.nn.functional.scaled_dot_product_attention(*qkv)
                    .transpose(1, 2)
                    .flatten(2)
                )
                expected = local.project(mixed).reshape(3, height, width, 8)
                torch.testing.assert_close(maps[:, rows, columns], expected, rtol=1e-4, atol=1e-5)


def test_global_down_sampling_convolves_the_token_sequence():
    shape = Shape(6, 8)
    query = module(GlobalDown(channels=12), shape).query
    maps = torch.randn(2, 6, 8, 8, generator=torch.Generator().manual_seed(0))
    weight = query.linear.weight.reshape(12, 4, 6).transpose(1, 2)
    expected = torch.nn.functional.conv1d(maps.flatten(2), weight, query.linear.bias, stride=4)
    torch.testing.assert_close(query(maps), expected.reshape(2, 12, 4, 4), rtol=1e-4, atol=1e-5)


def test_weights_that_depend_on_the_resolution_are_refused_in_one_line():
    small, large = module(TokenMLPBlock(), Shape(8, 4)), module(TokenMLPBlock(), Shape(8, 7))
    with pytest.raises(
        ArchitectureError, match=r"^token mixing over 49 positions cannot take weights for 16: .*$"
    ):
        large.load_state_dict(small.state_dict())
    with pytest.raises(ArchitectureError, match="was built for maps of 8x4x4, not"):
        small(torch.zeros(1, 8, 7, 7))


def test_weights_of_attention_and_down_sampling_fit_every_resolution():
    small, large = (
        networks.get("uninet_b0", resolution=64),
        networks.get("uninet_b0", resolution=96),
    )
    build(large).load_state_dict(build(small).state_dict())


def test_released_networks_have_the_declared_parameters_in_torch():
    network = networks.get("uninet_b0", classes=10)
    assert sum(p.numel() for p in build(network).parameters()) == network.params


def test_random_networks_run():
    space = uninet.space(32, classes=4)
    rng = np.random.default_rng(0)
    for _ in range(5):
        network = space.decode([rng.integers(size) for size in space.gene_sizes])
        made = build(network).eval()
        assert sum(p.numel() for p in made.parameters()) == network.params
        assert made(torch.zeros(1, 3, 32, 32)).shape == (1, 4)
