"""Runs as people and later programs find them in the store."""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest
from conftest import free_port
from made_up_evaluations import DAMAGES, make_evaluation

from cifar_track import config, interrupts, tracking
from cifar_track.config import CifarTrackError
from cifar_track.tracking import launcher, process, reach, tag

REPOSITORY = Path(__file__).resolve().parent.parent
EXPERIMENT = config.load_experiment("tune")


def start(name="tune", **settings):
    return tracking.start_run(EXPERIMENT, dataset_name="cifar100", name=name, **settings)


def read(run_id):
    return mlflow.MlflowClient().get_run(run_id)


def status(run_id):
    return read(run_id).info.status


def steps(run_id, metric):
    history = mlflow.MlflowClient().get_metric_history(run_id, metric)
    return [(entry.step, entry.value) for entry in sorted(history, key=lambda m: m.step)]


def artifacts(run_id, folder=""):
    return {Path(f.path).name for f in mlflow.MlflowClient().list_artifacts(run_id, folder)}


# The store


def test_the_default_store_is_a_database_in_the_working_folder(sqlite_store):
    assert tracking.open_store() == f"sqlite:///{sqlite_store}"


def test_a_relative_address_is_made_absolute_so_that_a_changed_folder_does_not_matter(
    sqlite_store, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert tracking.open_store() == f"sqlite:///{sqlite_store}"
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{sqlite_store}"


def test_left_over_files_of_an_old_mlflow_do_not_make_a_folder_the_store(sqlite_store):
    (sqlite_store.parent / "mlruns" / "0").mkdir(parents=True)
    (sqlite_store.parent / "mlruns" / "0" / "meta.yaml").write_text("name: Default\n")
    assert tracking.open_store() == f"sqlite:///{sqlite_store}"


@pytest.mark.parametrize("uri", ["./mlruns", "mlruns"])
def test_a_folder_as_store_is_refused_in_one_line(elsewhere, monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(CifarTrackError, match=r"is a folder, and .* use sqlite:///mlflow\.db"):
        tracking.open_store()


def test_a_store_that_cannot_be_written_is_refused_at_once(elsewhere, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}/missing/mlflow.db")
    with pytest.raises(CifarTrackError, match=r"there is no folder .*/missing; make it"):
        tracking.open_store()


def test_a_database_of_another_mlflow_is_refused_in_one_line(sqlite_store):
    import sqlite3

    with sqlite3.connect(sqlite_store) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0a8213491aaa'")
    connection.close()
    with pytest.raises(CifarTrackError) as caught:
        tracking.open_store()
    assert "refuses" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_told_within_seconds(elsewhere, monkeypatch):
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    began = time.monotonic()
    with pytest.raises(CifarTrackError) as caught:
        tracking.open_store()
    assert time.monotonic() - began < 5
    assert address in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_never_answers_is_told_within_seconds(elsewhere, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.setattr(reach, "PROBE_SECONDS", 0.5)
        with pytest.raises(CifarTrackError, match="can't be reached"):
            tracking.open_store()


def test_a_database_server_that_is_not_there_is_told_without_its_password(elsewhere, monkeypatch):
    address = f"postgresql+psycopg2://me:secret@127.0.0.1:{free_port()}/runs"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(CifarTrackError, match="can't be reached") as caught:
        tracking.open_store()
    assert "secret" not in str(caught.value)


def test_a_missing_driver_is_named_in_one_line(elsewhere, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"mysql+pymysql://127.0.0.1:{port}/runs")
        with pytest.raises(CifarTrackError, match="needs the driver pymysql, which is not inst"):
            tracking.open_store()


def log_one_run(folder, number, start_together):
    os.chdir(folder)
    start_together.wait(60)
    with start(name=f"run {number}") as run:
        run.log_epoch(1, {"val_accuracy": 0.5})


@pytest.mark.slow
def test_six_processes_at_once_on_a_fresh_file_all_log_their_runs(elsewhere, monkeypatch):
    # The fork server imports once what its six children need.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "tests"))))
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__, "mlflow.store.tracking.sqlalchemy_store"])
    together = processes.Barrier(6)
    started = [
        processes.Process(target=log_one_run, args=(elsewhere, number, together))
        for number in range(6)
    ]
    for one in started:
        one.start()
    for one in started:
        one.join(90)
    assert [one.exitcode for one in started] == [0] * 6
    found = tracking.find_runs("cifar100")
    assert sorted(run.name for run in found) == [f"run {number}" for number in range(6)]
    assert {run.metrics["val_accuracy"] for run in found} == {0.5}


def test_real_images_and_the_stand_in_have_experiments_of_their_own(sqlite_store):
    with start():
        pass
    with tracking.start_run(EXPERIMENT, dataset_name="procedural", name="tune"):
        pass
    names = {e.name for e in mlflow.MlflowClient().search_experiments()}
    assert names == {"Default", "cifar100", "cifar100-procedural"}
    assert len(tracking.find_runs("cifar100")) == len(tracking.find_runs("procedural")) == 1


def test_a_deleted_experiment_is_told_with_the_command_that_brings_it_back(sqlite_store):
    with start() as run:
        pass
    mlflow.MlflowClient().delete_experiment(run.experiment_id)
    with pytest.raises(CifarTrackError, match="mlflow experiments restore"), start():
        pass


# The end of a run


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, "FINISHED"),
        (SystemExit(0), "FINISHED"),
        (SystemExit(None), "FINISHED"),
        (SystemExit(3), "FAILED"),
        (SystemExit("a line"), "FAILED"),
        (ValueError("loss is NaN\nin epoch 3"), "FAILED"),
        (CifarTrackError("loss is NaN"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
    ],
    ids=repr,
)
def test_a_run_ends_with_the_status_that_is_true(sqlite_store, error, expected):
    try:
        with start() as run:
            assert status(run.id) == "RUNNING"
            if error is not None:
                raise error  # noqa: TRY301
    except BaseException as caught:
        if caught is not error:
            raise
    assert status(run.id) == expected
    assert mlflow.active_run() is None


def test_a_failed_run_holds_its_traceback_and_one_line_of_it(sqlite_store):
    with pytest.raises(ZeroDivisionError), start() as run:
        1 / 0  # noqa: B018
    assert read(run.id).data.tags["cifar_track.error"] == "ZeroDivisionError: division by zero"
    path = mlflow.artifacts.download_artifacts(run_id=run.id, artifact_path="traceback.txt")
    assert "1 / 0" in Path(path).read_text()


def test_sigterm_ends_the_run_killed_with_what_was_logged_and_the_handler_is_put_back(
    sqlite_store,
):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(interrupts.Terminated), start() as run:  # noqa: PT012
        run.log_epoch(1, {"val_accuracy": 0.5})
        child = run.child(0, {"model.dense_units": 32})
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    assert status(run.id) == status(child.id) == "KILLED"
    assert read(run.id).data.tags["cifar_track.error"] == "SIGTERM"
    assert steps(run.id, "val_accuracy") == [(1, 0.5)]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_run_in_another_thread_leaves_signals_alone(sqlite_store):
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work():
        with start() as run:
            seen.append((run.id, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen[0][1] is before
    assert status(seen[0][0]) == "FINISHED"


# What a run holds


def test_tags_say_what_the_run_is_and_who_works_on_it(sqlite_store):
    with start(tags={"mine": "x" * 6000}) as run:
        pass
    tags = read(run.id).data.tags
    assert tags["cifar_track.iteration"] == "tune"
    assert tags["cifar_track.protocol"] == "validation"
    assert tags["cifar_track.dataset"] == "cifar100"
    assert tags["cifar_track.pid"] == str(os.getpid())
    assert tags["cifar_track.host"] == socket.gethostname()
    assert process.is_alive(tags)
    assert len(tags["mine"]) <= 6000


def test_tags_say_by_what_the_figures_were_made(sqlite_store, monkeypatch):
    secret = ["python", "-m", "cifar_track", "train", "--x=http://me:secret@host", "a b"]
    monkeypatch.setattr(sys, "orig_argv", secret)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "3")
    with start() as run:
        child = run.child(0, {"units": 32})
        child.finish("completed")
    for tags in (read(run.id).data.tags, read(child.id).data.tags):
        assert tags["cifar_track.command"] == (
            "python -m cifar_track train --x=http://me:***@host 'a b'"
        )
        lock = hashlib.sha256((REPOSITORY / "uv.lock").read_bytes()).hexdigest()
        assert tags["cifar_track.lock"] == lock[:16]
        assert tags["cifar_track.processor"].endswith(" cores")
    assert read(run.id).data.tags["cifar_track.threads"] == "3"


def test_parameters_are_the_page_as_override_reads_it_back(sqlite_store):
    settings = config.flatten(EXPERIMENT)
    with start() as run:
        run.log_parameters(settings)
        run.log_parameters(settings)  # a resumed run does
    logged = read(run.id).data.params
    assert set(logged) == set(settings)
    settings_as_text = {name: value for name, value in logged.items() if name != "name"}
    assert config.override(EXPERIMENT, settings_as_text) == EXPERIMENT


def test_more_parameters_than_one_request_takes(sqlite_store):
    parameters = {f"p.{number}": number for number in range(250)}
    with start() as run:
        run.log_parameters(parameters)
    assert len(read(run.id).data.params) == 250


def test_epochs_are_steps_from_one_and_a_figure_of_the_run_stands_alone(sqlite_store):
    with start() as run:
        for epoch in (1, 2, 3):
            run.log_epoch(epoch, {"train_loss": 1 / epoch, "val_accuracy": epoch / 10})
        run.log_metrics({"best_epoch": 3.0})
    assert steps(run.id, "val_accuracy") == [(1, 0.1), (2, 0.2), (3, pytest.approx(0.3))]
    assert read(run.id).data.metrics["best_epoch"] == 3


def test_the_machine_is_watched_while_an_iteration_runs(sqlite_store, monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    with start() as run:
        time.sleep(0.5)
    assert "system/cpu_utilization_percentage" in read(run.id).data.metrics


def test_data_is_logged_by_its_digest_in_each_context(sqlite_store):
    with start() as run:
        run.log_dataset(
            name="cifar100",
            digest="d" * 36,
            source="/data/cifar-100-python",
            images={"training": 45_000, "validation": 5_000, "test": 10_000},
            classes=100,
        )
    inputs = read(run.id).inputs.dataset_inputs
    contexts = {i.tags[0].value: i.dataset for i in inputs}
    assert set(contexts) == {"training", "validation", "test"}
    assert {dataset.digest for dataset in contexts.values()} == {"d" * 36}
    assert json.loads(contexts["training"].profile) == {"images": 45_000, "classes": 100}


def test_an_evaluation_is_logged_as_tables_and_figures_and_read_back(sqlite_store):
    evaluation = make_evaluation(classes=20, superclasses=4)
    with start() as run:
        run.log_metrics(evaluation.metrics())
        run.log_evaluation(evaluation)
        run.log_history(
            [dict.fromkeys(("train_loss", "train_accuracy", "val_loss", "val_accuracy"), 0.5)] * 2
        )
        run.log_rows([{"a": 1, "b": "x"}, {"a": 2, "c": 0.5}], "search/trials.csv")
        run.log_json({"a": [1]}, "config.json")
    assert artifacts(run.id, "evaluation") == {
        "per_class.csv",
        "per_class.json",
        "classification_report.txt",
        "confusion.csv",
        "confused_pairs.csv",
        "superclass.csv",
        "predictions.npz",
    }
    assert artifacts(run.id, "figures") == {
        "per_class_first_11.png",
        "per_class_all.png",
        "confusion_matrix.png",
        "learning_curves.png",
    }
    assert {"config.json", "search"} <= artifacts(run.id)
    table = mlflow.MlflowClient().load_table("1", "evaluation/per_class.json", [run.id])
    assert list(table["name"]) == list(evaluation.class_names)
    result = tracking.load_result(run.id)
    assert result.iteration == "tune"
    assert result.metrics["test_accuracy"] == evaluation.accuracy
    assert list(result.per_class) == evaluation.per_class_rows()
    np.testing.assert_array_equal(result.labels, evaluation.labels)
    np.testing.assert_array_equal(result.predictions, evaluation.predictions)
    folder = mlflow.artifacts.download_artifacts(run_id=run.id, artifact_path="evaluation")
    with np.load(Path(folder, "predictions.npz")) as arrays:
        np.testing.assert_array_equal(arrays["probabilities"], evaluation.probabilities)
    with Path(folder, "confusion.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row[rows[0]["true"]]) for row in rows] == evaluation.confusion[:, 0].tolist()
    # Half a copy of them, or what somebody has put there, is one line.
    for name in ("per_class.csv", "predictions.npz"):
        file = Path(read(run.id).info.artifact_uri, "evaluation", name)
        whole = file.read_bytes()
        for content in (b"", whole[: len(whole) // 2], b"1,2\n3,4\n"):
            file.write_bytes(content)
            with pytest.raises(CifarTrackError, match="an evaluation that can't be read") as caught:
                tracking.load_result(run.id)
            assert "\n" not in str(caught.value)
            if name == "predictions.npz":
                with pytest.raises(CifarTrackError, match="can be read"):
                    tracking.load_arrays(run.id, tracking.PREDICTIONS)
        file.write_bytes(whole)


def test_a_run_without_evaluation_is_told_in_one_line(sqlite_store):
    with start() as other:
        other.log_text("a note", "note.txt")
    with start() as run:
        pass
    with pytest.raises(CifarTrackError, match=r"holds no evaluation; its status is FINISHED"):
        tracking.load_result(run.id)
    with pytest.raises(CifarTrackError, match="no run 'feed'"):
        tracking.load_result("feed")


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_an_evaluation_that_is_damaged_is_told_in_one_line(sqlite_store, damage):
    with start() as run:
        run.log_evaluation(make_evaluation(classes=8, superclasses=2))
    folder = Path(mlflow.get_run(run.id).info.artifact_uri.removeprefix("file://"))
    path = folder / "evaluation" / "predictions.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CifarTrackError, match=r"holds an evaluation that can't be read") as caught:
        tracking.load_result(run.id)
    assert "\n" not in str(caught.value)
    with pytest.raises(CifarTrackError, match=r"predictions.npz that can be read"):
        tracking.load_arrays(run.id, tracking.PREDICTIONS)


def test_predictions_of_another_run_are_told_in_one_line(sqlite_store):
    with start() as run:
        run.log_evaluation(make_evaluation(classes=8, superclasses=2))
    folder = Path(mlflow.get_run(run.id).info.artifact_uri.removeprefix("file://"))
    path = folder / "evaluation" / "predictions.npz"
    whole = tracking.read_arrays(path)
    for name, altered in {
        "probabilities": whole["probabilities"][1:],
        "labels": whole["labels"] + 1,
        "predictions": whole["predictions"] - 1,
    }.items():
        np.savez(path, **{**whole, name: altered})
        with pytest.raises(
            CifarTrackError, match=r"can't be read \((.* lengths|.* other classes .*)\)"
        ):
            tracking.load_result(run.id)


LOAD_ELSEWHERE = """
import sys
try:
    import cifar_track
except ImportError:
    pass
else:
    raise SystemExit("the project is on the path")
import mlflow, numpy as np
uri, images, predictions = sys.argv[1:]
mlflow.set_tracking_uri(sys.stdin.read())
model = mlflow.pyfunc.load_model(uri)
images = np.load(images)
answer = model.predict(images, params={"raw": True})
probabilities = np.array(answer["probabilities"].tolist())
np.testing.assert_allclose(probabilities, np.load(predictions), atol=1e-5, rtol=0)
assert len(model.predict(model.input_example)) == 2
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture",
    ["cnn", "resnet50"],
)
def test_a_logged_model_loads_without_the_project_and_predicts_what_was_logged(
    sqlite_store, architecture
):
    from cifar_track import models, serving
    from cifar_track.data import ClassNames

    page = "adam_bn" if architecture == "cnn" else "resnet50"
    settings = config.load_experiment(page).model
    if architecture == "resnet50":
        settings = config.Model(settings.architecture, **{**settings.settings, "weights": "none"})
    model = models.for_serving(models.build(settings, classes=10, seed=1, precision="float32"))
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    predictions = model.predict(images, verbose=0)
    np.save("images.npy", images)
    np.save("predictions.npy", predictions)
    with start() as run:
        run.log_epoch(3, {"val_accuracy": 0.5})
        names = ClassNames(tuple("abcdefghij"), ("p",), (0,) * 10)
        serving.save_classifier(model, Path("model"), classes=names, example=images[:2])
        run.log_model(Path("model"), metrics_step=3)
    uri = read(run.id).data.tags["cifar_track.model_uri"]
    done = subprocess.run(
        [sys.executable, "-I", "-c", LOAD_ELSEWHERE, uri,
         str(Path("images.npy").resolve()), str(Path("predictions.npy").resolve())],
        input=tracking.open_store(), cwd="/", text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    logged = mlflow.MlflowClient().get_logged_model(uri.rpartition("/")[2])
    assert {metric.key for metric in logged.metrics} == {"val_accuracy"}
    info = mlflow.models.get_model_info(uri)
    assert {param.name for param in info.signature.params} == {"top_k", "threshold", "raw"}
    assert info.run_id == run.id
    folder = Path(mlflow.artifacts.download_artifacts(uri))
    requirements = (folder / "requirements.txt").read_text().split()
    assert all("==" in line for line in requirements)
    assert {"tensorflow", "keras", "numpy"} <= {line.partition("==")[0] for line in requirements}
    again = importlib.import_module("mlflow.keras").load_model(uri)
    np.testing.assert_allclose(again.predict(images, verbose=0), predictions, atol=1e-5)


# The launcher


@pytest.fixture
def launched(sqlite_store, monkeypatch):
    """Play `mlflow run`: open a run in an experiment and hand it over."""

    def launch(experiment_name):
        client = mlflow.MlflowClient(f"sqlite:///{sqlite_store}")
        found = client.get_experiment_by_name(experiment_name)
        experiment_id = found.experiment_id if found else client.create_experiment(experiment_name)
        run = client.create_run(
            experiment_id,
            tags={
                "mlflow.source.type": "PROJECT",
                "mlflow.project.entryPoint": "tune",
                "mlflow.source.git.commit": "c" * 40,
            },
        )
        client.log_param(run.info.run_id, "epochs", "1e0")
        monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment_id)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
        return run.info.run_id

    return launch


def test_the_launchers_run_is_gone_on_with_in_the_right_experiment(launched):
    run_id = launched("cifar100")
    with start(name="my tune") as run:
        run.log_parameters(config.flatten(EXPERIMENT))
        with start(name="inner") as inner:
            pass
    assert run.id == run_id
    assert read(run_id).info.run_name == "my tune"
    assert read(run_id).data.tags["cifar_track.iteration"] == "tune"
    assert inner.id != run_id
    assert read(inner.id).data.tags["mlflow.parentRunId"] == run_id
    assert "MLFLOW_RUN_ID" not in os.environ


def test_the_launchers_run_in_another_experiment_leads_to_the_run(launched):
    run_id = launched("Default")
    with start() as run:
        pass
    there, here = read(run_id), read(run.id)
    assert run.id != run_id
    assert mlflow.get_experiment(here.info.experiment_id).name == "cifar100"
    assert here.data.tags["cifar_track.launcher_run_id"] == run_id
    assert there.data.tags["cifar_track.run_id"] == run.id
    assert run.id in there.data.tags["mlflow.note.content"]
    assert there.info.run_name == "mlflow run -e tune"
    assert there.info.status == "RUNNING"  # MLflow ends it itself as the command ends


@pytest.mark.parametrize("experiment_name", ["cifar100", "Default"])
def test_the_second_command_of_an_entry_point_opens_a_run_of_its_own(
    launched, monkeypatch, experiment_name
):
    run_id = launched(experiment_name)
    with start() as first:
        pass
    before = read(run_id).to_dictionary()
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)  # a process of its own is given it again
    with start(name="second") as second:
        pass
    assert second.id not in (first.id, run_id)
    assert "cifar_track.launcher_run_id" not in read(second.id).data.tags
    assert read(run_id).to_dictionary() == before


@pytest.mark.parametrize("ended", ["FINISHED", "FAILED", "KILLED"])
def test_a_run_that_has_ended_is_not_gone_on_with(launched, sqlite_store, ended):
    run_id = launched("cifar100")
    client = mlflow.MlflowClient(f"sqlite:///{sqlite_store}")
    client.set_terminated(run_id, ended)
    before = client.get_run(run_id).to_dictionary()
    with start() as run:
        pass
    assert run.id != run_id
    assert read(run_id).to_dictionary() == before


def test_a_run_that_no_project_opened_is_not_gone_on_with(sqlite_store, monkeypatch):
    client = mlflow.MlflowClient(f"sqlite:///{sqlite_store}")
    somebodys = client.create_run(client.create_experiment("cifar100")).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", somebodys)
    with start() as run:
        pass
    assert run.id != somebodys
    assert status(somebodys) == "RUNNING"


@pytest.mark.parametrize("experiment_name", ["cifar100", "Default"])
def test_the_name_that_mlflow_run_was_given_is_kept(launched, sqlite_store, experiment_name):
    run_id = launched(experiment_name)
    # As `mlflow run --run-name` does, once it has started the command.
    client = mlflow.MlflowClient(f"sqlite:///{sqlite_store}")
    client.set_tag(run_id, "mlflow.runName", "my named run")
    with start() as run:
        pass
    assert read(run.id).info.run_name == "my named run"
    assert read(run_id).info.run_name == "my named run"


def test_a_resumed_run_is_linked_with_the_launchers_run_instead_of_losing_itself(launched):
    with pytest.raises(ValueError, match="cut"), start() as first:
        raise ValueError("cut short")
    run_id = launched("cifar100")
    with start(resume_run_id=first.id) as run:
        assert status(run.id) == "RUNNING"
    assert run.id == first.id
    assert read(run_id).data.tags["cifar_track.run_id"] == first.id
    assert status(first.id) == "FINISHED"
    assert "cifar_track.error" not in read(first.id).data.tags


def test_a_launch_in_a_copy_of_the_project_leaves_no_files_in_the_copy(
    launched, sqlite_store, tmp_path, monkeypatch
):
    run_id = launched("Default")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{sqlite_store}")  # as MLflow gives it
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")
    with start() as run:
        run.log_text("kept", "a.txt")
    assert read(run_id).data.tags["cifar_track.run_id"] == run.id
    assert list(Path().iterdir()) == []
    assert list(sqlite_store.parent.glob("mlruns/cifar100/*/artifacts/a.txt"))


def test_a_path_that_is_no_text_is_logged_as_python_escapes_it(sqlite_store):
    with start("a name \udcff", tags={"command": "train /\udcff"}) as run:
        run.log_parameters({"model.weights": "/disk\udcff/resnet50.h5"})
        run.log_json({"weights": "/disk\udcff"}, "config.json")
        run.set_tags({"more": "\udcff"})
    found = read(run.id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "a name \\udcff")
    assert found.data.params["model.weights"] == "/disk\\udcff/resnet50.h5"
    assert (found.data.tags["command"], found.data.tags["more"]) == ("train /\\udcff", "\\udcff")


def test_a_variable_that_is_set_to_nothing_names_no_run(sqlite_store, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "")
    with start() as run:
        pass
    assert read(run.id).info.status == "FINISHED"


def test_a_launchers_run_that_is_in_no_store_is_told_in_one_line(sqlite_store, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "f" * 32)
    with pytest.raises(CifarTrackError, match="that `mlflow run` opened is not in sqlite"), start():
        pass


LAUNCHED_COMMAND = """
import sys
sys.path.insert(0, {repository!r})
from cifar_track import tracking
with tracking.start_run(dataset_name="procedural", name="study", kind="study") as run:
    run.log_metrics({{"figure": 1.0}})
"""


@pytest.mark.slow
@pytest.mark.parametrize("experiment_name", ["Default", "cifar100-procedural"])
def test_mlflow_run_itself_ends_with_every_run_finished(sqlite_store, experiment_name):
    project = sqlite_store.parent / "project"
    project.mkdir()
    command = f"{sys.executable} work.py"
    (project / "MLproject").write_text(f"entry_points: {{main: {{command: '{command}'}}}}\n")
    (project / "work.py").write_text(LAUNCHED_COMMAND.format(repository=str(REPOSITORY)))
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "run", "project", "--env-manager", "local",
         "--experiment-name", experiment_name, "-P", "seed=1"],
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tracking.open_store()
    experiments = {e.experiment_id: e.name for e in mlflow.MlflowClient().search_experiments()}
    found = tracking.queries.search_runs(list(experiments))
    assert {run.info.status for run in found} == {"FINISHED"}
    where = [experiments[run.info.experiment_id] for run in found]
    expected = {"cifar100-procedural"} | {experiment_name}
    assert sorted(where) == sorted(expected)
    (study,) = [run for run in found if run.data.metrics == {"figure": 1.0}]
    assert experiments[study.info.experiment_id] == "cifar100-procedural"
    assert list(project.glob("ml*")) == []


# Trials


def test_a_trial_is_a_child_run_that_is_seen_while_it_runs(sqlite_store):
    with start() as run:
        child = run.child(0, {"model.dense_units": 32, "optimizer.learning_rate": 0.001})
        child.log_epoch(1, {"val_accuracy": 0.25})
        child.flush()
        seen = read(child.id)
        assert (seen.info.status, seen.info.run_name) == ("RUNNING", "trial 0")
        assert seen.data.metrics == {"val_accuracy": 0.25}
        child.finish("completed")
        failed = run.child(1, {"model.dense_units": 64})
        failed.finish("failed", error="Traceback ...\nMemoryError: no room")
        open_still = run.child(2, {"model.dense_units": 96})
    tags = read(child.id).data.tags
    assert tags["mlflow.parentRunId"] == run.id
    assert tags["cifar_track.trial"] == "0"
    assert tags["cifar_track.dataset"] == "cifar100"
    assert read(child.id).data.params["optimizer.learning_rate"] == "0.001"
    assert status(child.id) == "FINISHED"
    assert status(failed.id) == "FAILED"
    assert read(failed.id).data.tags["cifar_track.error"] == "MemoryError: no room"
    assert "traceback.txt" in artifacts(failed.id)
    assert status(open_still.id) == "FAILED"
    assert [found.run_id for found in tracking.find_runs("cifar100")] == [run.id]


def test_a_search_that_is_gone_on_with_doubles_no_trial(sqlite_store):
    key = {"cifar_track.search_key": "k"}
    with pytest.raises(KeyboardInterrupt), start(tags=key) as run:  # noqa: PT012
        done = run.child(0, {"units": 32})
        done.log_epoch(1, {"val_accuracy": 0.5})
        done.finish("completed")
        cut = run.child(1, {"units": 64})
        cut.log_epoch(1, {"val_accuracy": 0.5})
        fresh = run.child(2, {"units": 96})
        raise KeyboardInterrupt
    with start(tags=key, resume_run_id=run.id) as again:
        assert again.reopen_child(0, {"units": 32}).id == done.id
        second = again.child(1, {"units": 64})
        assert again.child(2, {"units": 96}).id == fresh.id
        for child in (again.reopen_child(0, {"units": 32}), second):
            child.finish("completed")
        again.reopen_child(2, {"units": 96}).finish("completed")
    children = tracking.queries.search_runs(
        [run.experiment_id], f"tags.mlflow.parentRunId = '{run.id}'"
    )
    trials = sorted(child.data.tags["cifar_track.trial"] for child in children)
    assert trials == ["0", "1", "2"]
    assert read(second.id).data.tags["cifar_track.replaces"] == cut.id
    assert steps(done.id, "val_accuracy") == [(1, 0.5)]
    assert {child.info.status for child in children} == {"FINISHED"}


# Finding


def test_links_lead_to_the_model_training_mode_of_the_ui(sqlite_store, monkeypatch):
    assert tracking.compare_url(["a", "b"], ["1"], base="http://h:5000/") == (
        "http://h:5000/#/compare-runs"
        "?runs=%5B%22a%22%2C%22b%22%5D&experiments=%5B%221%22%5D&workflowType=machine_learning"
    )
    assert "mlflow ui" in tracking.ui_command()
    assert "sqlite:///mlflow.db" in tracking.ui_command()
    monkeypatch.chdir(sqlite_store.parent.parent)
    assert f"sqlite:///{sqlite_store}" in tracking.ui_command()


# Other stores


def log_everything():
    with start() as run:
        run.log_parameters(config.flatten(EXPERIMENT))
        for epoch in range(1, 4):
            run.log_epoch(epoch, {"val_accuracy": epoch / 10})
        run.log_dataset(name="cifar100", digest="d", source="x", images={"test": 1}, classes=100)
        run.log_rows([{"a": 1}], "search/trials.csv")
        run.log_table([{"a": 1}], "search/trials.json")
        child = run.child(0, {"units": 32})
        child.log_epoch(1, {"val_accuracy": 0.5})
        child.finish("completed")
    assert steps(run.id, "val_accuracy") == [(1, 0.1), (2, 0.2), (3, pytest.approx(0.3))]
    assert status(child.id) == "FINISHED"
    assert run.id in {found.run_id for found in tracking.find_runs("cifar100")}
    assert artifacts(run.id, "search") == {"trials.csv", "trials.json"}
    return run


@pytest.mark.slow
def test_a_tracking_server_holds_all_of_it(server_store):
    run = log_everything()
    assert run.url.startswith(server_store)
    assert tracking.ui_command() == server_store


@pytest.mark.slow
def test_a_postgresql_database_holds_all_of_it(elsewhere, postgres_address, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgres_address)
    log_everything()


def test_launcher_tags_are_what_the_documentation_says():
    assert tag.LAUNCHER_RUN_ID in (launcher.__doc__ or "")
    assert tag.RUN_ID in (launcher.__doc__ or "")
