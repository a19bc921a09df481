"""Files from others: a few hundred broken ones of each kind, each refused in one line.

experiments/fuzz_files.py makes 10,000.
"""

import json
import math
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas import networks
from nas.arch import Architecture
from nas.errors import ArchitectureError, NasError, RunError
from nas.latency.files import write_table
from nas.latency.table import Table
from nas.run import confirmation
from nas.run.run import Run
from nas.run.settings import Search
from tests.hostile import byte_edits, edited_bytes, edited_json, json_edits

FEW = settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def refused_or_sound(read):
    with suppress(NasError):
        read()


@FEW
@given(json_edits())
def test_architectures(edits):
    def read():
        found = Architecture.from_json(json.loads(text))
        assert math.isfinite(found.macs)

    text = edited_json(json.dumps(networks.get("mobilenet_v2", width=0.35).to_json()), edits)
    refused_or_sound(read)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ('"""; import os', "a stage's name is letters, digits"),
        ("a\nb", "a stage's name is letters"),
        (7, "a stage's name is letters"),
    ],
)
def test_a_stages_name_cannot_be_code(name, message):
    data = networks.get("mobilenet_v2").to_json()
    data["stages"][0]["name"] = name
    with pytest.raises(ArchitectureError, match=message):
        Architecture.from_json(data)


def test_settings_are_finite_and_short_and_networks_have_a_size():
    data = networks.get("mobilenet_v2").to_json()
    layer = data["stages"][0]["layers"][0]
    for key, value, message in (
        ("channels", 1 << 40, "a number of an operator"),
        ("act", "x\ny", "one short word"),
    ):
        with pytest.raises(ArchitectureError, match=message):
            Architecture.from_json(
                {**data, "stages": [{"name": "a", "layers": [{**layer, key: value}]}]}
            )
    with pytest.raises(ArchitectureError, match="input must be at most"):
        Architecture.from_json({**data, "input": {"channels": 3, "size": 1 << 20}})


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    whole = Table.load("latency_tables/pixel3.csv")
    return write_table(
        dict(list(whole.rows.items())[:8]), whole.info, tmp_path_factory.mktemp("table")
    )


def test_tables(table):
    numbers, provenance = table.read_bytes(), table.with_suffix(".json").read_text()

    @FEW
    @given(byte_edits(), json_edits(), st.booleans())
    def check(bits, edits, csv):
        table.write_bytes(edited_bytes(numbers, bits) if csv else numbers)
        new = provenance if csv else edited_json(provenance, edits)
        table.with_suffix(".json").write_bytes(new.encode("utf-8", "surrogatepass"))
        refused_or_sound(lambda: Table.load(table))

    check()


@pytest.fixture(scope="module")
def searched():
    sys.path.insert(0, str(Path(__file__).parent.parent / "kill"))
    import instant

    yield instant.searched
    sys.path.pop(0)


@pytest.fixture(scope="module")
def run(searched, tmp_path_factory):
    return searched(tmp_path_factory.mktemp("hostile") / "run", trials=3).folder


@pytest.mark.parametrize("name", ["run.json", "journal.log"])
def test_run_folders(run, name):
    path = run / name
    data = path.read_bytes()

    def read():
        found = Run(run)
        _ = found.front_trials, found.core_seconds
        Search.from_json(found.record.run_file.settings)

    @FEW
    @given(st.one_of(json_edits(), byte_edits()), st.integers(0, 10**6))
    def check(edits, place):
        lines = [data.decode()] if path.suffix == ".json" else data.decode().splitlines()
        if isinstance(edits[0][2], bytes):
            new = edited_bytes(data, edits)
        else:
            lines[place % len(lines)] = edited_json(lines[place % len(lines)], edits)
            new = ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
        path.write_bytes(new)
        refused_or_sound(read)

    check()
    path.write_bytes(data)


def test_a_table_outside_the_run_is_refused(run):
    data = json.loads((run / "run.json").read_text())
    kept = (run / "run.json").read_text()
    data["identity"]["tables"] = {"../../elsewhere": "ab"}
    (run / "run.json").write_text(json.dumps(data))
    with pytest.raises(
        RunError, match=r"identity.tables has the name \"../../elsewhere\", which is none of ours"
    ):
        Run(run)
    (run / "run.json").write_text(kept)


def test_confirmations(tmp_path):
    plan = {
        "kind": "plan",
        "metric": "accuracy",
        "seed": 0,
        "seeds": 1,
        "recipe": {"epochs": 2},
        "threads": 1,
    }
    entry = {"digest": "ab", "genes": [0], "costs": {"macs": 1.0}}
    plan["members"] = [{**entry, "trial": 0, "band": 0.05, "random": [{**entry, "digest": "cd"}]}]
    training = {
        "kind": "training",
        "digest": "ab",
        "repeat": 0,
        "seed": 0,
        "recipe": {"epochs": 2},
        "seconds": 1.5,
    }
    lines = [
        json.dumps(row)
        for row in (
            plan,
            {"kind": "opening", "images": 9},
            {**training, "metrics": {"accuracy": 1}},
        )
    ]

    @FEW
    @given(json_edits(), st.integers(0, 2))
    def check(edits, place):
        new = [edited_json(line, edits) if i == place else line for i, line in enumerate(lines)]
        (tmp_path / confirmation.FILE).write_bytes(
            ("\n".join(new) + "\n").encode("utf-8", "surrogatepass")
        )

        def read():
            found = confirmation.read(tmp_path)
            if found is not None:
                _ = found.pairs, found.missing, found.seconds

        refused_or_sound(read)

    check()


def test_what_a_stranger_wrote_cannot_break_the_line_of_an_error():
    data = networks.get("mobilenet_v2").to_json()
    data["stages"][0]["layers"][0]["op"] = "a\nnas: all is well\x1b[2J"
    with pytest.raises(NasError) as error:
        Architecture.from_json(data)
    assert str(error.value).isprintable()
