"""A fit's state after its last finished epoch, in one file that a kill leaves whole."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cifar_track.config import Experiment, flatten
from cifar_track.training.callbacks import AverageWeights, BestEpoch, EpochListener

COURSE = "course.json"
# What a fit does not depend on: a search's budget may grow, a page may be renamed.
NO_PART = ("name", "search.")
# Of what an average of weights holds; a checkpoint with another is none.
LAYOUT = 2


@dataclass(frozen=True, kw_only=True)
class Course:
    """What a fit has been through up to the end of an epoch.

    Attributes:
        history: the metrics of each epoch so far.
        best_epoch: the best of them, counted from 1.
        best_weights: the network's weights at its end.
        average: the state of the average of weights; empty without one.
        seconds: wall time so far.
        cpu_seconds: processor time so far.
    """

    history: list[dict[str, float]]
    best_epoch: int
    best_weights: list[NDArray[np.float32]]
    average: list[NDArray[Any]]
    seconds: float
    cpu_seconds: float


class KeepCheckpoint(keras.callbacks.Callback):
    """Keeps a fit's checkpoint, and tells of an epoch once it is in there; the last callback.

    Attributes:
        average: the average of weights that is kept too; None without one.
    """

    def __init__(
        self,
        file: Path | None,
        experiment: Experiment,
        *,
        on_epoch: EpochListener,
        best: BestEpoch,
    ) -> None:
        """Say where it lies, who listens, and whose state it holds; None for no checkpoint."""
        super().__init__()
        self.file = file
        self.experiment = experiment
        self.on_epoch = on_epoch
        self.best = best
        self.average: AverageWeights | None = None
        self._began, self._cpu_began = time.perf_counter(), time.process_time()

    def restore(self, model: keras.Model) -> int:
        """Put a compiled network and the other callbacks back; returns the epochs that are over."""
        course = self.file and load(self.file, model=model, experiment=self.experiment)
        if not course:
            return 0
        self.best.history, self.best.best_epoch = course.history, course.best_epoch
        self.best.weights = course.best_weights
        if self.average is not None:
            self.average.restore(course.average)
        self._began = time.perf_counter() - course.seconds
        self._cpu_began = time.process_time() - course.cpu_seconds
        for epoch, metrics in enumerate(list(course.history), start=1):
            self.on_epoch(epoch, metrics)
        return len(course.history)

    def seconds(self) -> float:
        """Wall time since this was made, and that of the epochs that were restored."""
        return time.perf_counter() - self._began

    def cpu_seconds(self) -> float:
        """The same of processor time."""
        return time.process_time() - self._cpu_began

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        """Save the state, then tell of the epoch: who has heard of it will find it kept."""
        if self.file is not None:
            course = Course(
                history=self.best.history,
                best_epoch=self.best.best_epoch,
                best_weights=self.best.weights,
                average=self.average.state() if self.average else [],
                seconds=self.seconds(),
                cpu_seconds=self.cpu_seconds(),
            )
            save(self.file, course, model=self.model, experiment=self.experiment)
        self.on_epoch(epoch + 1, self.best.history[-1])


def save(file: Path, course: Course, *, model: keras.Model, experiment: Experiment) -> None:
    """Replace a fit's checkpoint by one of the present state; the old one or the new one stays.

    It holds the network's variables, those of its optimizer and the states of its random numbers:
    with the seeds, which give each epoch its order and its augmentation, all that the next epoch
    depends on.
    """
    facts = {
        "key": _key(experiment),
        "history": course.history,
        "best_epoch": course.best_epoch,
        "averaged": len(course.average),
        "seconds": course.seconds,
        "cpu_seconds": course.cpu_seconds,
    }
    partial = file.with_name(f"{file.name}.partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(COURSE, json.dumps(facts))
        for name, arrays in (
            ("variable", _variables(model)),
            ("best", course.best_weights),
            ("average", course.average),
        ):
            for index, array in enumerate(arrays):
                with archive.open(f"{name}_{index}.npy", "w") as stream:
                    np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(partial, file)


def load(file: Path, *, model: keras.Model, experiment: Experiment) -> Course | None:
    """Put a network and its optimizer back to where a checkpoint left them.

    Args:
        file: the checkpoint.
        model: the same experiment's network, compiled, and its optimizer built.
        experiment: its settings.

    Returns:
        The course of the fit so far; None where there is no checkpoint of this experiment, or it
        can't be read: the network is then as it was.
    """
    facts = _facts(file, experiment)
    if facts is None:
        return None
    variables = _variables(model)
    try:
        with zipfile.ZipFile(file) as archive:
            values = [_array(archive, f"variable_{index}") for index in range(len(variables))]
            best = [_array(archive, f"best_{index}") for index in range(len(model.weights))]
            average = [_array(archive, f"average_{index}") for index in range(facts["averaged"])]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    if [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
        return None
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return Course(
        history=facts["history"],
        best_epoch=facts["best_epoch"],
        best_weights=best,
        average=average,
        seconds=facts["seconds"],
        cpu_seconds=facts["cpu_seconds"],
    )


def finished_epochs(file: Path, *, experiment: Experiment) -> int:
    """How many epochs a fit that is given this checkpoint need not repeat; 0 if none."""
    return spent(file, experiment=experiment)[0]


def spent(file: Path, *, experiment: Experiment) -> tuple[int, float, float]:
    """Of these epochs: how many, and what they took in seconds of wall and of processor."""
    facts = _facts(file, experiment)
    if facts is None:
        return 0, 0.0, 0.0
    return len(facts["history"]), facts["seconds"], facts["cpu_seconds"]


def remove(file: Path) -> None:
    """Remove a checkpoint, once what it was kept for is safe."""
    file.unlink(missing_ok=True)
    file.with_name(f"{file.name}.partial").unlink(missing_ok=True)


def _facts(file: Path, experiment: Experiment) -> Mapping[str, Any] | None:
    try:
        with zipfile.ZipFile(file) as archive:
            facts: Mapping[str, Any] = json.loads(archive.read(COURSE))
            # Every byte is read only of the one that is asked for.
            if facts.get("key") != _key(experiment) or archive.testzip() is not None:
                return None
    except (OSError, ValueError, KeyError, AttributeError, zipfile.BadZipFile):
        return None
    return facts


def _key(experiment: Experiment) -> str:
    settings = {k: v for k, v in flatten(experiment).items() if not k.startswith(NO_PART)}
    if experiment.training.average:
        settings["layout"] = LAYOUT
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _variables(model: keras.Model) -> list[keras.Variable]:
    # `weights` lacks the states of random numbers.
    return [*model.variables, *model.optimizer.variables]


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as stream:
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array
