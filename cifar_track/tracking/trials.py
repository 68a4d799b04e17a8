"""A search in the store: those of a page, their trials' runs, and copies of these."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from cifar_track.config import CifarTrackError
from cifar_track.tracking import queries, store, tag
from cifar_track.tracking.limits import METRICS_A_BATCH, PARAMETERS_A_BATCH
from cifar_track.tracking.resolve import describe_run, resolve_run

# As many searches of one page as are looked through for one to go on with.
NEWEST = 50


@dataclass(frozen=True, kw_only=True)
class RecordedTrial:
    """A trial as its run in the store has it.

    Attributes:
        run_id: MLflow's run id.
        number: the trial's.
        status: MLflow's own, such as FINISHED.
        proposal: what the oracle chose for it; None where a kill came before it was logged.
        parameters: by dotted name, as text.
        metrics: the last value of each.
        tags: all of them.
    """

    run_id: str
    number: int
    status: str
    proposal: Mapping[str, Any] | None
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    def epochs_of(self, metric: str) -> dict[int, float]:
        """A metric's value after each epoch."""
        return epochs_of(self.run_id, metric)


def epochs_of(run_id: str, metric: str) -> dict[int, float]:
    """A metric's value after each epoch of a run, in their order."""
    points = store.client().get_metric_history(run_id, metric)
    return {point.step: point.value for point in sorted(points, key=lambda p: p.step)}


def epochs_logged(run_id: str, *, of_refit: bool) -> int:
    """The last epoch that the store has of a run, or of the refit beneath it; 0 if none."""
    if of_refit:
        refit = queries.find_child(run_id, "refit")
        if refit is None:
            return 0
        run_id = refit.info.run_id
    return max(epochs_of(run_id, "val_accuracy"), default=0)


def searches_of(iteration: str, *, dataset_name: str) -> list[mlflow.entities.Run]:
    """The newest searches of a page on a data set, the newest first, whatever became of them."""
    experiment_id = store.find_experiment_id(dataset_name)
    if experiment_id is None:
        return []
    found = queries.search_runs(
        [experiment_id],
        f"tags.`{tag.ITERATION}` = {queries.quoted(iteration)} AND tags.`{tag.KIND}` = 'iteration'",
        limit=NEWEST,
    )
    return [run for run in found if tag.SEARCH_SETTINGS in run.data.tags]


def find_fit(run_id: str, *, iteration: str) -> mlflow.entities.Run | None:
    """A page's run without a search, by its id; None if it is not such a one, or gone."""
    try:
        run = store.client().get_run(run_id)
    except mlflow.MlflowException:
        return None
    is_it = run.data.tags.get(tag.ITERATION) == iteration and tag.KIND in run.data.tags
    is_there = run.info.lifecycle_stage == "active"
    return run if is_it and is_there and tag.SEARCH_SETTINGS not in run.data.tags else None


def recorded_trials(parent_run_id: str) -> list[RecordedTrial]:
    """The trials that a search has begun, by their numbers; of two with one number the newer.

    None of one that is gone from the store.
    """
    try:
        parent = store.client().get_run(parent_run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return []
    found = queries.search_runs(
        [parent.info.experiment_id],
        f"tags.`{tag.MLFLOW_PARENT}` = '{parent_run_id}' AND tags.`{tag.KIND}` = 'trial'",
    )
    trials: dict[int, RecordedTrial] = {}
    for run in found:
        with contextlib.suppress(ValueError):  # a tag that somebody has changed
            trial = _recorded(run)
            trials.setdefault(trial.number, trial)
    return [trial for _, trial in sorted(trials.items())]


def kept_trials(reference: str) -> list[queries.FinishedRun]:
    """The trials of a search whose networks were logged, in their order, of the search's budget.

    Args:
        reference: the search's run, as `resolve_run` takes it.

    Raises:
        CifarTrackError: there is no such run, or it kept none.
    """
    search = resolve_run(reference)
    found = queries.search_runs(
        [search.info.experiment_id],
        f"tags.`{tag.MLFLOW_PARENT}` = '{search.info.run_id}' AND tags.`{tag.KIND}` = 'trial'"
        f" AND tags.`{tag.MODEL_URI}` LIKE 'models:/%' AND attributes.status = 'FINISHED'",
    )
    kept = [queries.finished_run(run) for run in found if run.data.tags[tag.TRIAL].isdecimal()]
    if not kept:
        raise CifarTrackError(
            f"run {describe_run(search)} kept no trial's network; search with -P keep=5, or more "
            "than were kept, and name that run"
        )
    budget = {name: text for name, text in search.data.tags.items() if name == tag.BUDGET}
    kept = [replace(trial, tags={**trial.tags, **budget}) for trial in kept]
    return sorted(kept, key=lambda run: int(run.tags[tag.TRIAL]))


def copy_trial(trial: RecordedTrial, *, parent_run_id: str) -> None:
    """Give a search a trial of another's: its parameters, its epochs, its end, with its times.

    The other keeps it. The copy names it in the tag `cifar_track.copied_from`; begun again after a
    kill, it is finished and not doubled.
    """
    client = store.client()
    source = client.get_run(trial.run_id)
    copy = queries.find_child(parent_run_id, trial.number)
    if copy is not None and copy.info.status == source.info.status:
        return
    if copy is None:
        tags = {**source.data.tags, tag.MLFLOW_PARENT: parent_run_id, tag.COPIED_FROM: trial.run_id}
        copy = client.create_run(
            client.get_run(parent_run_id).info.experiment_id,
            start_time=source.info.start_time,
            tags=tags,
            run_name=source.info.run_name,
        )
    run_id = copy.info.run_id
    parameters = [Param(name, value) for name, value in source.data.params.items()]
    for start in range(0, len(parameters), PARAMETERS_A_BATCH):
        client.log_batch(run_id, params=parameters[start : start + PARAMETERS_A_BATCH])
    points = [
        Metric(name, point.value, point.timestamp, point.step)
        for name in source.data.metrics
        for point in client.get_metric_history(trial.run_id, name)
    ]
    for start in range(0, len(points), METRICS_A_BATCH):
        client.log_batch(run_id, metrics=points[start : start + METRICS_A_BATCH])
    client.log_batch(run_id, tags=[RunTag(tag.COPIED_FROM, trial.run_id)])
    client.set_terminated(run_id, source.info.status, end_time=source.info.end_time)


def _recorded(run: mlflow.entities.Run) -> RecordedTrial:
    tags = dict(run.data.tags)
    proposal = json.loads(tags[tag.PROPOSAL]) if tag.PROPOSAL in tags else None
    return RecordedTrial(
        run_id=run.info.run_id,
        number=int(tags[tag.TRIAL]),
        status=run.info.status,
        proposal=proposal if isinstance(proposal, dict) else None,
        parameters=dict(run.data.params),
        metrics=dict(run.data.metrics),
        tags=tags,
    )
