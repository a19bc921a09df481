"""Searches and trainings told to loggers: their own clients read what was told."""

import json

import pytest

import nas
from nas import logs
from nas.errors import RunError, UsageError
from nas.logs import Job, Logs

VALUES = {"accuracy": 0.5, "latency_ms@pixel1": 20.0}


def evaluate(network, context):
    """A score without a training, from the seed alone."""
    return {"accuracy": context.seed / 2**32, "search_accuracy": 0.5}


def search(out, **settings):
    return nas.search(
        out,
        space="nas_bench_macro",
        device="pixel1",
        evaluate=evaluate,
        strategy="random",
        warm="none",
        quiet=True,
        **settings,
    )


def scalars(folder):
    """Steps and values by name, of TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    names = events.Tags()["scalars"]
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in names}


def test_a_search_and_its_resume_are_told_to_tensorboard(tmp_path) -> None:
    pytest.importorskip("tensorboard")
    run = search(tmp_path / "run", trials=2, log="tensorboard")
    told = scalars(tmp_path / "run" / "tensorboard")
    assert [step for step, _ in told["accuracy"]] == [0, 1]
    assert told["accuracy"][0][1] == pytest.approx(run.trial(0).metrics["accuracy"])
    assert "latency_ms@pixel1" in told
    nas.resume(run, trials=3, quiet=True)
    told = scalars(tmp_path / "run" / "tensorboard")
    assert [step for step, _ in told["accuracy"]] == [0, 1, 2]


def test_a_logger_that_fails_costs_no_trial(tmp_path, monkeypatch) -> None:
    class Broken:
        known_as = ""

        def values(self, step, values):
            raise ConnectionError("the server is gone")

        def close(self, *, finished):
            raise ConnectionError("still gone")

    pytest.importorskip("tensorboard")
    import nas.logs.tensorboard as adapter

    monkeypatch.setattr(adapter, "opened", lambda job: Broken())
    from nas.run.execute import execute
    from nas.run.plan import plan
    from nas.run.settings import Search

    settings = Search().changed(
        space="nas_bench_macro",
        evaluator=f"{__file__}:evaluate",
        data="none",
        strategy="random",
        warm="none",
        trials=2,
        log=("tensorboard",),
    )
    result = execute(plan(settings), tmp_path / "run")
    assert result.outcome.evaluated == 2
    [remark] = [line for line in result.remarks if "--log" in line]
    assert "given up: ConnectionError: the server is gone; the folder's own record" in remark


def test_what_cannot_begin_is_told_before_any_training(tmp_path, monkeypatch) -> None:
    with pytest.raises(UsageError, match=r"no logger named 'mlfow'. Did you mean 'mlflow'\?"):
        search(tmp_path / "run", log="mlfow")
    monkeypatch.setitem(logs.LOGGERS, "nowhere_client", "nowhere")
    with pytest.raises(UsageError, match=r"pip install 'nas-toolkit\[nowhere\]', or leave it out"):
        search(tmp_path / "run", log="nowhere_client")
    pytest.importorskip("tensorboard")
    import nas.logs.tensorboard as adapter

    def refuses(job):
        raise OSError("no server there")

    monkeypatch.setattr(adapter, "opened", refuses)
    with pytest.raises(RunError, match="--log tensorboard cannot begin: OSError: no server there"):
        search(tmp_path / "run", log="tensorboard")
    assert not (tmp_path / "run").exists()


def told_twice(name, folder):
    """Two sessions of one job; what they told."""
    job = Job(folder=folder, axis="trial", settings={"space": "fbnet", "empty": ""})
    (folder / "front.csv").write_text("trial\n0\n")
    for step in range(2):
        with Logs.opened([name], job) as told:
            told.values(step, VALUES)
            told.files([folder / "front.csv", folder / "gone.csv"])
        assert not told.remarks


@pytest.mark.filterwarnings("ignore")  # its own
def test_mlflow_goes_on_in_one_run(tmp_path, monkeypatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    told_twice("mlflow", tmp_path)
    client = mlflow.tracking.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("nas")
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params == {"space": "fbnet"}
    history = client.get_metric_history(run.info.run_id, "latency_ms.pixel1")
    assert [(metric.step, metric.value) for metric in history] == [(0, 20.0), (1, 20.0)]
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["front.csv"]


@pytest.mark.filterwarnings("ignore")  # its own
def test_wandb_writes_offline(tmp_path, monkeypatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    told_twice("wandb", tmp_path)
    kept = json.loads((tmp_path / "logs.json").read_text())["wandb"]
    files = sorted((tmp_path / "wandb").glob(f"offline-run-*-{kept}/*.wandb"))
    assert len(files) == 2
    assert all(file.stat().st_size for file in files)


def test_a_training_is_told(tmp_path) -> None:
    pytest.importorskip("tensorboard")
    from nas.data import load
    from nas.train.full import FullTraining, Recipe
    from search_spaces import nas_bench_macro

    network = nas_bench_macro.space(resolution=32, classes=10).decode((0,) * 8)
    small = nas.scale.scaled(network, width=0.25, resolution=8)
    recipe = Recipe(steps=2, batch_size=32)
    training = FullTraining(small, load("digits"), tmp_path, recipe, logs=["tensorboard"])
    training.run()
    told = scalars(tmp_path / "tensorboard")
    assert [step for step, _ in told["loss"]] == [1, 2]
    assert {"lr", "test/accuracy"} <= set(told)
