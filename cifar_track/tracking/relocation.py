"""A store that was moved or copied with its files: where they are now, and the record put right.

MLflow keeps the full path of every run's files. In a project folder that was moved, its record
leads nowhere; in one that was copied, to the files of the original.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cifar_track.addresses import folder_address, sqlite_path
from cifar_track.tracking import store

FILES = "mlruns"
# Where MLflow 3 keeps locations; none of these has a foreign key on it.
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


@dataclass(frozen=True, kw_only=True)
class Relocation:
    """Files that lie beside their store, and that the store looks for elsewhere.

    Attributes:
        before: the folders that the store names.
        now: the folder that the files are in.
        entries: how many locations of experiments, runs and models lead to the wrong place.
    """

    before: tuple[Path, ...]
    now: Path
    entries: int


def find_relocation() -> Relocation | None:
    """What the store has wrong about its files since it was moved or copied; None if nothing.

    Only an SQLite store has its files beside it: in `mlruns`, the folder that MLflow uses.
    """
    path = sqlite_path(store.open_store())
    if path is None:
        return None
    with _connected(path) as connection:
        before = _earlier_folders(connection, path.parent / FILES)
        wrong = list(_wrong_entries(connection, before, path.parent / FILES))
    if not wrong:
        return None
    return Relocation(before=tuple(sorted(before)), now=path.parent / FILES, entries=len(wrong))


def relocate(relocation: Relocation) -> None:
    """Put the record right, all of it or nothing."""
    path = sqlite_path(store.open_store())
    assert path is not None
    with _connected(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        wrong = _wrong_entries(connection, set(relocation.before), relocation.now)
        for table, column, row, location in list(wrong):
            connection.execute(
                f"UPDATE {table} SET {column} = ? WHERE rowid = ?",  # noqa: S608 - of LOCATIONS
                (location, row),
            )
        connection.execute("COMMIT")


def missing_files(artifact_uri: str) -> str | None:
    """What to say of a run whose files are not where the store has them; None where they are."""
    folder = local_folder(artifact_uri)
    # A run that logged no file has no folder, but the files of others lie beside it.
    if folder is None or folder.is_dir() or folder.parents[1].is_dir():
        return None
    return (
        f"its files are not in {folder}, where the store has them; if the project folder was "
        "moved, `mlflow run . -e doctor` puts that right, otherwise bring them back"
    )


def local_folder(location: str) -> Path | None:
    """The folder of this machine that an artifact location names; None for any other place."""
    if location.startswith("/"):
        return Path(location)
    parts = urlsplit(location)
    return Path(unquote(parts.path)) if parts.scheme == "file" and not parts.netloc else None


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    # Without a level, Python begins no transaction by itself.
    with contextlib.closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
        yield connection


def _earlier_folders(connection: sqlite3.Connection, now: Path) -> set[Path]:
    """The folders that experiments name for files that lie under `now`."""
    found = set()
    for _, folder in _folders(connection, "experiments", "artifact_location"):
        for above in folder.parents:
            if above.name != FILES or above.resolve() == now.resolve():  # by a link, say
                continue
            if (now / folder.relative_to(above)).is_dir():
                found.add(above)
    return found


def _wrong_entries(
    connection: sqlite3.Connection, before: set[Path], now: Path
) -> Iterator[tuple[str, str, int, str]]:
    """Table, column and row of each location that is wrong, and the right one."""
    for table, column in LOCATIONS:
        for row, folder in _folders(connection, table, column):
            for above in before:
                if not folder.is_relative_to(above):
                    continue
                here = now / folder.relative_to(above)
                # What the original alone has was made there after the copy, or by it.
                if here.exists() or not folder.exists():
                    yield table, column, row, folder_address(here)


def _folders(connection: sqlite3.Connection, table: str, column: str) -> Iterator[tuple[int, Path]]:
    rows = connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall()  # noqa: S608
    for row, location in rows:
        folder = local_folder(location or "")
        if folder is not None:
            yield row, folder
