# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from nas.arch import Architecture, Stage
from nas.model import Network, build
from nas.model.mbconv import Block
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import FusedMBConv, MBConv
from nas.shape import Op, Shape
from nas.size import Rect, Size, sides
from nas.train import swift
from search_spaces import uninet

BODIES: dict[str, tuple[Op, ...]] = {
    "mbconv": (
        MBConv(expand=3, kernel=5),
        MBConv(stride=2, channels=16, se=0.25),
        MBConv(expand=1, skip="none"),
    ),
    "groups": (
        MBConv(expand=1, groups=2, pointwise=True),
        Conv(kernel=3, groups=4),
        Conv(stride=2),
    ),
    "pool": (
        MBConv(skip="pool", stride=2, channels=16),
        FusedMBConv(expand=2, se=0.5, skip="pool"),
    ),
    "acts": tuple(Conv(kernel=3, act=act) for act in ("", "relu6", "hswish", "swish", "gelu")),
}


def network(*body: Op, size: Size) -> Network:
    stages = (
        Stage("stem", (Conv(kernel=3, channels=8),)),
        Stage("body", body),
        Stage("head", (Classifier(classes=5),)),
    )
    return build(Architecture(Shape(3, size), stages))


def gradients(
    net: Network, images: torch.Tensor, swiftly: bool
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    net.zero_grad()
    logits = swift.forward(net, images) if swiftly else net(images)
    torch.nn.functional.cross_entropy(logits, torch.arange(len(images)) % 5).backward()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    return logits, state | {f"{name}.grad": p.grad for name, p in net.named_parameters()}


@pytest.mark.parametrize("size", [1, 5, 8, 12, Rect(5, 8), Rect(9, 1)])
@pytest.mark.parametrize("body", BODIES)
def test_logits_gradients_and_statistics_are_the_modules_own(body: str, size: Size) -> None:
    images = torch.randn(7, 3, *sides(size), generator=torch.Generator().manual_seed(0))
    plain, expected = gradients(
        network(*BODIES[body], size=size).double().train(), images.double(), swiftly=False
    )
    fast, found = gradients(network(*BODIES[body], size=size).train(), images, swiftly=True)
    torch.testing.assert_close(fast.double(), plain, rtol=1e-3, atol=1e-4)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(
            value.to(expected[name].dtype), expected[name], rtol=1e-2, atol=1e-3, msg=name
        )


def test_any_other_module_is_run_as_it_is() -> None:
    space = uninet.space(32, classes=5)
    net = build(space.decode([size - 1 for size in space.gene_sizes])).eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(swift.forward(net, images), net(images), rtol=1e-3, atol=1e-4)


def test_a_module_that_overrides_its_forward_is_not_mistaken_for_its_parent() -> None:
    class Doubled(Block):
        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(maps)

    net = network(MBConv(), size=4).eval()
    net.stages.body[0].__class__ = Doubled
    images = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(swift.forward(net, images), net(images), rtol=1e-3, atol=1e-4)
