"""What each trial of a search has to do: its settings and epochs, where it begins, its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cifar_track.config import Experiment, Value, override
from cifar_track.tuning.executors import Job
from cifar_track.tuning.space import check_space, trial_experiment


class Kept(NamedTuple):
    """What of a trial is in its checkpoint: epochs, and the seconds of wall and processor."""

    epochs: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """Makes the jobs of a search.

    Attributes:
        experiment: the page.
        folder: where the search keeps its files.
        classes: how many there are.
    """

    experiment: Experiment
    folder: Path
    classes: int

    def job(self, number: int, proposal: Mapping[str, Value], values: Mapping[str, Value]) -> Job:
        """What a trial has to do.

        Args:
            number: the trial's.
            proposal: all that the oracle proposed, which of Hyperband says how many epochs, and
                with whose weights to begin.
            values: the values of the space in it.
        """
        experiment = trial_experiment(self.experiment, number=number, values=values)
        first_epoch, weights = int(proposal.get("tuner/initial_epoch", 0)), None
        if "tuner/trial_id" in proposal:
            weights = self.weights(int(proposal["tuner/trial_id"]))
            if not weights.is_file():  # lost with its folder: what it had learnt is learnt again
                first_epoch, weights = 0, None
        hyperband = "tuner/epochs" in proposal
        if hyperband:
            epochs = int(proposal["tuner/epochs"]) - first_epoch
            experiment = _after(first_epoch, override(experiment, {"training.epochs": epochs}))
        settings = check_space(self.experiment)
        wanted = hyperband or settings.refit != "anew" or settings.keep > 0
        return Job(
            experiment=experiment,
            number=number,
            classes=self.classes,
            folder=self.folder,
            first_epoch=first_epoch,
            initial_weights=weights,
            final_weights=self.weights(number) if wanted else None,
            objective=settings.objective,
        )

    def weights(self, number: int) -> Path:
        """The file of a trial's best weights, where they are kept."""
        return self.folder / f"trial_{number}.weights.h5"


def _after(epochs: int, experiment: Experiment) -> Experiment:
    """What is left of the epochs of the last layer alone, once some epochs are over."""
    left = max(0, experiment.training.head_epochs - epochs)
    if left:
        return override(experiment, {"training.head_epochs": left})
    return override(experiment, {"training.head_epochs": 0, "training.head_learning_rate": 0.0})


def kept_course(job: Job) -> Kept:
    """What of a trial is in its checkpoint, from which an attempt goes on."""
    if not job.checkpoint.exists():
        return Kept()
    from cifar_track.training import checkpoints

    return Kept(*checkpoints.spent(job.checkpoint, experiment=job.experiment))
