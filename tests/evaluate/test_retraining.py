"""What a confirmation trains by, copies or the networks themselves, and what it scores them on."""

import pytest

from nas.data import load
from nas.errors import RunError, UsageError
from nas.evaluate.retraining import full_retraining, retraining
from nas.evaluate.training import make
from nas.record import ledger
from nas.scale import scaled
from nas.testing.toys import toy_space
from nas.train import score

SHORT = make(load("digits"), "images=64").describe_training()


def network():
    return toy_space().decode((0,) * 8)


@pytest.fixture
def copies():
    return retraining(load("digits"), SHORT, 2.0)


@pytest.fixture
def whole():
    return full_retraining(load("digits"), SHORT, 0.02, 8)


@pytest.mark.parametrize("kind", ["copies", "whole"])
def test_it_scores_on_test_and_selection_and_counts_the_opening(kind, request, tmp_path):
    trainer = request.getfixturevalue(kind)
    with pytest.raises(RunError, match="the test set must be opened, and counted"):
        trainer.evaluate(network(), 0)
    assert trainer.open_test(tmp_path / "ledger") == 274
    assert ledger.openings(tmp_path / "ledger") == 1
    metrics = trainer.evaluate(network(), 0)
    assert metrics == trainer.evaluate(network(), 0)
    names = {"accuracy", "balanced_accuracy", "macro_f1", "loss"}
    assert set(metrics) == names | {f"selection_{name}" for name in names}
    # In images: of 274 and of 269.
    assert metrics["accuracy"] * 274 == pytest.approx(round(metrics["accuracy"] * 274))
    on_selection = metrics["selection_accuracy"] * len(trainer.splits.selection)
    assert on_selection == pytest.approx(round(on_selection))


def test_the_networks_themselves_are_trained_as_nas_train_does(whole):
    described = whole.describe_training()
    assert described["full"] is True
    assert (described["epochs"], described["resolution"]) == (60 * 0.02, 8)
    assert "seed" not in described
    assert "width" not in described
    assert whole.describe_data() == make(load("digits")).describe_data()
    assert any("the networks themselves, as nas train does" in line for line in whole.lines())
    with pytest.raises(UsageError, match="--epochs-factor must be above 0"):
        full_retraining(load("digits"), SHORT, 0.0, None)


def test_the_whole_network_is_trained_at_the_resolution_asked_for(whole, tmp_path, monkeypatch):
    scored = []

    def keep(module, images, labels):
        scored.append((module, images.shape))
        return score(module, images, labels)

    monkeypatch.setattr("nas.evaluate.retraining.score", keep)
    whole.open_test(tmp_path / "ledger")
    whole.evaluate(network(), 0)
    ((module, shape),) = scored
    grey = scaled(network(), resolution=8, classes=10, in_channels=1)
    assert sum(parameter.numel() for parameter in module.parameters()) == grey.params
    assert shape == (274, 1, 8, 8)
