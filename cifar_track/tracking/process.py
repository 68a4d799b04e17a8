"""Who is at work: this process's identity, whether another still lives, the commit it runs."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

import cifar_track
from cifar_track.addresses import shown
from cifar_track.tracking import tag

PROJECT_DIRECTORY = Path(cifar_track.__file__).resolve().parent.parent

LONGEST_TAG = 5000  # characters; MLflow takes 8,000
# The command that a person gave, for the processes that it starts.
COMMAND_VARIABLE = "CIFAR_TRACK_COMMAND"

# Where there is nothing better: the boot's own moment moves when the clock is set.
_START_TOLERANCE_SECONDS = 2.0


def identity_tags() -> dict[str, str]:
    """Tags by which a later process finds out whether this one still lives."""
    since_boot = _since_boot(os.getpid())
    return {
        tag.HOST: socket.gethostname(),
        tag.PID: str(os.getpid()),
        tag.PROCESS_STARTED: f"{psutil.Process().create_time():.2f}",
        **({} if since_boot is None else {tag.SINCE_BOOT: since_boot}),
    }


def command_line() -> str:
    """The command that a person gave, also in the processes that it starts."""
    return os.environ.get(COMMAND_VARIABLE) or shlex.join(
        [Path(sys.orig_argv[0]).name, *sys.orig_argv[1:]]
    )


def machine_tags() -> dict[str, str]:
    """Tags of what a figure may depend on beside the settings: command, processor, packages."""
    tags = {
        tag.COMMAND: shown(command_line())[:LONGEST_TAG],
        # TensorFlow reads the variable; without it, it takes every core.
        tag.THREADS: os.environ.get("TF_NUM_INTRAOP_THREADS") or str(_usable_cores()),
        tag.PROCESSOR: f"{_processor()}, {_usable_cores()} cores",
    }
    lock = PROJECT_DIRECTORY / "uv.lock"
    if lock.is_file():
        tags[tag.LOCK] = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    return tags


def is_on_this_host(tags: Mapping[str, str]) -> bool:
    """Whether the tags name this host."""
    return tags.get(tag.HOST) == socket.gethostname()


def is_alive(tags: Mapping[str, str]) -> bool:
    """Whether the process that the tags name still runs; asked on its own host only."""
    try:
        process = psutil.Process(int(tags[tag.PID]))
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # The same number with another start is another process.
        if tag.SINCE_BOOT in tags:
            return tags[tag.SINCE_BOOT] == _since_boot(process.pid)
        apart = abs(process.create_time() - float(tags[tag.PROCESS_STARTED]))
    except (KeyError, ValueError, OverflowError, psutil.NoSuchProcess):
        return False
    return bool(apart <= _START_TOLERANCE_SECONDS)


def git_tags(directory: Path = PROJECT_DIRECTORY) -> dict[str, str]:
    """The commit of the checkout that the program runs from; nothing where there is none."""
    page = directory / "cifar_track" / "__init__.py"
    # An installed package may lie inside somebody else's checkout.
    if _git(directory, "ls-files", "--error-unmatch", str(page)) is None:
        return {}
    commit = _git(directory, "rev-parse", "HEAD")
    if not commit:
        return {}
    changes = _git(directory, "diff", "--binary", "HEAD")
    if not changes:
        return {tag.MLFLOW_COMMIT: commit, tag.UNCOMMITTED_CHANGES: "false"}
    return {
        tag.MLFLOW_COMMIT: commit,
        tag.UNCOMMITTED_CHANGES: "true",
        tag.UNCOMMITTED_DIGEST: hashlib.sha256(changes.encode()).hexdigest()[:16],
    }


def current_commit() -> str | None:
    """The commit of the checkout that the program runs from; None where there is none."""
    return git_tags().get(tag.MLFLOW_COMMIT)


def git_origin(directory: Path = PROJECT_DIRECTORY) -> str:
    """The address that the checkout was cloned from; empty where there is none."""
    return _git(directory, "remote", "get-url", "origin") or ""


def user_name() -> str:
    """The name that MLflow gives the person as."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container's user need not have a name
        return "unknown"


def _since_boot(pid: int) -> str | None:
    """Which boot a process was started in, and when, as Linux counts it; no clock changes it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # Its name, in brackets, may hold blanks and brackets.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return f"{boot} {int(fields[19])}"
    except (OSError, ValueError, IndexError):
        return None


def _usable_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def _processor() -> str:
    """The processor's name as its maker gives it, as far as the system tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            ["git", "-C", str(directory), *arguments],  # noqa: S607 - wherever it is installed
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
