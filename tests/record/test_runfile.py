"""run.json: read into frozen records, written as it was, and refused in one line if it was
edited."""

import json
import re

import pytest

from nas.cost.confidence import Margin
from nas.errors import RunError
from nas.metadata import Metadata
from nas.objectives import Objectives, parse_objectives
from nas.reading import to_json
from nas.record import runfile
from nas.record.identity import identity
from nas.testing.toys import toy_domain

DOMAIN = toy_domain()
IDENTITY = identity(
    DOMAIN,
    Objectives(parse_objectives(["accuracy", "params"], DOMAIN.compiled.names)),
    strategy="gp",
    seed=5,
    arguments={"spec": "toy", "resolution": None, "classes": 10, "in_channels": 1},
    tables={"pixel1": "ab"},
    data={"name": "digits", "digest": "cd", "split_seed": 0},
    proxy={"lr": 0.1, "threads": 2, "device": "cpu", "teacher": {"digest": "ef"}},
    margins={"pixel1": Margin(confidence=0.95, sigma_ms=1.5, most_common_ms=2.0)},
)


@pytest.fixture
def folder(tmp_path):
    metadata = Metadata(classes=("a", "b"))
    settings = {"space": "toy", "trials": None}
    runfile.write(tmp_path, IDENTITY, command=["nas"], settings=settings, metadata=metadata)
    return tmp_path


def edited(folder, change):
    path = folder / runfile.FILE
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return folder


def test_what_was_written_is_read_and_would_be_written_again(folder):
    run_file = runfile.read(folder)
    assert run_file.identity == IDENTITY
    assert run_file.metadata.classes == ("a", "b")
    assert run_file.identity.threads == 2
    text = json.dumps(to_json(run_file), indent=1) + "\n"
    assert text == (folder / runfile.FILE).read_text()


def test_the_keys_stand_in_the_order_of_every_version(folder):
    document = json.loads((folder / runfile.FILE).read_text())
    assert " ".join(document) == "format command started settings notes identity environment"
    assert " ".join(document["identity"]) == (
        "space tables data proxy objectives bounds reference strategy seed margins"
    )


def test_a_run_of_an_older_version_has_no_metadata_and_may_lack_margins(folder):
    def age(document):
        del document["notes"], document["identity"]["margins"]

    run_file = runfile.read(edited(folder, age))
    assert run_file.metadata == Metadata()
    assert run_file.identity.margins == {}
    assert "margins" not in to_json(run_file.identity)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("seed", "5", 'identity.seed must be int, not "5"'),
        ("reference", [None], "identity.reference[0] must be int or float, not null"),
        ("bounds", {"macs": [1]}, "identity.bounds.macs must hold 2 values, not 1"),
        ("proxy", {"threads": 1.5}, "identity: proxy.threads must be int, not 1.5"),
        ("tables", {"a/b": "ab"}, 'identity.tables has the name "a/b", which is none of ours'),
        ("space", {}, "identity.space.name is missing"),
        ("objectives", {"each": []}, "identity.objectives: not a run's objectives: 'reward'"),
        ("more", 1, "identity.more is none of ours"),
    ],
)
def test_an_edited_file_is_refused_with_the_place(folder, part, value, message):
    def edit(document):
        document["identity"][part] = value

    told = re.escape(f"run.json was edited, or is of another version: {message}")
    with pytest.raises(RunError, match=told):
        runfile.read(edited(folder, edit))
