"""Where runs are kept: the store's address, its schema, its experiments, and links into its UI."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import socket
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import filelock
import mlflow
from mlflow.exceptions import MlflowException

from cifar_track import environment
from cifar_track.config import DATASETS, CifarTrackError

DEFAULT_DATABASE = "mlflow.db"
UI_PORT = 5000
PROBE_SECONDS = 3.0
SCHEMA_SECONDS = 300.0
# MLflow opens its UI in the mode for language models unless the address says otherwise.
UI_MODE = "workflowType=machine_learning"

_SERVER_SCHEMES = ("http", "https")
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}

_opened: set[str] = set()


def open_store() -> str:
    """Settle on the store, make sure that it answers, and return its address.

    The store is `MLFLOW_TRACKING_URI`, or else the file `mlflow.db` in the working folder. The
    address of an SQLite file is made absolute, so that a process that changes its folder, or
    one that it starts, goes on with the same file. A fresh database gets its schema under a
    file lock: MLflow itself fails when several processes do that at once.

    Returns:
        The address, such as `sqlite:////home/me/cifar/mlflow.db` or `http://localhost:5000`.

    Raises:
        CifarTrackError: the store can't be reached, refuses, or is of another MLflow's making.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    uri = _absolute(given or f"sqlite:///{DEFAULT_DATABASE}")
    mlflow.set_tracking_uri(uri)
    os.environ["MLFLOW_TRACKING_URI"] = uri
    if uri not in _opened:
        _require_reachable(uri)
        with _schema_lock(uri), short_patience():
            try:
                mlflow.MlflowClient().search_experiments(max_results=1)
            except ModuleNotFoundError as error:
                raise CifarTrackError(
                    f"the tracking store {_shown(uri)} needs the driver {error.name}, which is not "
                    "installed; install it, or name another one: postgresql+psycopg2://..."
                ) from error
            except Exception as error:
                raise CifarTrackError(
                    f"the tracking store {_shown(uri)} refuses: {first_line(error)}"
                ) from error
        _opened.add(uri)
    return uri


def client() -> mlflow.MlflowClient:
    """MLflow's client on the opened store."""
    open_store()
    return mlflow.MlflowClient()


def is_server(uri: str) -> bool:
    """Whether the address is that of a tracking server."""
    return urlsplit(uri).scheme in _SERVER_SCHEMES


def sqlite_path(uri: str) -> Path | None:
    """The file behind an SQLite address; None for any other address."""
    scheme, _, path = uri.partition(":///")
    if scheme.partition("+")[0] != "sqlite" or not path or path == ":memory:":
        return None
    return Path(path.partition("?")[0])


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
    try:
        name = DATASETS[dataset_name].experiment
        return str(client().create_experiment(name, artifact_location=_artifact_location(name)))
    except MlflowException:  # another process was quicker
        found = find_experiment_id(dataset_name)
        if found is None:
            raise
        return found


@contextmanager
def short_patience() -> Iterator[None]:
    """Give up on a server that doesn't answer within seconds, for the first word and the last."""
    # MLflow's own patience with a server is four minutes; once it is known to answer, that is
    # right for a run that trains for hours, but not for the first word.
    limits = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    with environment.variables(limits):
        yield


def ui_command() -> str:
    """What to type to open the UI on the store; for a server, its address."""
    uri = open_store()
    if is_server(uri):
        return uri
    path = sqlite_path(uri)
    if path is not None and path.parent == Path.cwd():
        uri = f"sqlite:///{path.name}"
    # Without these two the server starts fifteen processes and takes 3 GB.
    return (
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --workers 1 "
        f"--port {UI_PORT} --backend-store-uri {shlex.quote(uri)}"
    )


def ui_address() -> str:
    """Where the UI is found: at the server, or where `ui_command` puts it."""
    uri = open_store()
    return uri.rstrip("/") if is_server(uri) else f"http://localhost:{UI_PORT}"


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
    `mlflow run URL` calls the command in a temporary copy of the project.
    """
    path = sqlite_path(open_store())
    if path is None or path.parent == Path.cwd():
        return None
    return str(path.parent / "mlruns" / name)


def _absolute(uri: str) -> str:
    path = sqlite_path(uri)
    if path is not None:
        scheme, _, rest = uri.partition(":///")
        query = rest.partition("?")[2]
        return f"{scheme}:///{path.absolute()}" + (f"?{query}" if query else "")
    if "://" not in uri and uri.partition(":")[0] not in ("databricks", "databricks-uc", "uc"):
        raise CifarTrackError(
            f"MLFLOW_TRACKING_URI={uri} is a folder, and MLflow has given up keeping runs in "
            f"folders; use sqlite:///{DEFAULT_DATABASE} or a server's address"
        )
    return uri


def _require_reachable(uri: str) -> None:
    path = sqlite_path(uri)
    parts = urlsplit(uri)
    family = parts.scheme.partition("+")[0]
    if path is not None:
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise CifarTrackError(f"the tracking store {path} can't be written to")
    elif is_server(uri):
        _require_server(uri)
    elif family in _DATABASE_PORTS and parts.hostname:
        try:
            address = (parts.hostname, parts.port or _DATABASE_PORTS[family])
            socket.create_connection(address, timeout=PROBE_SECONDS).close()
        except OSError as error:
            raise CifarTrackError(
                f"the tracking database {_shown(uri)} can't be reached ({first_line(error)}); "
                "start it, or set MLFLOW_TRACKING_URI to another"
            ) from error


def _require_server(uri: str) -> None:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PROBE_SECONDS):
            return
    except urllib.error.HTTPError as error:
        if error.code == 403:
            raise CifarTrackError(
                f"the tracking server {_shown(uri)} answers 403; it may have to be started with "
                f"--allowed-hosts {urlsplit(uri).hostname}"
            ) from error
        # Any other answer comes from something alive; a proxy may not pass `/health` on.
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise CifarTrackError(
            f"the tracking server {_shown(uri)} can't be reached ({reason}); "
            "start it, or set MLFLOW_TRACKING_URI to another"
        ) from error


@contextmanager
def _schema_lock(uri: str) -> Iterator[None]:
    if is_server(uri) or uri.partition(":")[0] in ("databricks", "databricks-uc", "uc"):
        yield
        return
    # Imported here, because MLflow would do it under the lock, a second for each who waits.
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    path = sqlite_path(uri)
    if path is not None:
        lock = path.with_name(f"{path.name}.lock")
    else:
        digest = hashlib.sha256(uri.encode()).hexdigest()[:16]
        lock = Path(tempfile.gettempdir()) / f"cifar_track-{os.getuid()}-{digest}.lock"
    try:
        with filelock.FileLock(lock, timeout=SCHEMA_SECONDS):
            yield
    except filelock.Timeout as error:
        raise CifarTrackError(
            f"another process has been making the tables of {_shown(uri)} for "
            f"{SCHEMA_SECONDS:.0f} s; end it, or remove {lock}"
        ) from error


def _shown(uri: str) -> str:
    """The address without a password."""
    password = urlsplit(uri).password
    return uri.replace(f":{password}@", ":***@") if password else uri


def first_line(error: BaseException) -> str:
    """The first line of what an error says; its kind where it says nothing."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
