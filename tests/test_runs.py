"""The tree of runs in the terminal, against what the store holds."""

from __future__ import annotations

import json

import mlflow
import pytest

from cifar_track import cli, tracking
from cifar_track.tracking import store, tag


@pytest.fixture
def add(sqlite_store):
    """Adds a run, each a second later than the one before; gives its id."""
    client = mlflow.MlflowClient(f"sqlite:///{sqlite_store}")
    tracking.open_store()
    started = 1_700_000_000_000

    def add_run(name, accuracy, *, kind="iteration", parent=None, **tags):
        nonlocal started
        started += 1000
        all_tags = {tag.KIND: kind, **tags}
        if parent is not None:
            all_tags[tag.MLFLOW_PARENT] = parent
        experiment_id = store.ensure_experiment_id("cifar100")
        run = client.create_run(experiment_id, start_time=started, tags=all_tags, run_name=name)
        client.log_metric(run.info.run_id, "best_val_accuracy", accuracy)
        client.log_metric(run.info.run_id, "test_log_loss", 1 / accuracy)
        client.set_terminated(run.info.run_id, "FINISHED", end_time=started + 2000)
        return run.info.run_id

    return add_run


@pytest.fixture
def logged(add):
    """A baseline, a search of two trials that is the best, and a comparison, by name."""
    ids = {"baseline": add("baseline", 0.3)}
    ids["tune"] = add("tune", 0.5, **{tag.SEARCH_KEY: "k"})
    for number in (0, 1):
        ids[f"trial {number}"] = add(
            f"trial {number}", 0.6 + number / 10, kind="trial", parent=ids["tune"]
        )
    ids["comparison"] = add("comparison", 0.9, kind="comparison")
    return ids


def shown(capsys, *arguments):
    assert cli.run(["runs", *arguments]) == 0
    return capsys.readouterr().out


def test_the_newest_come_first_with_their_trials_and_the_best_marked(logged, capsys):
    lines = shown(capsys).splitlines()
    assert [line.partition("  " + logged[name][:8])[0].rstrip() for line, name in zip(
        lines[1:5], ("tune", "trial 0", "trial 1", "baseline"), strict=True
    )] == ["tune *", "  trial 0", "  trial 1", "baseline"]  # fmt: skip
    assert "comparison" not in "\n".join(lines[:5])
    assert "2  " in lines[1]  # seconds
    assert "viewStateShareKey=cifar_track" in lines[-1]


def test_a_metric_sorts_by_its_own_direction_and_a_limit_cuts(logged, capsys):
    by_loss = json.loads(shown(capsys, "--sort", "test_log_loss", "--format", "json"))
    assert [branch["name"] for branch in by_loss] == ["tune", "baseline"]
    assert [child["name"] for child in by_loss[0]["children"]] == ["trial 0", "trial 1"]
    assert by_loss[0]["metrics"]["best_val_accuracy"] == 0.5
    first = json.loads(shown(capsys, "--limit", "1", "--format", "json"))
    assert [branch["run_id"] for branch in first] == [logged["tune"]]


def test_a_metric_that_is_no_number_is_null_for_scripts(logged, capsys):
    mlflow.MlflowClient().log_metric(logged["baseline"], "train_loss", float("nan"))
    text = shown(capsys, "--format", "json")
    [*_, baseline] = json.loads(text, parse_constant=pytest.fail)
    assert baseline["metrics"]["train_loss"] is None
    assert baseline["metrics"]["best_val_accuracy"] == 0.3


def test_a_run_that_ends_before_it_starts_has_no_duration(logged, capsys):
    end = mlflow.get_run(logged["baseline"]).info.start_time - 86_400_000
    mlflow.MlflowClient().set_terminated(logged["baseline"], "FINISHED", end_time=end)
    assert cli.run(["runs"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if "baseline" in line]
    assert line.split()[5] == "-"


def test_a_filter_lists_what_matches_flat(logged, capsys):
    words = ("--filter", "metrics.best_val_accuracy > 0.55 AND tags.`cifar_track.kind` = 'trial'")
    found = json.loads(shown(capsys, *words, "--format", "json"))
    assert [branch["name"] for branch in found] == ["trial 1", "trial 0"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--filter", "nonsense"), "can't read the filter 'nonsense'"),
        (("--sort", "test_log_los"), "did you mean 'test_log_loss'?"),
        (("--sort", "a`b"), "no finished run has the metric"),
        (("--dataset", "procedural"), "no run on procedural"),
    ],
)
def test_a_mistake_is_one_line(logged, capsys, words, said):
    assert cli.run(["runs", *words]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


def test_the_experiment_keeps_the_view_that_the_link_names(logged):
    run = store.client().get_run(logged["tune"])
    url = tracking.experiment_url(run.info.experiment_id)
    assert "viewStateShareKey=cifar_track" in url
    tags = store.client().get_experiment(run.info.experiment_id).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    view = json.loads(tags["mlflow.sharedViewState.cifar_track"])
    assert "metrics.`test_accuracy`" in view["selectedColumns"]


@pytest.mark.parametrize("name", ["trial 0", "comparison"])
def test_what_is_no_iteration_is_not_repeated(logged, capsys, name):
    assert cli.run(["repeat", "--run", name]) == 2
    told = capsys.readouterr().err
    assert "which is not repeated by itself" in told
    assert (logged["tune"] in told) == (name == "trial 0")
