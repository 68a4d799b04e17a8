"""Trials on the nodes of a cluster, heard of through a process that alone speaks to Ray.

Ray ends a process that has lost its cluster, and prints what it likes; here that costs a search
neither its clean-up nor its terminal.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import multiprocessing
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from cifar_track import child
from cifar_track.config import CifarTrackError, Cluster
from cifar_track.tuning.executors import Job, PlaceReport, Report
from cifar_track.tuning.executors.trial import TrainTrial

# How long the head may take to be reached, how long the cluster to take the code and answer, and
# how long it is waited for as it is let go of.
REACH_SECONDS = 10.0
CONNECT_SECONDS = 120.0
EXIT_SECONDS = 10.0


def require_ray() -> None:
    """Raise unless the package that speaks to a cluster is installed."""
    if importlib.util.find_spec("ray") is None:
        raise CifarTrackError(
            "--cluster needs Ray, which is not installed; expected the extra `cluster`: "
            "uv sync --locked --no-dev --extra cluster"
        )


def _require_head(address: str) -> None:
    """Raise unless something listens where the head is said to; Ray itself waits for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise CifarTrackError(
            f"no cluster at {address} can be reached ({error}); expected the HOST:PORT of a "
            "running head, as `ray start --head` prints it"
        ) from error


class ClusterConnection:
    """The process that speaks to Ray, seen from the search's.

    Attributes:
        cluster: what was asked for.
        capacity: how many trials the cluster takes at the moment.
        notices: what was said of its nodes before a search listened.
    """

    def __init__(self, cluster: Cluster, *, folder: Path) -> None:
        """Connect, and have the cluster's nodes looked at.

        Raises:
            CifarTrackError: there is no such cluster, or no node of it can run a trial.
        """
        if cluster.address != "auto":
            _require_head(cluster.address)
        self.cluster = cluster
        self.capacity = 1
        self.notices: list[str] = []
        self._log = folder / "log"
        context = multiprocessing.get_context("spawn")
        self._connection, its_end = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(cluster, its_end, self._log), name="cluster", daemon=True
        )
        try:
            child.start(self._process, environment={"TF_CPP_MIN_LOG_LEVEL": "3"})
        finally:
            its_end.close()  # so that its death is the end of the pipe
        if not self._connection.poll(CONNECT_SECONDS):
            self.close()
            raise CifarTrackError(
                f"the cluster at {cluster.address} has not answered for {CONNECT_SECONDS:.0f} s; "
                "expected the address of a running head; see `ray status`"
            )

    def send(self, *message: Any) -> None:
        """Tell the process to do something."""
        with contextlib.suppress(OSError):  # its end is heard of by whoever receives
            self._connection.send(message)

    def receive(self) -> Any:
        """What it says next, waiting for it.

        Raises:
            CifarTrackError: the connection to the cluster is lost.
        """
        try:
            message = self._connection.recv()
        except (EOFError, OSError) as error:
            raise CifarTrackError(
                f"the cluster at {self.cluster.address} is lost: {self._last_line()}; trials there "
                "end, and the same command goes on once a cluster runs"
            ) from error
        if message[0] == "refused":
            raise CifarTrackError(message[1])
        return message

    def close(self) -> None:
        """Let go of the cluster, which ends whatever still runs there for this process."""
        self._connection.close()
        self._process.join(EXIT_SECONDS)
        self._process.kill()
        self._process.join()

    def _last_line(self) -> str:
        said = ""
        with contextlib.suppress(OSError):
            said = self._log.read_text(encoding="utf-8", errors="replace")
        if "Failed to connect to GCS" in said:
            return "its head does not answer"
        return child.last_line(said)


def _serve(cluster: Cluster, connection: Connection, log: Path) -> None:
    """The main function of the process that speaks to Ray."""
    child.begin()
    child.print_to(log)
    # Here alone: Ray answers SIGTERM in a way of its own as soon as it is imported.
    from cifar_track.tuning.executors.ray import driver

    driver.serve(cluster, connection, folder=log.parent)


@contextlib.contextmanager
def connected(cluster: Cluster | None) -> Iterator[ClusterConnection | None]:
    """A connection to a cluster, for as long as a search lasts; None where none is asked for.

    Raises:
        CifarTrackError: Ray is not installed, there is no such cluster, or no node of it can run a
            trial.
    """
    if cluster is None:
        yield None
        return
    require_ray()
    with tempfile.TemporaryDirectory(prefix="cifar_track-") as folder:
        connection = ClusterConnection(cluster, folder=Path(folder))
        try:
            kind, said = connection.receive()
            while kind == "notice":
                connection.notices.append(said)
                kind, said = connection.receive()
            connection.capacity = said
            yield connection
        finally:
            connection.close()


class ClusterExecutor:
    """Trials on a cluster's nodes; an `Executor`.

    Attributes:
        capacity: how many at once, as nodes come and go.
    """

    def __init__(
        self,
        connection: ClusterConnection,
        train: TrainTrial,
        *,
        at_most: int,
        threads: int,
        notice: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._train = train
        self._at_most = at_most
        self._threads = threads
        self._notice = notice
        self._names = itertools.count()
        self._attempts: dict[int, int] = {}  # of each trial that runs or waits, its newest
        self._began: dict[int, float] = {}
        for words in connection.notices:
            notice(words)

    @property
    def capacity(self) -> int:
        """How many at once at the moment."""
        return min(self._at_most, self._connection.capacity)

    def submit(self, job: Job) -> None:
        """Hand a trial to the cluster, which begins it once a node has room."""
        attempt = next(self._names)
        self._attempts[job.number], self._began[job.number] = attempt, time.monotonic()
        self._connection.send("submit", attempt, self._train, job, self._threads)

    def hear(self) -> list[tuple[int, Report]]:
        """The next report, or none where the cluster has grown or shrunk instead."""
        while True:
            kind, *said = self._connection.receive()
            if kind == "capacity":
                [self._connection.capacity] = said
                return []
            if kind == "notice":
                self._notice(*said)
                continue
            attempt, report = said
            for number, newest in self._attempts.items():
                if newest == attempt:
                    if isinstance(report, PlaceReport):
                        self._began[number] = time.monotonic()
                    return [(number, report)]

    def seconds(self, number: int) -> float:
        """Wall time since a trial began on its node."""
        began = self._began.get(number)
        return 0.0 if began is None else time.monotonic() - began

    def cancel(self, number: int) -> None:
        """End a trial, wherever it runs, and let go of it."""
        attempt = self._attempts.pop(number, None)
        if attempt is not None:
            self._connection.send("cancel", attempt)
        self._began.pop(number, None)
