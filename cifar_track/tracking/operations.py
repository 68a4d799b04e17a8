"""What a run says, as the operations that its outbox keeps, each with the time of its saying."""

from __future__ import annotations

import time
from collections.abc import Mapping

from cifar_track.config import Value
from cifar_track.tracking.outbox import Operation


def ending(status: str, *, run: str) -> Operation:
    """That a run has ended with a status, now."""
    return {"do": "end", "run": run, "status": status, "time": now()}


def points(metrics: Mapping[str, float], *, step: int, at: float | None = None) -> Operation:
    """Metrics at a step, as of now or of a time in seconds since 1970."""
    moment = now() if at is None else int(at * 1000)
    found = [[name, float(value), moment, step] for name, value in metrics.items()]
    return {"do": "metrics", "points": found}


def now() -> int:
    """The time in milliseconds since 1970, as MLflow counts it."""
    return time.time_ns() // 1_000_000


def as_text(value: Value) -> str:
    """A value as `override` reads it back, in signs that every store takes.

    Of a path whose bytes are no UTF-8, these are written as Python escapes them.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value) if isinstance(value, float) else str(value)
    return text.encode(errors="backslashreplace").decode()
