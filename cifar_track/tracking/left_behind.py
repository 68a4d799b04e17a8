"""What processes that are gone had not sent yet, sent in their place."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cifar_track.addresses import place
from cifar_track.config import CifarTrackError
from cifar_track.tracking import store, tag
from cifar_track.tracking.delivery import Delivery
from cifar_track.tracking.outbox import Outbox, outboxes_left
from cifar_track.tracking.reach import first_line
from cifar_track.tracking.sender import Sender

PATIENCE_SECONDS = 10.0
# What tells the process that a run is of from any other.
IDENTITY = (tag.HOST, tag.PID, tag.PROCESS_STARTED)

_seen: set[str] = set()
_unsent: list[LeftBehind] = []
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LeftBehind:
    """An outbox whose process is gone.

    Attributes:
        run_id: the run that it is of.
        name: what the UI shows.
        folder: where it lies, or lay.
        store: the store that it is for, without user and password.
        left: how many operations it still holds; 0 once it is gone.
        trouble: why the store took no more; None where it was not asked, or took all.
        refused: a line for each thing that the store will never take.
        run_ids: the run and its children, as far as the store has given them ids.
    """

    run_id: str
    name: str
    folder: Path
    store: str
    left: int
    trouble: str | None = None
    refused: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()


def open_store(*, send: bool = True) -> str:
    """Open the store, as `store.open_store`, and once in a process send what is left for it."""
    uri = store.open_store()
    if send and uri not in _seen:
        _seen.add(uri)
        for sent in send_left_behind(patience=PATIENCE_SECONDS):
            if sent.left and sent.trouble is None:
                _unsent.append(sent)
            if not sent.folder.exists():  # another store's stays, though nothing be left to send
                _log.warning(
                    "run %s (%s): what was left of it has been sent", sent.run_id, sent.name
                )
    return uri


def send_left_behind(*, patience: float, dry_run: bool = False) -> list[LeftBehind]:
    """Send what processes that are gone had not sent to the opened store.

    Each outbox is taken by one process at a time, and its run gets the status that its process
    gave it, if it came to that. An outbox for another store is told of and left alone.

    Args:
        patience: seconds to wait for a store that takes nothing.
        dry_run: only say what there is.
    """
    found = []
    for folder in outboxes_left():
        try:
            outbox = Outbox.take(folder)
        except (OSError, CifarTrackError) as error:
            _log.warning("%s can't be read: %s", folder, first_line(error))
            continue
        if outbox is not None:
            found.append(_send(outbox, patience=patience, dry_run=dry_run))
    return found


def kept_for(run_id: str) -> LeftBehind | None:
    """What a process that is gone has kept here of a run, and the store has not taken yet."""
    # What is being sent by this process just now, nobody can look into.
    kept = [*_unsent, *send_left_behind(patience=0, dry_run=True)]
    return next((entry for entry in kept if run_id in entry.run_ids and entry.left), None)


def _send(outbox: Outbox, *, patience: float, dry_run: bool) -> LeftBehind:
    about, progress = outbox.about, outbox.progress
    waiting = outbox.operations()[progress.sent :]
    trouble, left = None, len(waiting)
    is_others = place(about["store"]) != place(store.open_store())
    if dry_run or is_others or (trouble := _hopeless(about)):
        outbox.close(remove=False)
    else:
        delivery = Delivery(store.client(), about=about, progress=progress)
        sender = Sender(outbox, delivery, waiting=waiting)
        sender.wait(patience=patience)
        trouble, left = sender.trouble, sender.left()
        sender.close()
    return LeftBehind(
        run_id=about["run_id"],
        name=about["name"],
        folder=outbox.folder,
        store=about["store"],
        left=left,
        trouble=trouble,
        refused=tuple(progress.refused),
        run_ids=(about["run_id"], *progress.runs.values()),
    )


def _hopeless(about: Mapping[str, str]) -> str | None:
    """Why a run can take nothing any more from the process that an outbox is of."""
    try:
        with store.short_patience():
            run = store.client().get_run(about["run_id"])
    except Exception as error:
        if getattr(error, "error_code", "") != "RESOURCE_DOES_NOT_EXIST":
            return None  # the store is away, and will be asked for a while
        return "the run is not in this store any more; remove the folder if it is not missed"
    if run.info.lifecycle_stage != "active":
        return "the run lies in the trash; restore it, or remove the folder if it is not missed"
    identity = {name: about[name] for name in IDENTITY if name in about}
    if any(run.data.tags.get(name, value) != value for name, value in identity.items()):
        return (
            "another process has gone on with the run since; remove the folder if it is not missed"
        )
    return None
