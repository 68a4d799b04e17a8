"""The model registry: which logged model is the champion, and the proof it gives before."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cifar_track import tracking

# isort: split
# After tracking, which quiets it.
import mlflow
import numpy as np
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from cifar_track.config import DATASETS, CifarTrackError, metrics_at
from cifar_track.tracking import FinishedRun, tag

CHAMPION = "champion"

# What the registry shows of a version; the rest is a click away, in its run.
SHOWN_METRICS = tuple(
    name
    for metric in metrics_at("registry")
    for name in (metric.name, *((metric.low, metric.high) if metric.interval == "wilson" else ()))
)
# The exported graph runs the same kernels, in other batches than the evaluation did.
TOLERANCE = 1e-4
IMAGES_A_BATCH = 500


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What became of a promotion.

    Attributes:
        model_name: the registered model.
        version: its version, counted from 1.
        alias: the alias that points to it now.
        replaced_version: the version that the alias pointed to before; None if to none.
        was_registered: whether the run's model had been registered before.
        run: the run whose model it is.
    """

    model_name: str
    version: str
    alias: str
    replaced_version: str | None
    was_registered: bool
    run: FinishedRun

    @property
    def model_uri(self) -> str:
        """The address under which the champion is loaded and served."""
        return f"models:/{self.model_name}@{self.alias}"


def find_best(dataset_name: str, *, champion_run_id: str | None = None) -> FinishedRun:
    """The finished run with the best validation accuracy, chosen without the test images.

    Args:
        dataset_name: whose runs.
        champion_run_id: the champion's run, by whose validation images the others are chosen.

    Raises:
        CifarTrackError: no run qualifies.
    """
    choice = tracking.registrable(dataset_name, champion_run_id=champion_run_id)
    if choice.runs:
        return choice.runs[0]
    runs = tracking.find_runs(dataset_name)
    reason = (
        "all were chosen by the test images (selection=test)"
        if any(run.protocol == "test" for run in runs)
        else "none has finished"
    )
    raise CifarTrackError(
        f"no run on {dataset_name} to register: {reason}; run one first: mlflow run . -e baseline"
    )


def promote_best(
    dataset_name: str,
    *,
    load_test: Callable[[FinishedRun], np.ndarray],
    run_id: str | None = None,
    registered_name: str | None = None,
) -> Promotion:
    """Register the best run's model and make it the champion once it has proved itself.

    The model is read back from the registry and has to predict, for the test images, what its
    run logged. Only then does the alias move; otherwise the new version is deleted and the alias
    stays. A run whose model is registered already keeps its version.

    Args:
        dataset_name: `cifar100` or `procedural`.
        load_test: gives the test images that a run was evaluated on, uint8 (N, 32, 32, 3).
        run_id: the run to promote; the best by validation accuracy unless given.
        registered_name: of the registered model; the data set's own unless given.

    Raises:
        CifarTrackError: no such run, it was chosen by the test images, it logged no model, or
            its model doesn't predict what was logged.
    """
    name = registered_name or DATASETS[dataset_name].registered_model
    client = mlflow.MlflowClient()
    if run_id is None:
        run = find_best(dataset_name, champion_run_id=_champion_run_id(client, name))
    else:
        run = _require_run(dataset_name, run_id)
    _ensure_registered_model(client, name, dataset_name)
    version = _find_version(client, name, run)
    was_registered = version is not None
    if version is None:
        version = _register(client, name, run)
    try:
        _require_same_predictions(f"models:/{name}/{version.version}", run, load_test(run))
    except BaseException:
        if not was_registered:
            _unregister(client, version, run)
        raise
    replaced = _champion(client, name)
    client.set_registered_model_alias(name, CHAMPION, version.version)
    return Promotion(
        model_name=name,
        version=str(version.version),
        alias=CHAMPION,
        replaced_version=replaced if replaced != str(version.version) else None,
        was_registered=was_registered,
        run=run,
    )


def _require_run(dataset_name: str, run_id: str) -> FinishedRun:
    found = tracking.resolve_run(run_id, dataset_name=dataset_name)
    run = tracking.finished_run(found)
    if found.info.status != "FINISHED" or found.info.lifecycle_stage != "active":
        state = found.info.status if found.info.lifecycle_stage == "active" else "deleted"
        raise CifarTrackError(
            f"run {tracking.describe_run(found)} is {state}; register a finished run"
        )
    if "best_val_accuracy" not in run.metrics:
        raise CifarTrackError(
            f"run {tracking.describe_run(found)} has no validation accuracy; register an iteration"
        )
    if run.protocol != "validation":
        raise CifarTrackError(
            f"run {run.run_id} was chosen by the test images (selection=test), so nothing says "
            "how it does on new ones; register a run with selection=validation"
        )
    if run.model_uri is None:
        raise CifarTrackError(f"run {run.run_id} logged no model")
    return run


def _ensure_registered_model(client: mlflow.MlflowClient, name: str, dataset_name: str) -> None:
    try:
        client.create_registered_model(
            name,
            tags={tag.DATASET: dataset_name},
            description=f"Classifier of {DATASETS[dataset_name].title}: names what pictures show. "
            f"The alias `{CHAMPION}` is the best by validation accuracy.",
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _find_version(client: mlflow.MlflowClient, name: str, run: FinishedRun) -> ModelVersion | None:
    found = client.search_model_versions(f"name = '{name}' AND tag.`{tag.RUN_ID}` = '{run.run_id}'")
    return max(found, key=lambda version: int(version.version), default=None)


def _register(client: mlflow.MlflowClient, name: str, run: FinishedRun) -> ModelVersion:
    assert run.model_uri is not None
    with contextlib.redirect_stderr(io.StringIO()):  # it tells what the command line tells better
        version = mlflow.register_model(run.model_uri, name, tags=_tags(run))
    client.update_model_version(name, version.version, description=_description(run))
    return version


def _unregister(client: mlflow.MlflowClient, version: ModelVersion, run: FinishedRun) -> None:
    """Delete a new version, and the link to it that MLflow keeps with the logged model."""
    client.delete_model_version(version.name, version.version)
    model_id = (run.model_uri or "").rpartition("/")[2]
    linked = json.loads(client.get_logged_model(model_id).tags.get(MLFLOW_MODEL_VERSIONS, "[]"))
    left = [link for link in linked if link["version"] != version.version]
    client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(left)})


def _champion(client: mlflow.MlflowClient, name: str) -> str | None:
    try:
        return str(client.get_model_version_by_alias(name, CHAMPION).version)
    except MlflowException:
        return None


def _champion_run_id(client: mlflow.MlflowClient, name: str) -> str | None:
    try:
        return client.get_model_version_by_alias(name, CHAMPION).tags.get(tag.RUN_ID)
    except MlflowException:
        return None


def _require_same_predictions(model_uri: str, run: FinishedRun, images: np.ndarray) -> None:
    logged = _logged_probabilities(run)
    if logged.shape[0] != images.shape[0]:
        raise CifarTrackError(
            f"run {run.run_id} was evaluated on {logged.shape[0]} images, but the test set has "
            f"{images.shape[0]}; nothing was promoted"
        )
    model = mlflow.pyfunc.load_model(model_uri)
    predicted = np.concatenate(
        [
            model.predict(images[start : start + IMAGES_A_BATCH], params={"raw": True})[
                "probabilities"
            ].tolist()
            for start in range(0, len(images), IMAGES_A_BATCH)
        ]
    )
    difference = float(np.max(np.abs(predicted - logged)))
    if not difference <= TOLERANCE:  # a NaN is a difference too
        raise CifarTrackError(
            f"the model of run {run.run_id}, read back from the registry, differs from the logged "
            f"predictions by {difference:.2g} (at most {TOLERANCE:.0e}); nothing was promoted"
        )


def _logged_probabilities(run: FinishedRun) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path = mlflow.MlflowClient().download_artifacts(
            run.run_id, "evaluation/predictions.npz", folder
        )
        with np.load(Path(path), allow_pickle=False) as arrays:
            return np.asarray(arrays["probabilities"])


def _tags(run: FinishedRun) -> dict[str, str]:
    shown = {name: f"{run.metrics[name]:.6g}" for name in SHOWN_METRICS if name in run.metrics}
    kept = (tag.ITERATION, tag.DATASET, tag.PROTOCOL)
    commit = tag.MLFLOW_COMMIT
    return {
        tag.RUN_ID: run.run_id,
        **{name: run.tags[name] for name in kept if name in run.tags},
        **({tag.COMMIT: run.tags[commit]} if commit in run.tags else {}),
        **shown,
    }


def _description(run: FinishedRun) -> str:
    metrics = run.metrics
    lines = [f"`{run.iteration}`, run `{run.run_id}` ({run.name})."]
    lines.append(f"\nValidation accuracy {metrics['best_val_accuracy']:.4f}.")
    if {"test_accuracy", "test_accuracy_low", "test_accuracy_high"} <= set(metrics):
        lines.append(
            f"Test accuracy {metrics['test_accuracy']:.4f} "
            f"(95 % interval {metrics['test_accuracy_low']:.4f} to "
            f"{metrics['test_accuracy_high']:.4f})."
        )
    rows = [f"| {name} | {metrics[name]:.4f} |" for name in SHOWN_METRICS if name in metrics]
    return "\n".join([*lines, "", "| figure | value |", "|---|---|", *rows])
