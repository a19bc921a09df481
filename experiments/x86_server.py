"""The table of onnxruntime on one core of an x86 server that is in the box, and one of int8.

    python experiments/x86_server.py --out DIR [--dtype float32] [--minutes 6] [--networks 4]
        [--hardware TEXT] [--write]

Times layers of all spaces at 224 and at 32 pixels for so many minutes, drawn by how many networks
have them, then whole networks of every space at both sizes, which correct the table and say how far
it is off. ``--write`` puts the table into `latency_tables/`. The machine should do nothing else.
What was timed is kept in ``--out``: a call that was stopped goes on.

The int8 table has no `uninet`: its attention and MLPs are quantised otherwise in whole networks
than alone, and its networks were 57 % off at 224 pixels, 20 % at 32.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from nas import catalog
from nas.latency.files import write_table
from nas.latency.table import Table
from nas.measure.build import build_table
from nas.measure.runners import OnnxRuntime
from nas.measure.verify import verify_on
from nas.progress import Progress
from nas.space import SearchSpace

TABLES = Path(__file__).parent.parent / "latency_tables"
SPACES = (
    "fbnet",
    "mnasnet",
    "fused_mbconv",
    "uninet",
    "mobilenet_v3",
    "mobilenet_v4",
    "efficientformer_v2",
    "mobile",
)
NOT_IN_INT8 = ("uninet",)
CLASSES = {224: 1000, 32: 10}
NAMES = {"float32": "x86_server", "int8": "x86_server_int8"}
SECONDS_PER_ROW = 0.03
INTERPOLATED = "leave_one_out_interpolated_mape"
HARDWARE = "Intel Xeon with AVX-512 VNNI and AMX, one core of a virtual machine"

OTHERS = (
    "Another server has another pace: this tells which network is faster, and about by how much. "
    "nas latency build times yours in five minutes."
)


def told(progress: Progress[object]) -> None:
    """Print where the work stands."""
    left = "" if progress.eta_seconds is None else f", {progress.eta_seconds:.0f} s left"
    print(f"{progress.what} {progress.done}/{progress.planned}{left}", file=sys.stderr, flush=True)


def spaces(dtype: str) -> dict[str, SearchSpace]:
    """Every space at every size, by what its networks are called in the audit."""
    found = {}
    for resolution, classes in CLASSES.items():
        for spec in SPACES:
            if dtype == "int8" and spec in NOT_IN_INT8:
                continue
            space = catalog.space(spec, resolution=resolution, classes=classes)
            found[f"{spec} {resolution}"] = space
    return found


def built(given: argparse.Namespace, known: dict[str, SearchSpace]) -> Table:
    """The table with its rows; that of an earlier call, if it was finished."""
    name, path = NAMES[given.dtype], given.out / f"{NAMES[given.dtype]}.csv"
    if path.exists():
        return Table.load(path)
    return build_table(
        name,
        list(known.values()),
        OnnxRuntime(dtype=given.dtype),
        given.out,
        seconds_per_row=SECONDS_PER_ROW,
        minutes=given.minutes,
        watch=told,
    )


def shipped(table: Table, hardware: str) -> None:
    """Write the table into the box, with what its users should know."""
    source = {
        "what": "layers and whole networks timed in onnxruntime",
        "who": "this toolkit, experiments/x86_server.py",
        "licence": "that of the toolkit",
    }
    dtype = "" if table.name == NAMES["float32"] else ", int8"
    error = {INTERPOLATED: table.info.known_error[INTERPOLATED]}
    if table.info.audit is not None:
        error["left_out_networks_mape"] = round(table.info.audit.every.mape, 4)
    info = replace(
        table.info,
        title=f"x86 server, one core, onnxruntime{dtype}",
        conditions={**table.info.conditions, "hardware": hardware},
        sources=(source,),
        known_error=error,
        caveats=(OTHERS, *(text for text in table.info.caveats if not is_ours(text))),
    )
    write_table(table.rows, info, TABLES)


def is_ours(caveat: str) -> bool:
    """Whether a shipped table says it in other words, or said it before."""
    return caveat == OTHERS or "a judgement" in caveat


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dtype", choices=tuple(NAMES), default="float32")
    parser.add_argument("--minutes", type=float, default=6.0, help="for the rows")
    parser.add_argument("--networks", type=int, default=4, help="of every space and size")
    parser.add_argument("--seconds", type=float, default=3.5, help="of a network, in all")
    parser.add_argument("--force", action="store_true", help="store a correction made under load")
    parser.add_argument("--hardware", default=HARDWARE, help="what the machine is")
    parser.add_argument("--write", action="store_true", help="into latency_tables/")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    known = spaces(given.dtype)
    table = built(given, known)
    if table.info.audit is None:
        verdict = verify_on(
            table,
            known,
            networks=given.networks,
            correct=True,
            force=given.force,
            seconds=given.seconds,
            watch=told,
        )
        table = verdict.table
        for reason in verdict.refused:
            print(f"the correction is not stored: {reason}")
    print(f"{len(table.rows)} rows; {table.info.reliability()}")
    audit = table.info.audit
    for name, of in ({} if audit is None else audit.spaces).items():
        print(f"  {name:24s} {100 * of.mape:5.1f} % off, bias {100 * of.bias:+.1f} %")
    for band in () if audit is None else audit.bands:
        print(f"  {band.low_ms:8.2f} to {band.high_ms:8.2f} ms: {100 * band.audit.mape:.1f} % off")
    if given.write:
        shipped(table, given.hardware)


if __name__ == "__main__":
    main()
