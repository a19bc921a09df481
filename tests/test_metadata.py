"""Class names and normalisation beside a network: data, whatever they hold."""

import json

import pytest

from nas import networks
from nas.arch import Architecture
from nas.errors import ArchitectureError
from nas.metadata import Metadata, read_metadata, save_network

HOSTILE = ('a"\n"""', "b'", "\\ ünï 猫 \u2028", "\udcff", "")
METADATA = Metadata(classes=HOSTILE, mean=(0.5, 0.25, 0.125), std=(1.0, 0.5, 0.25))


def test_metadata_survives_the_architectures_file(tmp_path):
    network = networks.get("mobilenet_v2", classes=5)
    save_network(network, METADATA, tmp_path / "a.json")
    assert Architecture.load(tmp_path / "a.json") == network
    assert read_metadata(tmp_path / "a.json") == METADATA
    network.save(tmp_path / "old.json")
    assert read_metadata(tmp_path / "old.json") == Metadata()


def test_metadata_of_another_size_is_left_out():
    network = networks.get("mobilenet_v2", classes=5)
    assert METADATA.fitting(network) == METADATA
    assert METADATA.fitting(networks.get("mobilenet_v2", classes=7)) == Metadata(
        mean=METADATA.mean, std=METADATA.std
    )
    assert Metadata(mean=(0.5,), std=(1.0,)).fitting(network) == Metadata()


@pytest.mark.parametrize("value", ["cats", [1, 2], [None]])
def test_class_names_that_are_none_are_refused(value):
    with pytest.raises(ArchitectureError, match="classes of a network must be a list of str"):
        Metadata.from_json({"classes": value})


def test_a_deviation_that_is_no_number_is_refused():
    with pytest.raises(ArchitectureError, match="std of a network must be a list of float"):
        Metadata.from_json(json.loads('{"std": [NaN]}'))
