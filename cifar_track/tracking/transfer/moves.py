"""A whole store: its experiments one after another, then its registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mlflow
from mlflow.entities import Experiment, Run

from cifar_track.config import CifarTrackError
from cifar_track.tracking import tag
from cifar_track.tracking.transfer.record import Transfer, entries
from cifar_track.tracking.transfer.registry_copy import copy_registered_model
from cifar_track.tracking.transfer.run_copy import copy_run, digest

ENTRIES_A_PAGE = 1000


def move_runs(
    source: str, destination: str, *, on_run: Callable[[int, int], None] = lambda done, of: None
) -> Transfer:
    """Copy everything of one store that is not in its trash to another; the source is only read.

    Args:
        source: the address of the store to read.
        destination: the address of the store to write to.
        on_run: called after each run with how many are done, of how many.

    Raises:
        CifarTrackError: an experiment of the same name lies in the other store's trash.
    """
    here, there = _client(source), _client(destination)
    # MLflow's registry looks models up in the store that is current.
    mlflow.set_tracking_uri(destination)
    transfer = Transfer()
    todo = [
        run
        for experiment in entries(here.search_experiments)
        for run in _prepare_experiment(transfer, here, there, experiment)
    ]
    for done, run in enumerate(todo, start=1):
        copy_run(transfer, here, there, run, source=source)
        copied = there.get_run(transfer.runs[run.info.run_id])
        before = digest(here, run, source=source, rename=transfer.renamed)
        if before != digest(there, copied, source=destination):
            transfer.differing.append(run.info.run_id)
        on_run(done, len(todo))
    for registered in entries(here.search_registered_models):
        copy_registered_model(transfer, here, there, registered)
    return transfer


def _under_way(runs: Sequence[Run]) -> dict[str, str]:
    """The runs that are not over, and those under them, which are moved with them; each why."""
    found = {run.info.run_id: "is still RUNNING" for run in runs if run.info.status == "RUNNING"}
    parent_of = {run.info.run_id: run.data.tags.get(tag.MLFLOW_PARENT) for run in runs}
    for run_id, parent in parent_of.items():
        above = parent
        while above in parent_of and above not in found:
            above = parent_of[above]
        if above in found:
            found.setdefault(run_id, f"belongs to run {above}, which is still RUNNING")
    return found


def _client(uri: str) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def _prepare_experiment(
    transfer: Transfer,
    here: mlflow.MlflowClient,
    there: mlflow.MlflowClient,
    experiment: Experiment,
) -> list[Run]:
    """Open a copy of every run of an experiment, so that all ids are known; those not whole yet."""
    transfer.found["experiment"] += 1
    target = there.get_experiment_by_name(experiment.name)
    if target is None:
        transfer.moved["experiment"] += 1
        experiment_id = there.create_experiment(experiment.name, tags=experiment.tags)
    elif target.lifecycle_stage != "active":
        raise CifarTrackError(
            f"the experiment {experiment.name!r} lies in the other store's trash; restore it there "
            f"(`mlflow experiments restore --experiment-id {target.experiment_id}`) and repeat"
        )
    else:
        experiment_id = target.experiment_id
    copies = {
        run.data.tags[tag.MOVED_FROM]: run
        for run in entries(there.search_runs, [experiment_id], max_results=ENTRIES_A_PAGE)
        if tag.MOVED_FROM in run.data.tags
    }
    todo = []
    runs = list(entries(here.search_runs, [experiment.experiment_id], max_results=ENTRIES_A_PAGE))
    under_way = _under_way(runs)
    for run in runs:
        transfer.found["run"] += 1
        old_id = run.info.run_id
        copy = copies.get(old_id)
        if old_id in under_way:
            transfer.left.append(f"run {old_id} ({run.info.run_name}) {under_way[old_id]}")
            continue
        if copy is None:
            copy = there.create_run(
                experiment_id,
                start_time=run.info.start_time,
                tags={tag.MOVED_FROM: old_id},
                run_name=run.info.run_name,
            )
        transfer.runs[old_id] = copy.info.run_id
        if tag.MOVED_WHOLE not in copy.data.tags:
            todo.append(run)
    # The logged models of a search's trials and of its refit alike belong to their runs.
    filed = {
        model.tags[tag.MOVED_FROM]: model
        for model in entries(there.search_logged_models, [experiment_id])
        if tag.MOVED_FROM in model.tags
    }
    for model in entries(here.search_logged_models, [experiment.experiment_id]):
        if str(model.status) != "READY" or model.source_run_id not in transfer.runs:
            transfer.left.append(f"model {model.model_id} is not whole, or its run is left")
            continue
        transfer.found["model"] += 1
        twin = filed.get(model.model_id)
        if twin is None:
            twin = there.create_logged_model(
                experiment_id,
                name=model.name,
                source_run_id=transfer.runs[model.source_run_id],
                tags={tag.MOVED_FROM: model.model_id},
                params=model.params,
                model_type=model.model_type,
            )
        transfer.models[model.model_id] = twin.model_id
    return todo
