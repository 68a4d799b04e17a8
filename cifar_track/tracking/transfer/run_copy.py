"""One run and its logged model, copied and compared."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModel, LoggedModelOutput, Metric, Param, Run, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from cifar_track.tracking import tag
from cifar_track.tracking.delivery import description_of
from cifar_track.tracking.limits import METRICS_A_BATCH, PARAMETERS_A_BATCH
from cifar_track.tracking.transfer.record import Transfer, batches

# What a copy says of itself, and the original does not.
_OF_THE_COPY = (tag.MOVED_FROM, tag.MOVED_WHOLE)


def copy_run(
    transfer: Transfer,
    here: mlflow.MlflowClient,
    there: mlflow.MlflowClient,
    run: Run,
    *,
    source: str,
) -> None:
    """Send all that a run holds to the copy that was opened for it, and end that as the run ended.

    The tag that says the copy is whole comes last.
    """
    run_id = transfer.runs[run.info.run_id]
    parameters = [Param(name, value) for name, value in run.data.params.items()]
    for some_parameters in batches(parameters, PARAMETERS_A_BATCH):
        there.log_batch(run_id, params=some_parameters)
    for some_points in batches(_metric_points(here, run), METRICS_A_BATCH):
        there.log_batch(run_id, metrics=some_points)
    if run.inputs is not None and run.inputs.dataset_inputs:
        there.log_inputs(run_id, datasets=run.inputs.dataset_inputs)
    with tempfile.TemporaryDirectory() as folder:
        files = _download(here, run.info.run_id, Path(folder), source=source)
        if any(files.iterdir()):
            there.log_artifacts(run_id, str(files))
    outputs = run.outputs.model_outputs if run.outputs is not None else []
    for output in outputs:
        if output.model_id in transfer.models:
            _copy_model(transfer, here, there, output, run_id=run_id, source=source)
    tags = [
        RunTag(name, transfer.renamed(value))
        for name, value in run.data.tags.items()
        if name not in _OF_THE_COPY
    ]
    for some_tags in batches(tags, PARAMETERS_A_BATCH):
        there.log_batch(run_id, tags=some_tags)
    there.set_terminated(run_id, run.info.status, end_time=run.info.end_time)
    there.set_tag(run_id, tag.MOVED_WHOLE, "true")
    transfer.moved["run"] += 1


def _copy_model(
    transfer: Transfer,
    here: mlflow.MlflowClient,
    there: mlflow.MlflowClient,
    output: LoggedModelOutput,
    *,
    run_id: str,
    source: str,
) -> None:
    model: LoggedModel = here.get_logged_model(output.model_id)
    new_id = transfer.models[model.model_id]
    with tempfile.TemporaryDirectory() as folder:
        # By its place: by its id, MLflow would look for it in the store that is current.
        path = download_artifacts(model.artifact_location, dst_path=folder, tracking_uri=source)
        description = description_of(Path(path))
        description.run_id, description.model_id = run_id, new_id
        description.artifact_path = there.get_logged_model(new_id).artifact_location
        description.save(str(Path(path, "MLmodel")))
        there.log_model_artifacts(new_id, path)
    there.set_logged_model_tags(
        new_id,
        {
            name: transfer.renamed(value)
            for name, value in model.tags.items()
            if name != MLFLOW_MODEL_VERSIONS  # the other registry counts its own
        },
    )
    there.log_batch(
        run_id,
        metrics=[
            Metric(m.key, m.value, m.timestamp, m.step, model_id=new_id)
            for m in model.metrics or []
            if m.run_id == model.source_run_id
        ],
    )
    copied = there.get_run(run_id).outputs
    # Saying it twice is an error.
    if copied is None or new_id not in {entry.model_id for entry in copied.model_outputs}:
        there.log_outputs(run_id, [LoggedModelOutput(new_id, output.step)])
    there.finalize_logged_model(new_id, "READY")
    transfer.moved["model"] += 1


def _metric_points(client: mlflow.MlflowClient, run: Run) -> list[Metric]:
    return [
        Metric(point.key, point.value, point.timestamp, point.step)
        for name in sorted(run.data.metrics)
        for point in client.get_metric_history(run.info.run_id, name)
    ]


def _download(client: mlflow.MlflowClient, run_id: str, folder: Path, *, source: str) -> Path:
    if not client.list_artifacts(run_id):
        return folder
    path = download_artifacts(run_id=run_id, dst_path=str(folder), tracking_uri=source)
    return Path(path)


def digest(
    client: mlflow.MlflowClient,
    run: Run,
    *,
    source: str,
    rename: Callable[[str], str] = lambda text: text,
) -> str:
    """SHA-256 over all that a run says, as the other store ought to say it, files included."""
    with tempfile.TemporaryDirectory() as folder:
        files = _download(client, run.info.run_id, Path(folder), source=source)
        said: Mapping[str, Any] = {
            "name": run.info.run_name,
            "status": run.info.status,
            "times": [run.info.start_time, run.info.end_time],
            "parameters": run.data.params,
            "metrics": sorted(
                [m.key, m.step, m.timestamp, repr(m.value)] for m in _metric_points(client, run)
            ),
            "tags": {
                name: rename(value)
                for name, value in run.data.tags.items()
                if name not in _OF_THE_COPY
            },
            "files": {
                str(file.relative_to(files)): hashlib.sha256(file.read_bytes()).hexdigest()
                for file in sorted(files.rglob("*"))
                if file.is_file()
            },
        }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
