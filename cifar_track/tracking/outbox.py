"""What a run has made, on this machine's disk before it is sent: a journal in order, and files."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from cifar_track import folders
from cifar_track.config import CifarTrackError
from cifar_track.tracking import tag

# One step that is to reach the store, as JSON keeps it; `cifar_track.tracking.delivery` has them.
Operation = dict[str, Any]

JOURNAL, PROGRESS, LOCK, FILES = "journal.jsonl", "progress.json", "lock", "files"
# What its first line says at least.
ABOUT = {"run_id", "name", "store", tag.PID}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# What a run's figures and tables take at most, and its model may.
ROOM_BYTES = 64 * 2**20

_log = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far an outbox has been sent.

    Attributes:
        sent: the number of operations that the store has, or has refused for good.
        refused: a line for each that it refused.
        whole: whether all of these can be done without, as a single metric can.
        runs: run ids by the key that stands for them in the journal until the store gives one.
    """

    sent: int = 0
    refused: list[str] = field(default_factory=list)
    whole: bool = True
    runs: dict[str, str] = field(default_factory=dict)


class Outbox:
    """A folder that holds all a process has to say of a run and of its children, until it is sent.

    Its lock is held as long as the process lives; the system lets go of it even after a kill, and
    whoever takes it then sends what is left. Everything in it can be sent twice with one effect,
    so the record of what has been sent may lag behind.

    Attributes:
        folder: where it lies.
        about: what its first line says: the run, its experiment, the store, the process.
        progress: how far it has been sent.
    """

    def __init__(self, folder: Path, about: dict[str, Any], lock: filelock.BaseFileLock) -> None:
        self.folder = folder
        self.about = about
        self.progress = _read_progress(folder)
        self._lock = lock
        self._writing = threading.Lock()
        self._journal = os.open(folder / JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._good = os.fstat(self._journal).st_size
        self._unwritten: list[str] = []
        self._files = 0

    @classmethod
    def make(cls, about: dict[str, Any]) -> Outbox:
        """A fresh outbox in the user's state folder, or where that can't be written, elsewhere."""
        name = f"{about['run_id']}-{secrets.token_hex(4)}"
        try:
            return cls._make(outboxes_folder() / name, about)
        except OSError as error:
            folder = Path(tempfile.mkdtemp(prefix="cifar_track-outbox-")) / name
            _log.warning(
                "%s can't be written (%s); what is not sent yet is kept in %s, where `doctor` does "
                "not look",
                outboxes_folder(),
                error.strerror,
                folder,
            )
            return cls._make(folder, about)

    @classmethod
    def _make(cls, folder: Path, about: dict[str, Any]) -> Outbox:
        folder.mkdir(parents=True, mode=0o700)
        try:
            lock = _lock(folder)
            lock.acquire(blocking=False)
            outbox = cls(folder, about, lock)
            outbox._append(json.dumps(about) + "\n")
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return outbox

    @classmethod
    def take(cls, folder: Path) -> Outbox | None:
        """The outbox of a process that is gone; None while it lives, or where it left nothing.

        Raises:
            CifarTrackError: what it holds is not what any process wrote.
        """
        try:
            lock = _lock(folder)
            lock.acquire(blocking=False)
        except (filelock.Timeout, OSError):
            return None
        if not folders.is_file(folder / JOURNAL):  # sent by its process meanwhile
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()
            return None
        lines = _lines(folder)
        if lines and lines[0].keys() >= ABOUT:
            return cls(folder, lines[0], lock)
        begun = b"\n" in (folder / JOURNAL).read_bytes()
        if not begun:  # killed while it was being made
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        if begun:
            raise CifarTrackError("its first line is damaged; remove it if it is not missed")
        return None

    def operations(self) -> list[Operation]:
        """All operations in order, those of one line one by one."""
        found: list[Operation] = []
        for line in _lines(self.folder)[1:]:
            found.extend(line.get("all", [line]))
        return found

    def add(self, operations: Sequence[Operation], *, durable: bool = True) -> None:
        """Put operations on disk, all or none; a full disk is told once and holds nothing up.

        Args:
            operations: in order.
            durable: whether to wait for the disk; what may be lost with the power need not.
        """
        line = operations[0] if len(operations) == 1 else {"all": list(operations)}
        with self._writing:
            self._unwritten.append(json.dumps(line) + "\n")
            try:
                self._append("".join(self._unwritten), durable=durable)
            except OSError as error:
                if len(self._unwritten) == 1:
                    _log.warning(
                        "%s can't be written (%s); what is not sent yet is kept in memory",
                        self.folder,
                        error.strerror,
                    )
                # A line cut short would hide what comes after it.
                with contextlib.suppress(OSError):
                    os.ftruncate(self._journal, self._good)
            else:
                self._unwritten.clear()

    @contextlib.contextmanager
    def files(self) -> Iterator[Path]:
        """A fresh folder to write files into, on disk when the block ends; on error, gone."""
        self._files += 1
        try:
            room = shutil.disk_usage(self.folder).free
        except OSError:
            room = 0
        if room > ROOM_BYTES:
            folder = self.folder / FILES / f"{self._files:06}"
            folder.mkdir(parents=True)
        else:
            folder = Path(tempfile.mkdtemp(prefix="cifar_track-files-"))
        try:
            yield folder
            for file in folder.rglob("*"):
                _to_disk(file)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def save_progress(self) -> None:
        """Record how far the outbox has been sent; what can't be recorded is sent once more."""
        partial = self.folder / f"{PROGRESS}.partial"
        with contextlib.suppress(OSError):
            partial.write_text(json.dumps(vars(self.progress)), encoding="utf-8")
            partial.replace(self.folder / PROGRESS)

    def close(self, *, remove: bool) -> None:
        """Let go of the outbox; remove it once all has been sent."""
        os.close(self._journal)
        if remove:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()

    def _append(self, text: str, *, durable: bool = True) -> None:
        data = text.encode()
        while data:
            data = data[os.write(self._journal, data) :]
        if durable:
            os.fsync(self._journal)
        self._good = os.fstat(self._journal).st_size


def outboxes_folder() -> Path:
    """Where outboxes lie: in the user's folder for state, `XDG_STATE_HOME` on Linux."""
    return folders.state_directory() / "outbox"


def outboxes_left() -> list[Path]:
    """The folders of all outboxes that have not been sent and removed, the oldest first."""
    with contextlib.suppress(OSError):
        found = [path for path in outboxes_folder().iterdir() if folders.is_file(path / JOURNAL)]
        return sorted(found, key=lambda path: (path / JOURNAL).stat().st_mtime)
    return []


def is_full(error: Exception) -> bool:
    """Whether the error says that a disk takes no more."""
    # TensorFlow and HDF5 have exceptions of their own for it.
    return getattr(error, "errno", None) in FULL or "No space left" in str(error)


def _lines(folder: Path) -> list[dict[str, Any]]:
    """The journal's lines up to the first that a kill or a power cut left unfinished."""
    found: list[dict[str, Any]] = []
    try:
        text = (folder / JOURNAL).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return found
    for line in text.splitlines(keepends=True):
        try:
            read = json.loads(line if line.endswith("\n") else "")
        except ValueError:
            break
        if not isinstance(read, dict):
            break
        found.append(read)
    return found


def _lock(folder: Path) -> filelock.BaseFileLock:
    # The thread that sends lets go of it, not the one that took it.
    return filelock.FileLock(folder / LOCK, thread_local=False)


def _read_progress(folder: Path) -> Progress:
    anew = Progress()
    try:
        progress = Progress(**json.loads((folder / PROGRESS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return anew
    alike = (type(value) is type(vars(anew)[name]) for name, value in vars(progress).items())
    return progress if all(alike) else anew


def _to_disk(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
