"""Where trials run: what an executor is told, what it reports, and what every one of them does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from cifar_track.config import Experiment

if TYPE_CHECKING:
    from cifar_track.data import Images

EpochListener: TypeAlias = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A trial as its executor is told of it.

    Attributes:
        experiment: what to train, the trial's values and seed applied.
        number: the trial's.
        classes: how many there are.
        folder: where the search keeps its files; those of this trial bear its number.
        first_epoch: epochs that an earlier trial has trained already; the first one here is the
            one after. `experiment.training.epochs` is what remains.
        initial_weights: that earlier trial's weights, or None.
        final_weights: where to leave this trial's, or None where nobody can want them.
        objective: the metric by which the epoch of these is the best.
    """

    experiment: Experiment
    number: int
    classes: int
    folder: Path
    first_epoch: int = 0
    initial_weights: Path | None = None
    final_weights: Path | None = None
    objective: str = "val_accuracy"

    @property
    def images(self) -> Path:
        """The folder with the images that every trial trains on and is judged by."""
        return self.folder / "images"

    def open_images(self, part: str) -> Images:
        """The `train` or `validation` images, mapped: processes share one copy in memory."""
        from cifar_track.data import Images

        mapped = (
            np.load(self.images / f"{part}_{kind}.npy", mmap_mode="r")
            for kind in ("images", "labels")
        )
        return Images(*(np.asarray(array) for array in mapped))

    @property
    def checkpoint(self) -> Path:
        """The file that an attempt at the trial goes on from, and keeps for the next."""
        return self.folder / f"trial_{self.number}.checkpoint"

    @property
    def log(self) -> Path:
        """The file that takes what the trial's process prints; removed if it is completed."""
        return self.folder / f"trial_{self.number}.log"


@dataclass(frozen=True)
class PlaceReport:
    """The trial has begun elsewhere than on this machine.

    Attributes:
        node: where, as a person finds it.
        resources: what it has there.
    """

    node: str
    resources: str


@dataclass(frozen=True)
class EpochReport:
    """An epoch is over.

    Attributes:
        epoch: counted from 1.
        metrics: what the network reached.
        cpu_seconds: processor time of the trial's process so far.
        machine: how busy a machine that is not this one has been since the epoch before.
    """

    epoch: int
    metrics: dict[str, float]
    cpu_seconds: float
    machine: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EndReport:
    """The trial is over; without an error it is completed."""

    error: str | None
    cpu_seconds: float


@dataclass(frozen=True)
class KilledReport:
    """The trial's process was killed from outside; another may do better."""

    reason: str


Report: TypeAlias = PlaceReport | EpochReport | EndReport | KilledReport


class Executor(Protocol):
    """Runs jobs, each in a process of its own, and hears of them.

    Attributes:
        capacity: how many jobs it takes at once at the moment.
    """

    @property
    def capacity(self) -> int:
        """How many jobs it takes at once at the moment."""

    def submit(self, job: Job) -> None:
        """Begin a job; one that can't be begun is reported as over."""

    def hear(self) -> list[tuple[int, Report]]:
        """Wait for reports or another capacity; the numbers of the trials, and what they report."""

    def seconds(self, number: int) -> float:
        """Wall time since a job that has not been let go of began."""

    def cancel(self, number: int) -> None:
        """End a job's process at once and let go of it; nothing for one that is over."""
