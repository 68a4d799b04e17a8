"""A thread that carries metrics to the store, so that no training step waits for it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping

import mlflow
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from cifar_track.tracking import store

# MLflow's own limit on one request.
BATCH = 1000
# What a store that has answered will answer again.
REFUSALS = (
    "INVALID_PARAMETER_VALUE",
    "BAD_REQUEST",
    "RESOURCE_DOES_NOT_EXIST",
    "INVALID_STATE",
    "PERMISSION_DENIED",
)
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0


class MetricWriter:
    """Metrics in the order in which they come, sent from a thread of its own.

    What piles up behind a slow store goes in one request. What a store that is away can't take
    is kept and tried again; what it refuses is counted and dropped. Neither ever raises: a
    training that has run for hours is worth more than its log.
    """

    def __init__(self, client: mlflow.MlflowClient) -> None:
        self._client = client
        self._waiting: deque[tuple[str, Metric]] = deque()
        self._changed = threading.Condition()
        self._in_flight = 0
        self._closing = False
        self._refused = 0
        self._last_error: str | None = None
        self._thread = threading.Thread(target=self._work, name="metric-writer", daemon=True)
        self._thread.start()

    def add(self, run_id: str, metrics: Mapping[str, float], *, step: int) -> None:
        """Take metrics, with the time at which they were handed over; returns at once."""
        now = time.time_ns() // 1_000_000
        entries = [
            (run_id, Metric(name, float(value), now, step)) for name, value in metrics.items()
        ]
        with self._changed:
            self._waiting.extend(entries)
            self._changed.notify_all()

    def flush(self, *, timeout: float) -> bool:
        """Wait until everything taken has been sent or refused; False when time ran out."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._waiting and not self._in_flight, timeout=timeout
            )

    def close(self, *, timeout: float) -> str | None:
        """Send the rest and stop; returns one line about what was lost, if anything was."""
        self.flush(timeout=timeout)
        with self._changed:
            self._closing = True
            lost = len(self._waiting) + self._in_flight + self._refused
            self._changed.notify_all()
        if not lost:
            return None
        return f"{lost} metric values were not logged: {self._last_error or 'out of time'}"

    def _work(self) -> None:
        pause = 0.0
        while True:
            with self._changed:
                if pause:  # the store is away; only closing cuts the wait short
                    self._changed.wait_for(lambda: self._closing, timeout=pause)
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if self._closing:
                    return
                run_id, batch = self._take()
                self._in_flight = len(batch)
            try:
                self._client.log_batch(run_id, metrics=batch, synchronous=True)
                pause = 0.0
            except Exception as error:
                self._last_error = store.first_line(error)
                if _is_refusal(error) and len(batch) == 1:
                    self._refused += 1
                elif _is_refusal(error):  # for the sake of those that it takes
                    for metric in batch:
                        self._send_alone(run_id, metric)
                else:
                    with self._changed:
                        self._waiting.extendleft((run_id, metric) for metric in reversed(batch))
                        pause = min(max(2 * pause, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
            finally:
                with self._changed:
                    self._in_flight = 0
                    self._changed.notify_all()

    def _send_alone(self, run_id: str, metric: Metric) -> None:
        try:
            self._client.log_batch(run_id, metrics=[metric], synchronous=True)
        except Exception as error:
            self._last_error = store.first_line(error)
            self._refused += 1

    def _take(self) -> tuple[str, list[Metric]]:
        """The first run's waiting metrics, at most one request's worth; the rest stay in order."""
        run_id = self._waiting[0][0]
        batch: list[Metric] = []
        others: deque[tuple[str, Metric]] = deque()
        while self._waiting and len(batch) < BATCH:
            entry = self._waiting.popleft()
            if entry[0] == run_id:
                batch.append(entry[1])
            else:
                others.append(entry)
        self._waiting.extendleft(reversed(others))
        return run_id, batch


def _is_refusal(error: Exception) -> bool:
    """Whether the store has answered and will not take these metrics however often asked."""
    return isinstance(error, MlflowException) and error.error_code in REFUSALS
