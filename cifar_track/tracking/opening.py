"""A run opened in the store, with the outbox that holds what is said of it from then on."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

import mlflow
from mlflow.entities import RunTag
from mlflow.tracking.context.registry import resolve_tags

from cifar_track.addresses import place
from cifar_track.config import CifarTrackError
from cifar_track.tracking import store
from cifar_track.tracking.delivery import Delivery
from cifar_track.tracking.operations import as_text
from cifar_track.tracking.outbox import Outbox, Progress
from cifar_track.tracking.process import identity_tags
from cifar_track.tracking.reach import first_line
from cifar_track.tracking.runs import Run
from cifar_track.tracking.sender import Sender

# MLflow has such a stack too, but ends what is on it FINISHED when the process ends, however it
# ends.
innermost: ContextVar[Run | None] = ContextVar("innermost", default=None)


def open_run(
    run_id: str | None, *, experiment_id: str, name: str, tags: Mapping[str, str]
) -> tuple[mlflow.entities.Run, Run]:
    """Open a run, or go on with one; the one thing for which the store has to be there.

    Args:
        run_id: of the run to go on with; None for a fresh one.
        experiment_id: MLflow's experiment id.
        name: what the UI shows.
        tags: beside those that MLflow gives each run, such as the user.

    Returns:
        The run as MLflow describes it, and as one logs to it.

    Raises:
        CifarTrackError: the store does not answer, or the run is in the trash.
    """
    client = store.client()
    try:
        opened = _open(client, run_id, experiment_id=experiment_id, name=name, tags=tags)
    except Exception as error:
        if getattr(error, "error_code", "") == "PERMISSION_DENIED":
            raise CifarTrackError(
                "this account may not write to the experiment; have its owner grant EDIT, or set "
                "MLFLOW_TRACKING_USERNAME to an account that may"
            ) from error
        raise CifarTrackError(f"no run could be opened: {first_line(error)}") from error
    about = {
        "run_id": opened.info.run_id,
        "name": name,
        "store": place(store.open_store()),
        **identity_tags(),
    }
    try:
        outbox = Outbox.make(about)
    except OSError as error:
        client.set_terminated(opened.info.run_id, "FAILED")
        raise CifarTrackError(f"nothing can be kept on this machine's disks: {error}") from error
    progress: Progress = outbox.progress
    sender = Sender(outbox, Delivery(client, about=about, progress=progress))
    run = Run(
        opened.info.run_id,
        sender=sender,
        experiment_id=opened.info.experiment_id,
        name=name,
        tags=opened.data.tags,
    )
    return opened, run


def _open(
    client: mlflow.MlflowClient,
    run_id: str | None,
    *,
    experiment_id: str,
    name: str,
    tags: Mapping[str, str],
) -> mlflow.entities.Run:
    name = as_text(name)
    if run_id is None:
        written = {key: as_text(value) for key, value in resolve_tags(dict(tags)).items()}
        return client.create_run(experiment_id, tags=written, run_name=name)
    client.update_run(run_id, status="RUNNING", name=name)
    entries = [RunTag(key, as_text(value)) for key, value in tags.items()]
    client.log_batch(run_id, tags=entries, synchronous=True)
    return client.get_run(run_id)
