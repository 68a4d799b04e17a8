"""The archive of CIFAR-100 fetched, resumed, verified and unpacked into the user's cache."""

from __future__ import annotations

import http.client
import os
import posixpath
import re
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeAlias

import click
import filelock

from cifar_track.addresses import shown
from cifar_track.config import CifarTrackError
from cifar_track.data.original import CIFAR100, FILES, Release, require_original
from cifar_track.data.places import ARCHIVE, FOLDER, find_cifar100, holds_files
from cifar_track.folders import cache_directory
from cifar_track.quiet import is_quiet

Progress: TypeAlias = Callable[[int, int], None]

TIMEOUT_SECONDS = 20.0
ATTEMPTS = 5
PAUSE_SECONDS = 1.0
CHUNK_BYTES = 1 << 18
# More than any of its files has.
LARGEST_BYTES = 1 << 28
# What a server that is up says when it can't answer just now.
TEMPORARY_FAILURES = (408, 429, 500, 502, 503, 504)


class DataUnavailableError(CifarTrackError):
    """CIFAR-100 is neither on this machine nor to be had over the network."""


class _Cut(Exception):
    """The connection failed; what has arrived so far is kept."""


class _Busy(_Cut):
    """The server is there and asks to be tried again."""


class _Refused(_Cut):
    """The server is there and will say the same again."""


def ensure_cifar100(
    directory: Path | None = None,
    *,
    allow_download: bool = True,
    on_progress: Progress | None = None,
    release: Release = CIFAR100,
) -> Path:
    """The folder with CIFAR-100's files; fetched or unpacked where need be, not read yet.

    Args:
        directory: a folder or archive with CIFAR-100, before any other place.
        allow_download: whether it may be fetched where it is not at hand.
        on_progress: as `download_cifar100` takes it.
        release: the hashes by which the files are known.

    Raises:
        DataUnavailableError: it is not at hand and cannot be fetched.
        CifarTrackError: an archive is damaged, or the place that was given does not hold the data.
    """
    found = find_cifar100(directory, release=release)
    if found is not None and found.is_dir():
        return found
    if found is None and not allow_download:
        raise DataUnavailableError(
            "CIFAR-100 is not on this machine; set CIFAR100_DIR (or -P data_dir=) to a folder with"
            " its files or to its archive, allow the download, or use -P dataset=procedural"
        )
    try:
        cache = _cache()
        if found is None:
            url = os.environ.get("CIFAR100_URL") or release.url
            return download_cifar100(url, cache=cache, release=release, on_progress=on_progress)
        return unpack_cifar100(found, cache=cache, release=release)
    except DataUnavailableError as error:
        if directory is None and not os.environ.get("CIFAR100_DIR"):
            raise
        # It is at hand where the person said, and nothing else is to be taken in its place.
        raise CifarTrackError(f"{found} can't be unpacked: {error}") from error


def download_cifar100(
    url: str, *, cache: Path, release: Release, on_progress: Progress | None = None
) -> Path:
    """Fetch the archive, check it, unpack it into the cache; other processes meanwhile wait.

    A download that was cut goes on where it stopped, within a call and from one to the next.

    Args:
        url: where the archive lies.
        cache: the folder that keeps the data.
        release: the hashes that the archive must have.
        on_progress: called with the bytes at hand and the bytes in all; by default a progress
            bar on a terminal, and nothing elsewhere or where results alone are asked for.

    Returns:
        The folder that holds train, test and meta.

    Raises:
        DataUnavailableError: it cannot be fetched.
        CifarTrackError: what was fetched is not the original, or the cache cannot be written.
    """
    with _locked(cache):
        folder = cache / FOLDER
        if holds_files(folder):  # another process was quicker
            return folder
        part = cache / f"{ARCHIVE}.part"
        resumed = part.exists() and part.stat().st_size > 0
        try:
            _fetch(url, part, on_progress=on_progress)
            _require_archive(part, release=release, url=url)
        except CifarTrackError as error:
            if not resumed or isinstance(error, DataUnavailableError):
                raise
            # What an earlier call left may be of another file: begin anew, once.
            _fetch(url, part, on_progress=on_progress)
            _require_archive(part, release=release, url=url)
        _unpack(part, folder, release=release)
        part.unlink()
        return folder


def unpack_cifar100(archive: Path, *, cache: Path, release: Release) -> Path:
    """Check an archive that is at hand and unpack it into the cache, unless it is there already.

    Returns:
        The folder that holds train, test and meta.

    Raises:
        CifarTrackError: the archive is not the original, or the cache cannot be written.
    """
    try:
        if not _is_plain_tar(archive):  # of which no hash is published, but of the files in it
            with archive.open("rb") as stream:
                require_original(stream, archive, md5=release.archive_md5)
    except OSError as error:
        raise CifarTrackError(f"cannot read {archive}: {error.strerror or error}") from error
    with _locked(cache):
        folder = cache / FOLDER
        if not holds_files(folder):
            _unpack(archive, folder, release=release)
        return folder


def _cache() -> Path:
    try:
        return cache_directory()
    except CifarTrackError as error:
        raise DataUnavailableError(f"{error}, or CIFAR100_DIR to a folder with the data") from error


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(cache / "download.lock"):
            yield
    except OSError as error:
        raise DataUnavailableError(
            f"cannot use the cache {cache}: {error}; set XDG_CACHE_HOME to a folder that can be"
            " written, or CIFAR100_DIR to one with the unpacked files"
        ) from error


def _is_plain_tar(archive: Path) -> bool:
    try:
        with tarfile.open(archive, "r:"):
            return True
    except (tarfile.TarError, EOFError):
        return False


def _require_archive(part: Path, *, release: Release, url: str) -> None:
    try:
        with part.open("rb") as stream:
            require_original(
                stream,
                shown(url),
                md5=release.archive_md5,
                advice="it was thrown away; try again, or set CIFAR100_URL to another address",
            )
    except CifarTrackError:
        part.unlink()
        raise


def _unpack(archive: Path, folder: Path, *, release: Release) -> None:
    # Unpacked aside and renamed, so that a killed process never leaves half a data set; what one
    # left aside is cleared away by the next, which holds the lock.
    aside = folder.parent / "unpacking"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            # Any tar may have been named, of any size.
            wanted = {f"{FOLDER}/{name}" for name in FILES}
            members = [
                member
                for member in tar
                if posixpath.normpath(member.name) in wanted and member.size <= LARGEST_BYTES
            ]
            tar.extractall(aside, members=members, filter="data")
        unpacked = aside / FOLDER
        if not holds_files(unpacked):
            raise CifarTrackError(f"{archive} does not hold {FOLDER} with {', '.join(FILES)}")
        for name in FILES:
            with (unpacked / name).open("rb") as stream:
                require_original(stream, f"{name} in {archive}", md5=release.file_md5[name])
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unpacked, folder)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise CifarTrackError(f"{archive} cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _fetch(url: str, part: Path, *, on_progress: Progress | None) -> None:
    failure = ""
    for attempt in range(ATTEMPTS):
        before = part.stat().st_size if part.exists() else 0
        try:
            return _fetch_rest(url, part, on_progress=on_progress)
        except _Refused as refused:
            failure = str(refused)
            break
        except _Cut as cut:
            failure = str(cut)
            after = part.stat().st_size if part.exists() else 0
            if attempt == 0 and after <= before and not isinstance(cut, _Busy):
                break  # offline: say so at once
            if attempt + 1 < ATTEMPTS:
                time.sleep(PAUSE_SECONDS * (attempt + 1))
    raise DataUnavailableError(
        f"CIFAR-100 cannot be downloaded from {shown(url)}: {failure}; set CIFAR100_DIR (or -P"
        " data_dir=) to a folder with its files, CIFAR100_URL to another address, or use -P"
        " dataset=procedural"
    )


def _fetch_rest(url: str, part: Path, *, on_progress: Progress | None) -> None:
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "cifar_track"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return  # nothing is missing, or it is another file: the hash will tell
        kind = _Busy if error.code in TEMPORARY_FAILURES else _Refused
        raise kind(f"HTTP status {error.code}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _Cut(str(getattr(error, "reason", error))) from error
    with response:
        status = response.status
        offset = _range_start(response.headers.get("Content-Range")) if status == 206 else 0
        if offset not in (start, 0):
            raise _Cut(f"the server answered with bytes from {offset}, asked for {start}")
        length = response.headers.get("Content-Length")
        total = offset + int(length) if length else 0
        with part.open("ab" if offset else "wb") as file, _shown(total, on_progress) as report:
            at_hand = offset
            report(at_hand, total)
            for chunk in _chunks(response):
                file.write(chunk)
                at_hand += len(chunk)
                report(at_hand, total)
    if at_hand < total:
        raise _Cut(f"the connection was cut after {at_hand} of {total} bytes")


def _chunks(response: IO[bytes]) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read(CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _Cut(str(error) or type(error).__name__) from error
        if not chunk:
            return
        yield chunk


def _range_start(content_range: str | None) -> int:
    match = re.match(r"bytes (\d+)-", content_range or "")
    return int(match[1]) if match else 0


@contextmanager
def _shown(total: int, on_progress: Progress | None) -> Iterator[Progress]:
    if on_progress is not None:
        yield on_progress
    elif is_quiet() or not sys.stderr.isatty():
        yield lambda at_hand, total: None
    else:
        with click.progressbar(length=total, label="downloading CIFAR-100", file=sys.stderr) as bar:
            yield lambda at_hand, total: bar.update(at_hand - bar.pos)
