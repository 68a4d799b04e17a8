"""What an earlier command has logged of several runs: their parent, and which are finished."""

from __future__ import annotations

import mlflow

from cifar_track.tracking import queries, store, tag
from cifar_track.tracking.queries import FinishedRun


def find_group(key: str, kind: str, *, dataset_name: str) -> mlflow.entities.Run | None:
    """The newest run of a kind that is known by a key, whatever became of it."""
    experiment_id = store.find_experiment_id(dataset_name)
    if experiment_id is None:
        return None
    condition = f"tags.`{tag.KIND}` = '{kind}' AND tags.`{tag.GROUP_KEY}` = '{key}'"
    found = queries.search_runs([experiment_id], condition, limit=1)
    return found[0] if found else None


def finished_children(parent_run_id: str) -> list[FinishedRun]:
    """The finished iterations under a parent run, the newest first."""
    parent = store.client().get_run(parent_run_id)
    found = queries.search_runs(
        [parent.info.experiment_id],
        f"{queries.FINISHED_ITERATIONS} AND tags.`{tag.MLFLOW_PARENT}` = '{parent_run_id}'",
    )
    return [queries.finished_run(run) for run in found]
