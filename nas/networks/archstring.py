"""A network as timm's architecture string, where it can be said in one.

timm (https://github.com/huggingface/pytorch-image-models, timm/models/_efficientnet_builder.py)
writes a block as a type and tokens: ``ir_r2_k3_s2_e6_c24_se0.25`` is two inverted residuals of
kernel 3, the first at stride 2, expansion 6, 24 channels. Types: ``ds`` depthwise and 1x1
convolution, ``ir`` inverted residual, ``er`` fused, ``cn`` convolution, ``uir`` universal inverted
bottleneck, ``mqa`` its attention. Stem, head, default
activation and the kind of squeeze-and-excitation are not in the string: they are arguments of
timm's model, and stand beside it here.
"""

from dataclasses import dataclass

from nas.arch import Architecture, Layer
from nas.errors import ArchitectureError
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import FusedMBConv, MBConv
from nas.ops.mqa import MobileMQA
from nas.ops.uib import UIB
from nas.shape import Op, make_divisible

__all__ = ["ArchString", "arch_string"]

ACTS = {"relu": "re", "relu6": "r6", "hswish": "hs", "swish": "sw"}
ACT_LAYERS = {
    "relu": "relu",
    "relu6": "relu6",
    "hswish": "hard_swish",
    "swish": "swish",
    "gelu": "gelu",
}
"""Of a whole model: a block has no word for GELU."""
LAYER_SCALE = 1e-5
"""Where timm's layer scales of MobileNetV4 start."""
GATES = {"sigmoid": "sigmoid", "hsigmoid": "hard_sigmoid"}


@dataclass(frozen=True, kw_only=True)
class ArchString:
    """A network as timm builds it."""

    arch_def: tuple[tuple[str, ...], ...]
    """Block strings per stage."""
    model: str
    """The class of timm's."""
    arguments: dict[str, str | float | bool]
    """The class's arguments by name."""

    def __str__(self) -> str:
        return " ".join(block for stage in self.arch_def for block in stage)

    def to_json(self) -> dict[str, object]:
        """Plain JSON: what timm's ``decode_arch_def`` reads, and the model's arguments."""
        return {
            "arch_def": [list(stage) for stage in self.arch_def],
            "model": self.model,
            "arguments": self.arguments,
        }


def arch_string(network: Architecture) -> ArchString:
    """The network in timm's words.

    Raises `ArchitectureError`, naming the first layer that they cannot say.
    """
    parts = _parts(network)
    act = _act(parts.stem)
    squeezing = _squeezing(parts)
    scaled = _scaled(parts)
    stages = [_stage_strings(layers, act) for layers in parts.stages]
    arguments: dict[str, str | float | bool] = {
        "num_classes": parts.classifier.classes,
        "in_chans": network.input.channels,
        "stem_size": parts.stem.out_shape.channels,
        "act_layer": ACT_LAYERS[act],
        "fix_stem": True,
    }
    if squeezing is not None:
        arguments["se_act"] = ACT_LAYERS[squeezing.act]
        arguments["se_gate"] = GATES[squeezing.gate]
    expanded = squeezing is not None and squeezing.base == "expanded"
    if parts.classifier.hidden:
        arguments |= {
            "num_features": parts.classifier.hidden,
            "head_bias": parts.classifier.hidden_bias and not parts.classifier.hidden_norm,
            "se_from_exp": expanded,
        }
        if parts.classifier.hidden_norm:
            arguments["head_norm"] = True
        if scaled is not None:
            arguments["layer_scale_init_value"] = LAYER_SCALE
        stages.append((_words(parts.last, act).with_repeats(1),))
        return ArchString(arch_def=tuple(stages), model="MobileNetV3", arguments=arguments)
    if squeezing is not None and expanded:
        why = "timm's EfficientNet squeezes to a share of a block's input"
        raise _unsayable(squeezing.first, why)
    if scaled is not None:
        raise _unsayable(scaled, "timm's EfficientNet has no layer scale")
    arguments["num_features"] = parts.last.out_shape.channels
    return ArchString(arch_def=tuple(stages), model="EfficientNet", arguments=arguments)


# -- stem, stages, head ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Parts:
    stem: Layer
    stages: list[list[Layer]]
    last: Layer
    """The 1x1 convolution before the classifier."""
    classifier: Classifier


def _parts(network: Architecture) -> _Parts:
    """The network cut where timm's classes cut it."""
    stem, *_, last, end = network.layers
    if not _is_plain_conv(stem.op, kernel=3, stride=2):
        raise _unsayable(stem, "timm's stem is a 3x3 convolution of stride 2")
    few = len(network.layers) < 4
    classifier = end.op
    if few or not _is_plain_conv(last.op, kernel=1, stride=1):
        raise _unsayable(last, "timm's head is a 1x1 convolution and a classifier")
    if not isinstance(classifier, Classifier):
        raise _unsayable(last, "timm's head is a 1x1 convolution and a classifier")
    if classifier.hidden and classifier.act != _act(last):
        raise _unsayable(end, "timm's hidden layer has the model's activation")
    outside = {id(stem), id(last), id(end)}
    stages = []
    for _, layers in network.layers_by_stage:
        inside = [layer for layer in layers if id(layer) not in outside]
        if inside:
            stages.append(inside)
    return _Parts(stem, stages, last, classifier)


def _is_plain_conv(op: Op, *, kernel: int, stride: int) -> bool:
    return isinstance(op, Conv) and (op.kernel, op.stride, op.groups) == (kernel, stride, 1)


@dataclass(frozen=True)
class _Squeezing:
    """The one kind of squeeze-and-excitation in a network."""

    first: Layer
    base: str
    act: str
    gate: str


def _squeezing(parts: _Parts) -> _Squeezing | None:
    """What timm's class takes as arguments; None if no layer squeezes."""
    kinds: dict[tuple[str, str, str], Layer] = {}
    for stage in parts.stages:
        for layer in stage:
            op = layer.op
            if isinstance(op, MBConv | FusedMBConv) and op.se:
                kinds.setdefault((op.se_base, op.se_act or op.act, op.se_gate), layer)
    if not kinds:
        return None
    (base, act, gate), first = next(iter(kinds.items()))
    if len(kinds) > 1:
        raise _unsayable(first, "timm has one kind of squeeze-and-excitation in a network")
    return _Squeezing(first, base, act, gate)


def _scaled(parts: _Parts) -> Layer | None:
    """The first layer with a layer scale; None if none has one."""
    first: dict[bool, Layer] = {}
    for stage in parts.stages:
        for layer in stage:
            if isinstance(layer.op, UIB | MobileMQA):
                scales = isinstance(layer.op, MobileMQA) or layer.op.scale
                first.setdefault(scales, layer)
    if len(first) > 1:
        raise _unsayable(first[False], "timm's blocks all have a layer scale, or none has one")
    return first.get(True)


# -- blocks ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Words:
    """A block: its type, stride, and the other tokens."""

    kind: str
    stride: int
    rest: tuple[str, ...]

    def with_repeats(self, count: int) -> str:
        return "_".join((self.kind, f"r{count}", self.rest[0], f"s{self.stride}", *self.rest[1:]))


def _stage_strings(layers: list[Layer], act: str) -> tuple[str, ...]:
    """A stage's blocks, equal neighbours as one with repeats; the stride is the first one's.

    A stack begins at each stride: only the first block of timm's stacks may have one.
    """
    strings = []
    first, count = _words(layers[0], act), 1
    for layer in layers[1:]:
        words = _words(layer, act)
        strided = getattr(layer.op, "stride", 1) > 1
        if not strided and (words.kind, words.rest) == (first.kind, first.rest):
            count += 1
            continue
        strings.append(first.with_repeats(count))
        first, count = words, 1
    strings.append(first.with_repeats(count))
    return tuple(strings)


def _words(layer: Layer, default_act: str) -> _Words:
    """The block of one layer. Raises `ArchitectureError` if timm has no word for it."""
    op = layer.op
    if isinstance(op, Conv):
        return _conv_words(layer, op, default_act)
    if isinstance(op, MBConv | FusedMBConv):
        return _inverted_words(layer, op, default_act)
    if isinstance(op, UIB):
        return _universal_words(layer, op, default_act)
    if isinstance(op, MobileMQA):
        rest = [f"k{op.kernel}", f"h{op.heads}", f"d{op.key_channels}"]
        if op.kv_stride > 1:
            rest.append(f"v{op.kv_stride}")
        return _Words("mqa", 1, (*rest, f"c{layer.out_shape.channels}"))
    raise _unsayable(layer, f"timm's strings have no word for '{op.key}'")


def _conv_words(layer: Layer, op: Conv, default_act: str) -> _Words:
    if op.groups != 1:
        raise _unsayable(layer, "timm's cn has no groups")
    rest = (f"k{op.kernel}", f"c{layer.out_shape.channels}", *_act_token(layer, default_act))
    return _Words("cn", op.stride, rest)


def _inverted_words(layer: Layer, op: MBConv | FusedMBConv, default_act: str) -> _Words:
    kind = _kind(layer, op)
    rest = [f"k{op.kernel}"]
    if kind != "cn":
        rest.append(f"e{op.expand:g}")
    rest.append(f"c{layer.out_shape.channels}")
    if op.se:
        rest.append(f"se{op.se:g}")
    rest += _act_token(layer, default_act)
    # timm's cn has no shortcut unless told; its other blocks have one wherever shapes allow it.
    if kind == "cn" and op.skip == "identity":
        rest.append("skip")
    if kind != "cn" and op.skip == "none" and layer.shape == layer.out_shape:
        rest.append("noskip")
    return _Words(kind, op.stride, tuple(rest))


def _universal_words(layer: Layer, op: UIB, default_act: str) -> _Words:
    if op.skip == "pool":
        raise _unsayable(layer, "timm's shortcut is the identity")
    rest = [f"a{op.first}", f"k{op.kernel}", f"e{op.expand:g}", f"c{layer.out_shape.channels}"]
    rest += _act_token(layer, default_act)
    if op.skip == "none" and layer.shape == layer.out_shape:
        rest.append("noskip")
    return _Words("uir", op.stride, tuple(rest))


def _kind(layer: Layer, op: MBConv | FusedMBConv) -> str:
    """The block's type in timm, checked to mean what the layer does."""
    if op.skip == "pool":
        raise _unsayable(layer, "timm's shortcut is the identity")
    if isinstance(op, MBConv) and op.groups != 1:
        raise _unsayable(layer, "timm does not group the 1x1 convolutions")
    pointwise = isinstance(op, MBConv) and op.pointwise
    if op.expand == 1 and not pointwise:
        if isinstance(op, MBConv):
            return "ds"
        if op.se:
            raise _unsayable(layer, "timm's cn has no squeeze-and-excitation")
        return "cn"
    channels = layer.shape.channels
    if op.middle(layer.shape) != make_divisible(channels * op.expand):
        why = f"timm rounds {channels} x {op.expand:g} channels to a multiple of 8"
        raise _unsayable(layer, why)
    return "ir" if isinstance(op, MBConv) else "er"


def _act(layer: Layer) -> str:
    act = str(getattr(layer.op, "act", ""))
    if act not in ACT_LAYERS:
        raise _unsayable(layer, f"timm's strings have no word for activation '{act}'")
    return act


def _act_token(layer: Layer, default_act: str) -> list[str]:
    act = _act(layer)
    if act == default_act:
        return []
    if act not in ACTS:
        raise _unsayable(layer, f"timm's strings have no word for activation '{act}'")
    return [f"n{ACTS[act]}"]


def _unsayable(layer: Layer, why: str) -> ArchitectureError:
    return ArchitectureError(f"no timm string says {layer}: {why}. Export python or onnx instead")
