"""A network as timm's architecture string, where it can be said in one.

timm (https://github.com/huggingface/pytorch-image-models, timm/models/_efficientnet_builder.py)
writes a block as a type and tokens: ``ir_r2_k3_s2_e6_c24_se0.25`` is two inverted residuals of
kernel 3, the first at stride 2, expansion 6, 24 channels. Types: ``ds`` depthwise and 1x1
convolution, ``ir`` inverted residual, ``er`` fused, ``cn`` convolution. Stem, head, default
activation and the kind of squeeze-and-excitation are not in the string: they are arguments of
timm's model, and stand beside it here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nas.arch import Architecture, Layer
from nas.errors import ArchitectureError
from nas.ops.conv import Classifier, Conv
from nas.ops.mbconv import FusedMBConv, MBConv
from nas.shape import Op, make_divisible

__all__ = ["ArchString", "arch_string"]

ACTS = {"relu": "re", "relu6": "r6", "hswish": "hs", "swish": "sw"}
ACT_LAYERS = {"relu": "relu", "relu6": "relu6", "hswish": "hard_swish", "swish": "swish"}
GATES = {"sigmoid": "sigmoid", "hsigmoid": "hard_sigmoid"}


@dataclass(frozen=True, kw_only=True)
class ArchString:
    """``arch_def``: block strings per stage. ``model``: timm's class, and its ``arguments`` by name."""

    arch_def: tuple[tuple[str, ...], ...]
    model: str
    arguments: dict[str, Any]

    def __str__(self) -> str:
        return " ".join(block for stage in self.arch_def for block in stage)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: what timm's ``decode_arch_def`` reads, and the model's arguments."""
        return {
            "arch_def": [list(stage) for stage in self.arch_def],
            "model": self.model,
            "arguments": self.arguments,
        }


def arch_string(network: Architecture) -> ArchString:
    """The network in timm's words. Raises `ArchitectureError`, naming the first layer that they cannot say."""
    stem, body, head = _parts(network)
    squeezed = [layer for _, layers in body for layer in layers if getattr(layer.op, "se", 0)]
    kinds = {
        (op.se_base, op.se_act or op.act, op.se_gate)
        for layer in squeezed
        if (op := _inverted(layer.op)) is not None
    }
    if len(kinds) > 1:
        raise _unsayable(squeezed[0], "timm has one kind of squeeze-and-excitation in a network")
    act = _act(stem)
    stages = tuple(
        tuple(_merged([_words(layer, act) for layer in group]))
        for _, layers in body
        for group in _groups(layers)
    )
    conv, classifier = head[0].op, head[1].op
    assert isinstance(conv, Conv)
    assert isinstance(classifier, Classifier)
    arguments: dict[str, Any] = {
        "num_classes": classifier.classes, "in_chans": network.input.channels,
        "stem_size": stem.out_shape.channels, "act_layer": ACT_LAYERS[act], "fix_stem": True,
    }  # fmt: skip
    for _, inner, gate in kinds:
        arguments |= {"se_act": ACT_LAYERS[inner], "se_gate": GATES[gate]}
    expanded = any(base == "expanded" for base, _, _ in kinds)
    if not classifier.hidden:
        if expanded:
            raise _unsayable(
                squeezed[0], "timm's EfficientNet squeezes to a share of a block's input"
            )
        arguments["num_features"] = head[0].out_shape.channels
        return ArchString(arch_def=stages, model="EfficientNet", arguments=arguments)
    arguments |= {"num_features": classifier.hidden, "head_bias": True, "se_from_exp": expanded}
    last = _words(head[0], act).with_repeats(1)
    return ArchString(arch_def=(*stages, (last,)), model="MobileNetV3", arguments=arguments)


Body = list[tuple[str, list[Layer]]]


def _parts(network: Architecture) -> tuple[Layer, Body, list[Layer]]:
    """Stem, stages, head."""
    body = [(stage.name, list(layers)) for stage, layers in network.layers_by_stage]
    flat = list(network.layers)
    stem, head = flat[0], flat[-2:]
    if not (
        isinstance(stem.op, Conv) and (stem.op.kernel, stem.op.stride, stem.op.groups) == (3, 2, 1)
    ):
        raise _unsayable(stem, "timm's stem is a 3x3 convolution of stride 2")
    plain = isinstance(head[0].op, Conv) and (
        head[0].op.kernel,
        head[0].op.stride,
        head[0].op.groups,
    ) == (1, 1, 1)
    if len(flat) < 4 or not plain or not isinstance(head[1].op, Classifier):
        raise _unsayable(head[0], "timm's head is a 1x1 convolution and a classifier")
    if head[1].op.hidden and head[1].op.act != _act(head[0]):
        raise _unsayable(head[1], "timm's hidden layer has the model's activation")
    inside = flat[1:-2]
    return (
        stem,
        [
            (name, own)
            for name, every in body
            if (own := [x for x in every if any(x is y for y in inside)])
        ],
        head,
    )


def _groups(layers: list[Layer]) -> Iterator[list[Layer]]:
    """Layers of a stage, cut before each stride: only the first block of timm's stacks may have one."""
    group: list[Layer] = []
    for layer in layers:
        if group and getattr(layer.op, "stride", 1) > 1:
            yield group
            group = []
        group.append(layer)
    yield group


@dataclass(frozen=True)
class _Words:
    """A block: its type, stride, and the other tokens."""

    kind: str
    stride: int
    rest: tuple[str, ...]

    def with_repeats(self, count: int) -> str:
        return "_".join((self.kind, f"r{count}", self.rest[0], f"s{self.stride}", *self.rest[1:]))


def _merged(words: list[_Words]) -> Iterator[str]:
    """Equal neighbours as one block with repeats; the stride is the first one's."""
    first, count = words[0], 1
    for word in words[1:]:
        if (word.kind, word.rest) == (first.kind, first.rest):
            count += 1
            continue
        yield first.with_repeats(count)
        first, count = word, 1
    yield first.with_repeats(count)


def _words(layer: Layer, default: str) -> _Words:
    op = layer.op
    if isinstance(op, Conv):
        if op.groups != 1:
            raise _unsayable(layer, "timm's cn has no groups")
        return _Words(
            "cn",
            op.stride,
            (f"k{op.kernel}", f"c{layer.out_shape.channels}", *_act_token(layer, default)),
        )
    inverted = _inverted(op)
    if inverted is None:
        raise _unsayable(layer, f"timm's strings have no word for '{op.key}'")
    if inverted.skip == "pool":
        raise _unsayable(layer, "timm's shortcut is the identity")
    fused = isinstance(op, FusedMBConv)
    if isinstance(op, MBConv) and op.groups != 1:
        raise _unsayable(layer, "timm does not group the 1x1 convolutions")
    plain = inverted.expand == 1 and not (isinstance(op, MBConv) and op.pointwise)
    if plain and fused and inverted.se:
        raise _unsayable(layer, "timm's cn has no squeeze-and-excitation")
    if not plain and inverted.middle(layer.shape) != make_divisible(
        layer.shape.channels * inverted.expand
    ):
        raise _unsayable(
            layer,
            f"timm rounds {layer.shape.channels} x {inverted.expand:g} channels to a multiple of 8",
        )
    kind = ("cn" if plain else "er") if fused else ("ds" if plain else "ir")
    expand = () if kind == "cn" else (f"e{inverted.expand:g}",)
    se = (f"se{inverted.se:g}",) if inverted.se else ()
    shortcut = ("skip",) if kind == "cn" and inverted.skip == "identity" else ()
    shortcut = (
        ("noskip",)
        if kind != "cn" and inverted.skip == "none" and layer.shape == layer.out_shape
        else shortcut
    )
    rest = (
        f"k{inverted.kernel}",
        *expand,
        f"c{layer.out_shape.channels}",
        *se,
        *_act_token(layer, default),
        *shortcut,
    )
    return _Words(kind, inverted.stride, rest)


def _inverted(op: Op) -> MBConv | FusedMBConv | None:
    return op if isinstance(op, MBConv | FusedMBConv) else None


def _act(layer: Layer) -> str:
    act = str(getattr(layer.op, "act", ""))
    if act not in ACTS:
        raise _unsayable(layer, f"timm's strings have no word for activation '{act}'")
    return act


def _act_token(layer: Layer, default: str) -> tuple[str, ...]:
    act = _act(layer)
    return () if act == default else (f"n{ACTS[act]}",)


def _unsayable(layer: Layer, why: str) -> ArchitectureError:
    return ArchitectureError(f"no timm string says {layer}: {why}. Export python or onnx instead")
