"""Runs that say what is not so: RUNNING, and nobody works on them; FINISHED, and not whole."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities import LifecycleStage, LoggedModelStatus, ViewType
from mlflow.exceptions import MlflowException

from cifar_track.tracking import queries, store, tag
from cifar_track.tracking.claim import release_run
from cifar_track.tracking.launcher import LAUNCH_MINUTES
from cifar_track.tracking.process import (
    PROJECT_DIRECTORY,
    git_origin,
    is_alive,
    is_on_this_host,
    user_name,
)
from cifar_track.tracking.reach import first_line

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Abandoned:
    """A run whose status is not true, as far as can be told from here.

    Attributes:
        run_id: MLflow's run id.
        name: what the UI shows.
        experiment_name: the MLflow experiment it lies in.
        reason: one line on what became of its process.
        status: what mending sets, `KILLED` or `FAILED`; None where this host can't tell, and
            mending leaves the run alone.
        says: what the run says meanwhile.
    """

    run_id: str
    name: str
    experiment_name: str
    reason: str
    status: str | None
    says: str = "RUNNING"


def find_abandoned(
    *, launch_minutes: float = LAUNCH_MINUTES, silent_minutes: float = math.inf
) -> list[Abandoned]:
    """Find runs that say RUNNING although their process is gone, or never came.

    Those in MLflow's trash are among them, and so are the runs of iterations that say FINISHED
    without a model or without figures, as MLflow leaves a run that it ends for a dying process.

    A run that this program opened names its host and process. One of another host is listed,
    never judged. A run that `mlflow run` opened for this project, and that no command has taken
    over for so long, had its launch fail: a missing conda, a wrong `path` parameter, a kill.

    Args:
        launch_minutes: how long the launch of `mlflow run` may take.
        silent_minutes: after how long without a metric a run counts as abandoned whose process
            can't be looked at from here.

    Returns:
        The runs, the newest first; nothing has been changed.
    """
    client = store.client()
    experiments = {e.experiment_id: e.name for e in _experiments(client)}
    running = queries.search_runs(
        list(experiments), "attributes.status = 'RUNNING'", view=ViewType.ALL
    )
    judged: list[tuple[mlflow.entities.Run, str, str | None]] = []
    for run in running:
        if run.info.run_id == os.environ.get("MLFLOW_RUN_ID"):
            continue  # the one that `mlflow run -e doctor` opened for this very call
        verdict = _judge(run.data.tags, started=run.info.start_time, launch_minutes=launch_minutes)
        if verdict is None:
            continue
        reason, status = verdict
        silent = (time.time() - _last_sign_of_life(run) / 1000) / 60
        if status is None and silent > silent_minutes:
            reason, status = f"{reason}; silent for {_age(silent)}", "KILLED"
        elif status is None and silent < 0 and silent_minutes < math.inf:
            reason += f"; its last word is of {_age(-silent)} from now, by a clock that is ahead"
        judged.append((run, reason, status))
    finished = queries.search_runs(
        list(experiments),
        f"attributes.status = 'FINISHED' AND tags.`{tag.KIND}` = 'iteration'",
    )
    judged += [(run, reason, "KILLED") for run in finished if (reason := _what_it_lacks(run))]
    return [
        Abandoned(
            run_id=run.info.run_id,
            name=run.info.run_name,
            experiment_name=experiments[run.info.experiment_id],
            reason=reason,
            status=status,
            says=run.info.status,
        )
        for run, reason, status in judged
    ]


def mend(abandoned: Sequence[Abandoned]) -> list[Abandoned]:
    """End abandoned runs with the status that is true, at the time of their last sign of life.

    Each gets the tag `cifar_track.mended` with the reason. Those that this host can't judge, and
    those that have ended in the meantime, are left alone; so is one that the store won't change,
    with a line that says so.

    Returns:
        The runs that were mended.
    """
    client = store.client()
    mended = []
    for entry in abandoned:
        if entry.status is None:
            continue
        try:
            run = client.get_run(entry.run_id)
            if run.info.status == entry.says:
                _end(client, run, entry.status, reason=entry.reason)
                mended.append(entry)
        except MlflowException as error:
            _log.warning("run %s can't be mended: %s", entry.run_id, first_line(error))
    return mended


def _end(
    client: mlflow.MlflowClient, run: mlflow.entities.Run, status: str, *, reason: str
) -> None:
    in_trash = run.info.lifecycle_stage == LifecycleStage.DELETED
    if in_trash:  # where a run can't be changed
        client.restore_run(run.info.run_id)
    try:
        client.set_tag(run.info.run_id, tag.MENDED, reason)
        ended = run.info.end_time if run.info.status == "FINISHED" else _last_sign_of_life(run)
        client.set_terminated(run.info.run_id, status, end_time=ended)
        release_run(run.info.run_id)
    finally:
        if in_trash:
            client.delete_run(run.info.run_id)


def fail_pending_models(*, dry_run: bool = False) -> list[str]:
    """Give logged models that stay PENDING, though their run has ended, the status that is true.

    Call it when what was left behind has been sent: that makes a model ready.

    Returns:
        Their ids.
    """
    client = store.client()
    failed = []
    for experiment in _experiments(client):
        token: str | None = None
        while True:
            page = client.search_logged_models([experiment.experiment_id], page_token=token)
            for model in page:
                if model.status != LoggedModelStatus.PENDING or model.source_run_id is None:
                    continue
                if _runs(client, model.source_run_id):
                    continue
                if not dry_run:
                    client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
                failed.append(model.model_id)
            token = page.token
            if not token:
                break
    return failed


def _runs(client: mlflow.MlflowClient, run_id: str) -> bool:
    try:
        return bool(client.get_run(run_id).info.status == "RUNNING")
    except MlflowException:  # removed for good, as by `mlflow gc`
        return False


def _what_it_lacks(run: mlflow.entities.Run) -> str:
    """What the finished run of an iteration lacks; empty where it is whole."""
    if tag.MODEL_URI not in run.data.tags:
        return "it says FINISHED and holds no model"
    if "test_accuracy" not in run.data.metrics:
        return "it says FINISHED and holds no figures"
    return ""


def _judge(
    tags: dict[str, str], *, started: int, launch_minutes: float
) -> tuple[str, str | None] | None:
    """Why the run is abandoned and what its status ought to be; None for one that is not."""
    if tag.PID in tags:
        place = f"process {tags[tag.PID]} on {tags.get(tag.HOST, 'an unknown host')}"
        named = _is_number(tags[tag.PID]) and _is_number(tags.get(tag.PROCESS_STARTED, ""))
        if not (named and is_on_this_host(tags)):
            unknown = "only that host can tell whether it lives" if named else "it is no process"
            return f"{place}: {unknown}", None
        return None if is_alive(tags) else (f"{place} is gone", "KILLED")
    if tags.get(tag.MLFLOW_SOURCE_TYPE) != "PROJECT" or not _is_of_this_project(tags):
        return None
    minutes = (time.time() - started / 1000) / 60
    if minutes < launch_minutes:
        return None
    entry_point = tags.get(tag.MLFLOW_ENTRY_POINT, "main")
    reason = f"`mlflow run -e {entry_point}` opened it {_age(minutes)} ago and started nothing"
    if tags.get(tag.MLFLOW_USER) != user_name():
        return f"{reason}; only {tags.get('mlflow.user', 'its owner')} can tell", None
    return reason, "FAILED"


def _is_of_this_project(tags: dict[str, str]) -> bool:
    # `mlflow run` names a folder, plain or as `file://checkout#folder in it`, or an address.
    checkout, _, folder = tags.get(tag.MLFLOW_SOURCE_NAME, "").partition("#")
    place = checkout.removeprefix("file://").rstrip("/")
    if place.startswith("/"):
        return Path(place, folder) == PROJECT_DIRECTORY
    return bool(place) and place == git_origin().rstrip("/")


def _last_sign_of_life(run: mlflow.entities.Run) -> int:
    """The time of the newest metric, or else of the start, in milliseconds since 1970."""
    stamps = [metric.timestamp for metric in run.data._metric_objs]  # noqa: SLF001
    return int(max([run.info.start_time, *stamps]))


def _experiments(client: mlflow.MlflowClient) -> list[mlflow.entities.Experiment]:
    found: list[mlflow.entities.Experiment] = []
    token: str | None = None
    while True:
        page = client.search_experiments(max_results=1000, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return found


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _age(minutes: float) -> str:
    if minutes < 120:
        return f"{minutes:.0f} minutes"
    hours = minutes / 60
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"
