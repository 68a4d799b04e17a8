"""Runs that say RUNNING although nobody works on them, and their mending."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow

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


@dataclass(frozen=True, kw_only=True)
class Abandoned:
    """A run that says RUNNING although nobody works on it, as far as can be told from here.

    Attributes:
        run_id: MLflow's run id.
        name: what the UI shows.
        experiment_name: the MLflow experiment it lies in.
        reason: one line on what became of its process.
        status: what mending sets, `KILLED` or `FAILED`; None where this host can't tell, and
            mending leaves the run alone.
    """

    run_id: str
    name: str
    experiment_name: str
    reason: str
    status: str | None


def find_abandoned(*, launch_minutes: float = LAUNCH_MINUTES) -> list[Abandoned]:
    """Find runs that say RUNNING although their process is gone, or never came.

    A run that this program opened names its host and process. One of another host is listed,
    never judged. A run that `mlflow run` opened for this project, and that no command has taken
    over for so long, had its launch fail: a missing conda, a wrong `path` parameter, a kill.

    Args:
        launch_minutes: how long the launch of `mlflow run` may take.

    Returns:
        The runs, the newest first; nothing has been changed.
    """
    client = store.client()
    experiments = {e.experiment_id: e.name for e in _experiments(client)}
    running = queries.search_runs(list(experiments), "attributes.status = 'RUNNING'")
    found = []
    for run in running:
        if run.info.run_id == os.environ.get("MLFLOW_RUN_ID"):
            continue  # the one that `mlflow run -e doctor` opened for this very call
        judged = _judge(run.data.tags, started=run.info.start_time, launch_minutes=launch_minutes)
        if judged is not None:
            reason, status = judged
            found.append(
                Abandoned(
                    run_id=run.info.run_id,
                    name=run.info.run_name,
                    experiment_name=experiments[run.info.experiment_id],
                    reason=reason,
                    status=status,
                )
            )
    return found


def mend(abandoned: Sequence[Abandoned]) -> list[Abandoned]:
    """End abandoned runs with the status that is true, at the time of their last sign of life.

    Each gets the tag `cifar_track.mended` with the reason. Those that this host can't judge, and
    those that have ended in the meantime, are left alone.

    Returns:
        The runs that were mended.
    """
    client = store.client()
    mended = []
    for entry in abandoned:
        run = client.get_run(entry.run_id)
        if entry.status is None or run.info.status != "RUNNING":
            continue
        client.set_tag(entry.run_id, tag.MENDED, entry.reason)
        client.set_terminated(entry.run_id, entry.status, end_time=_last_sign_of_life(run))
        release_run(entry.run_id)
        mended.append(entry)
    return mended


def _judge(
    tags: dict[str, str], *, started: int, launch_minutes: float
) -> tuple[str, str | None] | None:
    """Why the run is abandoned and what its status ought to be; None for one that is not."""
    if tag.PID in tags:
        place = f"process {tags[tag.PID]} on {tags.get(tag.HOST, 'an unknown host')}"
        if not is_on_this_host(tags):
            return f"{place}: only that host can tell whether it lives", None
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


def _age(minutes: float) -> str:
    if minutes < 120:
        return f"{minutes:.0f} minutes"
    hours = minutes / 60
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"
