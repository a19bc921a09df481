"""NETWORK on the command line: a published name, a file, or a trial of a run."""

import sys
from pathlib import Path

import pytest

from nas.errors import ArchitectureError, RunError, UsageError
from nas.run.network import metadata_of, named_network
from nas.run.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    sys.path.insert(0, str(Path(__file__).parent.parent / "kill"))
    import instant

    yield instant.searched(tmp_path_factory.mktemp("runs") / "run", trials=6)
    sys.path.pop(0)


def test_a_network_is_a_published_name_or_a_file(tmp_path):
    network = named_network("mobilenet_v2", width=0.5, resolution=96)
    path = tmp_path / "net.json"
    network.save(path)
    assert named_network(str(path)).digest == network.digest
    assert named_network(str(path), classes=3).out_shape.channels == 3
    path.write_text("{}")
    with pytest.raises(ArchitectureError, match="not an architecture"):
        named_network(str(path))


def test_strides_are_relaxed_for_small_images_whatever_names_the_network(tmp_path):
    path = tmp_path / "net.json"
    named_network("mobilenet_v2").save(path)
    for name in ("mobilenet_v2", str(path)):
        small = named_network(name, resolution=32, small_images=True)
        assert small.layers[-1].shape.size == 4
        assert named_network(name, resolution=32).layers[-1].shape.size == 1


def test_a_network_is_a_trial_of_a_run_or_the_best_of_its_front(run):
    last = run.trials[-1]
    assert named_network(f"{run.folder}:{last.number}").digest == last.digest
    assert named_network(str(run.folder)).digest == run.best().digest
    assert metadata_of(f"{run.folder}:0") == Run(run.folder).metadata


def test_a_name_a_trial_or_a_number_that_does_not_exist_is_told(run):
    with pytest.raises(UsageError, match="Did you mean 'mobilenet_v2'"):
        named_network("mobilenet_v22")
    with pytest.raises(RunError, match="no finished trial '99': its trials are 0 to 5"):
        named_network(f"{run.folder}:99")
    with pytest.raises(RunError, match="is a number, not 'best'"):
        named_network(f"{run.folder}:best")


def test_nothing_is_known_beside_a_published_network():
    assert metadata_of("mobilenet_v2").to_json() == {}
