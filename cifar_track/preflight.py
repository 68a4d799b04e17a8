"""What can be told before MLflow is there: that a run or a champion is not in an SQLite store.

MLflow takes a second to be imported, which is long to wait for "no such run". Its tables are only
read, and only an absence that is certain is told: a server, another kind of database and a file
that can't be read right now are left to MLflow.
"""

from __future__ import annotations

import difflib
import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from cifar_track.addresses import registry_address, shown, sqlite_path, tracking_address
from cifar_track.config import DATASETS, CifarTrackError

# Of unknown names, so many of the newest are compared.
REMEMBERED = 200
# A shorter text is no beginning of an id.
LEAST_OF_AN_ID = 4

_NOTHING_BESIDE = re.compile(r"^[\s,]+|[\s,]+$")
# Of an experiment that was deleted, MLflow's side tells how it comes back.
_MAY_BE_MEANT = """
    SELECT 1 FROM runs WHERE name = ?1
        OR length(?1) >= ?3 AND substr(run_uuid, 1, length(?1)) = ?1
    UNION ALL
    SELECT 1 FROM experiments WHERE lifecycle_stage <> 'active'
        AND name IN (SELECT value FROM json_each(?2))
    LIMIT 1
"""
_NEWEST = """
    SELECT run_uuid, coalesce(runs.name, ''), start_time
    FROM runs JOIN experiments USING (experiment_id)
    WHERE runs.lifecycle_stage = 'active'
        AND experiments.name IN (SELECT value FROM json_each(?))
    ORDER BY start_time DESC, run_uuid LIMIT ?
"""


@dataclass(frozen=True)
class NamedRun:
    """A run in a line that tells it from others: the id's beginning, the name, the start.

    Attributes:
        run_id: MLflow's.
        name: what the UI shows.
        started: milliseconds since 1970.
    """

    run_id: str
    name: str
    started: int

    def __str__(self) -> str:
        started = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.started / 1000))
        return f"{self.run_id[:8]} ({self.name}, {started})"


def require_run(reference: str, *, dataset_name: str | None = None) -> None:
    """Refuse what no run in an SQLite store is called.

    Args:
        reference: the id, the beginning of it, or the run's name.
        dataset_name: whose runs are near it; those of any data set unless given.

    Raises:
        CifarTrackError: there is none, and the nearest is named; or the store's address is none.
    """
    experiments = _experiments(dataset_name)
    if _may_be_meant(reference, experiments):
        return
    address = tracking_address()
    newest = _rows(address, _NEWEST, experiments, REMEMBERED)
    raise no_such_run(reference, address, [NamedRun(*row) for row in newest or ()])


def require_runs(references: Sequence[str], *, dataset_name: str | None = None) -> None:
    """Refuse the first name of several, parted as `names_in` does, that no run is called.

    Raises:
        CifarTrackError: as `require_run`.
    """
    experiments = _experiments(dataset_name)
    for text in references:
        for name in names_in(text, lambda name: _may_be_meant(name, experiments)):
            require_run(name, dataset_name=dataset_name)


def names_in(text: str, is_known: Callable[[str], bool]) -> Iterator[str]:
    """What the commas of a text part, where a name may hold commas itself.

    Args:
        text: names, parted by commas.
        is_known: whether a run is called so.

    Yields:
        All of the text where a run is called so, otherwise what stands before its first comma, or,
        where no run is called that, the shortest beginning that one is called.
    """
    while text := _NOTHING_BESIDE.sub("", text):
        parts = text.split(",")
        beginnings = {
            count: ",".join(parts[:count]).strip() for count in (len(parts), *range(1, len(parts)))
        }
        known = (count for count, name in beginnings.items() if len(parts) == 1 or is_known(name))
        taken = next(known, 1)
        yield beginnings[taken]
        text = ",".join(parts[taken:])


def require_champion(name: str) -> None:
    """Refuse a registered model that an SQLite registry has never heard of.

    Raises:
        CifarTrackError: there is none; or the registry's address is none.
    """
    address = registry_address()
    if _rows(address, "SELECT 1 FROM registered_models WHERE name = ?", name) == []:
        raise no_champion(name)


def no_such_run(reference: str, address: str, newest: Sequence[NamedRun]) -> CifarTrackError:
    """What is said of a name that no run has.

    Args:
        reference: the name.
        address: the store's.
        newest: the runs that it may have been meant for, the newest first.
    """
    names = {name: run for run in reversed(newest) for name in (run.run_id, run.name)}
    hint = f"; the newest is {newest[0]}" if newest else ""
    for near in difflib.get_close_matches(reference, names, n=1):
        hint = f"; did you mean {names[near]}?"
    return CifarTrackError(f"no run is called {reference!r} in {shown(address)}{hint}")


def no_champion(name: str) -> CifarTrackError:
    """What is said of a registered model that has no champion."""
    return CifarTrackError(f"there is no champion of {name}; make one: mlflow run . -e register")


def _experiments(dataset_name: str | None) -> str:
    """The names of the data sets' experiments, as SQLite takes a list."""
    datasets = DATASETS if dataset_name is None else (dataset_name,)
    return json.dumps([DATASETS[name].experiment for name in datasets])


def _may_be_meant(reference: str, experiments: str) -> bool:
    asked = (reference, experiments, LEAST_OF_AN_ID)
    return _rows(tracking_address(), _MAY_BE_MEANT, *asked) != []


def _rows(address: str, query: str, *values: str | int) -> list[tuple[Any, ...]] | None:
    """What an SQLite file answers; nothing where there is no file yet, None where it can't be told.

    One that is being written to, or whose tables are of another time, can't.
    """
    path = sqlite_path(address)
    if path is None:
        return None
    try:
        if not path.exists():
            return [] if path.parent.is_dir() else None
        read_only = f"file:{quote(str(path))}?mode=ro"
        with closing(sqlite3.connect(read_only, timeout=0.2, uri=True)) as connection:
            return connection.execute(query, values).fetchall()
    except (sqlite3.Error, OSError, ValueError):  # the last of text that is no UTF-8
        return None
