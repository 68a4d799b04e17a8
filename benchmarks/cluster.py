"""What a cluster costs: the same search in processes and on a node of Ray, in CPU seconds.

    python -m benchmarks.cluster --images 4500

Both train one trial of 20 epochs of the study's network, one thread each. Counted is everything:
the search's own process, the trial's, the one that speaks to Ray, and all of Ray's. What Ray takes
while it waits is measured first, and is in its search's figure too.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil

EPOCHS = 20
STORE = 300_000_000  # bytes of Ray's store
IDLE_SECONDS = 60


class Quiet:
    """A listener that hears and does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


@contextmanager
def ray_node() -> Iterator[tuple[str, psutil.Process]]:
    """A cluster of one node; its address, and the process that all of it descends from."""
    folder = tempfile.mkdtemp(prefix="ray-")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    log = Path(folder, "log")
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
                *(f"--port={port}", "--num-cpus=1", "--num-gpus=0", f"--temp-dir={folder}"),
                *(f"--object-store-memory={STORE}", "--include-dashboard=false"),
                "--disable-usage-stats",
            ],
            env={**os.environ, "RAY_AUTH_MODE": "disabled"},
            stdout=stream,
            stderr=stream,
        )
    try:
        while "Ray runtime started" not in log.read_text():
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.5)
        yield f"127.0.0.1:{port}", psutil.Process(process.pid)
    finally:
        for each in (*psutil.Process(process.pid).children(recursive=True), process):
            each.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def cpu_seconds(root: psutil.Process) -> float:
    """Processor time of a process and of all that descends from it, the dead included."""
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            total += sum(process.cpu_times()[:4])  # its own, then its dead children's
        except psutil.NoSuchProcess:
            continue
    return total


def measured(images: int, address: str | None) -> float:
    """CPU seconds of a search of one trial, of all that it starts, and of Ray's node beside it."""
    from benchmarks.processes import images as random_images
    from cifar_track import tuning
    from cifar_track.config import Choice, Cluster, load_experiment, override

    page = load_experiment("tune")
    settings: Mapping[str, Any] = {"search.trials": 1, "training.epochs": EPOCHS}
    page = override(page, {**settings, "training.deterministic": True})
    page = _searching_nothing(page, {"model.filters_1": Choice((64,))})
    data: Any = SimpleNamespace(
        train=random_images(images),
        validation=random_images(images // 9),
        classes=SimpleNamespace(fine=tuple(range(100))),
        digest="random",
    )
    cluster = None if address is None else Cluster(address=address)
    began = cpu_seconds(psutil.Process())
    with tempfile.TemporaryDirectory() as folder, tuning.connected(cluster) as connection:
        tuning.search(
            page,
            data,
            directory=Path(folder),
            workers=1,
            listener=Quiet(),
            cluster=connection,
        )
    return cpu_seconds(psutil.Process()) - began


def _searching_nothing(page: Any, space: Mapping[str, Any]) -> Any:
    from dataclasses import replace

    return replace(page, search=replace(page.search, space=space))


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=4500, help="to train on, an epoch")
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with ray_node() as (address, node):
        began = cpu_seconds(node)
        time.sleep(IDLE_SECONDS)
        idle = (cpu_seconds(node) - began) / IDLE_SECONDS
        print(f"Ray alone, CPU seconds an hour: {3600 * idle:.0f}")
        measured(64, None)  # imports TensorFlow here
        print("| processes | on Ray, all of it | of which Ray's node | wall seconds on Ray |")
        print("|---|---|---|---|")
        for _ in range(asked.rounds):
            # Ray's node descends from this process, and is in its figure.
            before = cpu_seconds(node)
            here = measured(asked.images, None)
            here -= cpu_seconds(node) - before
            before, wall = cpu_seconds(node), time.monotonic()
            there = measured(asked.images, address)
            wall = time.monotonic() - wall
            of_node = cpu_seconds(node) - before
            print(f"| {here:.1f} | {there:.1f} | {of_node:.1f} | {wall:.0f} |", flush=True)


if __name__ == "__main__":
    main()
