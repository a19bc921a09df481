"""A network as one readable Python file that needs torch alone."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from nas.arch import Architecture, Layer, Stage
from nas.backbone import Backbone, takes_any_size
from nas.data.preprocess import as_tensor, prepared, resized
from nas.errors import ArchitectureError
from nas.export.source import excerpt
from nas.metadata import UNKNOWN, Metadata
from nas.model import Recipe, initialise, recipe
from nas.model.features import Features
from nas.model.segmenter import Segmenter, body, segmenter
from nas.ops.conv import Classifier
from nas.size import sides

__all__ = ["features_source", "masks_source", "python_source"]

WIDTH = 120
"""Of a file's lines. It is read, not worked on: a call on one line shows more of the network."""

FILE = '''"""{about}
"""

{imports}

__all__ = [{public}]

{constants}{definitions}


{preprocess}def {function}() -> {kind}:
    """The {part} with fresh weights; ``load_state_dict`` takes those that were trained."""
    stages = {{
{stages}
    }}
    named = OrderedDict((name, nn.Sequential(*layers)) for name, layers in stages.items())
    made = {call}
    initialise(made)
    return made
'''


@dataclass(frozen=True, kw_only=True)
class _Function:
    """The function of a file that makes the network."""

    name: str = "network"
    kind: str
    """What it returns."""
    part: str = "whole network"
    """What that is of the network, in words."""
    call: str
    """Makes it of ``named``, the stages."""


def python_source(architecture: Architecture, metadata: Metadata = UNKNOWN) -> str:
    """The file's text: the torch modules that this network uses, then its layers by stage.

    Its state dict has the names of `nas.model.Network`'s. Stage names and class names are other
    people's words: they are written as literals. Raises `ArchitectureError` for a module that
    cannot be exported.
    """
    image = architecture.input
    out = architecture.out_shape
    if isinstance(architecture.layers[-1].op, Classifier):
        gives = f"logits (n, {out.channels})"
    else:
        gives = f"maps (n, {out.channels}, {out.height}, {out.width})"
    about = [
        f"A network of {len(architecture.layers)} layers, {_costs(architecture)}.",
        "",
        _origin(architecture),
        f"`network` takes images (n, {image.channels}, {image.height}, {image.width}) "
        f"and gives {gives}.",
    ]
    function = _Function(
        kind="nn.Module", call="nn.Sequential(OrderedDict(stages=nn.Sequential(named)))"
    )
    return _file(architecture, [], metadata, about, function)


def features_source(layers: Backbone, metadata: Metadata = UNKNOWN) -> str:
    """The file of a backbone: as `python_source`, and which maps it hands out."""
    architecture = layers.architecture
    about = [
        f"A backbone of {len(architecture.layers)} layers, {_costs(architecture)}.",
        "",
        _origin(architecture),
        f"`features` takes images (n, {architecture.input.channels}, height, width) of any size "
        "and gives a list of maps, finest first:",
        *(f"{tap.channels} channels at stride {tap.stride}" for tap in layers.taps),
    ]
    function = _Function(
        name="features",
        kind="Features",
        part="backbone",
        call=f"Features(nn.Sequential(named), {_taps(layers)})",
    )
    return _file(architecture, [Features], metadata, about, function)


def masks_source(network: Architecture, pixels: int, metadata: Metadata = UNKNOWN) -> str:
    """The file of a segmenter: as `python_source`, on the layers up to stride 16.

    ``pixels``: how many classes a pixel may have.
    """
    layers = body(network)
    architecture = layers.architecture
    image = architecture.input
    near, far = (tap.channels for tap in layers.taps)
    params = sum(value.numel() for value in segmenter(network, pixels).parameters())
    any_size = takes_any_size(architecture)
    sides = "height, width" if any_size else f"{image.height}, {image.width}"
    about = [
        f"A segmentation network, a class per pixel: {len(architecture.layers)} layers and a head, "
        f"{params:,} parameters.",
        "",
        _origin(architecture),
        f"`network` takes images (n, {image.channels}, {sides}) and gives logits "
        f"(n, {pixels}, {sides}); its method",
        f"`masks` gives the class of each pixel, (n, {sides}). It was made for {image} images.",
    ]
    features = f"Features(nn.Sequential(named), {_taps(layers)})"
    function = _Function(kind="Segmenter", call=f"Segmenter({features}, {far}, {near}, {pixels})")
    return _file(architecture, [Segmenter, Features], metadata, about, function)


def _costs(architecture: Architecture) -> str:
    return (
        f"{architecture.params:,} parameters, {architecture.macs:,} multiply-adds "
        f"for one {architecture.input} image"
    )


def _origin(architecture: Architecture) -> str:
    return (
        f"Written by nas-toolkit, architecture {architecture.digest}. "
        "It needs Python 3.10 and torch alone."
    )


def _taps(layers: Backbone) -> str:
    return f"({', '.join(_literal(tap.name) for tap in layers.taps)},)"


def _file(
    architecture: Architecture,
    more: Sequence[type[nn.Module]],
    metadata: Metadata,
    about: Sequence[str],
    function: _Function,
) -> str:
    """The text of a file; ``more`` classes stand in it, ``about`` are lines of its docstring."""
    recipes = [recipe(layer.op, layer.shape) for layer in architecture.layers]
    classes = dict.fromkeys(layer.func for layer in recipes)
    used = excerpt([*classes, initialise, *more, *_preparing(metadata)])
    # What the file's own function needs, beside what the classes do.
    used.names.setdefault("collections", set()).add("OrderedDict")
    used.names.setdefault("torch", set()).add("nn")
    constants = [*used.constants.values(), *_constants(metadata)]
    preprocess = _preprocess(metadata)
    public = [name.upper() for name in metadata.to_json() if name != "preprocessing"]
    public.append(function.name)
    if preprocess:
        used.modules.add("torch")
        used.names["torch"].add("Tensor")
        public.append("preprocess")
    return FILE.format(
        about="\n".join(about),
        imports=used.imports(),
        public=", ".join(f'"{name}"' for name in public),
        constants="".join(f"{text}\n" for text in constants) + "\n\n" * bool(constants),
        definitions="\n\n\n".join(used.definitions.values()),
        function=function.name,
        kind=function.kind,
        part=function.part,
        call=function.call,
        stages="\n".join(_stages(architecture, recipes)),
        preprocess=preprocess,
    )


def _constants(metadata: Metadata) -> list[str]:
    """Class names and normalisation, each with what it means."""
    texts = []
    if metadata.classes:
        names = [f"    {_literal(name)}," for name in metadata.classes]
        texts.append("\n".join(["# Names of the logits, in order.", "CLASSES = (", *names, ")"]))
    if metadata.mean:
        texts.append(
            "# Per channel: the network was trained on (pixels - MEAN) / STD, pixels from 0 to 1.\n"
            f"MEAN = {_literal_row(metadata.mean)}\nSTD = {_literal_row(metadata.std)}"
        )
    return texts


def _preparing(metadata: Metadata) -> list[Callable[..., object]]:
    """What a file's function `preprocess` calls."""
    how = metadata.preprocessing
    if how is None or not metadata.mean:
        return []
    return [prepared, as_tensor] if how.resize else [prepared, as_tensor, resized]


PREPROCESS = '''def preprocess(path: str) -> Tensor:
    """An image file as the network takes it, (1, {channels}, {height}, {width}). Needs Pillow.

    It is {how}, then normalised.
    """
    from PIL import Image

    with Image.open(path) as file:
        image = prepared(file, {colour}, {size}, {before}, {low}, {high})
    pixels = {pixels}
    mean, std = torch.tensor(MEAN).view(1, -1, 1, 1), torch.tensor(STD).view(1, -1, 1, 1)
    return (pixels - mean) / std


'''


def _preprocess(metadata: Metadata) -> str:
    """The function that reads an image file; none if it is not known what was done to images."""
    how = metadata.preprocessing
    if how is None or not metadata.mean:
        return ""
    pixels = "as_tensor(image)"
    if not how.resize:
        pixels = f"resized({pixels}, {sides(how.size)})"
    return PREPROCESS.format(
        channels=len(how.colour),
        size=sides(how.size),
        height=sides(how.size)[0],
        width=sides(how.size)[1],
        how=how,
        colour=_literal(how.colour),
        before=sides(how.resize),
        low=_literal(how.low),
        high=_literal(how.high),
        pixels=pixels,
    )


def _literal_row(values: Sequence[float]) -> str:
    return f"({', '.join(map(_literal, values))},)"


def _stages(architecture: Architecture, recipes: list[Recipe]) -> list[str]:
    lines: list[str] = []
    layers = iter(zip(architecture.layers, recipes, strict=True))
    for stage in architecture.stages:
        lines += _stage(stage, [next(layers) for _ in stage.ops])
    return lines


def _stage(stage: Stage, rows: list[tuple[Layer, Recipe]]) -> list[str]:
    """One entry of the table; the comment says which map the stage hands over."""
    comment = f"  # to {rows[-1][0].out_shape}" if rows else ""
    lines = [f"        {_literal(stage.name)}: [{comment}"]
    for _, layer in rows:
        lines += _call(layer, " " * 12)
    return [*lines, "        ],"]


def _call(layer: Recipe, indent: str) -> list[str]:
    """A constructor call, wrapped if it is too long.

    Arguments that say what the default says are left out: a block has twelve, and a reader looks
    for the two that matter.
    """
    parameters = inspect.signature(layer.func).parameters
    arguments = [_literal(value) for value in layer.args]
    for name, value in layer.keywords.items():
        if value != parameters[name].default:
            arguments.append(f"{name}={_literal(value)}")
    name = f"{indent}{layer.func.__name__}"
    inner = ", ".join(arguments)
    whole = f"{name}({inner}),"
    if len(whole) <= WIDTH:
        return [whole]
    within = f"{indent}    "
    rows = [within + inner]
    if len(rows[0]) > WIDTH:
        rows = [f"{within}{argument}," for argument in arguments]
    return [f"{name}(", *rows, f"{indent}),"]


def _literal(value: object) -> str:
    """A number or a word as Python reads it back; a word in double quotes if it holds none.

    So are the height and the width of a map, a tuple of numbers.
    """
    if isinstance(value, tuple) and all(isinstance(number, int) for number in value):
        return repr(value)
    if not isinstance(value, str | int | float | None):
        raise ArchitectureError(
            f"a torch module to export takes numbers and words, not {type(value).__name__}"
        )
    text = repr(value)
    # `repr` takes single quotes where it can; formatters and this toolkit take double ones.
    if isinstance(value, str) and text[0] == "'" and '"' not in text:
        return f'"{text[1:-1]}"'
    return text
