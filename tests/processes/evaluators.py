"""Evaluators that worker processes build: each goes wrong in its own way for some networks."""

import os
import signal
import time
from pathlib import Path

from nas.errors import RunError, UsageError
from nas.testing.toys import HashEvaluator


class Wild(HashEvaluator):
    """``acts``: what happens by the number of a call.

    Calls are counted over all processes, in files of ``folder``.
    """

    followable = True

    def __init__(self, folder, acts):
        super().__init__()
        self.folder, self.acts = Path(folder), acts

    def evaluate(self, architecture, seed):
        found = super().evaluate(architecture, seed)
        call = next(n for n in range(10**6) if self._first(n))
        act = self.acts.get(call) or self.acts.get("all")
        if act == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if act == "hang":
            time.sleep(600)
        if act == "odd":
            raise ZeroDivisionError("by\nzero")
        if act == "memory":
            raise MemoryError
        if act == "nan":
            return {"accuracy": float("nan")}
        if act == "percent":
            return {"accuracy": 91.0}
        if act == "usage":
            raise UsageError("no such setting")
        return found

    def _first(self, number):
        try:
            (self.folder / f"{number}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def evaluate_in_parts(self, architecture, seed, on_part):
        for part in range(1, 4):
            on_part({"search_accuracy": part / 10})
        return super().evaluate(architecture, seed)


def refuses():
    raise RunError("the data are gone")


def dies():
    os._exit(3)
