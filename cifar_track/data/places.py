"""Where CIFAR-100 may lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from cifar_track.config import CifarTrackError
from cifar_track.data.original import CIFAR100, FILES, Release, require_original
from cifar_track.folders import cache_directory, expanded, is_file, is_readable

FOLDER = "cifar-100-python"
ARCHIVE = "cifar-100-python.tar.gz"
# Browsers that unpack what they download leave the archive without its compression.
ARCHIVES = (ARCHIVE, "cifar-100-python.tar")


def find_cifar100(directory: Path | None = None, *, release: Release = CIFAR100) -> Path | None:
    """Where the original files lie on this machine; nothing is downloaded or unpacked.

    Looks at `directory`, or else at the environment variable CIFAR100_DIR; where neither is
    given, into this project's cache and then into Keras's.

    Args:
        directory: a folder with the files train, test and meta, a folder around that, one of
            these files, or the original archive, compressed or not.
        release: the hashes by which an archive in Keras's cache is known to be whole.

    Returns:
        The folder that holds train, test and meta, or the archive; None where there is neither.

    Raises:
        CifarTrackError: the place that was given does not hold the data, or can't be read.
    """
    named = os.environ.get("CIFAR100_DIR", "")
    if directory is not None:
        return _require_data(directory, setting="data_dir")
    if named:
        return _require_data(Path(named), setting="CIFAR100_DIR")
    return _find_in_own_cache() or _find_in_keras_cache(release)


def holds_files(folder: Path) -> bool:
    """Whether a folder has the files train, test and meta, whatever is in them."""
    return all(is_file(folder / name) for name in FILES)


def _require_data(place: Path, *, setting: str) -> Path:
    found = _data_at(expanded(place))
    if found is None:
        _require_readable(expanded(place), setting=setting)
        raise CifarTrackError(
            f"{setting}={place} does not hold CIFAR-100; expected a folder with the files"
            f" {', '.join(FILES)}, or the archive {ARCHIVE}"
        )
    # All of them, because the test images are read when hours of training are over.
    for path in [found / name for name in FILES] if found.is_dir() else [found]:
        _require_readable(path, setting=setting)
    return found


def _require_readable(path: Path, *, setting: str) -> None:
    """Look whether a path that is there may be read; one that is not there is another mistake."""
    try:
        path.lstat()
    except PermissionError as error:
        allowed, barrier = False, error.filename
    except OSError:
        return
    else:
        allowed, barrier = is_readable(path), path
    if not allowed:
        raise CifarTrackError(
            f"{setting}: {barrier} can't be read by this user; allow it, or copy the data"
        )


def _data_at(place: Path) -> Path | None:
    # One of the three files stands for its folder: file dialogs can't choose folders.
    inside: tuple[Path, ...] = (place.parent,) if place.name in FILES else ()
    for folder in (*inside, place, place / FOLDER):
        if holds_files(folder):
            return folder
    for archive in (place, *(place / name for name in ARCHIVES)):
        if is_file(archive):
            return archive
    return None


def _readable_data_at(place: Path) -> Path | None:
    """What a cache holds, which nobody named: passed over where it can't be read."""
    found = _data_at(place)
    if found is None:
        return None
    files = [found / name for name in FILES] if found.is_dir() else [found]
    return found if all(is_readable(file) for file in files) else None


def _find_in_own_cache() -> Path | None:
    try:
        cache = cache_directory()
    except CifarTrackError:  # no home folder
        return None
    return _readable_data_at(cache) or _readable_data_at(cache / FOLDER)


def _find_in_keras_cache(release: Release) -> Path | None:
    try:
        home = expanded(Path(os.environ.get("KERAS_HOME") or "~/.keras"))
    except CifarTrackError:
        return None
    datasets = home / "datasets"
    # Keras's releases have named the folder and the archive in each of these ways.
    stems = (f"{FOLDER}-target", FOLDER, f"{FOLDER}_extracted")
    for stem in stems:
        found = _readable_data_at(datasets / stem)
        if found is not None and found.is_dir():
            return found
    for stem in stems:
        for suffix in (".tar.gz", "_archive"):
            archive = datasets / f"{stem}{suffix}"
            if is_file(archive) and _is_intact(archive, md5=release.archive_md5):
                return archive
    return None


def _is_intact(path: Path, *, md5: str) -> bool:
    # Keras leaves a cut download under its final name and fetches it again: so it is passed over.
    try:
        with path.open("rb") as stream:
            require_original(stream, path, md5=md5)
    except (OSError, CifarTrackError):
        return False
    return True
