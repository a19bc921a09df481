"""A run's own settings, to go on with: `nas.resume`, and ``nas search --resume``."""

from pathlib import Path
from typing import Any

from nas.errors import UsageError
from nas.programs import NOTHING_GIVEN, Given
from nas.record import environment, runfile
from nas.record.identity import Identity, device_change
from nas.record.race import last_rules
from nas.run.copies import program_spec, read_tables
from nas.run.earlier import COPY
from nas.run.settings import Search

__all__ = ["changes", "resumed"]

BUDGET = {"trials", "seconds"}
CLUSTER = {"ray", "scheduler", "gpus"}


def resumed(folder: Path, asked: dict[str, Any], given: Given = NOTHING_GIVEN) -> Search:
    """The run's own settings, and on top those asked for now, by their flat names.

    A new budget replaces the old one as a whole. A function that is named now is run; one that the
    run names is run as `nas.run.copies.program_spec` has it.
    """
    changes = dict(asked)
    # Else a new --time would end at once by the --trials of before.
    if BUDGET & changes.keys():
        changes = {**dict.fromkeys(BUDGET), **changes}
    # So many workers here, whatever cluster the run was on.
    if "workers" in changes and not CLUSTER & changes.keys():
        changes |= {"ray": None, "scheduler": None, "gpus": 0.0}
    recorded = Search.from_json(runfile.read(folder).settings)
    race = last_rules(folder)
    # A run that was raced later than it was begun goes on racing.
    if "race" not in changes and race:
        changes["race"] = race
    if changes.get("calibrate"):
        raise UsageError(
            f"a run keeps the tables that it was begun with, so '{folder}' is not calibrated anew: "
            "leave out --calibrate, or begin another run"
        )
    changes["calibrate"] = False
    # By its copy: the earlier runs may have gone on.
    if "learn_from" not in changes and (folder / COPY).exists():
        changes["learn_from"] = (str(folder / COPY),)
    if "devices" not in changes:
        changes["devices"] = _devices(folder, recorded)
    if "evaluator" not in changes and given.evaluate is None:
        changes["evaluator"] = program_spec(folder, "evaluator", recorded.method.evaluator)
    if "data" not in changes and given.data is None:
        changes["data"] = program_spec(folder, "data", recorded.problem.data)
    return recorded.changed(**changes)


def _devices(folder: Path, recorded: Search) -> tuple[str, ...]:
    """The run's devices; of a table that was calibrated for this run, the run's own copy."""
    devices = []
    tables = read_tables(folder, runfile.read(folder).identity.tables)
    for device, table in zip(recorded.problem.devices, tables, strict=True):
        devices.append(device if table.info.calibration is None else str(table.path))
    return tuple(devices)


def changes(folder: Path, identity: Identity) -> list[str]:
    """A phrase for each thing that differs here from where the run was made.

    They are told and not refused: a run may go on elsewhere, but then equal bits are not promised.
    """
    recorded = runfile.read(folder)
    moved = device_change(recorded.identity.proxy, identity.proxy)
    return [*environment.changes(recorded.environment), *filter(None, [moved])]
