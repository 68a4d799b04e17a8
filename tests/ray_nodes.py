"""Real nodes of a Ray cluster, each on a host that was made for it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import psutil
from conftest import free_port, wait_for
from hosts import Network

TESTS = Path(__file__).resolve().parent
# Else a token in the home folder makes one head ask for it and another not.
os.environ["RAY_AUTH_MODE"] = "disabled"
STORE = 80 * 2**20  # bytes; Ray's least is 75 MiB


class RayNode:
    """A node as `ray start` makes it, with all of its processes."""

    def __init__(self, *options: str, folder: Path, network: Network, host: int) -> None:
        self.host, self.address = host, network.address(host)
        environment = {
            **os.environ,
            "PYTHONPATH": str(TESTS),  # what stands in for training; the package is shipped
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # else trials starve on a machine at work
            "TRAINED": str(folder / "trained"),
        }
        self._log = (folder / f"node_{host}.log").open("wb")
        self._process = subprocess.Popen(
            [
                *network.on(host),
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
                *("--num-cpus", "1", "--num-gpus", "0", f"--object-store-memory={STORE}"),
                "--include-log-monitor=false",
                f"--node-ip-address={self.address}",
                *options,
            ],
            cwd=folder,
            env=environment,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def processes(self) -> list[psutil.Process]:
        """All that it consists of, its trials too."""
        try:
            own = psutil.Process(self._process.pid)
            return [own, *own.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def is_settled(self) -> bool:
        """Whether it is up, or has given up."""
        return self.is_up() or self._process.poll() is not None

    def is_up(self) -> bool:
        """Whether it has said that it is."""
        return "Ray runtime started" in Path(self._log.name).read_text()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of it."""
        for process in self.processes():
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue

    def kill(self) -> None:
        """End all of it at once, as a power cut does."""
        found = self.processes()
        for process in found:  # those that are started meanwhile have lost their parent
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._process.wait()
        self._log.close()


class RayCluster:
    """A head and further nodes; ended with all of their processes and files."""

    def __init__(self) -> None:
        # Not below pytest's own: the paths of Ray's sockets are as long as they may be.
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))
        self.network = Network()
        self.port = free_port()
        self.nodes: list[RayNode] = []
        self.head = self._add(
            0, "--head", f"--port={self.port}", "--include-dashboard=false",
            "--disable-usage-stats", f"--temp-dir={self.folder}",
        )  # fmt: skip

    @property
    def address(self) -> str:
        """What a search is told."""
        return f"{self.head.address}:{self.port}"

    def trained(self) -> list[tuple[int, int, int, float]]:
        """What trials said that they trained: trial, epoch, process, moment."""
        lines = (self.folder / "trained").read_text().split("\n")[:-1]
        rows = (line.split() for line in lines)
        return [(int(trial), int(epoch), int(pid), float(at)) for trial, epoch, pid, at in rows]

    def furthest(self, trials: Iterable[int]) -> list[int]:
        """The last epoch that each of some trials was trained for; 0 if none."""
        rows = self.trained()
        return [max((epoch for n, epoch, *_ in rows if n == trial), default=0) for trial in trials]

    def others(self) -> list[RayNode]:
        """The nodes that run, without the head."""
        return [node for node in self.nodes if node is not self.head and node.processes()]

    def add(self, *options: str) -> RayNode:
        """Start one more node, and wait for it."""
        return self._add(
            len(self.nodes), f"--address={self.address}", "--disable-usage-stats", *options
        )

    def _add(self, host: int, *options: str) -> RayNode:
        for _ in range(4):  # on a machine at work, Ray's 30 s for a start may not do
            node = RayNode(*options, folder=self.folder, network=self.network, host=host)
            self.nodes.append(node)
            wait_for(node.is_settled, what=f"{node.address}: no node", seconds=180)
            if node.is_up():
                return node
            node.kill()
        raise AssertionError(f"no node starts; see {self.folder}")

    def close(self) -> None:
        """End everything."""
        for node in reversed(self.nodes):
            node.kill()
        self.network.close()
        shutil.rmtree(self.folder, ignore_errors=True)
