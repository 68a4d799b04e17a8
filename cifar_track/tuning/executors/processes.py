"""Trials in processes of this machine, side by side, each with its share of it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cifar_track.tuning import resources
from cifar_track.tuning.executors import EndReport, Job, Report
from cifar_track.tuning.executors.trial import TrainTrial
from cifar_track.tuning.executors.trial_process import TrialProcess, wait_for_reports

if TYPE_CHECKING:
    from cifar_track.data import Dataset


class ProcessExecutor:
    """Trials in processes of this machine; an `Executor`.

    Attributes:
        capacity: how many at once.
    """

    def __init__(self, train: TrainTrial, *, workers: int, threads: int) -> None:
        self.capacity = workers
        self._train = train
        self._threads = threads
        self._devices = resources.devices()
        self._slots: dict[int, int] = {}
        self._processes: dict[int, TrialProcess] = {}
        self._not_started: list[tuple[int, Report]] = []

    def submit(self, job: Job) -> None:
        """Start a trial's process on the first device that is free, if there are any."""
        slot = min(set(range(self.capacity)) - set(self._slots.values()))
        device = self._devices[slot % len(self._devices)] if self._devices else None
        environment = resources.worker_environment(threads=self._threads, device=device)
        try:
            process = TrialProcess(self._train, job, environment=environment)
        except OSError as error:
            line = f"the trial's process could not be started: {error}"
            self._not_started.append((job.number, EndReport(line, 0.0)))
            return
        self._processes[job.number], self._slots[job.number] = process, slot

    def hear(self) -> list[tuple[int, Report]]:
        """One report of each trial that has one, waiting for the first."""
        if self._not_started:
            reports, self._not_started = self._not_started, []
            return reports
        heard: list[tuple[int, Report]] = []
        for number in wait_for_reports(self._processes):
            report = self._processes[number].receive()
            heard.append((number, report))
        return heard

    def seconds(self, number: int) -> float:
        """Wall time since a trial's process was started."""
        process = self._processes.get(number)
        return process.seconds if process else 0.0

    def cancel(self, number: int) -> None:
        """End a trial's process at once."""
        process = self._processes.pop(number, None)
        if process is not None:
            process.kill()
        self._slots.pop(number, None)


@contextlib.contextmanager
def share_images(data: Dataset, folder: Path) -> Iterator[None]:
    """Write the training and validation images once, for every process to map.

    The folder is theirs for temporary files too, and is removed afterwards with all that is in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for part, images in (("train", data.train), ("validation", data.validation)):
            for kind, array in (("images", images.images), ("labels", images.labels)):
                np.save(folder / f"{part}_{kind}.npy", array)
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
