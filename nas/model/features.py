"""A network without its head as a torch module that gives maps of several strides."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from nas.backbone import Backbone
from nas.model.network import Network

__all__ = ["Features", "features_of"]


class Features(nn.Module):
    """``stages`` of layers in a row, which gives the maps after the layers named by ``taps``.

    A tap is such as ``stage2.1``. ``channels`` and ``strides`` are the maps', finest first, where
    they are known.
    """

    def __init__(
        self,
        stages: nn.Sequential,
        taps: Sequence[str],
        *,
        channels: Sequence[int] = (),
        strides: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.stages = stages
        self.taps = tuple(taps)
        self.channels, self.strides = tuple(channels), tuple(strides)

    def forward(self, images: Tensor) -> list[Tensor]:
        """images: (n, channels, height, width). One map per tap, finest first.

        A map is (n, c, height / stride, width / stride), rounded up.
        """
        out, maps = images, []
        for name, stage in self.stages.named_children():
            for position, layer in stage.named_children():
                out = layer(out)
                if f"{name}.{position}" in self.taps:
                    maps.append(out)
        return maps


def features_of(network: Network, backbone: Backbone) -> Features:
    """The network's own layers, shared with it, under the names they have there."""
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    for stage in backbone.architecture.stages:
        layers = list(network.stages.get_submodule(stage.name).children())
        stages[stage.name] = nn.Sequential(*layers[: len(stage.ops)])
    return Features(
        nn.Sequential(stages),
        [tap.name for tap in backbone.taps],
        channels=[tap.channels for tap in backbone.taps],
        strides=[tap.stride for tap in backbone.taps],
    )
