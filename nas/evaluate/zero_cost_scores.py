"""Scores of untrained networks: zero-cost proxies, and the trivial scores that they must beat.

Definitions as in Abdelfattah et al. 2021 (https://arxiv.org/abs/2101.08134) for ``grad_norm`` and
``jacov``; Tanaka et al. 2020 (https://arxiv.org/abs/2006.05467) for ``synflow``, in float64 and as
a logarithm, since it overflows float32. Both sum over the weights of convolutions and linear layers
alone, as the former's code does (https://github.com/SamsungLabs/zero-cost-nas, ``measures`` and
``get_layer_metric_array``). Mellor et al. 2021 (https://arxiv.org/abs/2006.04647) for
``naswot``; Lin et al. 2021 (https://arxiv.org/abs/2102.01063) for ``zen``. Higher is better for
each. ``params``, ``macs`` and ``depth`` are the trivial scores that any proxy must beat.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.arch import Architecture
from nas.model import Network

__all__ = ["IMAGES", "PROXIES", "TRIVIAL", "VERSION", "proxies", "trivial_scores"]

VERSION = 2
"""Of what the scores are. A run that was begun under another one cannot go on.

In version 1, which runs do not name, ``grad_norm`` and ``synflow`` counted norms and biases too.
"""

IMAGES = 32
"""Images that scores are taken on, but for those that need none."""
# Images and step are those of the authors' code; its 32 repeats would cost eight times as much.
ZEN_IMAGES, ZEN_REPEATS, ZEN_STEP = 16, 4, 1e-2
JACOBIAN_FLOOR = 1e-5
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish)
SMALLEST = 1e-30

Proxy = Callable[[Network, Tensor, Tensor], float]


def grad_norm(network: Network, images: Tensor, labels: Tensor) -> float:
    """The norm of the loss's gradient, summed over weights."""
    network.train().zero_grad()
    F.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
    return float(sum(gradient.norm() for _, gradient in _weights(network)))


def synflow(network: Network, images: Tensor, labels: Tensor) -> float:
    """Log of the sum of weight times gradient, all weights positive, for an input of ones."""
    # In doubles: flows of 7.6e31 were seen on FBNet's networks, and float32 ends at 3.4e38.
    positive = copy.deepcopy(network).cpu().double().eval()
    with torch.no_grad():
        for value in positive.parameters():
            value.abs_()
    positive(torch.ones(1, *images.shape[1:], dtype=torch.float64)).sum().backward()
    flows = [(weight * gradient).sum() for weight, gradient in _weights(positive)]
    return float(torch.stack(flows).sum().clamp(min=SMALLEST).log())


def _weights(network: Network) -> Iterator[tuple[Tensor, Tensor]]:
    """Weights of convolutions and linear layers, each with its gradient."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.Linear) and part.weight.grad is not None:
            yield part.weight.detach(), part.weight.grad


def jacov(network: Network, images: Tensor, labels: Tensor) -> float:
    """How little the images' input gradients are correlated."""
    network.train().zero_grad()
    inputs = images.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(inputs).sum(), inputs)
    rows = gradient.flatten(1).cpu().double()
    rows = rows - rows.mean(1, keepdim=True)
    rows = rows / rows.norm(dim=1, keepdim=True).clamp(min=SMALLEST)
    # Rounding takes the least eigenvalues of a correlation matrix below zero. The floor and the
    # sum below are the authors' -sum(log(v + 1e-5) + 1 / (v + 1e-5)).
    values = torch.linalg.eigvalsh(rows @ rows.T).clamp(min=0) + JACOBIAN_FLOOR
    return float(-(values.log() + 1 / values).sum())


def naswot(network: Network, images: Tensor, labels: Tensor) -> float:
    """log-determinant of how often the images' activations agree in sign.

    All activation functions are looked at.
    """
    codes: list[Tensor] = []

    def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        codes.append((inputs[0].flatten(1) > 0).cpu().double())

    activations = [part for part in network.modules() if isinstance(part, ACTIVATIONS)]
    hooks = [part.register_forward_pre_hook(look) for part in activations]
    with torch.no_grad():
        network.train()(images)
    for hook in hooks:
        hook.remove()
    agreement = torch.zeros(len(images), len(images), dtype=torch.float64)
    for code in codes:
        rows = code.reshape(len(images), -1)  # of squeeze-and-excitation too, which has no map
        # K of NASWOT: in how many places the codes of two images agree, ones and zeros alike.
        agreement += rows @ rows.T + (1 - rows) @ (1 - rows).T
    # Two images with one code would make the matrix singular.
    identity = torch.eye(len(images), dtype=torch.float64)
    return float(torch.linalg.slogdet(agreement + identity).logabsdet)


def zen(network: Network, images: Tensor, labels: Tensor) -> float:
    """Log of how far a small change of a random input moves the last map.

    The batch norms' scales are added back.
    """
    generator = torch.Generator().manual_seed(0)
    # Without the classifier: the score is of the last map.
    body = nn.Sequential(*list(_redrawn(network, generator).stages)[:-1])
    scales: list[Tensor] = []

    def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        scales.append(inputs[0].var((0, 2, 3)).mean().sqrt())

    norms = [part for part in body.modules() if isinstance(part, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    totals = []
    with torch.no_grad():
        for _ in range(ZEN_REPEATS):
            scales.clear()
            first = torch.randn(ZEN_IMAGES, *images.shape[1:], generator=generator)
            moved = first + ZEN_STEP * torch.randn(first.shape, generator=generator)
            before = body(first)
            kept = torch.stack(scales).clamp(min=SMALLEST).log().sum()
            distance = (before - body(moved)).abs().flatten(1).sum(1).mean()
            totals.append(distance.clamp(min=SMALLEST).log() + kept)
    for hook in hooks:
        hook.remove()
    return float(torch.stack(totals).mean())


def _redrawn(network: Network, generator: torch.Generator) -> Network:
    """A copy, training, on the CPU, whose convolutions and linear layers have normal weights."""
    copied = copy.deepcopy(network).cpu().train()
    with torch.no_grad():
        for part in copied.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                part.weight.normal_(generator=generator)
    return copied


PROXIES: Mapping[str, Proxy] = {
    "grad_norm": grad_norm,
    "jacov": jacov,
    "naswot": naswot,
    "synflow": synflow,
    "zen": zen,
}
TRIVIAL = ("depth", "macs", "params")


def trivial_scores(architecture: Architecture) -> dict[str, int]:
    """What any proxy must beat, by the names in `TRIVIAL`; depth counts kernels with weights."""
    weighted = [k for k in architecture.kernels() if k.kind in ("conv", "dwconv", "linear")]
    return {"macs": architecture.macs, "params": architecture.params, "depth": len(weighted)}


def proxies(
    network: Network, images: Tensor, labels: Tensor, names: Iterable[str] = PROXIES
) -> dict[str, float]:
    """Proxies of an untrained network by name: all of `PROXIES`, or ``names``.

    images: (n, c, s, s), n at least 2; labels: (n,).
    """
    network = copy.deepcopy(network)
    for part in network.modules():
        # Blocks that start as their shortcut would hide all they hold.
        if isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)
    return {name: PROXIES[name](copy.deepcopy(network), images, labels) for name in names}
