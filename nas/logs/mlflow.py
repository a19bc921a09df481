"""MLflow, by its own client: ``MLFLOW_TRACKING_URI`` says where, ``MLFLOW_EXPERIMENT_NAME`` what.

Without them MLflow's own defaults hold, and the experiment is called ``nas``.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from nas.logs import Job

__all__ = ["opened"]

EXPERIMENT = "nas"
FLUSH_SECONDS = 5.0
"""Steps of a training are sent together: each call waits for the server."""
MOST_AT_ONCE = 1000
"""Metrics of a call, at most; a server takes no more."""
LONGEST_PARAM = 500


class _MLflow:
    def __init__(self, client: Any, run_id: str) -> None:
        self._client, self.known_as = client, run_id
        self._waiting: list[Any] = []
        self._sent = 0.0

    def values(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        self._waiting += [Metric(_key(name), value, now, step) for name, value in values.items()]
        if time.monotonic() - self._sent >= FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        while self._waiting:
            self._client.log_batch(self.known_as, metrics=self._waiting[:MOST_AT_ONCE])
            del self._waiting[:MOST_AT_ONCE]
        self._sent = time.monotonic()

    def files(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self._client.log_artifact(self.known_as, str(path))

    def close(self, *, finished: bool) -> None:
        self._flush()
        self._client.set_terminated(self.known_as, "FINISHED" if finished else "KILLED")


def _key(name: str) -> str:
    """A metric's name as a server takes it: ``latency_ms@pixel1`` has a sign that is refused."""
    return "".join(sign if sign.isalnum() or sign in "_-./ " else "." for sign in name)


def opened(job: Job) -> _MLflow:
    """A run of the experiment, or the one of before."""
    # A server that does not answer would else hold a search up for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    from mlflow.entities import Param
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    if job.known_as:
        # Of another server, or removed there: then it begins anew.
        with suppress(MlflowException):
            client.update_run(job.known_as, status="RUNNING")
            return _MLflow(client, job.known_as)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    experiment = client.get_experiment_by_name(name)
    known = client.create_experiment(name) if experiment is None else experiment.experiment_id
    run_id = client.create_run(known, run_name=job.name).info.run_id
    params = [Param(_key(key), text[:LONGEST_PARAM]) for key, text in job.texts.items()]
    client.log_batch(run_id, params=params)
    return _MLflow(client, run_id)
