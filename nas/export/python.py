"""A network as one readable Python file that needs torch alone."""

import inspect
from collections.abc import Sequence
from typing import Any

from nas.arch import Architecture, Layer, Stage
from nas.backbone import Backbone, takes_any_size
from nas.errors import ArchitectureError
from nas.export.source import excerpt
from nas.metadata import UNKNOWN, Metadata
from nas.model import Recipe, initialise, recipe
from nas.model.features import Features
from nas.model.segmenter import Segmenter, body, segmenter
from nas.ops.conv import Classifier

__all__ = ["features_source", "masks_source", "python_source"]

WIDTH = 120
FILE = '''"""A network of {layers} layers, {params:,} parameters, {macs:,} multiply-adds for one {input} image.

Written by nas-toolkit, architecture {digest}. It needs Python 3.10 and torch alone.
`network` takes images (n, {channels}, {size}, {size}) and gives {gives}.
"""

{imports}

__all__ = [{public}]

{constants}{definitions}


def network() -> nn.Module:
    """The whole network with fresh weights; ``load_state_dict`` takes those that were trained."""
    stages = {{
{stages}
    }}
    named = OrderedDict((name, nn.Sequential(*layers)) for name, layers in stages.items())
    made = nn.Sequential(OrderedDict(stages=nn.Sequential(named)))
    initialise(made)
    return made
'''
FEATURES = '''"""A backbone of {layers} layers, {params:,} parameters, {macs:,} multiply-adds for one {input} image.

Written by nas-toolkit, architecture {digest}. It needs Python 3.10 and torch alone.
`features` takes images (n, {channels}, height, width) of any size and gives a list of maps, finest first:
{maps}
"""

{imports}

__all__ = [{public}]

{constants}{definitions}


def features() -> Features:
    """The backbone with fresh weights; ``load_state_dict`` takes those that were trained."""
    stages = {{
{stages}
    }}
    named = OrderedDict((name, nn.Sequential(*layers)) for name, layers in stages.items())
    made = Features(nn.Sequential(named), {taps})
    initialise(made)
    return made
'''


MASKS = '''"""A segmentation network, a class per pixel: {layers} layers and a head, {params:,} parameters.

Written by nas-toolkit, architecture {digest}. It needs Python 3.10 and torch alone.
`network` takes images (n, {channels}, {sides}) and gives logits (n, {pixels}, {sides}); its method
`masks` gives the class of each pixel, (n, {sides}). It was made for {input} images.
"""

{imports}

__all__ = [{public}]

{constants}{definitions}


def network() -> Segmenter:
    """The whole network with fresh weights; ``load_state_dict`` takes those that were trained."""
    stages = {{
{stages}
    }}
    named = OrderedDict((name, nn.Sequential(*layers)) for name, layers in stages.items())
    made = Segmenter(Features(nn.Sequential(named), {taps}), {far}, {near}, {pixels})
    initialise(made)
    return made
'''


def python_source(architecture: Architecture, metadata: Metadata = UNKNOWN) -> str:
    """The file's text: the classes of torch modules that this network uses, then its layers, stage by stage.

    Its state dict has the names of `nas.model.Network`'s. Stage names and class names are other
    people's words: they are written as literals. Raises `ArchitectureError` for a module that
    cannot be exported.
    """
    out = architecture.out_shape
    logits = isinstance(architecture.layers[-1].op, Classifier)
    return FILE.format(
        **_parts(architecture, [], metadata),
        gives=f"logits (n, {out.channels})"
        if logits
        else f"maps (n, {out.channels}, {out.size}, {out.size})",
        public=", ".join(f'"{name}"' for name in (*_known(metadata), "network")),
    )


def features_source(found: Backbone, metadata: Metadata = UNKNOWN) -> str:
    """The file of a backbone: as `python_source`, and which maps it hands out."""
    return FEATURES.format(
        **_parts(found.architecture, [Features], metadata),
        maps="\n".join(f"{tap.channels} channels at stride {tap.stride}" for tap in found.taps),
        taps=_taps(found),
        public=", ".join(f'"{name}"' for name in (*_known(metadata), "features")),
    )


def masks_source(network: Architecture, pixels: int, metadata: Metadata = UNKNOWN) -> str:
    """The file of a segmenter of so many classes: as `python_source`, on the layers up to stride 16."""
    found = body(network)
    near, far = (tap.channels for tap in found.taps)
    parts = _parts(found.architecture, [Segmenter, Features], metadata)
    made = segmenter(network, pixels)
    return MASKS.format(
        **parts | {"params": sum(value.numel() for value in made.parameters())},
        sides="height, width" if takes_any_size(found.architecture) else "{size}, {size}".format(**parts),
        taps=_taps(found), far=far, near=near, pixels=pixels,
        public=", ".join(f'"{name}"' for name in (*_known(metadata), "network")),
    )  # fmt: skip


def _taps(found: Backbone) -> str:
    return f"({', '.join(_literal(tap.name) for tap in found.taps)},)"


def _parts(architecture: Architecture, more: Sequence[Any], metadata: Metadata) -> dict[str, Any]:
    """What both kinds of file are made of; ``more`` classes stand in it."""
    recipes = [recipe(layer.op, layer.shape) for layer in architecture.layers]
    used = excerpt([*dict.fromkeys(made.func for made in recipes), initialise, *more])
    used.names.setdefault("collections", set()).add("OrderedDict")
    used.names.setdefault("torch", set()).add("nn")
    constants = [*used.constants.values(), *_constants(metadata)]
    return {
        "layers": len(recipes),
        "params": architecture.params,
        "macs": architecture.macs,
        "input": architecture.input,
        "digest": architecture.digest,
        "channels": architecture.input.channels,
        "size": architecture.input.size,
        "imports": used.imports(),
        "constants": "".join(f"{text}\n" for text in constants) + "\n\n" * bool(constants),
        "definitions": "\n\n\n".join(used.definitions.values()),
        "stages": "\n".join(_stages(architecture, recipes)),
    }


def _known(metadata: Metadata) -> list[str]:
    return [name.upper() for name in metadata.to_json()]


def _constants(metadata: Metadata) -> list[str]:
    """Class names and normalisation, each with what it means."""
    found = []
    if metadata.classes:
        names = [f"    {_literal(name)}," for name in metadata.classes]
        found.append("\n".join(["# Names of the logits, in order.", "CLASSES = (", *names, ")"]))
    if metadata.mean:
        found.append(
            "# Per channel: the network was trained on (pixels - MEAN) / STD, pixels from 0 to 1.\n"
            f"MEAN = {_literal_row(metadata.mean)}\nSTD = {_literal_row(metadata.std)}"
        )
    return found


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
    calls = [line for _, made in rows for line in _call(made, " " * 12)]
    return [f"        {_literal(stage.name)}: [{comment}", *calls, "        ],"]


def _call(made: Recipe, indent: str) -> list[str]:
    """A constructor call without the arguments that say what the default says, wrapped where it is too long."""
    defaults = {name: p.default for name, p in inspect.signature(made.func).parameters.items()}
    arguments = [_literal(value) for value in made.args]
    arguments += [
        f"{name}={_literal(value)}"
        for name, value in made.keywords.items()
        if value != defaults[name]
    ]
    name, inner = f"{indent}{made.func.__name__}", ", ".join(arguments)
    if len(f"{name}({inner}),") <= WIDTH:
        return [f"{name}({inner}),"]
    within = f"{indent}    "
    rows = (
        [within + inner]
        if len(within + inner) <= WIDTH
        else [f"{within}{argument}," for argument in arguments]
    )
    return [f"{name}(", *rows, f"{indent}),"]


def _literal(value: object) -> str:
    """A number or a word as Python reads it back; a word in double quotes where it holds none."""
    if not isinstance(value, str | int | float | None):
        raise ArchitectureError(
            f"a torch module to export takes numbers and words, not {type(value).__name__}"
        )
    text = repr(value)
    return (
        f'"{text[1:-1]}"' if isinstance(value, str) and text[0] == "'" and '"' not in text else text
    )
