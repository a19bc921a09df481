"""An architecture as one torch module."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from nas.arch import Architecture
from nas.errors import ArchitectureError
from nas.model.dispatch import module

__all__ = ["Network", "build", "initialise"]


class Network(nn.Module):
    """Stages of layers by name: ``stages.<stage>.<position>.<part>.<conv|norm|...>.<weight|...>``.

    So ``stages.stage2.0.expand.conv.weight`` is the kernel of the first 1x1 convolution of the
    first layer of ``stage2``. Parts: of an MBConv ``expand``, ``depthwise``, ``se``, ``project``,
    ``shortcut``; of a FusedMBConv ``fused``, ``se``, ``project``, ``shortcut``; of a UIB ``first``,
    ``expand``, ``depthwise``, ``project``, ``scale``, ``shortcut``; of a GhostBottleneck
    ``expand``, ``depthwise``, ``se``, ``project``, ``shortcut``; of a BasicBlock ``first``,
    ``second``, of a Bottleneck ``reduce``, ``spatial``, ``expand``, each with ``shortcut`` and with
    ``se``, ``eca`` or ``gc`` for a gate; of a SelectiveBlock ``first``, ``second``, ``shortcut``;
    of a MobileMQA ``norm``, ``attention``, ``scale``, ``shortcut``; of a RepConv ``identity``,
    ``branches``, ``pointwise``, or ``conv`` where these are folded; of a Classifier ``hidden``,
    ``linear``; a Conv and a Norm are their own part. Of EfficientFormerV2's ConvFFN ``expand``,
    ``depthwise``, ``project``, ``scale``; of its attention ``attend``, ``scale``; of its
    AttentionDown ``conv``, ``attend``. Of a ConvNeXtBlock ``scale``, ``depthwise``, ``mlp``, of an
    SDTA ``convs``, ``places``, ``norm``, ``attention``, ``mlp``, of a Patchify ``norm``, ``conv``.
    Of LeViT's attention ``attend``, ``project``, of its LevitDown ``bias``, ``kv``, ``query``,
    ``project``; of both kinds of attention in a bottleneck ``reduce``, ``attend``, ``expand``,
    ``shortcut``. Of UniNet's ConvBlock ``norm``, ``expand``, ``depthwise`` or ``dense``, ``se``,
    ``project``, ``shortcut``; of its token blocks ``position``, ``mixer``, ``mlp``; of its
    down-sampling modules ``depthwise``, ``norm``, ``project``, ``shortcut``, or ``query``,
    ``query_norm``, ``kv_norm``, ``kv``, ``project``, ``shortcut``.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        stages: OrderedDict[str, nn.Module] = OrderedDict()
        for stage, layers in architecture.layers_by_stage:
            if stage.name in stages or not _can_name_a_module(stage.name):
                raise ArchitectureError(
                    f"stage '{stage.name[:40]}' cannot name a torch module: names are unique, "
                    "without dots, and not a method of torch modules"
                )
            modules = [module(layer.op, layer.shape) for layer in layers]
            stages[stage.name] = nn.Sequential(*modules)
        self.stages = nn.Sequential(stages)

    def forward(self, images: Tensor) -> Tensor:
        """images: (n, *architecture.input). Out: logits (n, classes) after a classifier."""
        out: Tensor = self.stages(images)
        return out


def _can_name_a_module(name: str) -> bool:
    return bool(name) and "." not in name and not hasattr(nn.Sequential, name)


def build(architecture: Architecture, *, dropout: float = 0.0, seed: int = 0) -> Network:
    """The architecture as a torch module, initialised from the seed alone.

    It is on the current default device. ``dropout`` (0 to below 1) is the classifier's. The global
    generator is left as it was. Raises `ArchitectureError` for an op without a torch module.
    """
    if not 0 <= dropout < 1:
        raise ArchitectureError(f"dropout must be at least 0 and below 1, not {dropout}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = Network(architecture)
        initialise(network)
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.p = dropout
    return network


def initialise(network: nn.Module) -> None:
    """Draw convolutions and linear layers from the global generator, as EfficientNet does.

    Convolutions: normal, He et al. 2015 (https://arxiv.org/abs/1502.01852), fan-out of the whole
    kernel over the groups; linear: normal with deviation 0.01, bias 0; norms: 1 and 0. A module
    with a method ``initialise`` then draws its own part anew.
    """
    for part in network.modules():
        _draw(part)
    # Only then: a block's own start (a norm at 0, other deviations) replaces what was drawn above.
    for part in network.modules():
        own = getattr(part, "initialise", None)
        if callable(own):
            own()


def _draw(part: nn.Module) -> None:
    """The start of one module, its children aside."""
    if isinstance(part, nn.Conv2d):
        height, width = part.kernel_size
        # Over the groups: a depthwise filter feeds one channel, and would start far too small.
        fan_out = height * width * part.out_channels // part.groups
        nn.init.normal_(part.weight, 0.0, (2.0 / fan_out) ** 0.5)
    elif isinstance(part, nn.Linear):
        nn.init.normal_(part.weight, 0.0, 0.01)
    elif isinstance(part, nn.BatchNorm2d):
        nn.init.ones_(part.weight)
        nn.init.zeros_(part.bias)
    if isinstance(part, nn.Conv2d | nn.Linear) and part.bias is not None:
        nn.init.zeros_(part.bias)
