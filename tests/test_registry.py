"""Which run becomes the champion, and what it has to prove before."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import mlflow
import numpy as np
import pytest
from made_up_network import NAMES, build_network

from cifar_track import config, plots, registry, tracking
from cifar_track.config import CifarTrackError
from cifar_track.evaluation import evaluate
from cifar_track.serving import save_classifier

CLASSES = 4
PAGE = config.load_experiment("adam_bn")
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
LABELS = np.repeat(np.arange(CLASSES), 3)


# What each logged run is: its network, the one whose predictions it logged, and the rest.
RUNS = {
    "first": {"best_val_accuracy": 0.4},
    "second": {"best_val_accuracy": 0.6, "network": "b"},
    "wrong": {"best_val_accuracy": 0.9, "network": "b", "logs": "a"},
    "by_test": {"best_val_accuracy": 0.95, "selection": "test"},
    "real": {"best_val_accuracy": 0.3, "dataset": "cifar100"},
}


def log_run(
    networks,
    *,
    best_val_accuracy,
    network="a",
    logs=None,
    dataset="procedural",
    selection="validation",
):
    evaluation = evaluate(
        networks[logs or network](IMAGES).numpy(),
        LABELS,
        class_names=NAMES.fine,
        superclass_names=NAMES.coarse,
        superclass_of=NAMES.superclass_of,
    )
    page = config.override(PAGE, {"data.selection": selection})
    with tracking.start_run(page, dataset_name=dataset, name="adam_bn") as run:
        run.log_metrics({"best_val_accuracy": best_val_accuracy, **evaluation.metrics()})
        run.log_evaluation(evaluation)
        with tempfile.TemporaryDirectory() as folder:
            prepared = Path(folder, "model")
            save_classifier(networks[network], prepared, classes=NAMES, example=IMAGES[:1])
            run.log_model(prepared, metrics_step=1)
    return run.id


@pytest.fixture(scope="module")
def all_logged(schema, tmp_path_factory):
    """A store in which every run of `RUNS` has been logged, and their ids by name."""
    from matplotlib.figure import Figure

    folder = tmp_path_factory.mktemp("logged")
    networks = {"a": build_network(1), "b": build_network(2)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(schema, folder)}")
        patch.chdir(folder)
        # What they draw is tested elsewhere and takes a second each.
        for name in ("per_class_bars", "per_class_overview", "confusion_matrix"):
            patch.setattr(plots, name, lambda *_, **__: Figure((1, 1)))
        ids = {name: log_run(networks, **settings) for name, settings in RUNS.items()}
    return folder / "mlflow.db", ids


@pytest.fixture
def log(all_logged, elsewhere):
    """Gives a test a store of its own that holds the named runs; returns their ids."""
    shutil.copy(all_logged[0], elsewhere)

    def keep(*names):
        tracking.open_store()
        for name, run_id in all_logged[1].items():
            if name not in names:
                mlflow.MlflowClient().delete_run(run_id)
        return [all_logged[1][name] for name in names]

    return keep


def promote(dataset="procedural", *, images=IMAGES, **settings):
    return registry.promote_best(dataset, load_test=lambda run: images, **settings)


def versions(name="cifar100-procedural-classifier"):
    found = mlflow.MlflowClient().search_model_versions(f"name = '{name}'")
    return sorted(int(version.version) for version in found)


def champion(name="cifar100-procedural-classifier"):
    return mlflow.MlflowClient().get_model_version_by_alias(name, "champion")


def test_the_best_by_validation_becomes_champion_with_its_figures(log):
    _, best = log("first", "second")
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
    assert len(served) == 12
    assert (served["model_version"] == promoted.version).all()


def test_the_same_run_twice_is_one_version(log):
    log("first")
    first, second = promote(), promote()
    assert (first.was_registered, second.was_registered) == (False, True)
    assert first.version == second.version == "1"
    assert versions() == [1]
    assert second.replaced_version is None


def test_a_better_run_takes_the_alias_and_an_older_one_can_be_named(log):
    first, second = log("first", "second")
    promote(run_id=first)
    better = promote()
    assert (better.run.run_id, better.replaced_version) == (second, "1")
    back = promote(run_id=first[:8])
    assert (back.version, back.replaced_version, back.was_registered) == ("1", "2", True)
    assert versions() == [1, 2]


def test_a_model_that_predicts_otherwise_moves_no_alias_and_leaves_no_version(log):
    good, bad = log("first", "wrong")
    promote(run_id=good)
    with pytest.raises(CifarTrackError, match=r"differs from the logged predictions by 0\.\d+"):
        promote()
    assert champion().tags["cifar_track.run_id"] == good
    assert versions() == [1]
    client = mlflow.MlflowClient()
    model_id = client.get_run(bad).data.tags["cifar_track.model_uri"].rpartition("/")[2]
    assert client.get_logged_model(model_id).tags["mlflow.modelVersions"] == "[]"


def test_other_test_images_than_the_runs_are_told_in_one_line(log):
    log("first")
    with pytest.raises(CifarTrackError, match="evaluated on 12 images, but the test set has 5"):
        promote(images=IMAGES[:5])
    assert versions() == []


def test_what_was_chosen_by_the_test_images_is_refused(log):
    by_test, first = log("by_test", "first")
    with pytest.raises(CifarTrackError, match=r"chosen by the test images \(selection=test\)"):
        promote(run_id=by_test)
    assert promote().run.run_id == first
    mlflow.MlflowClient().delete_run(first)
    with pytest.raises(CifarTrackError, match=r"all were chosen by the test images"):
        promote()


def test_real_images_and_the_stand_in_never_share_a_model(log):
    _, real = log("second", "real")
    promoted = promote("cifar100")
    assert (promoted.model_name, promoted.run.run_id) == ("cifar100-classifier", real)
    assert versions() == []
    assert versions("cifar100-classifier") == [1]
    mlflow.MlflowClient().delete_run(real)
    with pytest.raises(CifarTrackError, match="no run on cifar100 to register: none has finished"):
        promote("cifar100")


def test_a_run_that_is_not_there_is_told_in_one_line(log):
    log("first")
    with pytest.raises(CifarTrackError, match="no run is called 'feed'"):
        promote(run_id="feed")
