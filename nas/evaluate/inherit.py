"""What a search leaves to the training of its winner: weights from its supernet."""

import dataclasses
import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from nas.arch import Architecture
from nas.errors import ArchitectureError, RunError
from nas.evaluate.proxy import Proxy, slim
from nas.evaluate.supernet import FILE
from nas.model.weights import Weights, read
from nas.run.run import Run
from nas.supernet.network import Supernet

__all__ = ["has_supernet", "supernet_weights"]


def has_supernet(path: Path) -> bool:
    """Whether that is a run folder with the weights of a supernet."""
    return (path / FILE).is_file()


def supernet_weights(folder: Path, network: Architecture) -> Weights:
    """The weights that the run's supernet has for a network, under the network's own names.

    Running statistics of norms are those of a new network: the supernet has none that mean
    anything. Raises `RunError` and `ArchitectureError` where the supernet is not finished, of
    another space, or was trained with fewer channels.
    """
    run, file = Run(folder), folder / FILE
    checkpoint = read(file)
    if not checkpoint.get("finished"):
        raise RunError(
            f"the supernet of run '{folder}' is not trained to its end: "
            f"nas search --resume {folder}"
        )
    genes = run.space.parse(network.layers)
    if genes is None:
        raise ArchitectureError(
            f"network {network.digest} is none of run '{folder}', whose supernet has no weights "
            f"for it: name {folder}:TRIAL"
        )
    proxy = _proxy(run)
    # Weights of fewer channels have other shapes, and nothing could fill them up.
    if proxy.width != 1:
        raise ArchitectureError(
            f"the supernet of run '{folder}' has {proxy.width:g} times the channels of its "
            "networks: its weights fit none of them. Search with --proxy width=1 to train on from "
            "its weights"
        )
    small = partial(
        slim, proxy=proxy, in_channels=network.input.channels, classes=network.out_shape.channels
    )
    supernet = Supernet(run.space, small, share=checkpoint["identity"]["share"])
    supernet.load(checkpoint["weights"])
    places = dict(_places(network))
    state = {}
    for name, value in supernet.path(genes).state_dict().items():
        # A path names its layers by number, ``stages.7.conv.weight``; a network by stage and place.
        _, place, rest = name.split(".", 2)
        # A copy: the value is a view, and would be saved with all of the shared tensor.
        state[f"stages.{places[int(place)]}.{rest}"] = value.clone()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:20]
    return Weights(
        state=state,
        file=file,
        digest=digest,
        origin="of the run's supernet; running statistics of norms are new",
    )


def _places(network: Architecture) -> Iterator[tuple[int, str]]:
    """The place of each layer in its stage, by its number in the network."""
    yield from enumerate(
        f"{stage.name}.{place}" for stage in network.stages for place in range(len(stage.ops))
    )


def _proxy(run: Run) -> Proxy:
    """The recipe that slimmed the run's networks."""
    known = {field.name for field in dataclasses.fields(Proxy)}
    recipe: dict[str, Any] = {
        name: value for name, value in run.identity.proxy.items() if name in known
    }
    return Proxy(**recipe)
