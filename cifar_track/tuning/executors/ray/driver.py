"""The process between a search and its cluster: hands trials to Ray, and reports from it."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import ray

import cifar_track
from cifar_track.config import Cluster
from cifar_track.tuning.executors import EndReport, Job, KilledReport, PlaceReport, Report
from cifar_track.tuning.executors.ray.nodes import SILENCE_SECONDS, Nodes
from cifar_track.tuning.executors.ray.task import run_trial
from cifar_track.tuning.executors.trial import TrainTrial

# How often nodes are counted, and how long a report waits at most for a command to be read.
LOOK_SECONDS = 1.0
LISTEN_SECONDS = 0.25


def serve(cluster: Cluster, connection: Connection, *, folder: Path) -> None:
    """Join the cluster and serve a search until it lets go; `folder` is this process's own."""
    try:
        # Ray has the nodes look for modules in this process's folder first, under the same path;
        # of a checkout, they would take one that lies there for the one that is sent.
        with contextlib.chdir(folder):
            ray.init(
                address=cluster.address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                # The working copy itself: what is committed and what is not.
                runtime_env={
                    "py_modules": [str(Path(cifar_track.__file__).parent)],
                    "excludes": ["**/__pycache__"],
                },
            )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())
        line = (
            f"no cluster at {cluster.address} can be joined: {reason}; expected `auto` or the "
            "HOST:PORT of a head, on a machine that `ray start` has made one of its nodes, and its "
            "RAY_AUTH_MODE and RAY_AUTH_TOKEN where it has these"
        )
        connection.send(("refused", line))
        return
    with contextlib.suppress(EOFError, ConnectionError):  # the search is over
        Driver(cluster, connection).run()
    ray.shutdown()


@dataclass
class _Attempt:
    """A trial that was handed to Ray, or waits for a node that it can be handed to."""

    train: TrainTrial
    job: Job
    threads: int
    stream: Any = None  # what Ray hands its reports out of, one reference after another
    awaited: Any = None  # the stream, or the reference that is on its way
    offered: frozenset[str] = frozenset()  # the nodes that it may run on
    node: str = ""
    silent: float = 0.0


class Driver:
    """Hands trials to Ray, and reports from it, until the search lets go."""

    def __init__(self, cluster: Cluster, connection: Connection) -> None:
        self._cluster = cluster
        self._connection = connection
        self._nodes = Nodes(cluster)
        self._attempts: dict[int, _Attempt] = {}
        self._images: Any = None
        self._capacity = 0
        self._has_nodes = False
        self._task = ray.remote(
            max_calls=1, max_retries=0, num_cpus=cluster.cpus, num_gpus=cluster.gpus
        )(run_trial)

    def run(self) -> None:
        """Serve the search.

        Raises:
            EOFError, ConnectionError: the search is over.
        """
        if not self._look_first():
            return
        looked = time.monotonic()
        while True:
            while self._connection.poll():
                self._obey(*self._connection.recv())
            if time.monotonic() - looked > LOOK_SECONDS:
                looked = time.monotonic()
                self._look()
            self._hand_out()
            self._listen()

    def _look_first(self) -> bool:
        """Wait for a node that can run trials; whether there is one."""
        deadline = time.monotonic() + SILENCE_SECONDS
        while self._nodes.look() and time.monotonic() < deadline:
            time.sleep(LISTEN_SECONDS)
        if self._nodes.good:
            self._look()
            return True
        self._connection.send(("refused", self._nodes.refusal()))
        return False

    def _look(self) -> None:
        self._nodes.look()
        for notice in self._nodes.notices():
            self._connection.send(("notice", notice))
        if self._has_nodes and not self._nodes.good:
            self._connection.send(("notice", "no node is left that runs trials; waiting for one"))
        self._has_nodes = bool(self._nodes.good)
        placed = sum(bool(attempt.node) for attempt in self._attempts.values())
        # One may wait for room at any time, and begins as soon as there is some.
        capacity = max(1, min(self._nodes.slots(), placed + self._nodes.free_slots()))
        if capacity != self._capacity:
            self._capacity = capacity
            self._connection.send(("capacity", capacity))

    def _obey(self, command: str, name: int, *said: Any) -> None:
        if command == "submit":
            self._attempts[name] = _Attempt(*said)
        else:
            attempt = self._attempts.pop(name, None)
            if attempt is not None and attempt.stream is not None:
                ray.cancel(attempt.stream, force=True)

    def _hand_out(self) -> None:
        """Hand the trials that wait to Ray, which chooses among the nodes that may run them."""
        if not self._nodes.good:
            return
        for attempt in self._attempts.values():
            if attempt.stream is not None:
                if attempt.node or self._nodes.good <= attempt.offered:
                    continue
                # It waits for room on the nodes of its hand-out, and there are others since.
                ray.cancel(attempt.stream, force=True)
            attempt.offered = frozenset(self._nodes.good)
            job = attempt.job
            if self._images is None:
                self._images = ray.put(_read_images(job.images))
            attempt.stream = attempt.awaited = self._task.options(
                name=f"trial {job.number}",
                label_selector={"ray.io/node-id": f"in({','.join(sorted(attempt.offered))})"},
            ).remote(
                attempt.train,
                job,
                self._images,
                _contents(job),
                threads=attempt.threads,
                gpus=self._cluster.gpus,
            )

    def _listen(self) -> None:
        """Wait a moment for reports, and give up trials that have been silent for too long."""
        began = time.monotonic()
        awaited = {a.awaited: name for name, a in self._attempts.items() if a.awaited is not None}
        if not awaited:
            self._connection.poll(LISTEN_SECONDS)
            return
        ready, _ = ray.wait(list(awaited), num_returns=1, timeout=LISTEN_SECONDS)
        # Not more than was asked for: while this machine sleeps, nobody is heard.
        waited = min(time.monotonic() - began, 4 * LISTEN_SECONDS)
        for attempt in self._attempts.values():
            attempt.silent += waited if attempt.node else 0.0
        for reference in ready:
            self._take(awaited[reference])
        for name, attempt in list(self._attempts.items()):
            if attempt.silent > SILENCE_SECONDS:
                self._nodes.look_again(attempt.node)
                node = self._nodes.named(attempt.node)
                reason = f"{node} has been silent for {SILENCE_SECONDS:.0f} s"
                self._end(name, KilledReport(reason))
                ray.cancel(attempt.stream, force=True)

    def _take(self, name: int) -> None:
        """Take what has arrived of a trial: first a reference, then what it refers to."""
        attempt = self._attempts[name]
        attempt.silent = 0.0
        try:
            if attempt.awaited is attempt.stream:
                attempt.awaited = next(attempt.stream)
                return
            report, files = ray.get(attempt.awaited)
            attempt.awaited = attempt.stream
        except StopIteration:
            self._end(name, KilledReport("its task ended before it did"))
        except ray.exceptions.TaskUnschedulableError:  # its nodes are gone, and it has not begun
            attempt.stream = attempt.awaited = None
        except ray.exceptions.RayTaskError as error:  # a fault of this program
            self._end(name, EndReport(str(error), 0.0))
        except ray.exceptions.RayError as error:
            self._end(name, KilledReport(_reason(error, self._nodes.named(attempt.node))))
        else:
            self._keep(attempt.job, files)
            if isinstance(report, PlaceReport):
                attempt.node = report.node
                report = PlaceReport(self._nodes.named(report.node), report.resources)
            if isinstance(report, EndReport):
                self._end(name, report)
            elif report is not None:
                self._connection.send(("report", name, report))

    def _end(self, name: int, report: Report) -> None:
        del self._attempts[name]
        self._connection.send(("report", name, report))

    def _keep(self, job: Job, files: Mapping[str, bytes]) -> None:
        """Put a trial's files where the search keeps them, each whole or not at all."""
        for kind, content in files.items():
            file = job.checkpoint if kind == "checkpoint" else job.final_weights
            assert file is not None
            partial = file.with_name(f"partial_{file.name}")
            with partial.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, file)


def _reason(error: ray.exceptions.RayError, node: str) -> str:
    match error:
        case ray.exceptions.NodeDiedError():
            return f"{node} is gone"
        case ray.exceptions.WorkerCrashedError():
            return f"the trial's process on {node} was killed, or crashed"
        case ray.exceptions.OutOfMemoryError():
            return f"{node} ran out of memory, and Ray ended the trial's process"
        case _:
            return " ".join(str(error).split())


def _read_images(folder: Path) -> dict[str, np.ndarray]:
    # As arrays: a mapped one is not put into the store apart, and every trial would have a copy.
    files = sorted(folder.glob("*.npy"))
    return {file.stem: np.asarray(np.load(file, mmap_mode="r")) for file in files}


def _contents(job: Job) -> dict[str, bytes]:
    """The files that a trial begins with."""
    files = {"checkpoint": job.checkpoint, "initial_weights": job.initial_weights}
    return {
        kind: file.read_bytes()
        for kind, file in files.items()
        if file is not None and file.is_file()
    }
