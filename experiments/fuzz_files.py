"""Feed every reader files that are broken on purpose.

Each file must be refused in one line, or be sound.

    python experiments/fuzz_files.py OUT [FORMAT ...] [--bad 10000]

A file that is still sound after its edits (a digit of a score changed to another) does not count as
bad. Anything but a `NasError` is a finding, and so are two seconds in one reader and a result that
is not finite. Rounds of inputs are kept in OUT/fuzz.jsonl: stopped, it goes on. What is installed
is listed once, not for every input.
"""

import argparse
import dataclasses
import io
import json
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from nas import catalog, networks, registry, strategies
from nas.arch import Architecture
from nas.data import load
from nas.data.groups import with_groups
from nas.data.masks import load_masks
from nas.errors import NasError
from nas.evaluate.differentiable import learn
from nas.evaluate.proxy import Proxy, preset
from nas.evaluate.supernet import SupernetSession
from nas.latency.files import write_table
from nas.latency.importing import read_foreign
from nas.latency.table import Table
from nas.model import build
from nas.model.weights import load_weights
from nas.record import ledger
from nas.run import confirmation
from nas.run.execute import execute
from nas.run.network import named_network
from nas.run.plan import plan
from nas.run.replay import replay
from nas.run.run import Run
from nas.run.settings import Search
from nas.strategies.differentiable import Differentiable
from nas.supernet.recipe import Sharing
from nas.testing.strategies import bounded_domain
from nas.testing.toys import toy_domain
from nas.train.full import FullTraining, Recipe
from search_spaces import nas_bench_macro

# `tests` is not installed, and `python FILE` looks in FILE's folder alone.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.hostile import NASTY, byte_edits, edited, edited_bytes, edited_json, json_edits

ROOT = Path(__file__).resolve().parent.parent
SLOW_SECONDS = 2.0
ROWS = 20
ROUND = 500
FILES = tuple(f"{number}.png" for number in range(1797))
"""Names for the images of digits."""
PROXY = "images=64,resolution=8,score_images=40,batch_size=16"
for _module in (catalog, registry):
    _module.entry_points = cache(_module.entry_points)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Format:
    """A kind of file and its reader."""

    file: Path
    """The sound one."""

    read: Callable[[Path], object]
    """Everything that a reader does with the file."""

    kind: str = "json"
    """What edits of values apply to: JSON, a line of JSON, tensors, or nothing."""


def finite(*values: float) -> None:
    if not all(math.isfinite(value) for value in values):
        raise ArithmeticError(f"accepted, and gives {values}")


def architecture(path: Path) -> None:
    found = Architecture.load(path)
    finite(found.params, found.macs, found.peak_memory_bytes)
    if Architecture.from_json(found.to_json()).digest != found.digest:
        raise ArithmeticError("accepted, and does not come back")


def priced(path: Path) -> None:
    found = named_network("mobilenet_v2")
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
    Search.from_json(run.record.run_file.settings)
    replay(run)


def check_confirmation(path: Path) -> None:
    found = confirmation.read(path.parent)
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
    pixel = catalog.device("pixel1")
    device = write_table(dict(list(pixel.rows.items())[:ROWS]), pixel.info, folder)
    settings = Search().changed(
        space="nas_bench_macro",
        resolution=32,
        devices=(str(device),),
        proxy=PROXY,
        trials=4,
        race="eta=2,rungs=2",
        strategy="evolution:population=2,sample=1",
    )
    run = folder / "run"
    execute(plan(settings), run)
    (run / "confirm.jsonl").write_text("".join(json.dumps(row) + "\n" for row in confirm_rows(run)))
    torch.save(build(small(), seed=0).state_dict(), folder / "weights.pt")
    (folder / "foreign.json").write_text(
        json.dumps({"mbconv(channels=24,expand=6)@16x112x112": 3.5})
    )
    (folder / "foreign.csv").write_text(
        'op,in_channels,in_size,latency_ms\n"mbconv(channels=24,expand=6)",16,112,3.5\n'
    )
    (folder / "foreign.yaml").write_text(
        "expanded_conv-input:112x112x16-output:56x56x24-expand:6-kernel:3-stride:2-idskip:0:\n  "
        "count: 3\n  mean: 3.5\n"
    )
    (folder / "groups.csv").write_text(
        "filename,group\n" + "".join(f"{name},{place // 3}\n" for place, name in enumerate(FILES))
    )
    (segments(folder) / "classes.txt").write_text("ground\nroad\n")
    full, supernet, theta = trained(folder)
    return {
        "architecture": Format(folder / "architecture.json", architecture),
        "table csv": Format(tables / "pixel3.csv", priced, "bytes"),
        "table json": Format(tables / "pixel3.json", priced),
        "run.json": Format(run / "run.json", run_folder),
        "journal": Format(run / "journal.log", run_folder, "lines"),
        "race": Format(run / "race.jsonl", run_folder, "lines"),
        "confirmations": Format(run / "confirm.jsonl", check_confirmation, "lines"),
        "run's table": Format(
            run / "devices" / "pixel1.json", lambda path: run_folder(path.parent.parent / "x")
        ),
        "weights": Format(
            folder / "weights.pt",
            lambda path: load_weights(build(small(), seed=1), path),
            "tensors",
        ),
        "training's checkpoint": Format(full / "checkpoint.pt", resumed_training, "tensors"),
        "supernet": Format(supernet / "supernet.pt", resumed_supernet, "tensors"),
        "distribution": Format(theta / "distribution.json", resumed_theta),
        "foreign json": Format(folder / "foreign.json", lambda path: read_foreign(path, unit="ms")),
        "foreign csv": Format(folder / "foreign.csv", lambda path: read_foreign(path), "bytes"),
        "foreign yaml": Format(folder / "foreign.yaml", lambda path: read_foreign(path), "bytes"),
        "groups": Format(folder / "groups.csv", grouped, "bytes"),
        "classes": Format(folder / "segments" / "classes.txt", named_classes, "bytes"),
    }


def grouped(path: Path) -> None:
    data = dataclasses.replace(digits(), names=FILES)
    groups = with_groups(data, path).groups
    if groups is None or len(groups) != len(data):
        raise ArithmeticError("accepted, and gives no group to each image")


def segments(folder: Path) -> Path:
    """A folder of images and masks."""
    root = folder / "segments"
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
        for number in range(4):
            pixels = np.full((4, 4), number % 2, np.uint8)
            Image.fromarray(pixels).save(root / part / f"{number}.png")
    return root


def named_classes(path: Path) -> None:
    classes = load_masks(f"folder:{path.parent}", size=4).classes
    odd = any(not name or "\0" in name or "\n" in name for name in classes)
    if odd or len(set(classes)) < len(classes):
        raise ArithmeticError(f"accepted, and gives {classes}")


@cache
def digits() -> Any:
    return load("digits")


@cache
def full_training(folder: Path) -> FullTraining:
    return FullTraining(small(), digits(), folder, Recipe(steps=3, batch_size=16))


def resumed_training(path: Path) -> None:
    training = full_training(path.parent)
    training._restore(training._training())


@cache
def supernet_session() -> SupernetSession:
    base = Proxy.parse(PROXY, preset(digits())[1])
    return SupernetSession(digits(), base, "fuzz", 1, Sharing(check=0, longer=1))


@cache
def ground() -> Any:
    return bounded_domain(nas_bench_macro.space(resolution=32, classes=10, in_channels=1))


def resumed_supernet(path: Path) -> None:
    supernet_session().prepare(ground(), path.parent, seed=0)


def resumed_theta(path: Path) -> None:
    strategy = strategies.make("differentiable:longer=1,candidates=6", ground(), seed=0)
    assert isinstance(strategy, Differentiable)
    learn(strategy, digits(), path.parent, proxy_text=PROXY)
    strategy.ask(0)


def trained(folder: Path) -> tuple[Path, Path, Path]:
    """Folders of a training, a supernet and a differentiable search, each finished."""
    full, supernet, theta = (folder / name for name in ("full", "supernet", "theta"))
    for each in (supernet, theta):
        each.mkdir()
    full_training(full).run()
    resumed_supernet(supernet / "supernet.pt")
    resumed_theta(theta / "distribution.json")
    return full, supernet, theta


def small() -> Architecture:
    return toy_domain().space.decode((0,) * 8)


def confirm_rows(run: Path) -> Iterator[dict[str, object]]:
    trial = Run(run).front_trials[0]
    other = {"digest": "ab" * 10, "genes": list(trial.genes), "costs": {}}
    member = {
        "digest": trial.digest,
        "genes": list(trial.genes),
        "costs": {},
        "trial": trial.number,
        "band": 0.05,
    }
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
        for read in (
            catalog.space,
            catalog.device,
            catalog.benchmark,
            catalog.evaluator,
            named_network,
        ):
            try:
                read(text)
            except NasError:
                continue
            raise ArithmeticError(f"{read.__name__} accepted {text!r}")
        strategies.make(text, domain, seed=0)
        raise ArithmeticError(f"accepted {text!r}")

    return use


def innermost(error: Exception) -> str:
    """File and line that raised an error."""
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


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
            text = str(error)[:90]
            self.findings[f"{type(error).__name__} at {innermost(error)}: {text}"] += 1
        if time.process_time() - start > SLOW_SECONDS:
            self.findings["slow"] += 1


def edited_tensors(data: bytes, edits: Sequence[Any]) -> bytes:
    """A file of `torch.save` with other values in it."""
    out = io.BytesIO()
    torch.save(edited(torch.load(io.BytesIO(data), weights_only=True), edits), out)
    return out.getvalue()


def edited_line(data: bytes, edits: Sequence[Any], place: int) -> bytes:
    lines = data.decode().splitlines()
    lines[place % len(lines)] = edited_json(lines[place % len(lines)], edits)
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")


def fuzz(found: Format, data: bytes, number: int) -> Tally:
    """A round of edited copies of a file, in its own place."""
    tally = Tally()

    @seed(number)
    @settings(
        max_examples=ROUND, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(
        byte_edits() if found.kind == "bytes" else st.one_of(json_edits(), byte_edits()),
        st.integers(0, 10**6),
    )
    def try_one(edits: list[tuple[int, str, object]], place: int) -> None:
        if isinstance(edits[0][2], bytes):
            new = edited_bytes(data, edits)
        elif found.kind == "lines":
            new = edited_line(data, edits, place)
        elif found.kind == "tensors":
            new = edited_tensors(data, edits)
        else:
            new = edited_json(data.decode(), edits).encode("utf-8", "surrogatepass")
        if new != data:
            found.file.write_bytes(new)
            tally.take(lambda: found.read(found.file))

    try_one()
    return tally


def fuzz_names(use: Callable[[str], None], number: int) -> Tally:
    """A round of names and specs."""
    tally = Tally()
    texts = [value for value in NASTY if isinstance(value, str) and "/" not in value]

    @seed(number)
    @settings(
        max_examples=ROUND, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
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


def rounds(name: str, found: Format | None, bad: int, log: Path) -> Tally:
    """Rounds until so many inputs were refused, those of earlier sessions included."""
    tally, number = Tally(), 0
    for row in ledger.read(log):
        if row["kind"] == "round" and row["format"] == name:
            number = row["round"]
            tally.counts.update(row["counts"])
            tally.findings.update(row["findings"])
    if tally.counts["bad"] >= bad:
        return tally
    data = b"" if found is None else found.file.read_bytes()
    if found is None:
        one = partial(fuzz_names, names())
    else:
        found.read(found.file)  # sound as it is
        one = partial(fuzz, found, data)
    most = 20 * bad // ROUND + 1
    while tally.counts["bad"] < bad and number < most:
        number += 1
        new = one(number)
        tally.counts.update(new.counts)
        tally.findings.update(new.findings)
        told = {"counts": dict(new.counts), "findings": dict(new.findings)}
        ledger.append(log, {"kind": "round", "format": name, "round": number, **told})
    if found is not None:
        found.file.write_bytes(data)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("formats", nargs="*")
    parser.add_argument("--bad", type=int, default=10_000)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        every = formats(Path(folder))
        print(
            "| format | bad inputs, refused in one line | still sound | findings |\n| --- | --- | "
            "--- | --- |"
        )
        for name in asked.formats or [*every, "names"]:
            tally = rounds(name, every.get(name), asked.bad, asked.out / "fuzz.jsonl")
            row = (name, tally.counts["bad"], tally.counts["sound"], sum(tally.findings.values()))
            print(f"| {' | '.join(map(str, row))} |", flush=True)
            for finding, count in tally.findings.most_common(12):
                print(f"  {count} x {finding}", flush=True)


if __name__ == "__main__":
    main()
