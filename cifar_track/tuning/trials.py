"""What a search is made of: its trials, what came of them, and the listener that hears of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cifar_track.config import Experiment, Value


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One trial, over.

    Attributes:
        number: from 0, in the order in which the oracle made the trials.
        values: the hyperparameters by dotted name, as `config.override` takes them.
        status: `completed`; `failed` by its own values; `killed` from outside, more often than it
            is tried again; `stopped` with the search. The last two are repeated when the search is
            gone on with.
        score: the objective at the best epoch; None unless completed.
        best_epoch: the first epoch with that score, counted from 1; None unless completed.
        epochs: epochs trained. Where Hyperband continues an earlier trial, this and `best_epoch`
            count that trial's epochs too.
        seconds: wall time of the trial's last process, its start included, and of the epochs that
            it went on from.
        cpu_seconds: processor time of both, as last heard of.
        scores: the objective after each epoch that this trial trained.
        error: the one line or the traceback that ended a failed trial.
        stopped_early: why a completed trial was not trained to its last epoch, in one line.
    """

    number: int
    values: dict[str, Value]
    status: str
    score: float | None
    best_epoch: int | None
    epochs: int
    seconds: float
    cpu_seconds: float
    scores: tuple[float, ...] = ()
    error: str | None = None
    stopped_early: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """What has to be known of a trial that has begun, so that a search can go on.

    Attributes:
        number: the trial's.
        proposal: all that the oracle chose for it, in the oracle's own types.
        result: what came of it; None while it is to be run (again).
    """

    number: int
    proposal: dict[str, Value]
    result: TrialResult | None = None


@dataclass(frozen=True, kw_only=True)
class TrialStart:
    """A trial that is about to begin.

    Attributes:
        number: the trial's.
        values: the hyperparameters by dotted name.
        experiment: all that it trains: the page with those values, the trial's seed and epochs.
        proposal: as in `TrialRecord`.
        finished_epochs: those that an earlier attempt finished; it goes on behind them.
    """

    number: int
    values: dict[str, Value]
    experiment: Experiment
    proposal: dict[str, Value]
    finished_epochs: int


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """A search, over.

    Attributes:
        trials: every trial by its number.
        best: the best of the completed ones.
        weights: the file with the weights of its best epoch, where the refit wants them.
        kept: of the best trials, the best first, with the files of theirs; as many as
            `search.keep` says and were completed.
    """

    trials: tuple[TrialResult, ...]
    best: TrialResult
    weights: Path | None = None
    kept: tuple[tuple[TrialResult, Path], ...] = ()


class TrialListener(Protocol):
    """Hears of each trial as it happens, in the process that called `search`.

    A trial is started, has its epochs and is ended. What a listener raises stops no trial: it is
    told the same again with the next event, and the search raises it at its end.

    After a kill, a search that is gone on with starts a trial that was cut short again under its
    number, with its values; the epochs that it need not repeat are told again. One that had ended
    as the kill came may be told to have ended a second time, without a start. A listener that
    keeps records should therefore find them by number and epoch.
    """

    def trial_started(self, trial: TrialStart) -> None:
        """A trial's process is about to start."""

    def trial_placed(self, number: int, node: str, resources: str) -> None:
        """A trial has begun on a node of a cluster, and what it has there; perhaps once more."""

    def trial_restarted(self, number: int, reason: str) -> None:
        """A trial's process was killed from outside, and the trial goes on in another."""

    def trial_epoch(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """A trial has finished an epoch; epochs count from 1."""

    def trial_machine(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """How busy the machine that a trial runs on was in an epoch, where it is not this one."""

    def trial_ended(self, number: int, trial: TrialResult) -> None:
        """A trial has come to an end."""

    def notice(self, words: str) -> None:
        """Something about where trials run that concerns all of them."""


def ranked_trials(trials: Sequence[TrialResult], *, maximize: bool) -> list[TrialResult]:
    """The completed trials, the best first, the earliest of equals first, as by `first_best`."""

    def score(trial: TrialResult) -> float:
        return math.nan if trial.score is None else trial.score

    completed = [trial for trial in trials if not math.isnan(score(trial))]
    return sorted(completed, key=lambda trial: -score(trial) if maximize else score(trial))
