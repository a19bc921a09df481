"""Fitted coefficients: trained on weights, compared on selection, resumable, counted."""

import json

import pytest
from click.testing import CliRunner

from nas.arch import Architecture, Stage
from nas.cli import nas as command_line
from nas.data import load
from nas.errors import RunError, TrainingError, UsageError
from nas.evaluate.coefficients import Fit, Short, Trainer
from nas.family import Coefficients, candidates
from nas.family.steps import Plan
from nas.ops.conv import Classifier, Conv
from nas.shape import Shape


def base():
    stage = Stage("stage1", (Conv(kernel=3, channels=8), Conv(kernel=3, channels=8)))
    return Architecture(
        Shape(1, 8),
        (
            Stage("stem", (Conv(kernel=3, channels=8, stride=2),)),
            stage,
            Stage("head", (Conv(channels=16), Classifier(classes=10))),
        ),
    )


PLAN = Plan(
    base=base(),
    cost=lambda network: float(network.macs),
    unit="macs",
    step=2.0,
    tolerance=0.4,
    pixels=1,
)
RECIPE = Short(epochs=0.2, images=200, batch_size=16)


@pytest.fixture(scope="module")
def found():
    return candidates(PLAN, 1)[0]


@pytest.fixture(scope="module")
def trainer():
    return Trainer(load("digits"), RECIPE)


def test_what_was_trained_is_not_trained_again(found, trainer, tmp_path, monkeypatch):
    seen = []
    first = Fit(found, trainer, tmp_path / "fit", seeds=2).run(watch=seen.append)
    assert [(step.done, step.planned) for step in seen] == [
        (n, 2 * len(found)) for n in range(1, 2 * len(found) + 1)
    ]
    assert seen[-1].eta_seconds == 0
    assert set(first.scores) == {member.network.digest for _, member in found}
    assert first.core_seconds > 0
    record = (tmp_path / "fit" / "fit.jsonl").read_text().splitlines()
    assert len(record) == 2 * len(found)

    torn = "\n".join(record[:-1]) + "\n" + record[-1][:20]
    (tmp_path / "fit" / "fit.jsonl").write_text(torn)
    again: list[object] = []
    second = Fit(found, trainer, tmp_path / "fit", seeds=2).run(watch=again.append)
    assert len(again) == 1
    assert second.scores == first.scores

    monkeypatch.setattr(Trainer, "train", lambda *given: pytest.fail("trained again"))
    assert Fit(found, trainer, tmp_path / "fit", seeds=2).run().best == second.best


def test_a_folder_of_another_fit_is_refused(found, trainer, tmp_path):
    Fit(found[:1], trainer, tmp_path / "fit", seeds=1).run()
    with pytest.raises(RunError, match="was begun with another seeds"):
        Fit(found[:1], trainer, tmp_path / "fit", seeds=1, seed=5).run()


def test_the_best_is_kept_and_its_lead_is_told_with_an_interval(
    found, trainer, tmp_path, monkeypatch
):
    mixed = Coefficients(depth=1.3, width=1.2, resolution=1.0)
    grown = [*found, (mixed, PLAN.at("mixed", mixed, 1.0))]
    monkeypatch.setattr(Trainer, "train", lambda self, network, seed: (network.digest, seed))
    value = {member.network.digest: 0.5 for _, member in found} | {grown[-1][1].network.digest: 0.9}
    monkeypatch.setattr(
        Trainer,
        "selection",
        lambda self, module, side: {"accuracy": value[module[0]] + 0.01 * module[1]},
    )
    fitted = Fit(grown, trainer, tmp_path / "fit", seeds=3).run()
    assert fitted.best[0] == mixed
    over, mean, bounds = fitted.lead()
    assert over in ("depth", "width", "resolution")
    assert mean == pytest.approx(0.4)
    assert bounds[0] < mean < bounds[1]


def test_failed_candidates_are_left_out(found, trainer, tmp_path, monkeypatch):
    def fail(self, network, seed):
        raise TrainingError("the loss is nan at step 3")

    monkeypatch.setattr(Trainer, "train", fail)
    fitted = Fit(found, trainer, tmp_path / "fit", seeds=1).run()
    assert set(fitted.failed.values()) == {"the loss is nan at step 3"}
    with pytest.raises(TrainingError, match="no candidate could be trained: the loss is nan"):
        _ = fitted.best


def test_a_fit_needs_a_seed(found, trainer, tmp_path):
    with pytest.raises(UsageError, match="at least one seed, not 0"):
        Fit(found, trainer, tmp_path, seeds=0)


def test_the_command_fits_plans_and_goes_on(tmp_path):
    base().save(tmp_path / "base.json")
    arguments = [
        "scale",
        str(tmp_path / "base.json"),
        "--fit",
        "--data",
        "digits",
        "--grid",
        "1",
        "--step",
        "2",
        "--members",
        "2",
        "--tolerance",
        "0.4",
        "--pixels",
        "1",
        "--seeds",
        "1",
        "--images",
        "100",
        "--epochs",
        "0.3",
        "--batch-size",
        "16",
        "--out",
        str(tmp_path / "family"),
    ]
    done = CliRunner().invoke(command_line, arguments, catch_exceptions=False)
    assert "kept: depth" in done.stdout
    assert "fitting took" in done.stdout
    document = json.loads(
        CliRunner().invoke(command_line, [*arguments, "--json"], catch_exceptions=False).stdout
    )
    assert document == json.loads((tmp_path / "family" / "family.json").read_text())
    first, *members = document["members"]
    for number, member in enumerate(members, 1):
        assert member["planned"] == 2**number * first["macs"]
        assert abs(member["cost"] / member["planned"] - 1) <= 0.4
        assert (
            Architecture.load(tmp_path / "family" / f"{member['name']}.json").digest
            == member["digest"]
        )
    assert (tmp_path / "family" / "fit.png").exists()
