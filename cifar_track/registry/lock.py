"""Holds promotions of one user, on one machine, apart from each other."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from cifar_track import tracking
from cifar_track.config import CifarTrackError
from cifar_track.tracking.process import user_name

# A promotion takes a minute; one in a fresh environment may take longer than others shall wait.
PATIENCE_SECONDS = 600.0


@contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """Hold off other promotions of this user to the same registered model, on this machine.

    Those of other machines are told apart in the store: see `cifar_track.registry.journal`.
    """
    # Another user may not open this one's file.
    whose = f"{user_name()} {tracking.open_store()} {name}"
    digest = hashlib.sha256(whose.encode()).hexdigest()[:16]
    lock = Path(tempfile.gettempdir()) / f"cifar_track-registry-{digest}.lock"
    try:
        with filelock.FileLock(lock, timeout=PATIENCE_SECONDS):
            yield
    except filelock.Timeout as error:
        raise CifarTrackError(
            f"another process of yours has been at work on the registered model {name} for "
            f"{PATIENCE_SECONDS / 60:.0f} minutes; repeat this when it is done, or end it"
        ) from error
