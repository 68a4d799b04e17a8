"""What is made of finished runs: an ensemble, other forms of a model, the same run again."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
from sklearn.metrics import log_loss

from cifar_track import serving, workflow
from cifar_track.config import CifarTrackError, Demands

pytestmark = pytest.mark.slow  # whole trainings, ensembles and exports

TINY = {
    "data.dataset": "procedural",
    "data.train_per_class": 6,
    "data.validation_per_class": 2,
    "data.test_per_class": 2,
    "training.epochs": 2,
    "training.precision": "float32",
    "training.deterministic": True,
    "model.filters_1": 8,
    "model.filters_2": 8,
    "model.dense_units": 16,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("after")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        yield folder


@pytest.fixture(scope="module")
def runs(store):
    """Two runs on the same images, from two seeds."""
    return [workflow.run_experiment("adam_bn", {**TINY, "training.seed": n}) for n in (0, 1)]


@pytest.fixture(scope="module")
def ensemble(runs):
    # The first by its id, the second as what a filter finds besides it.
    return workflow.blend_runs(runs[:1], filter_string="params.`training.seed` = '1'")


def arrays(run_id, name="predictions"):
    path = mlflow.MlflowClient().download_artifacts(run_id, f"evaluation/{name}.npz")
    with np.load(path) as found:
        return dict(found)


def test_validation_probabilities_are_logged(runs):
    run = mlflow.get_run(runs[0])
    found = arrays(runs[0], "validation")
    assert found["probabilities"].shape == (200, 100)
    accuracy = np.mean(found["probabilities"].argmax(axis=1) == found["labels"])
    assert accuracy == pytest.approx(run.data.metrics["best_val_accuracy"])


def test_an_ensemble_is_the_weighted_mean_of_its_tempered_members(runs, ensemble):
    from scipy.special import softmax

    table = json.loads(
        Path(
            mlflow.MlflowClient().download_artifacts(ensemble, "ensemble/members.json")
        ).read_text()
    )
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["run_id"] for row in rows] == runs
    expected = sum(
        row["weight"]
        * softmax(np.log(arrays(row["run_id"])["probabilities"]) / row["temperature"], axis=1)
        for row in rows
    )
    np.testing.assert_allclose(arrays(ensemble)["probabilities"], expected, atol=1e-5)


def test_an_ensemble_is_a_run_as_any_other(runs, ensemble):
    run = mlflow.get_run(ensemble)
    assert run.info.status == "FINISHED"
    assert run.data.tags["cifar_track.iteration"] == "ensemble"
    assert run.data.tags["cifar_track.members"] == ",".join(runs)
    found = arrays(ensemble, "validation")
    assert run.data.metrics["best_val_loss"] == pytest.approx(
        log_loss(found["labels"], found["probabilities"].astype(float), labels=range(100)), rel=1e-4
    )
    members = [mlflow.get_run(run_id).data for run_id in runs]
    assert run.data.metrics["fit_cpu_seconds"] >= sum(m.metrics["fit_cpu_seconds"] for m in members)
    for images in ("training", "validation", "test"):
        name = f"cifar_track.{images}_digest"
        assert run.data.tags[name] == members[0].tags[name]


def test_who_names_no_run_sees_an_ensemble_beside_its_members(runs, ensemble, capsys):
    compared = workflow.compare_runs(dataset="procedural")
    assert {result.run_id for result in compared.results} == {runs[1], ensemble}
    # One whose files are gone is left out, unless it was named.
    folder = Path(mlflow.get_run(ensemble).info.artifact_uri, "evaluation")
    folder.rename(folder.with_name("away"))
    try:
        capsys.readouterr()
        compared = workflow.compare_runs(dataset="procedural")
        assert f"left out: run {ensemble}" in capsys.readouterr().out
        assert [result.run_id for result in compared.results] == [runs[1]]
        with pytest.raises(CifarTrackError, match=f"run {ensemble} "):
            workflow.compare_runs((ensemble, runs[0]))
    finally:
        folder.with_name("away").rename(folder)


def test_an_ensemble_is_compared_registered_and_served(runs, ensemble):
    workflow.compare_runs((*runs, ensemble), dataset="procedural")
    demands = Demands(never_predicted=100, gate="none")
    workflow.register_best(ensemble, dataset="procedural", demands=demands)
    name = "cifar100-procedural-classifier"
    version = mlflow.MlflowClient().get_model_version_by_alias(name, "champion")
    assert version.run_id == ensemble
    assert f"--runs {runs[0]},{runs[1]} --seed 0\n" in version.description
    images = np.zeros((2, 32, 32, 3), np.uint8)
    assert len(mlflow.pyfunc.load_model(f"models:/{name}@champion").predict(images)) == 2


def test_the_trials_that_a_search_kept_become_one_model(runs, capsys):
    settings = {**TINY, "search.trials": 3, "search.trial_epochs": 1, "training.epochs": 1}
    search = workflow.run_experiment("tune", {**settings, "search.keep": 2}, workers=1)
    trials = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=f"tags.mlflow.parentRunId = '{search}' AND tags.`cifar_track.kind` = 'trial'",
        order_by=["metrics.best_val_accuracy DESC", "attributes.start_time"],
        output_format="list",
    )
    best, second, last = (trial.info.run_id for trial in trials)
    kept = [run_id for run_id in (best, second) if model_of(run_id)]
    assert (kept, model_of(last)) == ([best, second], None)
    assert {trial.info.status for trial in trials} == {"FINISHED"}
    for run_id in kept:  # the weights of the epoch that the trial is judged by
        found = arrays(run_id, "validation")
        accuracy = np.mean(found["probabilities"].argmax(axis=1) == found["labels"])
        assert accuracy == pytest.approx(mlflow.get_run(run_id).data.metrics["best_val_accuracy"])

    blended = mlflow.get_run(workflow.blend_runs(search=search))
    assert set(blended.data.tags["cifar_track.members"].split(",")) == set(kept)
    assert blended.data.tags["cifar_track.test_digest"]
    assert blended.data.tags["cifar_track.budget"] == "full"
    quick = workflow.run_experiment("adam_bn", {**TINY, "training.seed": 9}, budget="quick")
    nested = mlflow.get_run(workflow.blend_runs([blended.info.run_id, quick]))
    assert nested.data.tags["cifar_track.budget"] == "quick"
    with pytest.raises(CifarTrackError, match=r"kept no trial's network; search with -P keep="):
        workflow.blend_runs(search=runs[0])


def model_of(run_id):
    return mlflow.get_run(run_id).data.tags.get("cifar_track.model_uri")


def test_what_can_not_be_combined_is_told(runs, store):
    with pytest.raises(CifarTrackError, match="of 2 runs, 1 of them different; expected two"):
        workflow.blend_runs([runs[0], runs[0]])
    other = workflow.run_experiment("adam_bn", {**TINY, "data.split_seed": 1})
    with pytest.raises(CifarTrackError, match=r"\w{32} .* and \w{32} .* by different images"):
        workflow.blend_runs([runs[0], other])


def test_a_deterministic_run_again_is_the_same_to_the_bit(runs, capsys):
    again = workflow.repeat_run(runs[1][:10])
    told = capsys.readouterr().out
    assert "nothing that was logged differs here" in told
    assert "the same to the bit on 200 test images" in told
    run = mlflow.get_run(again)
    assert run.data.tags["cifar_track.repeats"] == runs[1]
    assert run.data.params == mlflow.get_run(runs[1]).data.params
    np.testing.assert_array_equal(arrays(again)["probabilities"], arrays(runs[1])["probabilities"])


def test_what_differs_here_is_said(runs, capsys):
    client = mlflow.MlflowClient()
    kept = mlflow.get_run(runs[0]).data.tags["cifar_track.processor"]
    client.set_tag(runs[0], "cifar_track.processor", "an abacus")
    client.set_tag(runs[0], "cifar_track.weights_digest", "0123")
    try:
        workflow.repeat_run(runs[0])
    finally:
        client.set_tag(runs[0], "cifar_track.processor", kept)
        client.delete_tag(runs[0], "cifar_track.weights_digest")
    told = capsys.readouterr().out
    assert f"processor: an abacus, here {kept}" in told
    assert "digest of the weights file: 0123, here not logged" in told


@pytest.mark.parametrize("forms", [("keras", "saved_model"), ("litert",)])
def test_exported_forms_agree_with_the_original(runs, forms, tmp_path):
    workflow.export_model(runs[0], formats=forms, output=tmp_path)
    client = mlflow.MlflowClient()
    with Path(client.download_artifacts(runs[0], "export/formats.csv")).open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(forms)
    for row in rows.values():
        assert float(row["largest_difference"]) < 1e-5
        assert float(row["same_class"]) == 1.0
        assert float(row["megabytes"]) > 0
    assert {path.name for path in tmp_path.iterdir()} >= {"formats.csv"}


def test_every_form_agrees_with_the_original(runs, tmp_path):
    workflow.export_model(runs[0], output=tmp_path)
    with (tmp_path / "formats.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert set(rows) == set(serving.FORMATS)
    assert float(rows["onnx"]["largest_difference"]) < 1e-5
    assert float(rows["litert_dynamic"]["same_class"]) > 0.9


def test_a_form_that_lacks_its_packages_is_one_line(runs, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tf2onnx" else found(name)
    )
    with pytest.raises(CifarTrackError, match=r"onnx needs tf2onnx, .*--extra export"):
        workflow.export_model(runs[0], formats=("onnx",))
    with pytest.raises(CifarTrackError, match="no format 'tflite'; did you mean 'litert'"):
        workflow.export_model(runs[0], formats=("tflite",))
