"""What the user of a network must know beside it: names of its logits, and how its images were normalised."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.arch import Architecture
from nas.errors import ArchitectureError
from nas.files import write_json

__all__ = ["NONE", "Notes", "read_notes", "save_network"]

KINDS = {"classes": str, "mean": float, "std": float}


@dataclass(frozen=True, kw_only=True)
class Notes:
    """``classes`` in the order of the logits; ``mean`` and ``std`` per channel of pixels 0..1. Empty where not known.

    Class names are other people's words: any text, never code.
    """

    classes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def to_json(self) -> dict[str, list[Any]]:
        """Plain JSON of what is known."""
        return {name: list(value) for name in KINDS if (value := getattr(self, name))}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Notes":
        """What a run, a training or an architecture file holds; nothing where it is older. Raises `ArchitectureError`."""
        found = {}
        for name, kind in KINDS.items():
            values = data.get(name, [])
            if not isinstance(values, list) or not all(_is(value, kind) for value in values):
                raise ArchitectureError(
                    f"{name} of a network must be a list of {kind.__name__} values"
                )
            found[name] = tuple(values)
        return cls(**found)

    def fitting(self, network: Architecture, pixel_classes: int = 0) -> "Notes":
        """Without what is of another number of classes or channels: a network may be shipped for more classes than a run's.

        ``pixel_classes``: how many a segmenter on this network has.
        """
        logits, channels = pixel_classes or network.out_shape.channels, network.input.channels
        pixels = len(self.mean) == len(self.std) == channels
        return Notes(
            classes=self.classes if len(self.classes) == logits else (),
            mean=self.mean if pixels else (),
            std=self.std if pixels else (),
        )


NONE = Notes()
"""Nothing is known."""


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind) and (not isinstance(value, float) or math.isfinite(value))


def save_network(network: Architecture, notes: Notes, path: str | Path) -> None:
    """Write an architecture file with the notes beside the network."""
    write_json(Path(path), {**network.to_json(), **notes.to_json()})


def read_notes(path: str | Path) -> Notes:
    """The notes in an architecture file that `Architecture.load` has read."""
    return Notes.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
