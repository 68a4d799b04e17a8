"""How each thing that a run has made reaches the store; twice has the effect of once."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModel,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.yaml_utils import read_yaml

from cifar_track.tracking import queries, tag
from cifar_track.tracking.limits import METRICS_A_BATCH, PARAMETERS_A_BATCH, TAGS_A_BATCH
from cifar_track.tracking.outbox import Operation, Progress

# And on one tag.
TAG_LENGTH = 8000

MODEL_NAME = "model"
TRACEBACK = "traceback.txt"
# What tells of an earlier attempt, in a run that is gone on with.
OF_AN_EARLIER_ATTEMPT = (tag.ERROR, tag.LOGGING_ERROR, tag.MENDED)


class Delivery:
    """Hands the operations of one outbox to the store, one at a time, in order.

    Whoever adds an operation gives what can't be found out later: the time of each metric, which
    makes the same point sent twice one point; the path of each file; the key of a model or of a
    child run, by which an earlier attempt is found and gone on with.
    """

    def __init__(
        self, client: mlflow.MlflowClient, *, about: Mapping[str, Any], progress: Progress
    ) -> None:
        self._client = client
        self._about = about
        self._progress = progress
        self._kinds: Mapping[str, Callable[[Operation], None]] = {
            "tags": self._set_tags,
            "parameters": self._log_parameters,
            "files": self._log_files,
            "table": self._list_table,
            "dataset": self._log_dataset,
            "model": self._log_model,
            "forget": self._forget_error,
            "child": self._open_child,
            "end": self._end,
        }

    def deliver(self, operation: Operation) -> None:
        """Send one operation that is no metric; what the store says to it is raised as it is."""
        self._kinds[operation["do"]](operation)

    def deliver_metrics(self, operations: Sequence[Operation]) -> None:
        """Send metrics of several runs, as few requests as they fit in."""
        points: dict[str, list[Metric]] = {}
        for operation in operations:
            points.setdefault(self._run(operation), []).extend(
                Metric(name, value, time, step) for name, value, time, step in operation["points"]
            )
        for run_id, metrics in points.items():
            for start in range(0, len(metrics), METRICS_A_BATCH):
                batch = metrics[start : start + METRICS_A_BATCH]
                self._client.log_batch(run_id, metrics=batch, synchronous=True)

    def _run(self, operation: Operation) -> str:
        run: str = operation["run"]
        return self._progress.runs.get(run, run)

    def _set_tags(self, operation: Operation) -> None:
        self._tag(self._run(operation), operation["tags"])

    def _tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        entries = [RunTag(name, value) for name, value in tags.items()]
        for start in range(0, len(entries), TAGS_A_BATCH):
            batch = entries[start : start + TAGS_A_BATCH]
            self._client.log_batch(run_id, tags=batch, synchronous=True)

    def _log_parameters(self, operation: Operation) -> None:
        entries = [Param(name, value) for name, value in operation["parameters"].items()]
        for start in range(0, len(entries), PARAMETERS_A_BATCH):
            batch = entries[start : start + PARAMETERS_A_BATCH]
            self._client.log_batch(self._run(operation), params=batch, synchronous=True)

    def _log_files(self, operation: Operation) -> None:
        folder = Path(operation["folder"])
        if folder.is_dir():  # else it has been sent, and only the record of it was lost
            self._client.log_artifacts(self._run(operation), str(folder))

    def _list_table(self, operation: Operation) -> None:
        # `log_table` of MLflow reads back what is there and goes through pandas, which takes fifty
        # times as long.
        run_id = self._run(operation)
        entry = {"path": operation["path"], "type": "table"}
        tags = self._client.get_run(run_id).data.tags
        listed = json.loads(tags.get(tag.MLFLOW_TABLES, "[]"))
        if entry not in listed:
            self._client.set_tag(run_id, tag.MLFLOW_TABLES, json.dumps([*listed, entry]))

    def _log_dataset(self, operation: Operation) -> None:
        inputs = [
            DatasetInput(
                dataset=Dataset(
                    name=f"{operation['name']}-{context}",
                    digest=operation["digest"],
                    source_type="local",
                    source=json.dumps({"uri": operation["source"]}),
                    schema=json.dumps({"mlflow_tensorspec": _tensors()}),
                    profile=json.dumps({"images": count, "classes": operation["classes"]}),
                ),
                tags=[InputTag(tag.MLFLOW_DATA_CONTEXT, context)],
            )
            for context, count in operation["images"].items()
        ]
        try:
            self._client.log_inputs(self._run(operation), datasets=inputs)
        except MlflowException as error:
            if error.error_code != "BAD_REQUEST":
                raise
            # Of runs that log the same data for the first time, and at once, all but one are
            # refused; asked again, the store finds the data there.
            self._client.log_inputs(self._run(operation), datasets=inputs)

    def _log_model(self, operation: Operation) -> None:
        """Create the logged model, or go on with the one that an earlier attempt created."""
        folder, run_id, step = Path(operation["folder"]), self._run(operation), operation["step"]
        if not folder.is_dir():
            return
        run = self._client.get_run(run_id)
        experiment_id = run.info.experiment_id
        logged: LoggedModel | None = None
        for found in logged_models(self._client, run_id, experiment_id):
            if found.tags.get(tag.KEY) == operation["key"] and logged is None:
                logged = found
            else:  # of a fit that was cut short and has begun anew
                self._client.delete_logged_model(found.model_id)
        if logged is None:
            logged = self._client.create_logged_model(
                experiment_id,
                name=MODEL_NAME,
                source_run_id=run_id,
                tags={**resolve_tags(), tag.KEY: operation["key"]},
                params=dict(run.data.params),
            )
        model = description_of(folder)
        model.run_id, model.artifact_path = run_id, logged.artifact_location
        model.model_id = model.model_uuid = logged.model_id
        model.save(str(folder / MLMODEL_FILE_NAME))
        self._client.log_model_artifacts(logged.model_id, str(folder))
        outputs = run.outputs.model_outputs if run.outputs else []
        if logged.model_id not in {output.model_id for output in outputs}:
            output = LoggedModelOutput(logged.model_id, step=step)
            self._client.log_outputs(run_id, models=[output])
        self._attach_metrics(run, step, logged.model_id)
        self._client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        self._tag(run_id, {tag.MODEL_URI: f"models:/{logged.model_id}"})

    def _attach_metrics(self, run: mlflow.entities.Run, step: int, model_id: str) -> None:
        """Give a model the metrics that its run holds at its step, and those of the whole run."""
        points = [
            Metric(point.key, point.value, point.timestamp, point.step, model_id=model_id)
            for name in run.data.metrics
            for point in self._client.get_metric_history(run.info.run_id, name)
            if point.step in (0, step) and point.model_id is None
        ]
        if points:
            self._client.log_batch(run.info.run_id, metrics=points, synchronous=True)

    def _forget_error(self, operation: Operation) -> None:
        run = self._client.get_run(self._run(operation))
        self._forget(run)

    def _forget(self, run: mlflow.entities.Run) -> None:
        for name in OF_AN_EARLIER_ATTEMPT:
            if name in run.data.tags:
                with contextlib.suppress(MlflowException):  # removed by an earlier attempt
                    self._client.delete_tag(run.info.run_id, name)
        if tag.ERROR in run.data.tags or tag.MENDED in run.data.tags:
            files = self._client.list_artifacts(run.info.run_id)
            if TRACEBACK in {file.path for file in files}:
                files_of_run: Any = get_artifact_repository(run.info.artifact_uri)
                files_of_run.delete_artifacts(TRACEBACK)

    def _open_child(self, operation: Operation) -> None:
        """Open a trial's child run, or find the one that an earlier attempt opened."""
        parent, number = self._run(operation), operation["number"]
        found = queries.find_child(parent, number)
        tags = {**operation["tags"], tag.MLFLOW_PARENT: parent, tag.KEY: operation["key"]}
        mine = found is not None and found.data.tags.get(tag.KEY) == operation["key"]
        anew = operation["begins"] and not mine
        if found is not None and anew and not _can_begin(found, operation["parameters"]):
            if found.info.status == "RUNNING":  # in the trash nobody could end it
                self._client.set_terminated(found.info.run_id, "KILLED")
            self._client.delete_run(found.info.run_id)
            tags[tag.REPLACES] = found.info.run_id
            found = None
        if found is None:
            found = self._client.create_run(
                operation["experiment_id"],
                start_time=operation["time"],
                tags={**operation["inherited"], **tags},
                run_name=operation["name"],
            )
        else:
            self._client.update_run(found.info.run_id, status="RUNNING")
            self._forget(found)
            self._tag(found.info.run_id, tags)
        self._progress.runs[operation["child"]] = found.info.run_id

    def _end(self, operation: Operation) -> None:
        run_id, status = self._run(operation), operation["status"]
        if status == "FINISHED" and not self._progress.whole:
            status = "FAILED"
        if self._progress.refused and run_id == self._about["run_id"]:
            refused = "; ".join(self._progress.refused)
            self._tag(run_id, {tag.LOGGING_ERROR: refused[:TAG_LENGTH]})
        tags = self._client.get_run(run_id).data.tags
        # Where another process has gone on with the run since, its status is that one's.
        if tags.get(tag.PID) in (None, self._about[tag.PID]):
            self._client.set_terminated(run_id, status, end_time=operation["time"])


def description_of(model: Path) -> Model:
    """What a model's folder says of it, whatever the names of the folders above.

    `Model.load` takes a path for an address: `?`, `#` and `%20` mean something else in one.
    """
    described = read_yaml(str(model), MLMODEL_FILE_NAME)  # type: ignore[no-untyped-call]
    return Model.from_dict(described)


def logged_models(
    client: mlflow.MlflowClient, run_id: str, experiment_id: str
) -> list[LoggedModel]:
    """The logged models of a run, whatever their status."""
    return list(
        client.search_logged_models([experiment_id], filter_string=f"source_run_id = '{run_id}'")
    )


def _can_begin(found: mlflow.entities.Run, wanted: Mapping[str, str]) -> bool:
    """Whether a trial can begin in a child run: no metric yet, and no other parameters."""
    return not found.data.metrics and all(
        wanted.get(name) == value for name, value in found.data.params.items()
    )


def _tensors() -> dict[str, str]:
    image = [{"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, 32, 32, 3]}}]
    label = [{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]
    return {"features": json.dumps(image), "targets": json.dumps(label)}
