"""Where runs are kept: the store's address, its schema, its experiments, and links into its UI."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import mlflow
from mlflow.exceptions import MlflowException

from cifar_track import environment
from cifar_track.addresses import (
    REGISTRY,
    SQLITE_SUFFIXES,
    STORE,
    folder_address,
    for_a_link,
    is_server,
    registry_address,
    settled,
    shown,
    sqlite_address,
    sqlite_path,
    tracking_address,
)
from cifar_track.config import DATASETS, CifarTrackError
from cifar_track.tracking import schema
from cifar_track.tracking.reach import first_line, require_reachable

UI_PORT = 5000
# A file for each change of a database's tables that this MLflow knows.
MIGRATIONS = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
NOT_LOGGED_IN = "UNAUTHENTICATED"
# MLflow opens its UI in the mode for language models unless the address says otherwise.
UI_MODE = "workflowType=machine_learning"

__all__ = [
    "client",
    "compare_url",
    "ensure_experiment_id",
    "find_experiment_id",
    "first_line",
    "open_other_store",
    "open_registry",
    "open_store",
    "run_url",
    "short_patience",
    "ui_address",
    "ui_command",
]

_opened: set[str] = set()


def open_store() -> str:
    """Settle on the store, make sure that it answers, and return its address.

    The store is `MLFLOW_TRACKING_URI`, or else the file `mlflow.db` in the working folder. The
    address of an SQLite file is made absolute, so that a process that changes its folder, or
    one that it starts, goes on with the same file. A fresh database gets its tables first
    (`cifar_track.tracking.schema`).

    Returns:
        The address, such as `sqlite:////home/me/cifar/mlflow.db` or `http://localhost:5000`.

    Raises:
        CifarTrackError: the store can't be reached, refuses, or is of another MLflow's making.
    """
    uri = tracking_address()
    mlflow.set_tracking_uri(uri)
    os.environ[STORE] = uri
    _require_open(uri, setting=STORE)
    return uri


def open_registry() -> str:
    """Make sure that the registry of models answers, and return its address.

    It is the store's own, unless `MLFLOW_REGISTRY_URI` names another's, which then is settled as
    `open_store` settles the store's.

    Raises:
        CifarTrackError: as `open_store`.
    """
    uri = open_store()
    if not os.environ.get(REGISTRY, "").strip():
        os.environ.pop(REGISTRY, None)  # MLflow takes a blank for an address
        return uri
    registry = registry_address()
    os.environ[REGISTRY] = registry
    _require_open(registry, setting=REGISTRY)
    return registry


def open_other_store(given: str, *, setting: str, fresh: bool) -> str:
    """Make sure that a store beside the current one answers, and return its address.

    Args:
        given: an address, or the path of an SQLite file.
        setting: where a person gave it, for a refusal.
        fresh: whether an SQLite file may be made.

    Raises:
        CifarTrackError: as `open_store`, or there is no such file.
    """
    is_path = "://" not in given and Path(given).suffix in SQLITE_SUFFIXES
    address = sqlite_address(Path(given)) if is_path else given
    uri = settled(address, setting=setting)
    path = sqlite_path(uri)
    if path is not None and not fresh and not path.exists():
        raise CifarTrackError(f"there is no tracking store {path}; name the file of one")
    _require_open(uri, setting=setting)
    return uri


def _require_open(uri: str, *, setting: str) -> None:
    if uri in _opened:
        return
    try:
        require_reachable(uri, setting=setting)
        with schema.tables(uri), short_patience():
            if setting == REGISTRY:  # a server may keep a registry and no runs
                mlflow.MlflowClient(registry_uri=uri).search_registered_models(max_results=1)
            else:
                mlflow.MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    except CifarTrackError:
        raise
    except Exception as error:
        if getattr(error, "error_code", "") == NOT_LOGGED_IN:
            raise CifarTrackError(
                f"the tracking server {shown(uri)} does not know this account; set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, "
                "to one that it knows"
            ) from error
        made_by = re.search(r"found version (\w+)", first_line(error))
        if made_by and not any(MIGRATIONS.glob(f"{made_by[1]}_*.py")):
            raise CifarTrackError(
                f"the tracking store {shown(uri)} was made by a newer MLflow than this one, "
                f"{mlflow.__version__}; use that one, or set {setting} to another store"
            ) from error
        raise CifarTrackError(
            f"the tracking store {shown(uri)} refuses: {first_line(error)}"
        ) from error
    _opened.add(uri)


def client() -> mlflow.MlflowClient:
    """MLflow's client on the opened store."""
    open_store()
    return mlflow.MlflowClient()


def find_experiment_id(dataset_name: str) -> str | None:
    """The id of the data set's MLflow experiment; None where nothing has been logged yet."""
    name = DATASETS[dataset_name].experiment
    experiment = client().get_experiment_by_name(name)
    if experiment is None:
        return None
    if experiment.lifecycle_stage != "active":
        raise CifarTrackError(
            f"the experiment {name!r} has been deleted; bring it back with "
            f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`"
        )
    return str(experiment.experiment_id)


def ensure_experiment_id(dataset_name: str) -> str:
    """The id of the data set's MLflow experiment, made if there is none yet."""
    found = find_experiment_id(dataset_name)
    if found is not None:
        return found
    name = DATASETS[dataset_name].experiment
    try:
        return str(client().create_experiment(name, artifact_location=_artifact_location(name)))
    except MlflowException as error:  # another process was quicker
        found = find_experiment_id(dataset_name)
        if found is None:
            raise CifarTrackError(
                f"the experiment {name!r} can't be made: {first_line(error)}"
            ) from error
        return found


@contextmanager
def short_patience() -> Iterator[None]:
    """Give up on a server that doesn't answer within seconds, for the first word and the last."""
    # MLflow's own patience with a server is four minutes; once it is known to answer, that is
    # right for a run that trains for hours, but not for the first word.
    limits = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
    with environment.variables(limits):
        yield


def ui_command() -> str:
    """What to type to open the UI on the store; for a server, its address."""
    uri = open_store()
    if is_server(uri):
        return for_a_link(uri)
    path = sqlite_path(uri)
    with suppress(FileNotFoundError):  # the working folder was removed meanwhile
        if path is not None and path.parent == Path.cwd():
            uri = sqlite_address(Path(path.name))
    place = shlex.quote(uri) if shown(uri) == uri else '"$MLFLOW_TRACKING_URI"'
    # Without these two the server starts fifteen processes and takes 3 GB.
    return (
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --workers 1 "
        f"--port {UI_PORT} --backend-store-uri {place}"
    )


def ui_address() -> str:
    """Where the UI is found: at the server, or where `ui_command` puts it."""
    uri = open_store()
    return for_a_link(uri) if is_server(uri) else f"http://localhost:{UI_PORT}"


def run_url(run_id: str, experiment_id: str, *, base: str | None = None) -> str:
    """The page of a run in the UI, in its model-training mode."""
    root = (base or ui_address()).rstrip("/")
    return f"{root}/#/experiments/{experiment_id}/runs/{run_id}?{UI_MODE}"


def compare_url(
    run_ids: Sequence[str], experiment_ids: Sequence[str], *, base: str | None = None
) -> str:
    """The page of the UI that shows runs side by side, in its model-training mode."""
    root = (base or ui_address()).rstrip("/")
    runs = quote(json.dumps(list(run_ids), separators=(",", ":")))
    experiments = quote(json.dumps(list(experiment_ids), separators=(",", ":")))
    return f"{root}/#/compare-runs?runs={runs}&experiments={experiments}&{UI_MODE}"


def _artifact_location(name: str) -> str | None:
    """Where an experiment's files go; None leaves it to MLflow.

    MLflow puts them under the working folder, and that is the database's own as a rule. But
    `mlflow run URL` calls the command in a temporary copy of the project; and of a folder's name
    with a `%` in it, MLflow makes another.
    """
    path = sqlite_path(open_store())
    if path is None:
        return None
    location = folder_address(path.parent / "mlruns" / name)
    return None if path.parent == Path.cwd() and "://" not in location else location
