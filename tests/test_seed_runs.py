"""One iteration with several seeds: real runs under one parent in a real store."""

from __future__ import annotations

import mlflow
import numpy as np
import pytest

from cifar_track import workflow
from cifar_track.config import CifarTrackError
from tests.test_workflow import TINY


def test_a_page_that_searches_is_refused(sqlite_store) -> None:
    with pytest.raises(CifarTrackError, match="'tune' searches"):
        workflow.run_seeds("tune", {}, seeds=2)


@pytest.mark.slow
def test_seeds_are_runs_of_their_own_under_one_parent(sqlite_store, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{sqlite_store}")
    parent_id = workflow.run_seeds(
        "adam_bn", {**TINY, "training.seed": 7}, seeds=2, workers=2, run_name="two seeds"
    )
    client = mlflow.MlflowClient()
    parent = client.get_run(parent_id)
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "two seeds")
    runs = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent_id}'"
    )
    assert {run.data.params["training.seed"] for run in runs} == {"7", "8"}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["cifar_track.kind"] for run in runs} == {"iteration"}
    accuracies = [run.data.metrics["test_accuracy"] for run in runs]
    assert parent.data.metrics["test_accuracy_mean"] == pytest.approx(np.mean(accuracies))
    deviation = parent.data.metrics["test_accuracy_deviation"]
    assert deviation == pytest.approx(np.std(accuracies, ddof=1))

    # The same with more seeds adds to it, and trains those alone.
    client.set_terminated(parent_id, "FAILED")
    again = workflow.run_seeds("adam_bn", {**TINY, "training.seed": 7}, seeds=3, workers=1)
    assert again == parent_id
    assert client.get_run(parent_id).info.status == "FINISHED"
    now = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent_id}'"
    )
    assert {run.info.run_id for run in runs} < {run.info.run_id for run in now}
    assert sorted(run.data.params["training.seed"] for run in now) == ["7", "8", "9"]
