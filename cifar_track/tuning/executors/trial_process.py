"""A trial's process: started with its own threads and device, heard of through a pipe."""

from __future__ import annotations

import contextlib
import multiprocessing.connection
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection

from cifar_track import child
from cifar_track.tuning.executors import (
    EndReport,
    EpochReport,
    Job,
    KilledReport,
    Report,
    trial,
)
from cifar_track.tuning.executors.trial import TrainTrial

# How long a process that has reported its end may take to go.
EXIT_SECONDS = 20.0
# How much of what a process printed before it died goes into its trial's error.
LOG_CHARACTERS = 4000


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
        self._log = job.log
        self._started = time.monotonic()
        self.connection, self._process = child.launch(
            _run,
            (train, job),
            name=f"trial {job.number}",
            daemon=True,
            # What TensorFlow and others leave there, where a process ends at once, goes with it.
            environment={**environment, "TMPDIR": str(job.images)},
        )

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
        how, from_outside = child.death(self._process)
        line = f"the trial's process {how}"
        return KilledReport(line) if from_outside else EndReport(self._printed(line), 0.0)

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
    child.begin()
    child.print_to(job.log)
    end = trial.run(train, job, send=connection.send)
    if end.error is None:
        job.log.unlink(missing_ok=True)
    child.leave(connection, end)
