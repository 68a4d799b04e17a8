"""Which run becomes the champion, and what it has to prove before."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import mlflow
import numpy as np
import pytest
from conftest import answers, free_port, wait_for
from made_up_evaluations import DAMAGES
from made_up_network import NAMES, build_network

from cifar_track import config, plots, registry, tracking
from cifar_track.config import CifarTrackError, Demands
from cifar_track.data import Images
from cifar_track.evaluation import evaluate
from cifar_track.registry import elsewhere as asked
from cifar_track.registry import gates, journal, proof
from cifar_track.serving import save_classifier
from cifar_track.statistics import paired_difference
from cifar_track.tracking import FinishedRun, tag

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = config.load_experiment("adam_bn")
NAME = "cifar100-procedural-classifier"
IMAGES = np.random.default_rng(0).integers(0, 256, (400, 32, 32, 3), dtype=np.uint8)
# What each logged run is: its network, the one whose predictions it logged, and the rest.
RUNS = {
    "first": {"best_val_accuracy": 0.4},
    "second": {"best_val_accuracy": 0.6, "network": "b"},
    "third": {"best_val_accuracy": 0.7, "network": "c"},
    "wrong": {"best_val_accuracy": 0.9, "network": "b", "logs": "a"},
    "by_test": {"best_val_accuracy": 0.95, "selection": "test"},
    "real": {"best_val_accuracy": 0.3, "dataset": "cifar100"},
    "quick": {"best_val_accuracy": 0.99, "tags": {tag.BUDGET: "quick"}},
    "other_images": {"best_val_accuracy": 0.98, "split_seed": 1},
}
# Most labels are what `b` says, fewer what `c` says, and the rest chance, as all that `a` says is.
RANDOM = np.random.default_rng(1)


@pytest.fixture(scope="module")
def networks():
    return {"a": build_network(1), "b": build_network(2), "c": build_network(3)}


@pytest.fixture(scope="module")
def labels(networks):
    said = {name: network(IMAGES).numpy().argmax(axis=1) for name, network in networks.items()}
    chance = RANDOM.integers(0, 4, len(IMAGES))
    share = RANDOM.random(len(IMAGES))
    return np.select([share < 0.6, share < 0.75], [said["b"], said["c"]], chance)


def log_run(
    networks,
    labels,
    *,
    best_val_accuracy,
    network="a",
    logs=None,
    dataset="procedural",
    selection="validation",
    split_seed=0,
    tags=None,
):
    evaluation = evaluate(
        networks[logs or network](IMAGES).numpy(),
        labels,
        class_names=NAMES.fine,
        superclass_names=NAMES.coarse,
        superclass_of=NAMES.superclass_of,
    )
    page = config.override(
        PAGE,
        {"data.selection": selection, "data.split_seed": split_seed, "data.dataset": dataset},
    )
    with tracking.start_run(page, dataset_name=dataset, name="adam_bn", tags=tags) as run:
        run.log_parameters(config.flatten(page))
        run.log_dataset(name=dataset, digest="d1", source="here", images={"test": 9}, classes=4)
        run.log_metrics({"best_val_accuracy": best_val_accuracy, **evaluation.metrics()})
        run.log_metrics({"fit_seconds": 60.0, "fit_cpu_seconds": 50.0})
        run.log_evaluation(evaluation)
        with tempfile.TemporaryDirectory() as folder:
            prepared = Path(folder, "model")
            save_classifier(networks[network], prepared, classes=NAMES, example=IMAGES[:1])
            run.log_model(prepared, metrics_step=1)
    return run.id


@pytest.fixture(scope="module")
def all_logged(schema, tmp_path_factory, networks, labels):
    """A store in which every run of `RUNS` has been logged, and their ids by name."""
    from matplotlib.figure import Figure

    folder = tmp_path_factory.mktemp("logged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(schema, folder)}")
        patch.chdir(folder)
        # What they draw is tested elsewhere and takes a second each.
        for name in ("per_class_bars", "per_class_overview", "confusion_matrix"):
            patch.setattr(plots, name, lambda *_, **__: Figure((1, 1)))
        ids = {name: log_run(networks, labels, **settings) for name, settings in RUNS.items()}
    return folder / "mlflow.db", ids


@pytest.fixture
def log(all_logged, elsewhere, monkeypatch):
    """Gives a test a store of its own that holds the named runs; returns their ids."""
    shutil.copy(all_logged[0], elsewhere)
    monkeypatch.setattr(proof, "ask_elsewhere", ask_here)

    def keep(*names):
        tracking.open_store()
        for name, run_id in all_logged[1].items():
            if name not in names:
                mlflow.MlflowClient().delete_run(run_id)
        return [all_logged[1][name] for name in names]

    return keep


@pytest.fixture
def predictions_file():
    """The stored predictions of a run, put back as they were after the test."""
    kept = {}

    def find(run_id):
        uri = mlflow.get_run(run_id).info.artifact_uri
        path = Path(uri.removeprefix("file://"), "evaluation", "predictions.npz")
        kept[path] = path.read_bytes()
        return path

    yield find
    for path, data in kept.items():
        path.write_bytes(data)


def ask_here(folder, images, **_):
    """In this process, which has TensorFlow already; one test below asks a process of its own."""
    model = mlflow.pyfunc.load_model(str(folder))
    raw = {"raw": True}
    answer = [model.predict(part, params=raw)["probabilities"] for part in np.split(images, 2)]
    return asked.Behaviour(
        probabilities=np.array([row for part in answer for row in part]),
        load_seconds=0.1,
        milliseconds=1.0,
        megabytes=2.0,
        environment="this process",
    )


@pytest.fixture
def promote(labels):
    def promote(dataset="procedural", *, images=IMAGES, truth=None, **settings):
        test = Images(images, labels if truth is None else truth)
        settings.setdefault("demands", Demands(gate="none"))
        return registry.promote(dataset, load_test=lambda run: test, **settings)

    return promote


def versions(name=NAME):
    found = mlflow.MlflowClient().search_model_versions(f"name = '{name}'")
    return sorted(int(version.version) for version in found)


def under(alias, name=NAME):
    return mlflow.MlflowClient().get_model_version_by_alias(name, alias)


class TestChoice:
    def test_the_best_by_validation_becomes_champion_with_its_figures(self, log, promote):
        _, best = log("first", "second")
        promoted = promote(demands=Demands())
        assert promoted.run.run_id == best
        assert promoted.model_uri == f"models:/{NAME}@champion"
        version = under("champion")
        assert version.run_id == best
        assert version.tags["cifar_track.run_id"] == best
        assert version.tags["best_val_accuracy"] == "0.6"
        assert version.tags["cifar_track.iteration"] == "adam_bn"
        assert version.tags["cifar_track.gate.predictions"].startswith("passed: as logged on 400")
        assert best in version.description
        served = mlflow.pyfunc.load_model(promoted.model_uri).predict(IMAGES[:3])
        assert (served["model_version"] == promoted.version).all()

    def test_it_is_chosen_on_the_same_validation_images(self, log, promote):
        second, _, _ = log("second", "other_images", "quick")
        promote(run_id=second)
        choice = promote().choice
        assert choice.run.run_id == second
        assert sorted(reason for _, reason in choice.left_out) == [
            "had a quick budget",
            "was judged by other validation images",
        ]

    def test_of_quick_runs_alone_the_best_is_taken(self, log, promote):
        (quick,) = log("quick")
        assert promote().run.run_id == quick

    def test_what_was_chosen_by_the_test_images_is_refused(self, log, promote):
        by_test, first = log("by_test", "first")
        with pytest.raises(CifarTrackError, match=r"chosen by the test images \(selection=test\)"):
            promote(run_id=by_test)
        assert promote().run.run_id == first
        mlflow.MlflowClient().delete_run(first)
        with pytest.raises(CifarTrackError, match=r"each of which was chosen by the test images"):
            promote(name="another")

    def test_one_worse_than_the_champion_has_to_be_asked_for(self, log, promote):
        first, second = log("first", "second")
        promote()
        with pytest.raises(CifarTrackError, match=r"0\.4000, .* has 0\.6000; -P gate=none"):
            promote(run_id=first, demands=Demands())
        assert under("champion").run_id == second
        worse = promote(run_id=first[:8], demands=Demands(gate="none"))
        assert (worse.alias, worse.replaced_version) == ("champion", "1")
        assert "worse than the champion's 0.6000" in under("champion").description

    def test_another_figure_chooses(self, log, promote):
        log("first", "second")
        with pytest.raises(CifarTrackError, match="no run has a metric 'best_val_los'"):
            promote(metric="best_val_los")
        with pytest.raises(CifarTrackError, match="a figure of the test images"):
            promote(metric="test_accuracy")
        with pytest.raises(CifarTrackError, match="says of no run that it is better"):
            promote(metric="best_epoch")
        with pytest.raises(CifarTrackError, match="of the images that the run learnt from"):
            promote(metric="train_accuracy")
        assert promote(metric="fit_cpu_seconds").choice.metric == "fit_cpu_seconds"
        assert "passed: fit_cpu_seconds 50.0000\n" in under("champion").description

    def test_lower_is_better_where_it_is(self):
        runs = [
            FinishedRun(
                run_id=name,
                experiment_id="1",
                name=name,
                iteration="adam_bn",
                protocol="validation",
                started=0,
                parameters={},
                metrics={"best_val_loss": loss, "best_val_accuracy": 1 - loss},
                tags={tag.MODEL_URI: "models:/m-1"},
            )
            for name, loss in (("x", 0.3), ("y", 0.1), ("z", 0.2))
        ]
        chosen = registry.choose_run(runs, dataset_name="procedural", metric="best_val_loss")
        assert [run.run_id for run in chosen.looked_at] == ["y", "z", "x"]

    def test_a_run_that_is_not_there_is_told_in_one_line(self, log, promote):
        log("first")
        with pytest.raises(CifarTrackError, match="no run is called 'feed'"):
            promote(run_id="feed")

    def test_real_images_and_the_stand_in_never_share_a_model(self, log, promote):
        _, real = log("second", "real")
        promoted = promote("cifar100")
        assert (promoted.model_name, promoted.run.run_id) == ("cifar100-classifier", real)
        assert versions() == []
        assert versions("cifar100-classifier") == [1]
        mlflow.MlflowClient().delete_run(real)
        with pytest.raises(CifarTrackError, match="no run on cifar100 to register: none finished"):
            promote("cifar100", name="another")

    @pytest.mark.parametrize(
        "name", ["team/cifar", "a:b", "", " ", "..", "o'clock", "a@b", "a\nb", "a?b", "a#b"]
    )
    def test_an_odd_name_is_told_before_anything_is_looked_at(self, name):
        with pytest.raises(CifarTrackError, match="can't be a registered model's"):
            config.registered_name("procedural", name)


def test_the_command_tells_a_mistake_without_tensorflow(log):
    [run_id] = log("first")
    model = mlflow.get_run(run_id).outputs.model_outputs[0].model_id
    mlflow.MlflowClient().delete_logged_model(model)
    mistakes = [["--run", "feed"], ["--run", run_id], ["--metric", "none"], ["--rollback", "true"]]
    script = (
        "import sys; from cifar_track import cli\n"
        f"for mistake in {mistakes}:\n"
        "    assert cli.run(['register', '--dataset', 'procedural', *mistake]) == 2\n"
        "    print('tensorflow' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(registry.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    told = done.stderr.splitlines()
    assert [line.startswith("error: ") for line in told] == [True, False] * len(mistakes)
    assert set(told[1::2]) == {"False"}


class TestVersions:
    def test_the_same_run_twice_is_one_version(self, log, promote):
        log("first")
        first, second = promote(), promote()
        assert (first.was_registered, second.was_registered) == (False, True)
        assert first.version == second.version == "1"
        assert versions() == [1]
        assert second.replaced_version is None
        assert mlflow.MlflowClient().get_registered_model(NAME).tags[tag.CHAMPIONS] == "1"

    def test_rolling_back_gives_the_alias_to_the_champion_before(self, log, promote):
        first, second, _ = log("first", "second", "third")
        promote(run_id=first)
        with pytest.raises(CifarTrackError, match=r"no version of .* was the champion"):
            registry.roll_back("procedural")
        promote(run_id=second)
        promote()
        assert registry.roll_back("procedural") == ("3", "2")
        assert under("champion").run_id == second
        assert registry.roll_back("procedural") == ("2", "1")
        promote()
        assert registry.roll_back("procedural") == ("3", "1")
        assert under("champion").run_id == first

    def test_rolling_back_after_a_move_by_hand_gives_the_champion_before_that(self, log, promote):
        first, second, third = log("first", "second", "third")
        promote(run_id=first)
        promote(run_id=second)
        client = mlflow.MlflowClient()
        by_hand = client.create_model_version(
            NAME, client.get_run(third).data.tags[tag.MODEL_URI], third
        )
        client.set_registered_model_alias(NAME, "champion", by_hand.version)
        assert registry.champion_run_id(NAME) == third
        with pytest.raises(CifarTrackError, match="is worse than the champion"):
            promote(run_id=second, demands=Demands())
        assert registry.roll_back("procedural") == ("3", "2")
        assert registry.roll_back("procedural") == ("2", "1")
        client.set_registered_model_alias(NAME, "champion", by_hand.version)
        promote(run_id=second)
        assert client.get_registered_model(NAME).tags[tag.CHAMPIONS] == "1 3 2"

    def test_a_model_that_is_gone_is_one_line_and_no_change_is_left_pending(self, log, promote):
        first, second, _ = log("first", "second", "third")
        promote(run_id=first)
        promote(run_id=second)
        [output] = mlflow.get_run(first).outputs.model_outputs
        mlflow.MlflowClient().delete_logged_model(output.model_id)
        with pytest.raises(CifarTrackError, match=f"model of run {first} .* can't be read") as told:
            registry.roll_back("procedural")
        assert "\n" not in str(told.value)
        assert registry.finish_promotions() == []
        assert under("champion").run_id == second
        assert promote().run.run_id != first

    def test_a_change_whose_model_is_gone_is_a_line_of_the_doctors(self, log, promote):
        first, second = log("first", "second")
        promote(run_id=first)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(journal, "_carry_out", lambda *_: "killed here")
            promote(run_id=second)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(journal, "is_alive", lambda _: False)
            [output] = mlflow.get_run(second).outputs.model_outputs
            mlflow.MlflowClient().delete_logged_model(output.model_id)
            [line] = registry.finish_promotions()
        assert f"delete the model's tag {tag.PENDING_CHANGE}" in line
        mlflow.MlflowClient().delete_registered_model_tag(NAME, tag.PENDING_CHANGE)
        assert promote(run_id=first).version == "1"

    def test_a_refused_model_is_the_challenger_until_it_passes(self, log, promote):
        good, bad = log("second", "first")
        promote(run_id=good)
        strict = Demands(gate="none", max_megabytes=1.5)
        refused = promote(run_id=bad, demands=strict)
        assert (refused.alias, refused.version) == ("challenger", "2")
        assert under("champion").run_id == good
        assert under("challenger").tags["cifar_track.gate.size"] == "refused: 2.0 MB; at most 1.5"
        assert "refused: 2.0 MB" in under("challenger").description
        assert promote(run_id=bad).version == "2"
        assert under("champion").run_id == bad
        assert under("champion").tags["cifar_track.gate.size"].startswith("passed")
        with pytest.raises(mlflow.exceptions.MlflowException):
            under("challenger")


def logged_predictions(**others):
    return gates.LoggedPredictions(
        **{
            "labels": np.arange(4),
            "predictions": np.array([0, 1, 1, 3]),
            "probabilities": np.eye(4, dtype=np.float32),
            "is_unaltered": True,
            "test_digest": "e1",
            **others,
        }
    )


class TestGates:
    def test_a_model_that_predicts_otherwise_moves_no_alias(self, log, promote):
        good, bad = log("first", "wrong")
        promote(run_id=good)
        refused = promote()
        assert (refused.run.run_id, refused.alias) == (bad, "challenger")
        [gate] = [gate for gate in refused.gates if not gate.passed]
        assert gate.name == "predictions"
        assert "its probabilities differ from those logged by up to 0." in gate.figure
        assert "images get another class than logged" in gate.figure
        assert under("champion").run_id == good

    def test_an_altered_file_of_predictions_is_found(self, log, promote, predictions_file):
        path = predictions_file(*log("first"))
        with np.load(path) as arrays:
            kept = dict(arrays)
        kept["losses"] = kept["losses"] + 1e-9
        np.savez(path, **kept)
        refused = promote()
        assert refused.alias == "challenger"
        assert "altered since" in refused.gates[2].figure

    def test_other_labels_than_the_test_images_are_found(self, log, promote, labels):
        log("first")
        refused = promote(truth=(labels + 1) % 4)
        assert "not those of the test images" in refused.gates[2].figure

    def test_other_test_images_than_the_runs_are_told_in_one_line(self, log, promote, labels):
        log("first")
        with pytest.raises(CifarTrackError, match="on 400 images, but the test set has 5"):
            promote(images=IMAGES[:5], truth=labels[:5])
        assert versions() == []

    def test_a_champion_that_would_be_refused_now_is_said_to_be_the_champion(self, log, promote):
        log("first")
        promote()
        again = promote(demands=Demands(gate="none", max_megabytes=1))
        assert (again.alias, again.is_champion) == ("challenger", True)
        assert under("champion").version == under("challenger").version

    def test_test_images_of_another_digest_are_told_in_one_line(self, log, promote):
        (run_id,) = log("first")
        mlflow.MlflowClient().set_tag(run_id, tag.TEST_DIGEST, "another")
        with pytest.raises(CifarTrackError, match=r"digest .* are not those that run .*\(another"):
            promote()

    @pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
    def test_predictions_that_can_not_be_read_are_told_in_one_line(
        self, log, promote, predictions_file, damage
    ):
        path = predictions_file(*log("first"))
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(CifarTrackError, match="can't be read") as caught:
            promote()
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("lost", ["the store's record", "the files"])
    def test_a_model_that_is_not_there_is_told_before_anything_is_registered(
        self, log, promote, lost
    ):
        [run_id] = log("first")
        [output] = mlflow.get_run(run_id).outputs.model_outputs
        model = mlflow.get_logged_model(output.model_id)
        folder = Path(model.artifact_location.removeprefix("file://"))
        if lost == "the files":
            folder.rename(folder.with_suffix(".away"))
        else:
            mlflow.MlflowClient().delete_logged_model(model.model_id)
        try:
            with pytest.raises(CifarTrackError, match="can't be read") as caught:
                promote(run_id=run_id)
        finally:
            if lost == "the files":
                shutil.rmtree(folder, ignore_errors=True)
                folder.with_suffix(".away").rename(folder)
        assert "\n" not in str(caught.value)
        assert mlflow.MlflowClient().search_registered_models() == []

    @pytest.mark.parametrize(
        ("gate", "margin", "candidate", "alias"),
        [
            ("better", 0.01, "second", "champion"),
            ("better", 0.01, "third", "challenger"),
            ("not_worse", 0.01, "third", "challenger"),
            ("not_worse", 0.9, "third", "champion"),
            ("none", 0.01, "third", "champion"),
        ],
    )
    def test_the_champion_is_held_beside_it(
        self, log, promote, labels, networks, gate, margin, candidate, alias
    ):
        # By the test images `second` is far better than `first`, and `third` than neither.
        champion = "first" if candidate == "second" else "second"
        promote(run_id=log(champion, candidate)[0])
        promoted = promote(demands=Demands(gate=gate, margin=margin))
        assert promoted.alias == alias
        [found] = [found for found in promoted.gates if found.name == "champion"]
        of = {"first": "a", "second": "b", "third": "c"}
        right = [
            networks[of[name]](IMAGES).numpy().argmax(axis=1) == labels
            for name in (champion, candidate)
        ]
        test = paired_difference(*right)
        assert f"{test.difference:+.4f} (95 % {test.low:+.4f} to {test.high:+.4f}" in found.figure

    @pytest.mark.parametrize(
        ("theirs", "words"),
        [
            ({"is_unaltered": False}, "champion's predictions.npz has been altered"),
            ({"test_digest": "e2"}, "was tested on other images"),
            ({"labels": np.array([0, 1, 2, 2])}, "was tested on other images"),
        ],
    )
    def test_a_champion_that_can_not_be_compared_with_stays(self, theirs, words):
        candidate, champion = logged_predictions(), logged_predictions(**theirs)
        gate = gates.compares_with_champion(candidate, champion, Demands())
        assert not gate.passed
        assert words in gate.figure
        assert gates.compares_with_champion(candidate, champion, Demands(gate="none")).passed
        assert gates.compares_with_champion(candidate, candidate, Demands(margin=1)).passed

    def test_every_class_has_to_be_predicted(self):
        logged = logged_predictions()
        assert not gates.predicts_every_class(logged, Demands()).passed
        assert gates.predicts_every_class(logged, Demands(never_predicted=1)).passed

    def test_it_is_asked_in_a_process_without_this_package(self, networks, tmp_path):
        folder = tmp_path / "model"
        save_classifier(networks["a"], folder, classes=NAMES, example=IMAGES[:1])
        found = asked.ask_elsewhere(folder, IMAGES)
        np.testing.assert_allclose(found.probabilities, networks["a"](IMAGES), atol=1e-6)
        assert found.megabytes == pytest.approx(
            sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6
        )
        assert found.milliseconds > 0

    def test_a_model_that_needs_this_package_is_refused(self, networks, tmp_path):
        folder = tmp_path / "model"
        save_classifier(networks["a"], folder, classes=NAMES, example=IMAGES[:1])
        code = folder / "classifier.py"
        code.write_text(code.read_text().replace("import mlflow\n", "import cifar_track\n", 1))
        with pytest.raises(asked.FailedElsewhereError, match="cifar_track"):
            asked.ask_elsewhere(folder, IMAGES)

    @pytest.fixture
    def installer(self, tmp_path, monkeypatch):
        """Puts a program in the place of uv."""

        def install(script):
            program = tmp_path / "bin" / "uv"
            program.parent.mkdir()
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
            monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

        return install

    def test_an_environment_that_can_not_be_made_is_told_in_one_line(
        self, log, promote, installer, monkeypatch
    ):
        log("first")
        monkeypatch.setattr(proof, "ask_elsewhere", asked.ask_elsewhere)
        installer(
            "echo 'error: fetching failed' >&2; echo '  Caused by: no route to host' >&2; exit 2"
        )
        steps = []
        with pytest.raises(
            CifarTrackError,
            match=r"uv could not make .* requirements \(Caused by: no route to host\)",
        ):
            promote(demands=Demands(fresh_environment=True), on_step=steps.append)
        assert versions() == []
        assert ["requirements with uv" in step for step in steps] == [True]

    def test_an_environment_that_takes_for_ever_is_a_refusal(
        self, log, promote, installer, monkeypatch
    ):
        (run_id,) = log("first")
        monkeypatch.setattr(proof, "ask_elsewhere", asked.ask_elsewhere)
        monkeypatch.setattr(asked, "ENVIRONMENT_SECONDS", 0.5)
        installer("exec sleep 60")
        refused = promote(demands=Demands(fresh_environment=True, gate="none"))
        assert (refused.alias, refused.run.run_id) == ("challenger", run_id)
        assert refused.gates[1].figure == "it does not load elsewhere: uv was ended after 0 minutes"

    def test_a_model_that_never_answers_is_ended(self, networks, tmp_path, monkeypatch):
        folder = tmp_path / "model"
        save_classifier(networks["a"], folder, classes=NAMES, example=IMAGES[:1])
        code = folder / "classifier.py"
        code.write_text(f"import time\n\ntime.sleep(600)\n{code.read_text()}")
        monkeypatch.setattr(asked, "ANSWER_SECONDS", 1.0)
        with pytest.raises(asked.FailedElsewhereError, match=r"python.* was ended after 0 minutes"):
            asked.ask_elsewhere(folder, IMAGES)


def test_the_card_lies_with_the_model_and_is_the_description(log, promote):
    (run_id,) = log("first")
    promoted = promote()
    folder = mlflow.artifacts.download_artifacts(promoted.run.model_uri)
    card = Path(folder, "card.md").read_text(encoding="utf-8")
    assert under("champion").description == card
    for words in (
        "schedule.shape=constant",
        "prediction.views=1",
        "## Checked",
        "| test accuracy |",
        "Lowest F1: ",
        "taken for",
        "digest `d1`",
        "Drawn by this project",
        "60 s for the fit, 50 s of processor time",
        "python -m cifar_track train --experiment adam_bn --set 'augmentation.",
        "data.split_seed=0",
        "calibration error",
    ):
        assert words in card
    assert run_id in card
    rows = re.findall(r"^\| (.+?) \| ([\d.]+) \| ([\d.]+) to ([\d.]+) \|$", card, re.MULTILINE)
    with_interval = {name: [float(text) for text in texts] for name, *texts in rows}
    for name in ("test accuracy", "precision", "recall", "F1", "log loss", "superclass"):
        value, low, high = with_interval[name]
        assert low < value < high


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"run_id": "a"}'])
def test_a_malformed_note_of_a_change_is_a_line_for_its_model(sqlite_store, text):
    mlflow.set_tracking_uri(f"sqlite:///{sqlite_store}")
    mlflow.MlflowClient().create_registered_model(NAME, {tag.PENDING_CHANGE: text})
    [line] = registry.finish_promotions()
    assert f"{NAME} can't be read" in line
    with pytest.raises(CifarTrackError, match=f"delete its tag {tag.PENDING_CHANGE}"):
        registry.roll_back("procedural", NAME)


KILLED = """
import os, signal, sys, threading
import mlflow
from cifar_track.registry import journal
from cifar_track.registry.journal import Change
calls = 0
real = mlflow.MlflowClient
class Client(real):
    def __getattribute__(self, name):
        global calls
        found = super().__getattribute__(name)
        if name.startswith(("create_", "set_", "update_", "delete_")):
            calls += 1
            if calls > int(sys.argv[2]):
                os.kill(os.getpid(), signal.SIGKILL)
        return found
mlflow.MlflowClient = Client
import json
change = json.loads(sys.argv[1])
journal.carry_out(change.pop("name"), Change(**change))
print("done")
"""


@pytest.mark.slow
def test_a_change_killed_at_any_of_its_steps_is_finished_by_the_next_command(log, promote):
    first, second, third = log("first", "second", "third")
    promote(run_id=first)
    client = mlflow.MlflowClient()
    steps = 0
    while True:
        run = client.get_run((second, third)[steps % 2])
        card = Path("card.md")
        card.write_text("a card")
        uri = run.data.tags[tag.MODEL_URI]
        client.log_model_artifact(uri.rpartition("/")[2], str(card))
        before = under("champion")
        change = {
            "name": NAME,
            "run_id": run.info.run_id,
            "model_uri": uri,
            "tags": {tag.RUN_ID: run.info.run_id, "step": str(steps)},
            "alias": "champion",
            "before": str(before.version),
            "champions": ["1"],
        }
        done = subprocess.run(
            [sys.executable, "-c", KILLED, json.dumps(change), str(steps)],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
        )
        registry.finish_promotions()
        assert tag.PENDING_CHANGE not in client.get_registered_model(NAME).tags
        champion = under("champion")
        if steps:  # the first step writes down what is to be done; without it nothing happens
            assert champion.run_id == run.info.run_id
            assert champion.tags == {tag.RUN_ID: run.info.run_id, "step": str(steps)}
            assert champion.description == "a card"
        assert len({v.run_id for v in client.search_model_versions(f"name = '{NAME}'")}) == len(
            versions()
        )
        assert len(mlflow.pyfunc.load_model(f"models:/{NAME}@champion").predict(IMAGES[:1])) == 1
        if "done" in done.stdout:
            break
        assert done.returncode == -9, done.stderr
        steps += 1
    assert steps >= 5


def test_a_living_process_at_work_is_named(log, promote):
    log("first")
    promoted = promote()
    change = journal.Change(
        run_id=promoted.run.run_id,
        model_uri=promoted.run.model_uri,
        tags={},
        alias="champion",
        before="1",
        champions=(),
    )
    here = {**change.identity, tag.HOST: "another"}
    text = json.dumps({**change.__dict__, "identity": here})
    mlflow.MlflowClient().set_registered_model_tag(NAME, tag.PENDING_CHANGE, text)
    with pytest.raises(CifarTrackError, match=r"process \d+ on another is at work"):
        promote()


PROMOTES = """
import sys
import numpy as np
from cifar_track import registry, tracking
from cifar_track.config import Demands
from cifar_track.data import Images
from cifar_track.registry import promotion, proof
from cifar_track.registry.elsewhere import Behaviour

tracking.open_store()
run_id, name = sys.argv[1:]
with np.load("logged.npz") as arrays:
    logged = dict(arrays)
proof.ask_elsewhere = lambda folder, images, **_: Behaviour(
    probabilities=logged["probabilities"], load_seconds=1, milliseconds=1, megabytes=1,
    environment="nowhere")
carry_out = promotion.carry_out
def begin(*given):
    print("registering", flush=True)
    return carry_out(*given)
promotion.carry_out = begin
images = np.zeros((len(logged["labels"]), 32, 32, 3), np.uint8)
registry.promote("procedural", load_test=lambda run: Images(images, logged["labels"]),
    run_id=run_id, name=name, demands=Demands(gate="none", never_predicted=4))
"""


def promotes(run_id, name=NAME):
    """A process that promotes a run, and says so when it begins to register it."""
    np.savez("logged.npz", **tracking.load_arrays(run_id, tracking.PREDICTIONS))
    return subprocess.Popen(
        [sys.executable, "-c", PROMOTES, run_id, name],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_killed_at_twenty_random_moments_one_champion_is_left_whole(log, promote):
    ids = log("first", "second", "third")
    promote(run_id=ids[0])
    client = mlflow.MlflowClient()
    wait = np.random.default_rng(0).uniform(0, 0.4, 20)
    unfinished = 0
    for number in range(20):
        process = promotes(ids[number % 3])
        assert process.stdout.readline() == "registering\n"
        time.sleep(wait[number])
        process.kill()
        process.communicate()
        unfinished += tag.PENDING_CHANGE in client.get_registered_model(NAME).tags
        registry.finish_promotions()
        assert tag.PENDING_CHANGE not in client.get_registered_model(NAME).tags
        champion = under("champion")
        assert champion.tags[tag.RUN_ID] == champion.run_id
        assert champion.tags["cifar_track.gate.predictions"].startswith("passed")
        assert champion.description.startswith("## ")
        known = client.search_model_versions(f"name = '{NAME}'")
        assert len({version.run_id for version in known}) == len(known)
        model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
        assert len(model.predict(IMAGES[:1])) == 1
    assert unfinished  # some moment was well aimed; each step is tried by the test before


@pytest.mark.slow
def test_two_at_once_make_one_version(log):
    (run_id,) = log("first")
    for number in range(20):
        name = f"at once {number}"
        pair = [promotes(run_id, name) for _ in range(2)]
        for process in pair:
            process.communicate(timeout=300)
        assert [process.returncode for process in pair] == [0, 0]
        assert versions(name) == [1]
        assert under("champion", name).run_id == run_id
        assert mlflow.MlflowClient().get_registered_model(name).tags[tag.CHAMPIONS] == "1"


@pytest.mark.slow
def test_a_server_goes_over_to_a_new_champion_by_itself(log, promote):
    first, second = log("first", "second")
    promote(run_id=first)
    port = free_port()
    # fmt: off
    command = [
        sys.executable, "-m", "cifar_track", "serve", "--dataset", "procedural",
        "--port", str(port), "--follow", "0.5", "--max_images", "2",
    ]
    # fmt: on
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    body = json.dumps({"inputs": [IMAGES[0].tolist()]}).encode()

    def ask(body=body):
        address = f"http://127.0.0.1:{port}/invocations"
        try:  # without a Content-Type of its own, urllib claims a form
            kind = {"Content-Type": "application/json"}
            with urllib.request.urlopen(urllib.request.Request(address, body, kind)) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, json.loads(refusal.read())

    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as server:
        try:
            wait_for(
                lambda: answers(f"http://127.0.0.1:{port}/ping"), what="no server", seconds=400
            )
            status, answer = ask()
            assert (status, answer["predictions"][0]["model_version"]) == (200, "1")
            status, answer = ask(json.dumps({"inputs": [IMAGES[0].tolist()] * 3}).encode())
            assert (status, answer["message"]) == (
                400,
                "3 images in a request; expected from 1 to 2",
            )
            promote(run_id=second)
            statuses = set()

            def is_served():
                status, answer = ask()
                statuses.add(status)
                return answer["predictions"][0]["model_version"] == "2"

            wait_for(is_served, what="the old version is served", seconds=200)
            assert statuses == {200}
        finally:
            server.terminate()
