"""What a search gives: its trials, and the listener that hears of them as they happen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cifar_track.config import Value, first_best


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One trial, over.

    Attributes:
        number: from 0, in the order in which the oracle made the trials.
        values: the hyperparameters by dotted name, as `config.override` takes them.
        status: `completed`, `failed`, or `stopped` with the search; a stopped trial is repeated
            when the search is resumed.
        score: the objective at the best epoch; None unless completed.
        best_epoch: the first epoch with that score, counted from 1; None unless completed.
        epochs: epochs trained. Where Hyperband continues an earlier trial, this and `best_epoch`
            count that trial's epochs too.
        seconds: wall time of the trial's process, its start included.
        cpu_seconds: processor time of that process, as last heard of.
        error: the one line or the traceback that ended a failed trial.
    """

    number: int
    values: dict[str, Value]
    status: str
    score: float | None
    best_epoch: int | None
    epochs: int
    seconds: float
    cpu_seconds: float
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """A search, over.

    Attributes:
        trials: every trial by its number.
        best: the best of the completed ones.
        weights: the file with the weights of its best epoch, where the refit wants them.
    """

    trials: tuple[TrialResult, ...]
    best: TrialResult
    weights: Path | None = None


class TrialListener(Protocol):
    """Hears of each trial as it happens, in the process that called `search`.

    A trial is started, has its epochs and is ended. After a kill, a resumed search starts a trial
    that was cut short again under the same number with the same values, from its first epoch; and
    one that had ended just as the kill came may be reported as ended a second time, without a
    start. A listener that keeps records should therefore find them by the trial's number.
    """

    def trial_started(self, number: int, values: Mapping[str, Value]) -> None:
        """A trial's process is about to start."""

    def trial_epoch(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """A trial has finished an epoch; epochs count from 1."""

    def trial_ended(self, number: int, trial: TrialResult) -> None:
        """A trial has been completed, has failed or was stopped."""


def best_trial(trials: Sequence[TrialResult], *, maximize: bool) -> TrialResult | None:
    """The completed trial with the best score, the earliest of equals; None if there is none."""
    completed = [trial for trial in trials if trial.score is not None]
    index = first_best([trial.score or 0.0 for trial in completed], maximize=maximize)
    return None if index is None else completed[index]
