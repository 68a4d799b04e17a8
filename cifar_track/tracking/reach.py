"""The first word with a store: whether it is there and lets this user in, told within seconds."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from cifar_track.addresses import DATABASE_PORTS, is_server, shown, sqlite_path
from cifar_track.config import CifarTrackError
from cifar_track.environment import variables

PROBE_SECONDS = 3.0
SQLITE_BEGINNING = b"SQLite format 3\0"


def require_reachable(uri: str, *, setting: str) -> None:
    """Look whether a store is there, before MLflow tries for minutes.

    Args:
        uri: its address.
        setting: where a person gave it, for a refusal.

    Raises:
        CifarTrackError: it is not, or this user may not use it.
    """
    path = sqlite_path(uri)
    if path is not None:
        _require_file(path, setting)
    elif is_server(uri):
        _require_server(uri, setting)
    elif urlsplit(uri).scheme.partition("+")[0] in DATABASE_PORTS:
        _require_database(uri, setting)


def first_line(error: BaseException) -> str:
    """The first line of what an error says, without passwords; its kind where it says nothing."""
    text = str(error).strip()
    return shown(text.splitlines()[0]) if text else type(error).__name__


def _require_file(path: Path, setting: str) -> None:
    path = path.resolve()  # the journal lies beside what a link leads to
    folder = path.parent
    if path.is_dir():
        raise CifarTrackError(f"the tracking store {path} is a folder; expected an SQLite file")
    if path.exists() and not path.is_file():  # a device, which a file would be put in place of
        raise CifarTrackError(f"the tracking store {path} is no file; expected an SQLite file")
    if not folder.is_dir():
        raise CifarTrackError(
            f"the tracking store {path} can't be made: there is no folder {folder}; make it, or "
            f"set {setting} to another place"
        )
    # SQLite writes a journal beside the file.
    for place in [folder, path] if os.path.lexists(path) else [folder]:
        if not os.access(place, os.R_OK | os.W_OK):
            raise CifarTrackError(
                f"the tracking store {path} can't be written to: this user may not write {place}; "
                f"allow it, or set {setting} to another place"
            )
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(len(SQLITE_BEGINNING)) != SQLITE_BEGINNING:
                raise CifarTrackError(f"the tracking store {path} is no SQLite file")


def _require_server(uri: str, setting: str) -> None:
    # By MLflow's own way, which knows of names, passwords, tokens, certificates and proxies.
    try:
        answer = http_request(  # type: ignore[no-untyped-call]
            get_default_host_creds(uri),  # type: ignore[no-untyped-call]
            "/health",
            "GET",
            max_retries=0,
            timeout=PROBE_SECONDS,
            raise_on_status=False,
        )
    except MlflowException as error:
        raise CifarTrackError(
            f"the tracking server {shown(uri)} can't be reached ({_reason(error)}); "
            f"start it, or set {setting} to another"
        ) from error
    if answer.status_code == 403:
        raise CifarTrackError(
            f"the tracking server {shown(uri)} answers 403; it may have to be started with "
            f"--allowed-hosts {urlsplit(uri).hostname}"
        )
    # Any other answer comes from something alive; a proxy may not pass `/health` on.


def _reason(error: BaseException) -> str:
    """What the innermost cause of a failed request says, such as `Connection refused`."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return first_line(error).rpartition(">: ")[2]


def _require_database(uri: str, setting: str) -> None:
    import sqlalchemy

    parts = urlsplit(uri)
    try:
        if parts.hostname:  # a host that drops what it is sent would hold the driver for minutes
            port = parts.port or DATABASE_PORTS[parts.scheme.partition("+")[0]]
            socket.create_connection((parts.hostname, port), timeout=PROBE_SECONDS).close()
        with variables({"PGCONNECT_TIMEOUT": str(int(PROBE_SECONDS))}):
            engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.pool.NullPool)
            engine.connect().close()
    except ModuleNotFoundError as error:
        raise CifarTrackError(
            f"the tracking store {shown(uri)} needs the driver {error.name}, which is not "
            "installed; install it, or name another one: postgresql+psycopg2://..."
        ) from error
    except (OSError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise CifarTrackError(
            f"the tracking database {shown(uri)} can't be reached ({first_line(error)}); "
            f"start it, or set {setting} to another"
        ) from error
