"""The folder of a search: held by one process at a time, for one search, its state in one file."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from cifar_track.config import CifarTrackError, Experiment, describe_space, flatten
from cifar_track.tuning.space import check_space

if TYPE_CHECKING:
    from cifar_track.data import Dataset

STATE_VERSION = 1


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the folder for this process; the system lets go of it even after a kill.

    Raises:
        CifarTrackError: another process holds it.
    """
    try:
        with filelock.FileLock(directory / "search.lock", blocking=False):
            yield
    except filelock.Timeout as error:
        raise CifarTrackError(
            f"another process is searching in {directory}; wait for it, or give another directory"
        ) from error


def fingerprint(experiment: Experiment, data: Dataset) -> dict[str, Any]:
    """All that a search depends on, by name, as JSON gives it back."""
    search = check_space(experiment)
    settings = {
        **flatten(experiment),
        "search.tuner": search.tuner,
        "search.trials": search.trials,
        "search.objective": search.objective,
        **{f"search.space.{name}": space for name, space in describe_space(search).items()},
        "digest of the data": data.digest,
    }
    return dict(json.loads(json.dumps(settings)))  # tuples become lists, as in the file


def require_same_search(saved: dict[str, Any], settings: dict[str, Any], directory: Path) -> None:
    """Compare the fingerprint in a folder with the one at hand.

    Raises:
        CifarTrackError: they differ; the first difference is named.
    """
    for name in [*settings, *saved]:
        before, now = saved.get(name), settings.get(name)
        if before != now:
            raise CifarTrackError(
                f"{directory} holds another search: its {name} is {before!r}, not {now!r}; "
                "expected the same search to go on with; give another directory or remove this one"
            )


def read_state(file: Path) -> dict[str, Any]:
    """The state that an oracle saved.

    Raises:
        CifarTrackError: the file is not a state of this version.
    """
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        if state["version"] == STATE_VERSION:
            return dict(state)
        found = f"version {state['version']}"
    except (ValueError, KeyError, TypeError) as error:
        found = f"{type(error).__name__}: {error}"
    raise CifarTrackError(
        f"{file} can't be read ({found}); expected the state of a search, version {STATE_VERSION}; "
        f"remove {file.parent} to start anew"
    )


def write_atomically(file: Path, text: str) -> None:
    """Write a file so that a kill or a power cut leaves the old one or the new one, whole."""
    partial = file.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, file)
