"""Networks of a front timed here, if their table is of this machine."""

from collections.abc import Sequence

from nas.arch import Architecture
from nas.errors import NasError
from nas.latency.measured import Measured, TimedHere
from nas.latency.table import Table
from nas.measure.runners import OnnxRuntime, as_built
from nas.measure.verify import load_remarks, threads_of
from nas.measure.whole import time_networks
from nas.progress import Watch, ignore

__all__ = ["not_here", "time_here"]

SECONDS = 4.0
"""What a network may take in all."""


def not_here(table: Table) -> str:
    """Why a table is not of this machine as it is now; empty if it is."""
    conditions = table.info.conditions
    runtime = str(conditions.get("runtime", "not stated"))
    if not runtime.startswith("onnxruntime"):
        return f"its runtime is {runtime}"
    try:
        here = as_built(conditions).conditions()
    except NasError as error:
        return str(error)
    for name, now in here.items():
        if conditions.get(name) != now:
            return f"its {name} is {conditions.get(name, 'not stated')}, here it is {now}"
    return ""


def time_here(table: Table, networks: Sequence[Architecture], watch: Watch = ignore) -> TimedHere:
    """Time whole networks under the table's conditions, twice each."""
    runner: OnnxRuntime = as_built(table.info.conditions)
    timed, blocks = time_networks(
        [("front", network) for network in networks],
        runner,
        threads=threads_of(table),
        seconds=SECONDS,
        seed=0,
        reference_ms=table.info.reference_ms,
        watch=watch,
    )
    measured = [Measured(first_ms=one.first_ms, second_ms=one.second_ms) for one in timed]
    return TimedHere(measured=measured, unreliable=load_remarks(table, runner, blocks))
