"""A full training as Python asks for it: `nas.run.pick.Pick.train`."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.arch import Architecture
from nas.compute import USUAL, Compute
from nas.data import Dataset, load
from nas.data.own import images_given
from nas.errors import UsageError
from nas.programs import GIVEN
from nas.progress import Progress
from nas.report.live import LOG_EVERY_SECONDS, Live
from nas.train.full import FullTraining
from nas.train.recipe import recipe
from nas.units import duration

__all__ = ["train"]


def train(
    network: Architecture,
    data: object,
    out: str | Path,
    *,
    recipe_name: str = "default",
    settings: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    partial: bool = False,
    thread_count: int = 1,
    compute: Compute = USUAL,
    quiet: bool = False,
) -> Mapping[str, Any]:
    """Train a network in a folder, or go on there. Returns its result.

    ``data``: a name as `nas.data.load` takes it, or a data set. ``settings``: changes to the
    recipe. ``weights``, ``partial``: see `FullTraining`. Raises a `NasError` in one line.
    """
    live = Live(quiet=quiet)
    changes = dict(settings or {})
    own = {name: value for name, value in changes.items() if name == "lr"}
    if own:
        # As it stands, whatever the batch.
        changes["lr_batch"] = 0
    text = ",".join(f"{name}={value}" for name, value in changes.items())
    training = FullTraining(
        network,
        _read(data, live),
        out,
        recipe(recipe_name, "", text),
        weights=weights,
        partial=partial,
        thread_count=thread_count,
        compute=compute,
    )
    live.lines(training.lines())
    last = time.monotonic()

    def tell(progress: Progress[object]) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < LOG_EVERY_SECONDS and progress.done != progress.planned:
            return
        last = now
        left = duration(progress.eta_seconds or 0.0)
        loss = progress.figures["loss"]
        live.step(f"step {progress.done}/{progress.planned}  loss {loss:.4f}  {left} left")

    return training.run(watch=tell)


def _read(data: object, live: Live) -> Dataset:
    if not isinstance(data, str):
        return images_given(data, watch=live.read)
    if data == "none" or data.startswith(GIVEN):
        raise UsageError(
            "the run's data is not known by a name: give the images of classes to train on, data=.."
        )
    return load(data, watch=live.read)
