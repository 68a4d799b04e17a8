"""A trial's process: started with its own threads and device, heard of through a pipe."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from cifar_track.config import CifarTrackError
from cifar_track.environment import settle, variables
from cifar_track.tuning.executors import (
    EndReport,
    EpochListener,
    EpochReport,
    Job,
    KilledReport,
    Report,
)

if TYPE_CHECKING:
    from cifar_track.data import Images

# How long a process that has reported its end may take to go.
EXIT_SECONDS = 20.0
# How much of what a process printed before it died goes into its trial's error.
LOG_CHARACTERS = 4000
# Whom these end did nothing to deserve it: the system wants its memory, or somebody its machine.
FROM_OUTSIDE = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")


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
        open_images(job.images, "train"),
        open_images(job.images, "validation"),
        classes=job.classes,
        on_epoch=lambda epoch, metrics: on_epoch(job.first_epoch + epoch, metrics),
        initial_weights=job.initial_weights,
        checkpoint=job.checkpoint,
    )
    if job.final_weights is not None:
        partial = job.final_weights.with_name(f"partial_{job.final_weights.name}")
        fit.model.save_weights(partial)
        os.replace(partial, job.final_weights)


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
    ) -> None:
        """Start it.

        Args:
            train: what it runs; pickled by its name.
            job: its argument.
            environment: variables it has beside its parent's.
        """
        context = multiprocessing.get_context("spawn")
        self.connection, its_end = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_run, args=(train, job, its_end), name=f"trial {job.number}", daemon=True
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

    def receive(self) -> Report:
        """The next report, waiting for it; a process that is over is gone, with its memory."""
        report: Report
        try:
            report = self.connection.recv()
        except (EOFError, OSError):
            report = self._death()
        if not isinstance(report, EpochReport):
            self._process.join(EXIT_SECONDS)
            self.kill()
        return report

    def kill(self) -> None:
        """End the process at once, if it still runs, and let go of it."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self.connection.close()

    def _death(self) -> Report:
        """What became of a process that reported no end, with what it printed last."""
        self._process.join(EXIT_SECONDS)
        code = self._process.exitcode
        if code is None or code >= 0:
            line = f"the trial's process ended with exit code {code} before its trial did"
            return EndReport(self._printed(line), 0.0)
        name = signal.Signals(-code).name
        memory = "; the machine may be out of memory" if name == "SIGKILL" else ""
        line = f"the trial's process was killed by {name}{memory}"
        return KilledReport(line) if name in FROM_OUTSIDE else EndReport(self._printed(line), 0.0)

    def _printed(self, line: str) -> str:
        printed = ""
        with contextlib.suppress(OSError):
            printed = self._log.read_text(encoding="utf-8", errors="replace")[-LOG_CHARACTERS:]
        return f"{printed.rstrip()}\n{line}".lstrip()


def wait_for_reports(processes: Mapping[int, TrialProcess]) -> list[int]:
    """The keys of those with a report or an end at hand, waiting for the first."""
    ready = multiprocessing.connection.wait([process.connection for process in processes.values()])
    return [key for key, process in processes.items() if process.connection in ready]


def _run(train: TrainTrial, job: Job, connection: Connection) -> None:
    """The main function of a trial's process."""
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
