"""What a trial is wherever it runs: a fit to the shared images, and what is reported of it."""

from __future__ import annotations

import gc
import os
import time
import traceback
from collections.abc import Callable, Mapping
from typing import TypeAlias

from cifar_track.config import CifarTrackError
from cifar_track.tuning.executors import EndReport, EpochListener, EpochReport, Job

TrainTrial: TypeAlias = Callable[[Job, EpochListener], None]


def train_trial(job: Job, on_epoch: EpochListener) -> None:
    """Fit a trial's experiment to the shared images.

    A continued trial starts from the earlier one's best weights with a fresh optimizer, as in
    Keras Tuner's own Hyperband. One that was cut short goes on from its checkpoint.

    Raises:
        CifarTrackError: a value of the trial is out of its range, or the loss is no number.
    """
    from cifar_track import training  # imports TensorFlow, which reads this process's environment

    fit = training.fit(
        job.experiment,
        job.open_images("train"),
        job.open_images("validation"),
        classes=job.classes,
        on_epoch=lambda epoch, metrics: on_epoch(job.first_epoch + epoch, metrics),
        initial_weights=job.initial_weights,
        checkpoint=job.checkpoint,
        choose_by=job.objective,
    )
    if job.final_weights is not None:
        partial = job.final_weights.with_name(f"partial_{job.final_weights.name}")
        fit.model.save_weights(partial)
        os.replace(partial, job.final_weights)


def run(train: TrainTrial, job: Job, *, send: Callable[[EpochReport], None]) -> EndReport:
    """Train a trial in this process, each epoch sent as it happens; returns its end."""
    gc.set_threshold(100_000)  # as of every process that trains; this one trains one network

    def on_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
        plain = {name: float(value) for name, value in metrics.items()}
        send(EpochReport(epoch, plain, time.process_time()))

    error = None
    try:
        train(job, on_epoch)
    except CifarTrackError as mistake:
        error = str(mistake)
    except BaseException:
        error = traceback.format_exc()
    return EndReport(error, time.process_time())
