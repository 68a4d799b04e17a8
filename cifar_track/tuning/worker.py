"""A trial's process: started with its own threads and device, heard of through a pipe."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from cifar_track.config import CifarTrackError, Experiment
from cifar_track.environment import settle, variables

if TYPE_CHECKING:
    from cifar_track.data import Dataset, Images

EpochListener: TypeAlias = Callable[[int, Mapping[str, float]], None]

# How long a process that has reported its end may take to go.
EXIT_SECONDS = 20.0
# How much of what a process printed before it died goes into its trial's error.
LOG_CHARACTERS = 4000


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a trial's process is told.

    Attributes:
        experiment: what to train, the trial's values and seed applied.
        number: the trial's.
        classes: the number of classes.
        images: the folder that `share_images` filled.
        first_epoch: epochs that an earlier trial has trained already; the first one here is the
            one after. `experiment.training.epochs` is what remains.
        initial_weights: that earlier trial's weights, or None.
        final_weights: where to leave this trial's, or None where no later trial can want them.
        log: the file that takes what the process prints.
    """

    experiment: Experiment
    number: int
    classes: int
    images: Path
    log: Path
    first_epoch: int = 0
    initial_weights: Path | None = None
    final_weights: Path | None = None


TrainTrial: TypeAlias = Callable[[Job, EpochListener], None]


@dataclass(frozen=True)
class EpochReport:
    """An epoch is over."""

    epoch: int
    metrics: dict[str, float]
    cpu_seconds: float


@dataclass(frozen=True)
class EndReport:
    """The trial is over; without an error it is completed."""

    error: str | None
    cpu_seconds: float


Report: TypeAlias = EpochReport | EndReport


def train_trial(job: Job, on_epoch: EpochListener) -> None:
    """Fit a trial's experiment to the shared images.

    A continued trial starts from the earlier one's best weights with a fresh optimizer, as in
    Keras Tuner's own Hyperband.

    Raises:
        CifarTrackError: a value of the trial is out of its range, or the loss is no number.
    """
    from cifar_track import training  # imports TensorFlow, which reads this process's environment

    fit = training.fit(
        job.experiment,
        open_images(job.images, "train"),
        open_images(job.images, "validation"),
        classes=job.classes,
        on_epoch=lambda epoch, metrics: on_epoch(job.first_epoch + epoch, metrics),
        initial_weights=job.initial_weights,
    )
    if job.final_weights is not None:
        partial = job.final_weights.with_name(f"partial_{job.final_weights.name}")
        fit.model.save_weights(partial)
        os.replace(partial, job.final_weights)


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


def open_images(folder: Path, part: str) -> Images:
    """The `train` or `validation` images, mapped: processes share one copy in memory."""
    from cifar_track.data import Images

    mapped = (
        np.load(folder / f"{part}_{kind}.npy", mmap_mode="r") for kind in ("images", "labels")
    )
    return Images(*(np.asarray(array) for array in mapped))


class TrialProcess:
    """A trial's process, from its start to its end, seen from its parent."""

    def __init__(
        self,
        train: TrainTrial,
        job: Job,
        *,
        environment: Mapping[str, str],
        cores: Collection[int] = (),
    ) -> None:
        """Start it.

        Args:
            train: what it runs; pickled by its name.
            job: its argument.
            environment: variables it has beside its parent's.
            cores: the numbers of the cores that it keeps to; none for any.
        """
        context = multiprocessing.get_context("spawn")
        self.connection, its_end = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_run, args=(train, job, its_end, cores), name=f"trial {job.number}", daemon=True
        )
        self._log = job.log
        self._started = time.monotonic()
        # Else started with the first process, and it unblocks the signals that `_held` blocks.
        resource_tracker.ensure_running()
        try:
            # What TensorFlow and others leave there, where a process ends at once, goes with it.
            settle()
            environment = {**environment, "TMPDIR": str(job.images)}
            with _held(signal.SIGINT, signal.SIGTERM), variables(environment):
                self._process.start()
        except BaseException:
            self.connection.close()
            raise
        finally:
            its_end.close()  # so that its death is the end of the pipe

    @property
    def seconds(self) -> float:
        """Wall time since its start."""
        return time.monotonic() - self._started

    def receive(self) -> Report | None:
        """The next report, waiting for it; None once it died without reporting an end."""
        try:
            report: Report = self.connection.recv()
        except (EOFError, OSError):
            return None
        return report

    def close(self) -> None:
        """Wait for the process to go, with its memory; kill it if it takes long."""
        self._process.join(EXIT_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End the process at once, if it still runs, and let go of it."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self.connection.close()

    def death(self) -> str:
        """How a process died that reported no end: what it printed last, and one line."""
        self._process.join(EXIT_SECONDS)
        code = self._process.exitcode
        if code is None or code >= 0:
            line = f"the trial's process ended with exit code {code} before its trial did"
        else:
            memory = "; the machine may be out of memory" if -code == signal.SIGKILL else ""
            line = f"the trial's process was killed by {signal.Signals(-code).name}{memory}"
        printed = ""
        with contextlib.suppress(OSError):
            printed = self._log.read_text(encoding="utf-8", errors="replace")[-LOG_CHARACTERS:]
        return f"{printed.rstrip()}\n{line}".lstrip()


def wait_for_reports(processes: Mapping[Connection, Any]) -> list[Connection]:
    """The connections on which a report or an end is at hand, waiting for the first."""
    ready = multiprocessing.connection.wait(list(processes))
    return [connection for connection in processes if connection in ready]


def _run(train: TrainTrial, job: Job, connection: Connection, cores: Collection[int]) -> None:
    """The main function of a trial's process."""
    if cores:  # before TensorFlow starts its threads, which would not hear of it
        with contextlib.suppress(OSError):  # cores taken away meanwhile, or the call forbidden
            os.sched_setaffinity(0, cores)
    # Blocked by the parent while it started this process, so that it inherits the mask. SIGINT
    # stays blocked: a Ctrl-C reaches the whole group, and the parent alone answers it.
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _print_to(job.log)
    gc.set_threshold(100_000)  # as in cifar_track.__main__; this process trains one network

    def on_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
        plain = {name: float(value) for name, value in metrics.items()}
        connection.send(EpochReport(epoch, plain, time.process_time()))

    error = None
    try:
        train(job, on_epoch)
    except CifarTrackError as mistake:
        error = str(mistake)
    except BaseException:
        error = traceback.format_exc()
    else:
        job.log.unlink(missing_ok=True)
    connection.send(EndReport(error, time.process_time()))
    connection.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # All is said. TensorFlow takes a second to come apart, and at times crashes over it.
    os._exit(0)


def _print_to(log: Path) -> None:
    """Sends all that this process prints to a file, TensorFlow's own lines and a crash's too."""
    with log.open("wb") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    sys.stdout = sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    faulthandler.enable(sys.stderr)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


@contextlib.contextmanager
def _held(*signals: signal.Signals) -> Iterator[None]:
    """Holds signals back for a moment; a process started meanwhile has them blocked."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
