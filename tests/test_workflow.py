"""The story end to end on the stand-in: what a user finds in MLflow afterwards."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest

from cifar_track import workflow
from cifar_track.config import CifarTrackError, Demands, load_experiment, override
from cifar_track.data import load_dataset
from cifar_track.workflow import train

TINY = {
    "data.dataset": "procedural",
    "data.train_per_class": 6,
    "data.validation_per_class": 2,
    "data.test_per_class": 2,
    "training.epochs": 2,
    "training.precision": "float32",
    "model.filters_1": 8,
    "model.filters_2": 8,
    "model.dense_units": 16,
}
SEARCH = {**TINY, "search.trials": 2}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A fresh store, in a working folder of its own."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        yield folder


@pytest.fixture(scope="module")
def trained(store):
    return workflow.run_experiment("adam_bn", TINY)


@pytest.fixture(scope="module")
def interrupted(store):
    """A search that Ctrl-C ended in the refit of its best: its run and its trials' runs."""
    from cifar_track import training

    def leave(*_given, on_epoch, **_named):
        names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
        on_epoch(1, dict.fromkeys(names, 0.5))
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "fit", leave)  # trials fit in processes of their own
        with pytest.raises(KeyboardInterrupt):
            workflow.run_experiment("tune", SEARCH, workers=2)
    [run] = mlflow.search_runs(
        experiment_names=["cifar100-procedural"],
        filter_string="attributes.status = 'KILLED' AND tags.`cifar_track.kind` = 'iteration'",
        output_format="list",
    )
    return run.info.run_id, children(run.info.run_id)


@pytest.fixture(scope="module")
def tuned(interrupted):
    return workflow.run_experiment("tune", SEARCH, workers=2)


def children(run_id, kind="trial"):
    client = mlflow.MlflowClient()
    return client.search_runs(
        [client.get_run(run_id).info.experiment_id],
        f"tags.`mlflow.parentRunId` = '{run_id}' AND tags.`cifar_track.kind` = '{kind}'",
    )


def artifacts(run_id, folder=None):
    client = mlflow.MlflowClient()
    found = []
    for entry in client.list_artifacts(run_id, folder):
        found += artifacts(run_id, entry.path) if entry.is_dir else [entry.path]
    return found


def test_a_run_holds_what_the_design_lists(trained):
    run = mlflow.MlflowClient().get_run(trained)
    assert run.info.status == "FINISHED"
    assert run.data.params["optimizer.learning_rate"] == "0.001"
    assert run.data.params["model.batch_normalization"] == "true"
    assert run.data.params["training.precision"] == "float32"
    wanted = {
        *("train_loss", "train_accuracy", "val_loss", "val_accuracy"),
        *("best_val_accuracy", "best_epoch", "test_accuracy", "test_accuracy_low"),
        *("test_accuracy_high", "test_top5_accuracy", "test_macro_precision"),
        *("test_macro_recall", "test_macro_f1", "test_log_loss", "fit_seconds"),
        "images_per_second",
    }
    assert wanted <= set(run.data.metrics)
    # Figures of single classes are artifacts.
    assert not any("class" in name.replace("superclass", "") for name in run.data.metrics)
    assert {
        "config.json",
        "evaluation/per_class.csv",
        "evaluation/classification_report.txt",
        "evaluation/confusion.csv",
        "evaluation/confused_pairs.csv",
        "evaluation/superclass.csv",
        "evaluation/predictions.npz",
        "figures/learning_curves.png",
    } <= set(artifacts(trained))
    assert run.data.tags["cifar_track.iteration"] == "adam_bn"
    assert run.data.tags["cifar_track.dataset"] == "procedural"
    assert run.data.tags["cifar_track.protocol"] == "validation"
    experiment = mlflow.MlflowClient().get_experiment(run.info.experiment_id)
    assert experiment.name == "cifar100-procedural"


def test_epochs_are_steps_counted_from_one(trained):
    history = mlflow.MlflowClient().get_metric_history(trained, "val_accuracy")
    assert [point.step for point in history] == [1, 2]
    (best,) = mlflow.MlflowClient().get_metric_history(trained, "best_val_accuracy")
    assert best.value == max(point.value for point in history)
    # MLflow's UI draws what stands at an epoch as a dot, and what stands at 0 as a bar.
    assert best.step == 0
    uri = mlflow.MlflowClient().get_run(trained).data.tags["cifar_track.model_uri"]
    logged = mlflow.MlflowClient().get_logged_model(uri.rpartition("/")[2])
    assert {"test_accuracy", "best_val_accuracy"} <= {metric.key for metric in logged.metrics}


def test_the_figures_are_those_of_the_logged_predictions(trained, tmp_path):
    from sklearn.metrics import f1_score

    client = mlflow.MlflowClient()
    with np.load(client.download_artifacts(trained, "evaluation/predictions.npz")) as arrays:
        labels, predictions = arrays["labels"], arrays["predictions"]
    metrics = client.get_run(trained).data.metrics
    assert metrics["test_accuracy"] == pytest.approx((labels == predictions).mean())
    expected = f1_score(labels, predictions, average="macro", labels=range(100), zero_division=0)
    assert metrics["test_macro_f1"] == pytest.approx(expected)


def test_trials_are_children_with_their_values_and_epochs(tuned):
    client = mlflow.MlflowClient()
    parent = client.get_run(tuned)
    trials = children(tuned)
    assert sorted(child.info.run_name for child in trials) == ["trial 0", "trial 1"]
    for child in trials:
        assert child.info.status == "FINISHED"
        assert set(child.data.params) >= {"model.filters_1", "model.kernel_2", "model.dropout_1"}
        history = client.get_metric_history(child.info.run_id, "val_accuracy")
        assert [point.step for point in history] == [1, 2]
    assert {"search/space.json", "search/trials.csv", "figures/search.png"} <= set(artifacts(tuned))
    best = json.loads(Path(client.download_artifacts(tuned, "search/best.json")).read_text())
    logged = json.loads(Path(client.download_artifacts(tuned, "config.json")).read_text())
    for name, value in best.items():  # the parent says what was fitted again
        assert parent.data.params[name] == str(value)
        assert logged["experiment"][name] == value
    scores = [child.data.metrics["best_val_accuracy"] for child in trials]
    assert parent.data.metrics["best_trial_val_accuracy"] == max(scores)
    difference = parent.data.metrics["best_val_accuracy"] - max(scores)
    assert parent.data.metrics["refit_minus_best_trial_val_accuracy"] == pytest.approx(difference)


def test_a_search_cut_short_in_its_refit_goes_on_with_the_refit(interrupted, tuned, store):
    run_id, before = interrupted
    assert tuned == run_id
    assert mlflow.MlflowClient().get_run(tuned).info.status == "FINISHED"
    # The refit that was cut short is in the trash; the other's curve is the run's, and its own.
    [refit] = children(tuned, kind="refit")
    assert "cifar_track.replaces" in refit.data.tags
    assert refit.info.status == "FINISHED"
    for name in ("train_loss", "val_accuracy"):
        curves = [
            [
                (point.step, point.value)
                for point in mlflow.MlflowClient().get_metric_history(of, name)
            ]
            for of in (refit.info.run_id, tuned)
        ]
        assert [step for step, _ in curves[0]] == [1, 2]
        assert curves[0] == curves[1]
    # No trial was begun again, and nothing of the search's state is left.
    times = {child.info.run_id: child.info.end_time for child in before}
    assert {child.info.run_id: child.info.end_time for child in children(tuned)} == times
    assert [file for file in (store / "state").rglob("*") if file.is_file()] == []


def test_comparing_logs_tables_figures_and_a_page(trained, tuned, tmp_path, capsys):
    workflow.compare_runs((trained, tuned), dataset="procedural", output=tmp_path)
    said = capsys.readouterr().out
    assert "adam_bn" in said
    assert "mlflow ui" in said
    assert "workflowType=machine_learning" in said
    assert (tmp_path / "comparison.html").read_text().startswith("<!doctype html>")
    run = mlflow.search_runs(
        experiment_names=["cifar100-procedural"],
        filter_string="tags.`cifar_track.kind` = 'comparison'",
        output_format="list",
    )[0]
    found = artifacts(run.info.run_id)
    assert {"comparison/metrics.csv", "comparison/per_class.csv", "comparison/pairs.csv"} <= set(
        found
    )
    path = mlflow.MlflowClient().download_artifacts(run.info.run_id, "comparison/per_class.csv")
    with Path(path).open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 100


def test_registering_makes_the_best_by_validation_the_champion(trained, tuned):
    # After two epochs on six images a class most classes are never predicted.
    workflow.register_best(dataset="procedural", demands=Demands(never_predicted=100))
    client = mlflow.MlflowClient()
    version = client.get_model_version_by_alias("cifar100-procedural-classifier", "champion")
    best = max(
        (client.get_run(run_id) for run_id in (trained, tuned)),
        key=lambda run: run.data.metrics["best_val_accuracy"],
    )
    assert version.run_id == best.info.run_id


def test_wrong_settings_open_no_run(store):
    before = len(mlflow.search_runs(search_all_experiments=True, output_format="list"))
    for page, wrong, words in (
        ("adam_bn", {"model.kernel_1": 99}, "kernel_1=99"),
        ("adam_bn", {"data.train_per_class": 100000, "data.dataset": "cifar100"}, "."),
        ("resnet50", {"model.weights": "/nowhere.h5"}, "does not exist"),
    ):
        settings = {**TINY, **wrong}
        if page == "resnet50":
            settings = {k: v for k, v in settings.items() if not k.startswith("model.")} | wrong
        with pytest.raises(CifarTrackError, match=words) as caught:
            workflow.run_experiment(page, settings, data_dir=None)
        assert "\n" not in str(caught.value)
    assert len(mlflow.search_runs(search_all_experiments=True, output_format="list")) == before


def test_a_loss_that_is_no_number_ends_the_run_failed(store):
    with pytest.raises(CifarTrackError, match="the loss became"):
        workflow.run_experiment("adam_bn", {**TINY, "optimizer.learning_rate": 1e30})
    run = mlflow.search_runs(
        experiment_names=["cifar100-procedural"],
        filter_string="attributes.status = 'FAILED'",
        output_format="list",
    )[0]
    assert "epoch 1" in run.data.tags["cifar_track.error"]


@pytest.mark.slow
def test_the_model_loads_without_this_package_and_predicts_what_was_logged(trained, store):
    client = mlflow.MlflowClient()
    uri = client.get_run(trained).data.tags["cifar_track.model_uri"]
    predictions = client.download_artifacts(trained, "evaluation/predictions.npz")
    data = load_dataset(override(load_experiment("adam_bn"), TINY).data)
    np.save(store / "images.npy", data.load_test().images)
    program = (
        "import sys, mlflow, numpy as np\n"
        "sys.path = [p for p in sys.path if p]\n"
        f"mlflow.set_tracking_uri('sqlite:///{store}/mlflow.db')\n"
        f"model = mlflow.pyfunc.load_model({uri!r})\n"
        f"images = np.load({str(store / 'images.npy')!r})\n"
        "answer = model.predict(images, params={'raw': True})\n"
        f"logged = np.load({predictions!r})['probabilities']\n"
        "assert logged.shape == (len(images), 100)\n"
        "np.testing.assert_allclose(np.array(list(answer['probabilities'])), logged, atol=1e-5)\n"
        "assert not any(name.startswith('cifar_track') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-I", "-c", program], cwd="/", check=True)


def test_every_story_is_there_each_time_it_is_asked_for():
    for name in workflow.__all__:
        assert callable(getattr(workflow, name)), name
        assert callable(getattr(workflow, name)), name
    with pytest.raises(AttributeError, match="no attribute 'tell_a_joke'"):
        workflow.tell_a_joke  # noqa: B018 - it is asked for


def test_the_file_of_weights_that_a_network_began_with_is_known_again(tmp_path):
    file = tmp_path / "some.weights.h5"
    file.write_bytes(b"weights")
    page = override(load_experiment("resnet50"), {"model.weights": str(file)})
    [(tag, digest)] = train._tags_of_weights(page).items()
    assert tag == "cifar_track.weights_digest"
    assert digest == subprocess.check_output(["sha256sum", file], text=True).split()[0]
    assert train._tags_of_weights(load_experiment("adam_bn")) == {}
