"""The tables of a store: made once, whole or not at all, by one process at a time."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from cifar_track.addresses import (
    folder_address,
    is_databricks,
    is_server,
    shown,
    sqlite_address,
    sqlite_path,
)
from cifar_track.config import CifarTrackError
from cifar_track.tracking.process import user_name

SCHEMA_SECONDS = 300.0


@contextmanager
def tables(uri: str) -> Iterator[None]:
    """Let the block open a store; where its tables may be missing, nobody else does meanwhile.

    MLflow makes them when it opens a database, and fails when several processes do so at once.

    Raises:
        CifarTrackError: another process has been at it for minutes, or the lock can't be had.
    """
    if is_server(uri) or is_databricks(uri):
        yield
        return
    # Imported here, because MLflow would do it under the lock, a second for each who waits.
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    path = sqlite_path(uri)
    if path is not None:
        path = path.resolve()  # a link to a file stays one
        # Who finds the file finds its tables in it, and needs no lock: it may be somebody else's.
        if not _is_made(path):
            with _locked(path.with_name(f"{path.name}.lock"), uri):
                _make_sqlite(path)
        yield
        return
    if uri.startswith("postgresql"):
        with _locked_in_postgresql(uri):
            yield
        return
    digest = hashlib.sha256(uri.encode()).hexdigest()[:16]
    lock = Path(tempfile.gettempdir()) / f"cifar_track-{user_name()}-{digest}.lock"
    with _locked(lock, uri):
        yield


def _make_sqlite(path: Path) -> None:
    """Make a database with its tables beside its place and move it there whole.

    A process killed while Alembic works leaves tables that Alembic then stumbles over for ever.
    """
    if _is_made(path):  # another process was quicker
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    aside = path.with_name(f"{path.name}.making")
    for left in (aside, aside.with_name(f"{aside.name}-journal")):  # by one that was killed
        left.unlink(missing_ok=True)
    artifacts = folder_address(path.parent / "mlruns")
    store = SqlAlchemyStore(sqlite_address(aside), artifacts)  # type: ignore[no-untyped-call]
    store.engine.dispose()
    if not _is_made(path):  # by a program that knows nothing of the lock
        os.replace(aside, path)


def _is_made(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


@contextmanager
def _locked_in_postgresql(uri: str) -> Iterator[None]:
    """Hold a lock that the database itself keeps: a team's users and hosts share no other place.

    It is a transaction's, so that it is let go with the connection, and behind a pooler too.
    """
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.pool.NullPool)
    key = int.from_bytes(hashlib.sha256(b"cifar_track tables").digest()[:8], signed=True)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{SCHEMA_SECONDS:.0f}s'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({key})")
        yield


@contextmanager
def _locked(lock: Path, uri: str) -> Iterator[None]:
    held = filelock.FileLock(lock, timeout=SCHEMA_SECONDS)
    try:
        held.acquire()
    except filelock.Timeout as error:
        raise CifarTrackError(
            f"another process has been making the tables of {shown(uri)} for "
            f"{SCHEMA_SECONDS:.0f} s; end it, or remove {lock}"
        ) from error
    except OSError as error:
        raise CifarTrackError(
            f"the tables of {shown(uri)} can't be made, because {lock} can't be locked "
            f"({error.strerror or error}); have its owner remove it"
        ) from error
    try:
        yield
    finally:
        held.release()
