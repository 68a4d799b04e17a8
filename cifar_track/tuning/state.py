"""The folder of a search: held by one process at a time, its state in one file and a copy."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from cifar_track.config import CifarTrackError, Experiment, describe_space, flatten
from cifar_track.tuning.space import check_space
from cifar_track.tuning.trials import TrialRecord, TrialResult

if TYPE_CHECKING:
    from cifar_track.data import Dataset

STATE_VERSION = 2
# A search may be given more trials, more patience or another end, and stays the same search.
MAY_CHANGE = ("search.trials", "search.retries", "search.refit", "search.keep")


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the folder for this process; the system lets go of it even after a kill.

    Raises:
        CifarTrackError: another process holds it, or it can't be held.
    """
    file = directory / "search.lock"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(file, blocking=False)
        lock.acquire()
    except filelock.Timeout as error:
        raise CifarTrackError(
            f"another process is searching in {directory}; wait for it, or give another directory"
        ) from error
    except OSError as error:
        raise CifarTrackError(
            f"{file} can't be locked ({error.strerror or error}); expected a file that this user "
            "may write, or none; remove what is in its place"
        ) from error
    try:
        yield
    finally:
        lock.release()


def fingerprint(experiment: Experiment, data: Dataset) -> dict[str, Any]:
    """All that the trials of a search depend on, by name, as JSON gives it back."""
    search = check_space(experiment)
    settings = {
        **{name: value for name, value in flatten(experiment).items() if name not in MAY_CHANGE},
        **{f"search.space.{name}": space for name, space in describe_space(search).items()},
        "digest of the data": data.digest,
    }
    return dict(json.loads(json.dumps(settings)))  # tuples become lists, as in the file


def first_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """What makes two searches different ones, in words; None if nothing does."""
    for name in [*now, *before]:
        if before.get(name) != now.get(name):
            return f"its {name} is {before.get(name)!r}, not {now.get(name)!r}"
    return None


class StateFile:
    """The state of a search on disk: whole whatever a kill does, and known to be what was written.

    Beside the file lies the copy that it replaced last. Both carry a checksum; one that does not
    hold what was written is passed over, and the search is then rebuilt from the copy and from
    what else is known of its trials.
    """

    def __init__(self, directory: Path, settings: Mapping[str, Any]) -> None:
        """Say where it lies, and what the search depends on, as `fingerprint` gives it."""
        self._directory = directory
        self._file = directory / "search.json"
        self._copy = directory / "search.previous.json"
        self._settings = dict(settings)

    def read(self) -> tuple[list[TrialRecord], set[int]]:
        """The trials that have begun, and the numbers of those whose end has been told.

        Both are empty where there is no state, or none that can be read.

        Raises:
            CifarTrackError: the folder holds another search.
        """
        for file in (self._file, self._copy):
            state = _read(file)
            if state is None:
                _put_aside(file)
                continue
            difference = first_difference(state["settings"], self._settings)
            if difference is not None:
                raise CifarTrackError(
                    f"{self._directory} holds another search: {difference}; expected the same "
                    "search to go on with; give another directory or remove this one"
                )
            return [_record(saved) for saved in state["trials"]], set(state["told"])
        return [], set()

    def write(self, trials: Sequence[TrialRecord], told: set[int]) -> None:
        """Replace the state."""
        body = {
            "version": STATE_VERSION,
            "settings": self._settings,
            "trials": [asdict(record) for record in trials],
            "told": sorted(told),
        }
        if self._file.is_file():
            # A copy, not a new name: the state is under its own name at every moment.
            partial = self._copy.with_suffix(".partial")
            shutil.copyfile(self._file, partial)
            os.replace(partial, self._copy)
        write_atomically(self._file, json.dumps({"checksum": _checksum(body), **body}))


def write_atomically(file: Path, text: str) -> None:
    """Write a file so that a kill or a power cut leaves the old one or the new one, whole."""
    partial = file.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, file)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
        good = body.pop("checksum") == _checksum(body) and body["version"] == STATE_VERSION
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return body if good else None


def _put_aside(file: Path) -> None:
    """Keep what can't be read for whoever wants to look, out of the way."""
    if file.exists():
        aside = file.with_suffix(".damaged")
        with contextlib.suppress(OSError):
            if aside.is_dir():
                shutil.rmtree(aside)
            os.replace(file, aside)


def _checksum(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _record(saved: Mapping[str, Any]) -> TrialRecord:
    result = saved["result"]
    if result is not None:
        result = TrialResult(**{**result, "scores": tuple(result["scores"])})
    return TrialRecord(number=saved["number"], proposal=saved["proposal"], result=result)
