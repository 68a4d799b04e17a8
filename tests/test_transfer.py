"""Runs, models and the registry copied from an SQLite file to a real server, and cut on the way."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pytest
from mlflow.entities import Metric

from cifar_track import cli, tracking
from cifar_track.tracking import tag
from cifar_track.tracking.transfer import moves, run_copy

MODEL = "cifar100-classifier"


@mlflow.pyfunc.utils.pyfunc
def double(model_input: list[float]) -> list[float]:
    """A model of one line: what is moved is its files, whatever they hold."""
    return [2 * number for number in model_input]


@pytest.fixture(scope="module")
def laptop(schema, tmp_path_factory):
    """A store as a laptop has it: a search with two trials, a launcher, a champion, and trash."""
    folder = tmp_path_factory.mktemp("laptop")
    with pytest.MonkeyPatch.context() as patch:
        uri = f"sqlite:///{shutil.copy(schema, folder)}"
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.chdir(folder)
        mlflow.set_tracking_uri(uri)
        client = mlflow.MlflowClient()
        experiment = client.create_experiment("moved", tags={"mlflow.note.content": "the study"})
        with mlflow.start_run(experiment_id=experiment, run_name="tune") as parent:
            mlflow.log_params({"optimizer.name": "sgd", "training.epochs": 2})
            values = {1: 0.1, 2: 0.3}
            points = [Metric("val_accuracy", values[at], 1000 + at, at) for at in values]
            client.log_batch(parent.info.run_id, metrics=points)
            client.log_metric(parent.info.run_id, "no_number", float("nan"), 1000, 0)
            mlflow.log_text("class,f1\napple,0.5\n", "evaluation/per_class.csv")
            mlflow.log_input(mlflow.data.from_numpy(np.zeros((2, 3)), name="cifar100", digest="d1"))
            for number in (0, 1):
                with mlflow.start_run(
                    experiment_id=experiment, nested=True, run_name=f"trial {number}"
                ):
                    mlflow.log_metric("best_val_accuracy", 0.1 * number)
            logged = mlflow.pyfunc.log_model(
                name="model", python_model=double, pip_requirements=["mlflow"], step=2
            )
            mlflow.set_tag("cifar_track.model_uri", logged.model_uri)
            mlflow.set_tag("mlflow.note.content", f"see {parent.info.run_id}")
        with mlflow.start_run(experiment_id=experiment, run_name="deleted") as deleted:
            pass
        client.delete_run(deleted.info.run_id)
        client.create_run(experiment, run_name="still going")
        client.create_registered_model(MODEL, {"licence": "none"}, "the best")
        for _ in range(2):
            mlflow.register_model(logged.model_uri, MODEL, tags={"run": parent.info.run_id})
        client.set_registered_model_alias(MODEL, "champion", "2")
        client.update_model_version(MODEL, "2", description=f"run {parent.info.run_id}")
        return uri, parent.info.run_id


@pytest.fixture
def server(server_store):
    """The shared server's client; what a test moved there is removed for good afterwards."""
    client = mlflow.MlflowClient(server_store, server_store)
    yield client
    experiment = client.get_experiment_by_name("moved")
    if experiment is not None:
        # A name in the trash is taken as well.
        client.rename_experiment(experiment.experiment_id, f"moved {experiment.experiment_id}")
        client.delete_experiment(experiment.experiment_id)
    if list(client.search_registered_models(f"name = '{MODEL}'")):
        client.delete_registered_model(MODEL)


@pytest.fixture
def other(elsewhere, schema):
    """The client of another SQLite store, empty."""
    folder = elsewhere / "other"
    folder.mkdir()
    uri = f"sqlite:///{shutil.copy(schema, folder)}"
    return mlflow.MlflowClient(uri, uri)


def runs_by_name(client):
    experiment = client.get_experiment_by_name("moved")
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def test_a_server_then_has_what_the_laptop_has(laptop, server, server_store, capsys):
    source, old_id = laptop
    assert cli.run(["move-runs", source.removeprefix("sqlite:///"), server_store]) == 0
    told = capsys.readouterr().out
    assert "run: 4 found, 3 moved now" in told
    assert "still going" in told
    assert "files included: 3 runs" in told

    runs = runs_by_name(server)
    assert set(runs) == {"tune", "trial 0", "trial 1"}
    tune = runs["tune"]
    assert tune.info.status == "FINISHED"
    assert tune.data.params == {"optimizer.name": "sgd", "training.epochs": "2"}
    history = server.get_metric_history(tune.info.run_id, "val_accuracy")
    assert [(p.step, p.timestamp, p.value) for p in history] == [(1, 1001, 0.1), (2, 1002, 0.3)]
    assert np.isnan(tune.data.metrics["no_number"])
    assert tune.inputs.dataset_inputs[0].dataset.digest == "d1"
    assert runs["trial 1"].data.tags["mlflow.parentRunId"] == tune.info.run_id
    assert tune.data.tags["mlflow.note.content"] == f"see {tune.info.run_id}"
    original = mlflow.MlflowClient(source, source).get_run(old_id)
    assert (tune.info.start_time, tune.info.end_time) == (
        original.info.start_time,
        original.info.end_time,
    )
    path = server.download_artifacts(tune.info.run_id, "evaluation/per_class.csv")
    assert Path(path).read_text() == "class,f1\napple,0.5\n"


def test_its_champion_predicts_and_names_its_run(laptop, server, server_store):
    tracking.move_runs(laptop[0], server_store)
    run_id = runs_by_name(server)["tune"].info.run_id
    champion = server.get_model_version_by_alias(MODEL, "champion")
    assert (champion.version, champion.run_id) in (("2", run_id), (2, run_id))
    assert champion.description == f"run {run_id}"
    mlflow.set_tracking_uri(server_store)
    model = mlflow.pyfunc.load_model(f"models:/{MODEL}@champion")
    assert list(model.predict([1.5, 2.0])) == [3.0, 4.0]
    assert model.metadata.run_id == run_id
    linked = server.get_logged_model(model.metadata.model_id).tags["mlflow.modelVersions"]
    assert [int(link["version"]) for link in json.loads(linked)] == [1, 2]
    assert champion.source == f"models:/{model.metadata.model_id}"
    assert model.metadata.artifact_path.startswith("mlflow-artifacts:/")


def test_the_same_command_again_adds_nothing(laptop, other):
    first = tracking.move_runs(laptop[0], other.tracking_uri)
    assert first.differing == []
    assert first.moved == {"experiment": 1, "run": 3, "model": 1, "version": 2, "alias": 1}
    before = {name: run.info.run_id for name, run in runs_by_name(other).items()}
    again = tracking.move_runs(laptop[0], other.tracking_uri)
    assert sum(again.moved.values()) == 0
    assert {name: run.info.run_id for name, run in runs_by_name(other).items()} == before
    assert len(list(other.search_model_versions(f"name = '{MODEL}'"))) == 2


def test_temporary_files_may_lie_in_a_folder_of_any_name(laptop, other, tmp_path, monkeypatch):
    temporary = tmp_path / "a b#c?d%20e"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    assert tracking.move_runs(laptop[0], other.tracking_uri).differing == []
    run = runs_by_name(other)["tune"]
    [model] = other.search_logged_models([run.info.experiment_id])
    description = Path(model.artifact_location.removeprefix("file://"), "MLmodel").read_text()
    assert f"run_id: {run.info.run_id}" in description


@pytest.mark.parametrize("cut_at", [1, 3, 5, 8, 11])
def test_a_cut_is_gone_on_with(laptop, other, monkeypatch, cut_at):
    calls = 0

    def cut(original):
        def counted(*given, **named):
            nonlocal calls
            calls += 1
            if calls == cut_at:
                raise KeyboardInterrupt
            return original(*given, **named)

        return counted

    with monkeypatch.context() as patch:
        for name in ("create_run", "log_batch", "log_artifacts", "finalize_logged_model"):
            patch.setattr(mlflow.MlflowClient, name, cut(getattr(mlflow.MlflowClient, name)))
        with pytest.raises(KeyboardInterrupt):
            tracking.move_runs(laptop[0], other.tracking_uri)
    tracking.move_runs(laptop[0], other.tracking_uri)
    runs = runs_by_name(other)
    assert {name: run.info.status for name, run in runs.items()} == dict.fromkeys(
        ("tune", "trial 0", "trial 1"), "FINISHED"
    )
    models = other.search_logged_models([runs["tune"].info.experiment_id])
    assert [str(model.status) for model in models] == ["READY"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("no.db", "there is no tracking store"),
        ("localhost:5000", "FROM=localhost:5000 is no address; write http://localhost:5000"),
    ],
)
def test_a_wrong_address_is_one_line(elsewhere, capsys, source, expected):
    assert cli.run(["move-runs", source, "sqlite:///other.db"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert expected in told
    assert not (elsewhere / "other.db").exists()
    assert not (elsewhere / "no.db").exists()


def test_a_store_is_not_moved_into_itself(sqlite_store, capsys):
    link = sqlite_store.with_name("link.db")
    link.symlink_to(sqlite_store)
    for other in (sqlite_store, f"./../{sqlite_store.parent.name}/mlflow.db", link):
        assert cli.run(["move-runs", "mlflow.db", str(other)]) == 2
        assert "two different stores" in capsys.readouterr().err


def test_a_copy_that_is_not_the_same_is_told(laptop, other, monkeypatch, capsys):
    points = run_copy._metric_points
    client_of_copy = moves._client(other.tracking_uri).tracking_uri

    def lose_one(client, run):
        return points(client, run)[client.tracking_uri == client_of_copy :]

    monkeypatch.setattr(run_copy, "_metric_points", lose_one)
    assert cli.run(["move-runs", laptop[0], other.tracking_uri]) == 2
    assert "differ from what was sent" in capsys.readouterr().err


def test_a_history_of_champions_has_the_numbers_of_the_other_store(laptop, other):
    uri, _ = laptop
    here = mlflow.MlflowClient(uri, uri)
    here.set_registered_model_tag(MODEL, tag.CHAMPIONS, "1 2")
    here.set_registered_model_tag(MODEL, tag.PENDING_CHANGE, "{}")
    other.create_registered_model(MODEL)
    other.create_model_version(MODEL, "somewhere")  # so that its numbers are others
    try:
        moves.move_runs(uri, other.tracking_uri)
    finally:
        for name in (tag.CHAMPIONS, tag.PENDING_CHANGE):
            here.delete_registered_model_tag(MODEL, name)
    tags = other.get_registered_model(MODEL).tags
    assert tags[tag.CHAMPIONS] == "2 3"
    assert tag.PENDING_CHANGE not in tags


def test_what_is_under_a_run_that_is_not_over_waits_for_it():
    def run(run_id, status, parent=None):
        tags = {tag.MLFLOW_PARENT: parent} if parent else {}
        return SimpleNamespace(
            info=SimpleNamespace(run_id=run_id, status=status), data=SimpleNamespace(tags=tags)
        )

    runs = [
        run("grandchild", "FINISHED", "child"),
        run("child", "FINISHED", "search"),
        run("search", "RUNNING"),
        run("alone", "FINISHED", "not here"),
    ]
    assert moves._under_way(runs) == {
        "search": "is still RUNNING",
        "child": "belongs to run search, which is still RUNNING",
        "grandchild": "belongs to run search, which is still RUNNING",
    }
