"""Weights & Biases, by its own client: ``WANDB_PROJECT``, ``WANDB_MODE=offline`` and the rest hold.

Without a project in the environment it is ``nas``.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from nas.logs import Job

__all__ = ["opened"]

PROJECT = "nas"


class _Wandb:
    def __init__(self, run: Any, job: Job) -> None:
        self._run, self._axis, self._folder = run, job.axis, job.folder
        self.known_as = str(run.id)
        # Trials of several workers end in any order, which wandb's own steps may not.
        run.define_metric("*", step_metric=job.axis)

    def values(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({self._axis: step, **values})

    def files(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self._run.save(str(path), base_path=str(self._folder), policy="now")

    def close(self, *, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)


def opened(job: Job) -> _Wandb:
    """A run of the project, or the one of before; its files lie in ``FOLDER/wandb``."""
    import wandb

    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=job.name,
        id=job.known_as or uuid4().hex[:12],
        resume="allow",
        dir=str(job.folder),
        config=job.texts,
        # stdout carries results.
        settings=wandb.Settings(silent=True, console="off", symlink=False),
    )
    return _Wandb(run, job)
