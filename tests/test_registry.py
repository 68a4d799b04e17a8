"""Which run becomes the champion, and what it has to prove before."""

from __future__ import annotations

import mlflow
import numpy as np
import pytest

from cifar_track import config, plots, registry, tracking
from cifar_track.config import CifarTrackError
from cifar_track.evaluation import evaluate

CLASSES = 4
PAGE = config.load_experiment("adam_bn")
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
LABELS = np.repeat(np.arange(CLASSES), 3)


@pytest.fixture(scope="module")
def networks():
    """Two little networks that differ, by name."""
    import keras

    def build(seed):
        keras.utils.set_random_seed(seed)
        images = keras.Input((32, 32, 3), dtype="uint8")
        pooled = keras.layers.AveragePooling2D(16)(keras.layers.Rescaling(1 / 255)(images))
        outputs = keras.layers.Dense(CLASSES, activation="softmax")
        return keras.Model(images, outputs(keras.layers.Flatten()(pooled)))

    return {"a": build(1), "b": build(2)}


@pytest.fixture
def log_run(sqlite_store, networks, monkeypatch):
    """Log a finished run with a model and its evaluation; returns its id."""
    from matplotlib.figure import Figure

    # What they draw is tested elsewhere and takes a second each.
    for name in ("per_class_bars", "per_class_overview", "confusion_matrix"):
        monkeypatch.setattr(plots, name, lambda *_, **__: Figure((1, 1)))

    def log(
        best_val_accuracy, *, network="a", logs=None, dataset="procedural", selection="validation"
    ):
        probabilities = networks[logs or network](IMAGES).numpy()
        evaluation = evaluate(
            probabilities,
            LABELS,
            class_names=("w", "x", "y", "z"),
            superclass_names=("p", "q"),
            superclass_of=(0, 0, 1, 1),
        )
        page = config.override(PAGE, {"data.selection": selection})
        with tracking.start_run(page, dataset_name=dataset, name="adam_bn") as run:
            run.log_metrics({"best_val_accuracy": best_val_accuracy, **evaluation.metrics()})
            run.log_evaluation(evaluation)
            run.log_model(networks[network], metrics_step=1, example=IMAGES[:1])
        return run.id

    return log


def promote(dataset="procedural", *, images=IMAGES, **settings):
    return registry.promote_best(dataset, load_test=lambda run: images, **settings)


def versions(name="cifar100-procedural-classifier"):
    found = mlflow.MlflowClient().search_model_versions(f"name = '{name}'")
    return sorted(int(version.version) for version in found)


def champion(name="cifar100-procedural-classifier"):
    return mlflow.MlflowClient().get_model_version_by_alias(name, "champion")


def test_the_best_by_validation_becomes_champion_with_its_figures(log_run):
    log_run(0.4)
    best = log_run(0.6, network="b")
    log_run(0.5)
    promoted = promote()
    assert promoted.run.run_id == best
    assert promoted.model_uri == "models:/cifar100-procedural-classifier@champion"
    version = champion()
    assert version.tags["cifar_track.run_id"] == best
    assert version.tags["best_val_accuracy"] == "0.6"
    assert version.tags["cifar_track.iteration"] == "adam_bn"
    assert "Validation accuracy 0.6000" in version.description
    assert best in version.description
    served = mlflow.pyfunc.load_model(promoted.model_uri).predict(IMAGES)
    assert served.shape == (12, CLASSES)


def test_the_same_run_twice_is_one_version(log_run):
    log_run(0.5)
    first, second = promote(), promote()
    assert (first.was_registered, second.was_registered) == (False, True)
    assert first.version == second.version == "1"
    assert versions() == [1]
    assert second.replaced_version is None


def test_a_better_run_takes_the_alias_and_an_older_one_can_be_named(log_run):
    first = log_run(0.5)
    promote()
    log_run(0.6, network="b")
    assert promote().replaced_version == "1"
    back = promote(run_id=first[:8])
    assert (back.version, back.replaced_version, back.was_registered) == ("1", "2", True)
    assert versions() == [1, 2]


def test_a_model_that_predicts_otherwise_moves_no_alias_and_leaves_no_version(log_run):
    good = log_run(0.5)
    promote()
    bad = log_run(0.9, network="b", logs="a")
    with pytest.raises(CifarTrackError, match=r"differs from the logged predictions by 0\.\d+"):
        promote()
    assert champion().tags["cifar_track.run_id"] == good
    assert versions() == [1]
    client = mlflow.MlflowClient()
    model_id = client.get_run(bad).data.tags["cifar_track.model_uri"].rpartition("/")[2]
    assert client.get_logged_model(model_id).tags["mlflow.modelVersions"] == "[]"


def test_other_test_images_than_the_runs_are_told_in_one_line(log_run):
    log_run(0.5)
    with pytest.raises(CifarTrackError, match="evaluated on 12 images, but the test set has 5"):
        promote(images=IMAGES[:5])
    assert versions() == []


def test_what_was_chosen_by_the_test_images_is_refused(log_run):
    run_id = log_run(0.9, selection="test")
    with pytest.raises(CifarTrackError, match=r"selection=test"):
        promote()
    with pytest.raises(CifarTrackError, match=r"chosen by the test images \(selection=test\)"):
        promote(run_id=run_id)
    other = log_run(0.2)
    assert promote().run.run_id == other


def test_real_images_and_the_stand_in_never_share_a_model(log_run):
    log_run(0.9)
    with pytest.raises(CifarTrackError, match="no run on cifar100 to register: none has finished"):
        promote("cifar100")
    real = log_run(0.3, dataset="cifar100")
    promoted = promote("cifar100")
    assert (promoted.model_name, promoted.run.run_id) == ("cifar100-classifier", real)
    assert versions() == []
    assert versions("cifar100-classifier") == [1]


def test_a_run_that_is_not_there_is_told_in_one_line(log_run):
    with pytest.raises(CifarTrackError, match="no finished run on procedural with the id feed"):
        promote(run_id="feed")
