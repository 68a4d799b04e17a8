"""Where this program keeps what belongs to no project."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import platformdirs

from cifar_track.config import CifarTrackError

APPLICATION = "cifar_track"


def cache_directory() -> Path:
    """The folder for what can be had again, such as downloads.

    Raises:
        CifarTrackError: neither `XDG_CACHE_HOME` nor a home folder is known.
    """
    try:
        return platformdirs.user_cache_path(APPLICATION, appauthor=False)
    except RuntimeError as error:
        raise CifarTrackError("no home folder is known; set HOME or XDG_CACHE_HOME") from error


def state_directory() -> Path:
    """The folder for what a later command goes on with.

    Raises:
        CifarTrackError: neither `XDG_STATE_HOME` nor a home folder is known.
    """
    try:
        return platformdirs.user_state_path(APPLICATION, appauthor=False)
    except RuntimeError as error:
        raise CifarTrackError("no home folder is known; set HOME or XDG_STATE_HOME") from error


def require_state_directory() -> Path:
    """The state folder, made if it was not there, and found to take files.

    Raises:
        CifarTrackError: it can't be written.
    """
    folder = state_directory()
    try:
        require_writable(folder)
    except OSError as error:
        raise CifarTrackError(
            f"the folder {folder}, where unfinished work is kept, can't be written "
            f"({error.strerror or error}); set XDG_STATE_HOME to a folder that can"
        ) from error
    return folder


def require_output(folder: Path | None, *, way_on: str = "give another") -> None:
    """Find out whether a folder, if any, takes files, before there are any, and leave none behind.

    Args:
        folder: as a person named it.
        way_on: what to do where it doesn't.

    Raises:
        CifarTrackError: it doesn't.
    """
    try:
        if folder is not None:
            made = [path for path in (folder, *folder.parents) if not path.exists()]
            require_writable(folder)
            with contextlib.suppress(OSError):  # somebody else is at work in it
                for path in made:
                    path.rmdir()
    except OSError as error:
        raise CifarTrackError(
            f"the folder {folder} can't be written ({error.strerror or error}); {way_on}"
        ) from error


def require_writable(folder: Path) -> None:
    """Make a folder if it is not there, and put a file into it for a moment.

    Asking is no answer: who may write is also a matter of read-only and full file systems.

    Raises:
        OSError: it can't be made, or takes no files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"\0")


@contextmanager
def temporary() -> Iterator[Path]:
    """A folder for the block, from which MLflow can load a model.

    Of a path with `%41` in it, MLflow makes one with `A`.

    Raises:
        CifarTrackError: the folder for temporary files has such a name.
    """
    place = tempfile.gettempdir()
    if unquote(place) != place:
        raise CifarTrackError(
            f"MLflow can't load a model from below {place}, because of the % in that name; set "
            "TMPDIR to another folder"
        )
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def expanded(path: Path) -> Path:
    """The path with a leading `~` made the home folder, which no shell does in `--option=~/x`.

    Raises:
        CifarTrackError: nobody knows the home folder of that user.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise CifarTrackError(f"{path}: {error}; give the path in full") from error


def is_file(path: Path) -> bool:
    """Whether a file is there and may be looked at; `Path.is_file` raises where it may not."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_readable(path: Path) -> bool:
    """Whether this user may read a file, or list a folder and reach what is in it."""
    try:
        return os.access(path, os.R_OK | os.X_OK if path.is_dir() else os.R_OK)
    except OSError:
        return False
