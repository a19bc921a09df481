"""Whether weights and architecture strings mean the same to timm and torchvision as to us.

    pip install timm torchvision
    python experiments/foreign_weights.py

For each network that several of us have: their module with random weights and norms, its state dict
loaded here, and the largest difference of logits relative to the largest logit, in float64. Then
our architecture strings, decoded and built by timm.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
import torchvision.models as vision
from timm.layers import get_act_layer
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from torch import nn

from nas import networks
from nas.errors import ArchitectureError
from nas.model import build
from nas.model.weights import load
from nas.networks.archstring import arch_string

SIDE = 64
TIMM = {
    "mobilenetv2_100": "mobilenet_v2",
    "efficientnet_b0": "efficientnet_b0",
    "efficientnet_b1": "efficientnet_b1",
    "mnasnet_100": "mnasnet_b1",
    "semnasnet_100": "mnasnet_a1",
    "mnasnet_small": "mnasnet_small",
    "mobilenetv3_large_100": "mobilenet_v3_large",
    "mobilenetv3_small_100": "mobilenet_v3_small",
    "mobilenetv4_conv_small": "mobilenet_v4_conv_small",
    "mobilenetv4_conv_medium": "mobilenet_v4_conv_medium",
    "mobilenetv4_conv_large": "mobilenet_v4_conv_large",
    "mobilenetv4_hybrid_medium": "mobilenet_v4_hybrid_medium",
    "mobilenetv4_hybrid_medium_075": "mobilenet_v4_hybrid_medium_075",
    "mobilenetv4_hybrid_large": "mobilenet_v4_hybrid_large",
    "ghostnet_100": "ghostnet_100",
    "ghostnet_130": "ghostnet_130",
    "resnet50": "resnet50",
    "gcresnext26ts": "gcresnext26ts",
    "skresnet18": "skresnet18",
    "repvgg_a0": "repvgg_a0",
    "mobileone_s1": "mobileone_s1",
}
FIXED_SIZE = {
    "botnet26t_256": "botnet26t",
    "efficientformerv2_s0": "efficientformerv2_s0",
    "levit_128s": "levit_128s",
    "levit_conv_128s": "levit_128s",
}
"""Those that timm must be told the size of images for."""
TIMM |= {name: name for name in ("convnext_tiny", "edgenext_xx_small")}
TORCHVISION = {
    "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v3_large": "mobilenet_v3_large",
    "mobilenet_v3_small": "mobilenet_v3_small",
    "mnasnet1_0": "mnasnet_b1",
    "efficientnet_b0": "efficientnet_b0",
    "efficientnet_b3": "efficientnet_b3",
    "efficientnet_b5": "efficientnet_b5",
    "efficientnet_v2_s": "efficientnet_v2_s",
    "efficientnet_v2_m": "efficientnet_v2_m",
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "resnet101": "resnet101",
    "resnext50_32x4d": "resnext50_32x4d",
    "wide_resnet50_2": "wide_resnet50_2",
}


def compared(theirs: nn.Module, name: str) -> float:
    """Largest relative difference of logits."""
    theirs = theirs.double().eval()
    with torch.no_grad():
        for key, value in theirs.state_dict().items():
            if key.endswith("running_var"):
                value.uniform_(0.01, 2)
            elif key.endswith(("running_mean", "bias")):
                value.normal_(0, 0.1)
            elif key.endswith(
                ("gamma", "attention_biases")
            ):  # from 1e-5, no layer's difference would be seen
                value.normal_()
        ours = build(networks.get(name, resolution=SIDE)).double().eval()
        load(ours, theirs.state_dict(), name)
        images = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64)
        expected = theirs(images)
        return float((ours(images) - expected).abs().max() / expected.abs().max())


def from_string(name: str) -> nn.Module:
    """What timm builds from our string."""
    string = arch_string(networks.get(name, resolution=SIDE))
    arguments: dict[str, Any] = dict(string.arguments)
    act, gate = arguments.pop("se_act", None), arguments.pop("se_gate", None)
    squeeze: Callable[..., nn.Module] = SqueezeExcite
    if act is not None:
        rounding = round_channels if arguments.get("se_from_exp") else None
        squeeze = partial(
            SqueezeExcite,
            force_act_layer=get_act_layer(act),
            gate_layer=get_act_layer(gate),
            rd_round_fn=rounding,
        )
    arguments["act_layer"] = get_act_layer(arguments["act_layer"])
    kind = {"EfficientNet": EfficientNet, "MobileNetV3": MobileNetV3}[string.model]
    blocks = decode_arch_def([list(stage) for stage in string.arch_def])
    module: nn.Module = kind(blocks, se_layer=squeeze, round_chs_fn=round_channels, **arguments)
    return module


def main() -> None:
    torch.manual_seed(0)
    for theirs, ours in TIMM.items():
        print(
            f"timm {theirs:24} weights {compared(timm.create_model(theirs), ours):.1e}", flush=True
        )
    for theirs, ours in FIXED_SIZE.items():
        made = timm.create_model(theirs, img_size=SIDE)
        print(f"timm {theirs:24} weights {compared(made, ours):.1e}", flush=True)
    for theirs, ours in TORCHVISION.items():
        print(
            f"torchvision {theirs:17} weights "
            f"{compared(getattr(vision, theirs)(weights=None), ours):.1e}",
            flush=True,
        )
    for name in networks.names():
        try:
            print(f"{name:29} string {compared(from_string(name), name):.1e}", flush=True)
        except ArchitectureError as error:
            print(f"{name:29} {error}")


if __name__ == "__main__":
    main()
