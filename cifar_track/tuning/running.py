"""A trial that is under way, and what has been heard of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cifar_track.config import Value
from cifar_track.tuning.executors import Job
from cifar_track.tuning.jobs import Kept
from cifar_track.tuning.trials import TrialResult


@dataclass
class RunningTrial:
    """A trial that is under way.

    Attributes:
        trial: the oracle's own.
        job: what its executor was told.
        values: its hyperparameters.
        objective: the metric that it is judged by.
        kept: what of it was in its checkpoint when its process began.
        kills: how often its process was killed from outside.
        epochs: the metrics of each epoch so far.
        cpu_seconds: processor time of its process, as last heard of.
    """

    trial: Any
    job: Job
    values: dict[str, Value]
    objective: str
    kept: Kept
    kills: int = 0
    epochs: dict[int, dict[str, float]] = field(default_factory=dict)
    cpu_seconds: float = 0.0

    def scores(self) -> list[float]:
        """The objective after each epoch so far."""
        return [metrics[self.objective] for _, metrics in sorted(self.epochs.items())]

    def result(self, status: str, *, seconds: float, **outcome: Any) -> TrialResult:
        """What comes of it if it ends now."""
        outcome = {"score": None, "best_epoch": None, **outcome}
        return TrialResult(
            number=self.job.number,
            values=self.values,
            status=status,
            epochs=max(self.epochs, default=self.job.first_epoch),
            seconds=self.kept.seconds + seconds,
            cpu_seconds=self.kept.cpu_seconds + self.cpu_seconds,
            scores=tuple(self.scores()),
            **outcome,
        )
