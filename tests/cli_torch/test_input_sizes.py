"""A search that chooses the size of the input: from its first trial to its confirmation."""

import pytest

import nas
from nas.errors import UsageError
from nas.run.execute import execute
from nas.run.plan import plan
from nas.run.replay import replay
from nas.run.settings import Search

pytest.importorskip("torch")

SETTINGS = Search().changed(
    space="mobilenet_v3",
    devices=("pixel",),
    resolution=(160, 224),
    latency_ms=40.0,
    aim="front",
    proxy="images=64,score_images=40",
    seed=3,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sizes") / "run"
    execute(plan(SETTINGS.changed(trials=3)), folder)
    execute(plan(SETTINGS.changed(trials=4)), folder, resume=True)
    return folder


def test_the_folder_is_read_as_it_was_written(folder):
    run = nas.load(folder)
    assert run.space.sizes == (160, 224)
    assert run.identity.space.arguments["resolution"] == (160, 224)
    for trial in run.trials:
        assert run.space.decode(trial.genes).input.size == (160, 224)[trial.genes[0]]


def test_every_proposal_comes_out_again(folder):
    assert replay(nas.load(folder)).difference is None


def test_its_networks_are_trained_anew_each_at_its_share_of_the_size(folder):
    run = nas.load(folder)
    assert run.identity.proxy["input"] == 224
    assert nas.confirm(run, top=1, random=2, against=()).verdict


def test_weights_are_shared_at_one_size_only(tmp_path):
    with pytest.raises(UsageError, match="one input size, not at 160,224: give --resolution 224"):
        execute(plan(SETTINGS.changed(evaluator="supernet")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("sizes", [(160, "a"), (160, None), (160.5, 224)])
def test_sizes_that_are_no_whole_numbers_are_one_line(sizes):
    with pytest.raises(UsageError, match="setting resolution must be"):
        nas.search(space="mobilenet_v3", device="pixel", resolution=sizes)


def test_sizes_that_are_none_are_told():
    with pytest.raises(UsageError, match="setting resolution must be"):
        SETTINGS.changed(resolution=("a", 3)).check()
