"""Feed every reader of files files that are broken on purpose: each must be refused in one line, or be sound.

    python experiments/fuzz_files.py [--bad 10000] [FORMAT ...]

A file that is still sound after its edits (a digit of a score changed to another) does not count as bad. Anything but
a `NasError` is a finding, and so are two seconds in one reader and a result that is not finite.
"""

import argparse
import json
import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

import nas
from nas import catalog, confirmed, networks, strategies
from nas.arch import Architecture
from nas.cost.importing import read_foreign
from nas.cost.table import Table, write_table
from nas.errors import NasError
from nas.job import Plan, Search
from nas.model import build
from nas.model.weights import load_weights
from nas.replay import replay
from nas.run import Run
from nas.testing.hostile import NASTY, byte_edits, edited_bytes, edited_json, json_edits
from nas.testing.toys import toy_domain

SLOW_SECONDS = 2.0
ROWS = 20
ROOT = Path(nas.__file__).parent.parent


@dataclass(frozen=True)
class Format:
    """``file``: the sound one. ``lines``: JSON edits apply to one line. ``read``: everything a reader does with it."""

    file: Path
    read: Callable[[Path], object]
    json: bool = True
    lines: bool = False


def finite(*values: float) -> None:
    if not all(math.isfinite(value) for value in values):
        raise ArithmeticError(f"accepted, and gives {values}")


def architecture(path: Path) -> None:
    found = Architecture.load(path)
    finite(found.params, found.macs, found.peak_memory_bytes)
    if Architecture.from_json(found.to_json()).digest != found.digest:
        raise ArithmeticError("accepted, and does not come back")


def priced(path: Path) -> None:
    found = catalog.network("mobilenet_v2")
    estimate = Table.load(path.with_suffix(".csv")).estimate(found)
    finite(estimate.latency_ms, estimate.latency_sd_ms)
    if estimate.latency_ms <= 0:
        raise ArithmeticError(f"accepted, and gives {estimate.latency_ms} ms")


def run_folder(path: Path) -> None:
    run = Run(path.parent)
    run.front_rows()
    run.front_text()
    run.frame()
    _ = run.core_seconds, run.confirmed
    Search.from_json(run.record.capsule["settings"])
    replay(run)


def confirmation(path: Path) -> None:
    found = confirmed.read(path.parent)
    if found is not None:
        json.dumps(found.to_json(), allow_nan=False)
        Run(path.parent).front_rows()


def formats(folder: Path) -> dict[str, Format]:
    """Sound files of every kind, made by the toolkit itself."""
    network = networks.get("mobilenet_v2", width=0.35)
    network.save(folder / "architecture.json")
    tables = folder / "tables"
    tables.mkdir()
    whole = Table.load(ROOT / "latency_tables" / "pixel3.csv")
    write_table(dict(list(whole.rows.items())[:ROWS]), whole.info, tables)
    run = folder / "run"
    Plan(
        Search(proxy="images=64,resolution=8,score_images=40", trials=4, strategy="evolution:population=2,sample=1")
    ).run(run)
    (run / "confirm.jsonl").write_text("".join(json.dumps(row) + "\n" for row in confirm_rows(run)))
    torch.save(build(small(), seed=0).state_dict(), folder / "weights.pt")
    (folder / "foreign.json").write_text(json.dumps({"mbconv(channels=24,expand=6)@16x112x112": 3.5}))
    (folder / "foreign.csv").write_text("op,in_channels,in_size,latency_ms\nmbconv(channels=24,expand=6),16,112,3.5\n")
    (folder / "foreign.yaml").write_text(
        "expanded_conv-input:112x112x16-output:56x56x24-expand:6-kernel:3-stride:2-idskip:0:\n  count: 3\n  mean: 3.5\n"
    )
    return {
        "architecture": Format(folder / "architecture.json", architecture),
        "table csv": Format(tables / "pixel3.csv", priced, json=False),
        "table json": Format(tables / "pixel3.json", priced),
        "run.json": Format(run / "run.json", run_folder),
        "journal": Format(run / "journal.log", run_folder, lines=True),
        "confirmations": Format(run / "confirm.jsonl", confirmation, lines=True),
        "run's table": Format(run / "devices" / "pixel1.json", lambda path: run_folder(path.parent.parent / "x")),
        "weights": Format(folder / "weights.pt", lambda path: load_weights(build(small(), seed=1), path), json=False),
        "foreign json": Format(folder / "foreign.json", lambda path: read_foreign(path, unit="ms")),
        "foreign csv": Format(folder / "foreign.csv", lambda path: read_foreign(path), json=False),
        "foreign yaml": Format(folder / "foreign.yaml", lambda path: read_foreign(path), json=False),
    }  # fmt: skip


def small() -> Architecture:
    return toy_domain().space.decode((0,) * 8)


def confirm_rows(run: Path) -> Iterator[dict[str, object]]:
    trial = Run(run).front_trials[0]
    other = {"digest": "ab" * 10, "genes": list(trial.genes), "costs": {}}
    member = {"digest": trial.digest, "genes": list(trial.genes), "costs": {}, "trial": trial.number, "band": 0.05}
    plan = {"metric": "accuracy", "seed": 0, "seeds": 1, "recipe": {"epochs": 2}, "threads": 1}
    yield {"kind": "plan", **plan, "members": [{**member, "random": [other]}]}
    yield {"kind": "opening", "time": "2026-01-01T00:00:00+00:00", "images": 270}
    for place, digest in enumerate((trial.digest, "ab" * 10)):
        row = {"digest": digest, "repeat": 0, "seed": 0, "recipe": {"epochs": 2}, "seconds": 1.5}
        yield {"kind": "training", **row, "metrics": {"accuracy": 0.5 + place / 10}}


def names() -> Callable[[str], None]:
    """Plug-in names and specs, as a command line or a stranger's run.json gives them."""
    domain = toy_domain()

    def use(text: str) -> None:
        for read in (catalog.space, catalog.device, catalog.benchmark, catalog.evaluator, catalog.network):
            try:
                read(text)
            except NasError:
                continue
            raise ArithmeticError(f"{read.__name__} accepted {text!r}")
        strategies.make(text, domain, seed=0)
        raise ArithmeticError(f"accepted {text!r}")

    return use


class Tally:
    """What became of the inputs of one format."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.findings: Counter[str] = Counter()

    def take(self, read: Callable[[], object]) -> None:
        """Read one."""
        start = time.process_time()
        try:
            read()
            self.counts["sound"] += 1
        except NasError as error:
            self.counts["bad"] += 1
            if "\n" in str(error):
                self.findings["a message of several lines"] += 1
        except Exception as error:
            trace = error.__traceback__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            where = "" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
            self.findings[f"{type(error).__name__} at {where}: {str(error)[:90]}"] += 1
        if time.process_time() - start > SLOW_SECONDS:
            self.findings["slow"] += 1


def fuzz(found: Format, bad: int) -> Tally:
    """Edited copies of a file, in its own place, until so many were refused."""
    found.read(found.file)  # sound as it is
    data, tally, round_ = found.file.read_bytes(), Tally(), 0
    examples = min(bad, 2000)
    while tally.counts["bad"] < bad and round_ < 20 * bad / examples:
        round_ += 1

        @seed(round_)
        @settings(max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.one_of(json_edits(), byte_edits()) if found.json else byte_edits(), st.integers(0, 10**6))
        def try_one(edits: list[tuple[int, str, object]], place: int) -> None:
            if isinstance(edits[0][2], bytes):
                new = edited_bytes(data, edits)
            elif found.lines:
                lines = data.decode().splitlines()
                lines[place % len(lines)] = edited_json(lines[place % len(lines)], edits)
                new = ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
            else:
                new = edited_json(data.decode(), edits).encode("utf-8", "surrogatepass")
            if new != data:
                found.file.write_bytes(new)
                tally.take(lambda: found.read(found.file))

        try_one()
    found.file.write_bytes(data)
    return tally


def fuzz_names(bad: int) -> Tally:
    tally, use = Tally(), names()
    texts = [value for value in NASTY if isinstance(value, str) and "/" not in value]

    @seed(0)
    @settings(max_examples=bad + bad // 10, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.one_of(
            st.text(max_size=30),
            st.sampled_from(texts),
            st.from_regex(r"(evolution|rl|optuna|gp):[a-z=,0-9.\-]{3,20}", fullmatch=True),
        )
    )
    def try_one(text: str) -> None:
        tally.take(lambda: use(text))

    try_one()
    return tally


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("formats", nargs="*")
    parser.add_argument("--bad", type=int, default=10_000)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        every = formats(Path(folder))
        print("| format | bad inputs, refused in one line | still sound | findings |\n| --- | --- | --- | --- |")
        for name in asked.formats or [*every, "names"]:
            tally = fuzz_names(asked.bad) if name == "names" else fuzz(every[name], asked.bad)
            print(
                f"| {name} | {tally.counts['bad']} | {tally.counts['sound']} | {sum(tally.findings.values())} |",
                flush=True,
            )
            for finding, count in tally.findings.most_common(12):
                print(f"  {count} x {finding}", flush=True)


if __name__ == "__main__":
    main()
