"""A search in processes and on a node of Ray: of short trials, and of trials that sleep."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil

from benchmarks.processes import TRAINING_IMAGES, TRIAL_EPOCHS, VALIDATION_SHARE, images
from benchmarks.servers import free_port
from cifar_track.tuning.executors import EpochListener, Job
from cifar_track.tuning.executors.trial import TrainTrial
from cifar_track.tuning.resources import usable_cores

SHORT_IMAGES = 640  # ten steps
STORE = 600_000_000  # bytes of Ray's own store; it holds the images once
WAIT_SECONDS = 40.0


class Quiet:
    """A listener that hears and does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class Sleeping(Quiet):
    """Says when the last of the trials that sleep has begun."""

    def __init__(self, trials: int) -> None:
        self._missing = trials

    def trial_epoch(self, *_: object) -> None:
        """A trial's first epoch is over at once, the second is the long one."""
        self._missing -= 1
        if not self._missing:
            say("sleep")


def say(moment: str) -> None:
    """Tell the process that measures what is so now."""
    print(moment, time.monotonic(), flush=True)


def search_in(room: str, *, trials: int, workers: int) -> None:
    """A search of short trials, and on Ray, after it, one of trials that sleep."""
    if room == "processes":
        search(None, trials=trials, workers=workers, train=short_trial, listener=Quiet())
        return
    with ray_node() as address:
        say("up")
        search(address, trials=trials, workers=workers, train=short_trial, listener=Quiet())
        cores = usable_cores()
        sleeping = Sleeping(cores)
        search(address, trials=cores, workers=cores, train=sleeping_trial, listener=sleeping)


def search(
    address: str | None, *, trials: int, workers: int, train: TrainTrial, listener: Any
) -> None:
    """A search of the study's network, in processes or on the cluster at an address."""
    from cifar_track import tuning
    from cifar_track.config import Choice, Cluster, load_experiment, override

    page = load_experiment("tune")
    assert page.search is not None
    # Networks of one size.
    rates = tuple(number / 100 for number in range(50))
    settings = replace(page.search, trials=trials, space={"model.dropout_1": Choice(rates)})
    page = override(
        replace(page, search=settings),
        # So that a trial has one thread in either room.
        {"training.epochs": TRIAL_EPOCHS, "training.deterministic": True},
    )
    data: Any = SimpleNamespace(
        train=images(TRAINING_IMAGES),
        validation=images(TRAINING_IMAGES // VALIDATION_SHARE),
        classes=SimpleNamespace(fine=range(100)),
        digest="random",
    )
    cluster = None if address is None else Cluster(address=address)
    with tempfile.TemporaryDirectory() as folder, tuning.connected(cluster) as connection:
        say("joined")
        tuning.search(
            page,
            data,
            directory=Path(folder),
            workers=workers,
            listener=listener,
            train=train,
            cluster=connection,
        )
        say("searched")


def short_trial(job: Job, on_epoch: EpochListener) -> None:
    """A trial as any, whose epochs are of few of the images that it has been given."""
    from cifar_track import training
    from cifar_track.data import Images

    first, held_out = job.open_images("train"), job.open_images("validation")
    training.fit(
        job.experiment,
        Images(first.images[:SHORT_IMAGES], first.labels[:SHORT_IMAGES]),
        Images(held_out.images[:64], held_out.labels[:64]),
        classes=job.classes,
        on_epoch=on_epoch,
        checkpoint=job.checkpoint,
    )


def sleeping_trial(_: Job, on_epoch: EpochListener) -> None:
    """Nothing of its own that takes any time: what is left is what watches over it."""
    nothing = {"train_loss": 1.0, "train_accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5}
    on_epoch(1, nothing)
    time.sleep(1.25 * WAIT_SECONDS)
    on_epoch(2, nothing)


@contextmanager
def ray_node() -> Iterator[str]:
    """A cluster of one node with this machine's cores; its address."""
    folder, port = tempfile.mkdtemp(prefix="ray-"), free_port()
    log = Path(folder, "log")
    repository = str(Path(__file__).resolve().parent.parent)
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
                *(f"--port={port}", f"--num-cpus={usable_cores()}", "--num-gpus=0"),
                *(f"--temp-dir={folder}", f"--object-store-memory={STORE}"),
                *("--include-dashboard=false", "--include-log-monitor=false"),
                "--disable-usage-stats",
            ],
            env={
                **os.environ,
                "PYTHONPATH": repository,  # where the trials are found by name
                "RAY_worker_niceness": "0",  # as in processes; Ray's own is 15
            },
            stdout=stream,
            stderr=stream,
        )
    try:
        while "Ray runtime started" not in log.read_text():
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        for each in (*psutil.Process(process.pid).children(recursive=True), process):
            each.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
