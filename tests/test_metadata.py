"""Class names and normalisation beside a network: data, whatever they hold."""

import json

import pytest

from nas import networks
from nas.arch import Architecture
from nas.errors import ArchitectureError
from nas.metadata import Notes, read_notes, save_network

HOSTILE = ('a"\n"""', "b'", "\\ ünï 猫 \u2028", "\udcff", "")
NOTES = Notes(classes=HOSTILE, mean=(0.5, 0.25, 0.125), std=(1.0, 0.5, 0.25))


def test_notes_survive_the_architectures_file(tmp_path):
    network = networks.get("mobilenet_v2", classes=5)
    save_network(network, NOTES, tmp_path / "a.json")
    assert Architecture.load(tmp_path / "a.json") == network
    assert read_notes(tmp_path / "a.json") == NOTES
    network.save(tmp_path / "old.json")
    assert read_notes(tmp_path / "old.json") == Notes()


def test_notes_of_another_size_are_left_out():
    network = networks.get("mobilenet_v2", classes=5)
    assert NOTES.fitting(network) == NOTES
    assert NOTES.fitting(networks.get("mobilenet_v2", classes=7)) == Notes(
        mean=NOTES.mean, std=NOTES.std
    )
    assert Notes(mean=(0.5,), std=(1.0,)).fitting(network) == Notes()


@pytest.mark.parametrize("value", ["cats", [1, 2], [None]])
def test_class_names_that_are_none_are_refused(value):
    with pytest.raises(ArchitectureError, match="classes of a network must be a list of str"):
        Notes.from_json({"classes": value})


def test_a_deviation_that_is_no_number_is_refused():
    with pytest.raises(ArchitectureError, match="std of a network must be a list of float"):
        Notes.from_json(json.loads('{"std": [NaN]}'))
