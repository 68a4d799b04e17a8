"""What runs on a node: a trial in a process of its own, its reports handed out as they come."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import ray

from cifar_track.environment import settle
from cifar_track.tuning import resources
from cifar_track.tuning.executors import EndReport, EpochReport, Job, PlaceReport, Report, trial
from cifar_track.tuning.executors.trial import TrainTrial

if TYPE_CHECKING:
    from cifar_track.data import Images

# A trial says so often that it is there.
HEARTBEAT_SECONDS = 5.0
FOLDER = "cifar_track-trial-"


@dataclass(frozen=True, kw_only=True)
class _JobOnNode(Job):
    """A job as its process on a node has it: files in a folder there, images in Ray's store."""

    arrays: Mapping[str, np.ndarray]

    def open_images(self, part: str) -> Images:
        from cifar_track.data import Images

        return Images(self.arrays[f"{part}_images"], self.arrays[f"{part}_labels"])


def run_trial(
    train: TrainTrial,
    job: Job,
    images: Mapping[str, np.ndarray],
    files: Mapping[str, bytes],
    *,
    threads: int,
    gpus: int,
) -> Iterator[tuple[Report | None, dict[str, bytes]]]:
    """Train a trial in this process, which Ray has made for it alone.

    Yields:
        A report and the files that come with it; nothing and none where it is only alive.
    """
    settle()
    # Of its GPUs Ray has said already; without one, TensorFlow is to see none.
    device = None if gpus else "-1"
    os.environ.update(resources.worker_environment(threads=threads, device=device))
    node = ray.get_runtime_context().get_node_id()
    having = f"{threads} thread{'' if threads == 1 else 's'}"
    having += f", {gpus} GPU{'' if gpus == 1 else 's'}" if gpus else ""
    yield PlaceReport(node, having), {}
    with _folder() as folder:
        local = _on_node(job, images, files, folder)
        reports: queue.SimpleQueue[tuple[Report, dict[str, bytes]]] = queue.SimpleQueue()
        threading.Thread(target=_train, args=(train, local, reports), daemon=True).start()
        while True:
            try:
                report, made = reports.get(timeout=HEARTBEAT_SECONDS)
            except queue.Empty:
                yield None, {}
                continue
            yield report, made
            if isinstance(report, EndReport):
                return


def _on_node(
    job: Job, images: Mapping[str, np.ndarray], files: Mapping[str, bytes], folder: Path
) -> _JobOnNode:
    settings = {setting.name: getattr(job, setting.name) for setting in fields(job)}
    weights = folder / "initial.weights.h5" if "initial_weights" in files else None
    settings |= {"folder": folder, "initial_weights": weights, "arrays": images}
    if job.final_weights is not None:
        settings["final_weights"] = folder / job.final_weights.name
    local = _JobOnNode(**settings)
    if "checkpoint" in files:
        local.checkpoint.write_bytes(files["checkpoint"])
    if weights is not None:
        weights.write_bytes(files["initial_weights"])
    return local


def _train(
    train: TrainTrial, job: Job, reports: queue.SimpleQueue[tuple[Report, dict[str, bytes]]]
) -> None:
    sent = _changed(job.checkpoint)
    psutil.cpu_percent()  # from now on

    def send(report: EpochReport) -> None:
        nonlocal sent
        files = {}
        # The epochs that a trial need not repeat are told at once, with one checkpoint.
        if _changed(job.checkpoint) != sent:
            sent, files["checkpoint"] = _changed(job.checkpoint), job.checkpoint.read_bytes()
        reports.put((replace(report, machine=_machine()), files))

    end = trial.run(train, job, send=send)
    files = {}
    if end.error is None and job.final_weights is not None and job.final_weights.is_file():
        files["weights"] = job.final_weights.read_bytes()
    reports.put((end, files))


def _machine() -> dict[str, float]:
    """How busy the node is, as MLflow measures and names it."""
    memory = psutil.virtual_memory()
    return {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": round(memory.used / 1e6, 1),
        "system/system_memory_usage_percentage": round(100 * memory.used / memory.total, 1),
    }


def _changed(file: Path) -> tuple[int, int] | None:
    return (file.stat().st_ino, file.stat().st_mtime_ns) if file.exists() else None


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """An empty folder of this process; those of processes that were killed are removed first."""
    for left in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        process = left.name.removeprefix(FOLDER).partition("-")[0]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{FOLDER}{os.getpid()}-") as folder:
        yield Path(folder)
