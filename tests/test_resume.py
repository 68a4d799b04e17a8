"""What a search and a fit that were cut short find when the same command comes again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlflow
import pytest

from cifar_track import tracking, training, workflow
from cifar_track.config import CifarTrackError

pytestmark = pytest.mark.slow  # whole trainings, in processes that are killed

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
SEARCH = {**TINY, "search.trials": 2, "search.trial_epochs": 1}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A fresh store, in a working folder of its own."""
    folder = tmp_path_factory.mktemp("resume")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        yield folder


@pytest.fixture
def cut(monkeypatch):
    """Makes the next fit in this process end as on Ctrl-C, once an epoch of it is over."""

    def make() -> None:
        fit = training.fit

        def leave(*given, on_epoch, **named):
            def on_first_epoch(epoch, metrics):
                on_epoch(epoch, metrics)
                raise KeyboardInterrupt

            return fit(*given, on_epoch=on_first_epoch, **named)

        monkeypatch.setattr(training, "fit", leave)

    yield make
    monkeypatch.undo()


def read(run_id):
    return mlflow.MlflowClient().get_run(run_id)


def newest():
    [experiment] = mlflow.search_experiments(filter_string="name = 'cifar100-procedural'")
    found = mlflow.search_runs(
        [experiment.experiment_id],
        filter_string="tags.`cifar_track.kind` = 'iteration'",
        max_results=1,
        output_format="list",
    )
    return found[0].info.run_id


def points(run_id, name="train_loss"):
    history = mlflow.MlflowClient().get_metric_history(run_id, name)
    return [(point.step, point.value) for point in sorted(history, key=lambda p: p.step)]


def children(run_id):
    found = mlflow.MlflowClient().search_runs(
        [read(run_id).info.experiment_id],
        f"tags.`mlflow.parentRunId` = '{run_id}' AND tags.`cifar_track.kind` = 'trial'",
    )
    return sorted(found, key=lambda run: int(run.data.tags["cifar_track.trial"]))


def test_an_iteration_goes_on_from_its_last_finished_epoch(store, cut, monkeypatch, capsys):
    whole = workflow.run_experiment("adam_bn", TINY)
    cut()
    with pytest.raises(KeyboardInterrupt):
        workflow.run_experiment("adam_bn", TINY)
    monkeypatch.undo()
    run_id = newest()
    assert read(run_id).info.status == "KILLED"
    assert workflow.run_experiment("adam_bn", TINY) == run_id
    assert f"going on with run {run_id} after epoch 1" in capsys.readouterr().out
    for name in ("train_loss", "val_accuracy"):
        assert points(run_id, name) == points(whole, name)  # to the bit
    ours, theirs = (read(one).data.metrics["test_log_loss"] for one in (run_id, whole))
    assert ours == theirs
    # Nothing of it is left, and the next one is another.
    assert not list((store / "state").rglob("*.checkpoint"))
    assert workflow.run_experiment("adam_bn", {**TINY, "training.epochs": 1}) != run_id


def test_a_fit_killed_when_all_was_kept_is_finished_and_not_begun_anew(store, monkeypatch, capsys):
    """Its run ended by what it had kept; what it would have been gone on with still lies there."""
    once = {**TINY, "training.epochs": 1, "training.seed": 8}
    monkeypatch.setattr("cifar_track.workflow.train.forget", lambda run_id: None)
    run_id = workflow.run_experiment("adam_bn", once)
    monkeypatch.undo()
    assert store_of(run_id).is_dir()
    capsys.readouterr()
    assert workflow.run_experiment("adam_bn", once) == run_id
    assert f"run {run_id} is the same, cut short when nothing" in capsys.readouterr().out
    assert not store_of(run_id).exists()


@pytest.fixture(scope="module")
def searched(store):
    """A search of two trials, finished."""
    return workflow.run_experiment("tune", SEARCH, workers=1)


def test_a_search_killed_when_all_was_kept_is_finished_and_not_begun_anew(searched, capsys):
    (store_of(searched) / "search").mkdir(parents=True)
    assert workflow.run_experiment("tune", SEARCH, workers=1) == searched
    assert f"run {searched} is the same, cut short when nothing" in capsys.readouterr().out
    assert not store_of(searched).exists()


def test_a_search_that_lost_its_state_repeats_no_trial(store, searched, cut, monkeypatch):
    cut()  # in the refit
    with pytest.raises(KeyboardInterrupt):
        workflow.run_experiment("tune", {**SEARCH, "training.seed": 1}, workers=1)
    monkeypatch.undo()
    run_id = newest()
    before = children(run_id)
    assert [child.info.status for child in before] == ["FINISHED"] * 2
    shutil.rmtree(store / "state" / "cifar_track" / "runs" / run_id)
    assert workflow.run_experiment("tune", {**SEARCH, "training.seed": 1}, workers=1) == run_id
    after = children(run_id)
    assert [(c.info.run_id, c.info.end_time) for c in after] == [
        (c.info.run_id, c.info.end_time) for c in before
    ]
    assert [step for step, _ in points(run_id)] == [1, 2]
    assert read(run_id).data.tags["cifar_track.trials"] == "2 of 2 completed"


def test_trials_carry_all_that_they_trained(searched):
    seeds = set()
    for child in children(searched):
        parameters = child.data.params
        assert parameters["training.epochs"] == "1"
        assert parameters["optimizer.name"] == "sgd"
        assert parameters["augmentation.rotation"] == "20.0"
        seeds.add(parameters["training.seed"])
    assert len(seeds) == 2
    assert read(searched).data.params["training.seed"] == "0"


def test_nothing_goes_on_with_a_run_that_has_something_to_be_sent(store, cut, monkeypatch):
    cut()
    with pytest.raises(KeyboardInterrupt):
        workflow.run_experiment("adam_bn", {**TINY, "training.seed": 3})
    monkeypatch.undo()
    kept = tracking.LeftBehind(run_id=newest(), name="", folder=store, store="", left=2)
    monkeypatch.setattr(tracking, "kept_for", lambda run_id: kept if run_id == newest() else None)
    with pytest.raises(CifarTrackError, match=f"2 uploads of it are still kept in {store}"):
        workflow.run_experiment("adam_bn", {**TINY, "training.seed": 3})


def test_more_trials_take_over_those_that_are_there(searched, capsys, monkeypatch):
    copy_trial = tracking.copy_trial

    def copy_the_first(trial, *, parent_run_id):
        if trial.number:
            raise KeyboardInterrupt
        copy_trial(trial, parent_run_id=parent_run_id)

    monkeypatch.setattr(tracking, "copy_trial", copy_the_first)
    with pytest.raises(KeyboardInterrupt):
        workflow.run_experiment("tune", {**SEARCH, "search.trials": 3}, workers=1)
    monkeypatch.undo()
    assert len(children(newest())) == 1
    assert f"taking over the trials of run {searched}" in capsys.readouterr().out
    run_id = workflow.run_experiment("tune", {**SEARCH, "search.trials": 3}, workers=1)
    said = capsys.readouterr().out
    assert f"going on with run {run_id}, which was cut short" in said
    assert "3 trials, 1 at once, 2 over already" in said
    assert run_id != searched
    assert read(run_id).data.tags["cifar_track.continues"] == searched
    assert read(run_id).data.params["search.trials"] == "3"
    assert read(searched).data.params["search.trials"] == "2"
    ours, theirs = children(run_id), children(searched)
    assert len(ours) == 3
    assert len(theirs) == 2
    for copy, original in zip(ours, theirs, strict=False):
        assert copy.data.tags["cifar_track.copied_from"] == original.info.run_id
        assert copy.data.params == original.data.params
        assert copy.data.metrics == original.data.metrics
        assert points(copy.info.run_id) == points(original.info.run_id)
        assert copy.info.status == original.info.status


def test_beginning_anew_lets_go_of_what_is_passed_over(store, cut, monkeypatch):
    def kept():
        return {file.parent.name for file in (store / "state").rglob("fit.checkpoint")}

    def leave_one(**changes):
        cut()
        with pytest.raises(KeyboardInterrupt):
            workflow.run_experiment("adam_bn", {**TINY, **changes}, resume="never")
        monkeypatch.undo()
        return newest()

    other, same, held = leave_one(**{"training.seed": 1}), leave_one(), "held"
    assert kept() == {other, same}
    again = leave_one()
    assert kept() == {other, again}
    # What a process works on stays, and what is begun beside it keeps what there is.
    with tracking.start_run(dataset_name="procedural", name=held, resume_run_id=again):
        workflow.run_experiment("adam_bn", TINY, resume="never")
        assert kept() == {other, again}
    workflow.run_experiment("adam_bn", TINY, resume="apart")
    assert kept() == {other, again}
    workflow.run_experiment("adam_bn", TINY, resume="never")
    assert kept() == {other}


def test_another_search_says_what_makes_it_one(searched, monkeypatch, capsys):
    class Enough(Exception):
        pass

    def stop(*given, **named):
        raise Enough

    monkeypatch.setattr(tracking, "start_run", stop)

    def said(**changes):
        resume = changes.pop("resume", "auto")
        with pytest.raises(Enough):
            workflow.run_experiment("tune", {**SEARCH, **changes}, resume=resume)
        return capsys.readouterr().out

    assert "another search than that of run" in said(**{"search.trial_epochs": 2})
    assert "its search.trial_epochs is 1, not 2" in said(**{"search.trial_epochs": 2})
    assert "is this search, finished; beginning anew" in said(**{"search.trials": 3})
    assert said(resume="never") == ""


def test_another_commit_is_said_and_may_be_refused(searched, monkeypatch, capsys):
    class Enough(Exception):
        pass

    def stop(*given, tags, **named):
        raise Enough(json.dumps(tags))

    monkeypatch.setattr(tracking, "start_run", stop)
    monkeypatch.setattr(tracking, "current_commit", lambda: "another")
    more = {**SEARCH, "search.trials": 4}
    with pytest.raises(Enough) as caught:
        workflow.run_experiment("tune", more)
    before = read(searched).data.tags.get("mlflow.source.git.commit")
    short = (before or "none")[:10]
    assert f"was begun with commit {short}, this is another" in capsys.readouterr().out
    assert json.loads(str(caught.value))["cifar_track.earlier_commits"] == str(before or "none")
    with pytest.raises(CifarTrackError, match="expected the same") as refused:
        workflow.run_experiment("tune", more, resume="same_commit")
    assert "\n" not in str(refused.value)


def test_a_search_that_somebody_works_on_is_refused(store, searched, monkeypatch):
    def keep(*given, **named):
        # While it runs, the same command again.
        with pytest.raises(CifarTrackError, match=r"is the same and belongs to process \d+ on"):
            workflow.run_experiment("tune", {**SEARCH, "training.seed": 5})
        raise KeyboardInterrupt

    monkeypatch.setattr("cifar_track.tuning.search", keep)
    with pytest.raises(KeyboardInterrupt):
        workflow.run_experiment("tune", {**SEARCH, "training.seed": 5})


@pytest.mark.parametrize("refit", ["continue", "none"])
def test_the_best_trials_weights_are_gone_on_with(refit, searched, monkeypatch):
    from cifar_track import training

    chosen_by = []
    fit = training.fit
    monkeypatch.setattr(
        training, "fit", lambda *a, **b: (chosen_by.append(b["choose_by"]), fit(*a, **b))[1]
    )
    settings = {**SEARCH, "search.refit": refit, "search.objective": "val_loss"}
    run_id = workflow.run_experiment("tune", settings, workers=1)
    assert chosen_by == ([] if refit == "none" else ["val_loss"])
    run = read(run_id)
    best = children(run_id)[int(run.data.tags["cifar_track.best_trial"])]
    if refit == "none":
        assert points(run_id) == points(best.info.run_id)
        figure = "best_val_accuracy"
        assert run.data.metrics[figure] == best.data.metrics[figure]
    else:
        # Its first epoch begins where the trial ended, not at a fresh network's loss.
        assert points(run_id)[0][1] < points(searched)[0][1]
    assert Path(store_of(run_id)).is_dir() is False


def store_of(run_id):
    from cifar_track.workflow.resume import run_directory

    return run_directory(run_id)
