"""A table of this machine, held against whole networks: as built, corrected, and the naive way.

    python experiments/latency_audit.py [--space fbnet] [--networks 40] [--out DIR]

Builds a table (it goes on with the one in ``--out``), times random networks twice, whole and interleaved, and prints the
audit of the half that the correction has not seen: of the corrected table, of the table as built, and of the naive sum of
ops timed one after the other. Conditions that make it unreliable are printed last; the machine should do nothing else.
"""

import argparse
import tempfile
import time
from pathlib import Path

from nas import catalog
from nas.cost.audit import Audit, audit
from nas.cost.table import Estimate, layer_key
from nas.measure.build import build_table, subject
from nas.measure.runners import OnnxRuntime
from nas.measure.timing import measure
from nas.measure.verify import all_remarks, draw, time_networks, verify


def line(name: str, found: Audit) -> str:
    taus = (found.tau, found.tau_repeat, found.tau_band, found.tau_repeat_band)
    return (
        f"{name:26s} {found.networks:4d} {100 * found.mape:7.2f} {100 * found.bias:+7.2f} {100 * found.within_5:6.0f}"
        f" {100 * found.within_10:6.0f} {100 * found.coverage_90:6.0f}"
        + "".join("       -" if tau is None else f" {tau:7.3f}" for tau in taus)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--space", action="append", help="space, repeatable (default: fbnet)")
    parser.add_argument("--networks", type=int, default=40, help="networks of each space")
    parser.add_argument("--seconds", type=float, default=0.25, help="of a row")
    parser.add_argument("--out", help="folder of the table (default: a temporary one)")
    given = parser.parse_args()
    spaces = [catalog.space(name) for name in given.space or ["fbnet"]]
    folder = Path(given.out or tempfile.mkdtemp(prefix="nas-latency-"))
    runner, start = OnnxRuntime(), time.perf_counter()
    table = build_table("here", spaces, runner, folder, seconds_per_row=given.seconds)
    gone = time.perf_counter() - start
    print(
        f"{len(table.rows)} rows in {gone:.0f} s, {gone / len(table.rows):.2f} s a row; {len(table.info['noisy'])} noisy"
    )
    for name, error in table.info["known_error"].items():
        print(f"  {name}: {100 * error:.1f} %")
    drawn = [(space.name, network) for space in spaces for network in draw(space, given.networks, seed=0)]
    timed, blocks = time_networks(drawn, runner, threads=1, seconds=1.0, seed=0)
    found = verify(table, timed, correct=True)
    assert found.before is not None
    print(f"\n{'held-out networks of':26s}  num  MAPE %  bias %   in 5  in 10  in 90     tau  repeat tau ±10  repeat")
    for name, each in found.spaces.items():
        print(line(f"{name}, corrected", each))
    print(line("all, corrected", found.every))
    print(line("all, as built", found.before))
    layers = {layer for one in found.held for layer in one.network.layers if layer.kernels}
    alone = {}
    for key in sorted({layer_key(layer.op, layer.shape) for layer in layers}):
        (block,) = measure([subject(key)], runner, seconds_per_row=0.05)
        alone[key] = block.timings[key].latency_ms
    naive = [
        Estimate(measured_ms=sum(alone[layer_key(x.op, x.shape)] for x in one.network.layers if x.kernels))
        for one in found.held
    ]
    print(
        line(
            "all, one after the other",
            audit(naive, [x.first_ms for x in found.held], [x.second_ms for x in found.held]),
        )
    )
    print(f"\ncorrection {found.table.info['correction']}")
    for remark in [*table.info["unreliable"], *all_remarks(table, runner, blocks, threads=1)]:
        print(f"unreliable: {remark}")


if __name__ == "__main__":
    main()
