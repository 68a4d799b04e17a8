"""What has been logged: finished runs, their results, what can be gone on with."""

from __future__ import annotations

import csv
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from cifar_track.addresses import shown
from cifar_track.config import EPOCH_METRICS, CifarTrackError
from cifar_track.tracking import store, tag
from cifar_track.tracking.arrays import read_arrays
from cifar_track.tracking.claim import PARAMETER
from cifar_track.tracking.reach import first_line
from cifar_track.tracking.relocation import missing_files

if TYPE_CHECKING:
    from cifar_track.comparison import RunResult, SearchRecord


# What a file of a run that is cut short, or holds something else, makes of being read.
UNREADABLE = (OSError, LookupError, TypeError, ValueError)
_PAGE = 1000
# As far as hosts' clocks may be apart.
CLOCK_SECONDS = 600.0
# Each is a question to the store.
MOST_CURVES = 100

FINISHED_ITERATIONS = f"attributes.status = 'FINISHED' AND tags.`{tag.KIND}` = 'iteration'"


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A finished run of an iteration, as the store describes it.

    Attributes:
        run_id: MLflow's run id.
        experiment_id: MLflow's experiment id.
        name: what the UI shows.
        iteration: the page that it ran.
        protocol: `validation`, or `test` where the test images served to choose by.
        started: milliseconds since 1970.
        parameters: by dotted name, as text.
        metrics: the last value of each.
        tags: all of them, MLflow's own too.
    """

    run_id: str
    experiment_id: str
    name: str
    iteration: str
    protocol: str
    started: int
    parameters: Mapping[str, str] = field(repr=False)
    metrics: Mapping[str, float] = field(repr=False)
    tags: Mapping[str, str] = field(repr=False)

    @property
    def model_uri(self) -> str | None:
        """The logged model's address; None when the run logged none."""
        return self.tags.get(tag.MODEL_URI)


def find_runs(dataset_name: str) -> list[FinishedRun]:
    """Every finished run of an iteration on a data set, the newest first.

    Those that start in the future, as of a host whose clock is ahead, come last: when they were
    made can't be told.
    """
    experiment_id = store.find_experiment_id(dataset_name)
    if experiment_id is None:
        return []
    found = sorted(search_runs([experiment_id], FINISHED_ITERATIONS), key=is_of_the_future)
    return [finished_run(run) for run in found]


def quoted(text: str) -> str:
    """A text as MLflow's filters take it.

    Raises:
        CifarTrackError: they have no way to write one with both quotes, or that ends so.
    """
    quote = "'" if "'" not in text else '"'
    if quote in text or text.endswith("\\"):
        raise CifarTrackError(
            f"MLflow's filters can't look for {text!r}; name it without quotes and backslashes"
        )
    return f"{quote}{text}{quote}"


def latest_start() -> int:
    """The latest start, in milliseconds since 1970, that a clock somewhat ahead may have given."""
    return int(1000 * (time.time() + CLOCK_SECONDS))


def is_of_the_future(run: mlflow.entities.Run) -> bool:
    """Whether a run says that it starts later than now, by this machine's clock."""
    return bool(run.info.start_time > latest_start())


def find_child(parent_run_id: str, number: int | str) -> mlflow.entities.Run | None:
    """The child run of a trial, by its number from 0, or of the `refit`; the newest of several."""
    parent = store.client().get_run(parent_run_id)
    found = search_runs(
        [parent.info.experiment_id],
        f"tags.`{tag.MLFLOW_PARENT}` = '{parent_run_id}' AND tags.`{tag.TRIAL}` = '{number}'",
        limit=1,
    )
    return found[0] if found else None


def load_result(run_id: str, *, remarks: tuple[str, ...] = ()) -> RunResult:
    """Read back what a run logged, ready to be compared.

    Args:
        run_id: MLflow's run id.
        remarks: what is said of a run that is shown only because it was asked for.

    Raises:
        CifarTrackError: there is no such run, or it holds no evaluation.
    """
    from cifar_track.comparison import RunResult

    client = store.client()
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise CifarTrackError(f"no run {run_id!r} in {shown(store.open_store())}") from error
    with tempfile.TemporaryDirectory() as folder:
        try:
            # By the run's address: by its id, the client would ask for the run three times more.
            path = Path(
                mlflow.artifacts.download_artifacts(
                    artifact_uri=f"{run.info.artifact_uri}/evaluation", dst_path=folder
                )
            )
        except (MlflowException, OSError) as error:
            reason = missing_files(run.info.artifact_uri) or f"its status is {run.info.status}"
            raise CifarTrackError(
                f"run {run_id} ({run.info.run_name}) holds no evaluation; {reason}"
            ) from error
        try:
            arrays = _read_predictions(path / "predictions.npz")
            per_class = _read_per_class(path / "per_class.csv", arrays)
        except UNREADABLE as error:
            raise CifarTrackError(
                f"run {run_id} ({run.info.run_name}) holds an evaluation that can't be read "
                f"({first_line(error)}); leave it out, or bring the file back"
            ) from error
    return RunResult(
        run_id=run_id,
        name=run.info.run_name,
        iteration=run.data.tags.get(tag.ITERATION, run.info.run_name),
        # A claim is a parameter only because the store takes it once.
        parameters={k: v for k, v in run.data.params.items() if not k.startswith(PARAMETER)},
        metrics=dict(run.data.metrics),
        per_class=per_class,
        test_digest=run.data.tags.get(tag.TEST_DIGEST),
        remarks=remarks,
        **arrays,
        history=_read_history(run),
        search=_read_search(run),
        status=run.info.status,
        url=store.run_url(run.info.run_id, run.info.experiment_id),
    )


def search_runs(
    experiment_ids: Sequence[str],
    filter_string: str = "",
    *,
    limit: int | None = None,
    view: int = ViewType.ACTIVE_ONLY,
    order_by: str = "attributes.start_time DESC",
) -> list[mlflow.entities.Run]:
    """Every run that matches, or the first of them, the newest first."""
    if not experiment_ids:
        return []
    client = store.client()
    found: list[mlflow.entities.Run] = []
    token: str | None = None
    while True:
        page = client.search_runs(
            list(experiment_ids),
            filter_string,
            run_view_type=view,
            max_results=_PAGE if limit is None else min(_PAGE, limit - len(found)),
            order_by=[order_by],
            page_token=token,
        )
        found.extend(page)
        token = page.token
        if not token or (limit is not None and len(found) >= limit):
            return found


def finished_run(run: mlflow.entities.Run) -> FinishedRun:
    """A run of the store's as the rest of the program knows it."""
    tags = dict(run.data.tags)
    return FinishedRun(
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        name=run.info.run_name,
        iteration=tags.get(tag.ITERATION, run.info.run_name),
        protocol=tags.get(tag.PROTOCOL, "validation"),
        started=run.info.start_time,
        parameters=dict(run.data.params),
        metrics=dict(run.data.metrics),
        tags=tags,
    )


def _read_per_class(path: Path, arrays: Mapping[str, Any]) -> list[dict[str, Any]]:
    whole = ("class", "support")
    texts = ("name", "superclass")
    with path.open(newline="", encoding="utf-8") as file:
        rows = [
            {
                name: int(text) if name in whole else text if name in texts else float(text)
                for name, text in row.items()
            }
            for row in csv.DictReader(file)
        ]
    classes = arrays["probabilities"].shape[1] if "probabilities" in arrays else max(len(rows), 1)
    if len(rows) != classes:
        raise ValueError(f"{path.name} holds {len(rows)} classes; expected {classes}")
    for name in {"labels", "predictions"} & set(arrays):
        if not set(np.unique(arrays[name])) <= set(range(classes)):
            raise ValueError(f"{name} are of other classes than the {classes} of {path.name}")
    return rows


def _read_predictions(path: Path) -> dict[str, Any]:
    """The arrays that a run logged of its test images, as far as it did, by their names.

    Raises:
        ValueError: the file is damaged.
    """
    if not path.is_file():
        return {}
    names = ("labels", "predictions", "probabilities", "losses", "seen")
    arrays = {name: array for name, array in read_arrays(path).items() if name in names}
    if len({len(array) for array in arrays.values()}) > 1:
        raise ValueError(f"{path.name} holds arrays of different lengths")
    return arrays


def _read_history(run: mlflow.entities.Run) -> list[dict[str, float]]:
    """The metrics of each epoch from 1 on."""
    epochs: dict[int, dict[str, float]] = {}
    for name in EPOCH_METRICS:
        if name in run.data.metrics:
            for point in store.client().get_metric_history(run.info.run_id, name):
                epochs.setdefault(point.step, {})[name] = point.value
    return [epochs[step] for step in sorted(epochs) if step > 0]


def _read_search(run: mlflow.entities.Run) -> SearchRecord | None:
    """What the run's search tried; None where it did not search."""
    from cifar_track.comparison import SearchRecord

    if tag.BEST_TRIAL not in run.data.tags:
        return None
    client = store.client()
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = client.download_artifacts(run.info.run_id, "search/trials.json", folder)
            table = json.loads(Path(path).read_text(encoding="utf-8"))
            trials = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
        except (MlflowException, *UNREADABLE):
            return None
    children = search_runs(
        [run.info.experiment_id],
        f"tags.`{tag.MLFLOW_PARENT}` = '{run.info.run_id}' AND tags.`{tag.KIND}` = 'trial'",
        limit=MOST_CURVES,
    )
    return SearchRecord(
        objective=run.data.params.get("search.objective", "val_accuracy"),
        trials=trials,
        curves={
            int(child.data.tags[tag.TRIAL]): [
                point.value
                for point in client.get_metric_history(child.info.run_id, "val_accuracy")
            ]
            for child in reversed(children)
            if "val_accuracy" in child.data.metrics and child.data.tags[tag.TRIAL].isdecimal()
        },
    )
