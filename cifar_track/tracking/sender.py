"""The thread that sends what an outbox holds, in order, so that no training step waits for it."""

from __future__ import annotations

import logging
import math
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from cifar_track import interrupts
from cifar_track.config import CifarTrackError
from cifar_track.tracking.delivery import Delivery
from cifar_track.tracking.outbox import Operation, Outbox
from cifar_track.tracking.reach import first_line

# What a store that has answered will answer again.
REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE")
# A run in the trash can be restored, and takes what belongs to it then.
IN_TRASH = "must be in the 'active' state"
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
LAST_ANSWER_SECONDS = 1.0
# How long the end of a run waits for a store that takes nothing.
PATIENCE = "CIFAR_TRACK_PATIENCE"
PATIENCE_SECONDS = 120.0
# A model that is on its way to a store that takes it is waited for so many times as long.
UPLOAD_PATIENCE = 10
# Operations whose metrics go together.
MOST_AT_ONCE = 200

_log = logging.getLogger(__name__)


class Sender:
    """Sends one outbox, and remembers what came of it.

    What a store that is away can't take stays where it is and is tried again; what it refuses is
    noted and passed over. Neither ever raises: a training that has run for hours is worth more
    than its log.

    Attributes:
        outbox: what is sent.
        trouble: why the store takes nothing at present; None when it does.
    """

    def __init__(
        self, outbox: Outbox, delivery: Delivery, *, waiting: Sequence[Operation] = ()
    ) -> None:
        self.outbox = outbox
        self.trouble: str | None = None
        self._delivery = delivery
        self._waiting: deque[Operation] = deque(waiting)
        self._changed = threading.Condition()
        self._hurried = False
        self._closing = False
        self._uploading = False
        self._last_success = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="sender", daemon=True)
        self._thread.start()

    def add(self, *operations: Operation, durable: bool = True) -> None:
        """Put operations on disk, together or not at all, and send them when their turn comes."""
        with self._changed:
            self.outbox.add(operations, durable=durable)
            self._waiting.extend(operations)
            self._changed.notify_all()

    def lose(self, what: str) -> None:
        """Note what could not even be kept; the run that lacks it can't end FINISHED."""
        _log.warning("%s was not kept", what)
        with self._changed:
            self.outbox.progress.refused.append(what)
            self.outbox.progress.whole = False
            self.outbox.save_progress()

    def left(self) -> int:
        """The number of operations that have not been sent."""
        return len(self._waiting)

    def wait(self, *, patience: float) -> bool:
        """Wait until all has been sent; False if a signal came, or too long nothing got through."""
        began = time.monotonic()
        with self._changed:
            self._hurried = True
            self._changed.notify_all()
            while self._waiting:
                silent = time.monotonic() - max(began, self._last_success)
                uploading = self._uploading and self.trouble is None
                if silent > patience * (UPLOAD_PATIENCE if uploading else 1):
                    break
                if interrupts.is_pending():
                    break
                self._changed.wait(timeout=0.1)
            self._hurried = False
            return not self._waiting

    def run_id(self, key: str, *, patience: float) -> str:
        """The id that the store gave to the run behind a key, once it has.

        Raises:
            TimeoutError: the store has taken nothing for too long.
        """
        began = time.monotonic()
        with self._changed:
            while key not in self.outbox.progress.runs:
                if time.monotonic() - max(began, self._last_success) > patience:
                    raise TimeoutError(f"the store has not opened {key} yet ({self.trouble})")
                self._changed.wait(timeout=0.1)
            return self.outbox.progress.runs[key]

    def close(self) -> bool:
        """Stop sending; whether all has been sent, and the outbox is gone with it."""
        with self._changed:
            self._closing = True
            done = not self._waiting
            self._changed.notify_all()
        # With a request under way, nobody else may send the same before its answer has come.
        self._thread.join(timeout=None if done else LAST_ANSWER_SECONDS)
        return done

    def _work(self) -> None:
        try:
            self._send_all()
        finally:
            self.outbox.close(remove=not self._waiting)

    def _send_all(self) -> None:
        pause = 0.0
        while True:
            with self._changed:
                if pause:
                    self._changed.wait_for(lambda: self._closing or self._hurried, timeout=pause)
                    if self._hurried:
                        self._changed.wait_for(lambda: self._closing, timeout=FIRST_PAUSE_SECONDS)
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if self._closing:
                    return
                batch = self._next()
            error = self._send(batch)
            if error is None:
                pause = 0.0
                continue
            pause = min(max(2 * pause, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
            if self.trouble is None and not self._closing:
                _log.warning(
                    "the tracking store takes nothing (%s); what runs make is kept in %s meanwhile",
                    first_line(error),
                    self.outbox.folder.parent,
                )
            self.trouble = first_line(error)

    def _next(self) -> list[Operation]:
        """The first operation, or all metrics up to the first that is none."""
        batch: list[Operation] = []
        for operation in self._waiting:
            if batch and (operation["do"] != "metrics" or len(batch) == MOST_AT_ONCE):
                break
            batch.append(operation)
            if operation["do"] != "metrics":
                break
        return batch

    def _send(self, batch: list[Operation]) -> Exception | None:
        """Send operations and note that; returns the error of a store that is away."""
        self._uploading = "folder" in batch[0]
        try:
            if batch[0]["do"] == "metrics":
                self._delivery.deliver_metrics(batch)
            else:
                self._delivery.deliver(batch[0])
        except Exception as error:
            if not is_refusal(error):
                return error
            failure = self._send_parts(batch, error)
            if failure is not None:
                return failure
        progress = self.outbox.progress
        progress.sent += len(batch)
        self.outbox.save_progress()
        for operation in batch:
            if "folder" in operation:
                shutil.rmtree(Path(operation["folder"]), ignore_errors=True)
        if self.trouble is not None:
            self.trouble = None
            _log.warning("the tracking store answers again")
        with self._changed:
            for _ in batch:
                self._waiting.popleft()
            self._last_success = time.monotonic()
            self._changed.notify_all()
        return None

    def _send_parts(self, batch: list[Operation], error: Exception) -> Exception | None:
        """Of what the store refuses as a whole, send the parts that it takes."""
        parts: list[Operation] = []
        for operation in batch:
            if operation["do"] == "metrics":
                parts += [{**operation, "points": [point]} for point in operation["points"]]
            elif operation["do"] == "parameters":
                named = operation["parameters"].items()
                parts += [{**operation, "parameters": {name: value}} for name, value in named]
        refused: list[str] = []
        if not parts:
            refused = [f"{batch[0]['do']}: {first_line(error)}"]
        for part in parts:
            try:
                if part["do"] == "metrics":
                    self._delivery.deliver_metrics([part])
                else:
                    self._delivery.deliver(part)
            except Exception as failure:
                if not is_refusal(failure):
                    return failure
                refused.append(first_line(failure))
        progress = self.outbox.progress
        progress.refused += refused
        progress.whole = progress.whole and (batch[0]["do"] == "metrics" or not refused)
        return None


def is_refusal(error: Exception) -> bool:
    """Whether the store has answered and will not take something however often asked."""
    if isinstance(error, MlflowException):
        return error.error_code in REFUSALS and IN_TRASH not in str(error)
    return not isinstance(error, OSError | SQLAlchemyError)


def patience() -> float:
    """Seconds that the end of a run waits for a store that takes nothing.

    Raises:
        CifarTrackError: what the person asked for is no such number.
    """
    text = os.environ.get(PATIENCE, "").strip() or str(PATIENCE_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise CifarTrackError(
            f"{PATIENCE}={text} is no number of seconds; expected 0 or more, such as 120"
        )
    return seconds
