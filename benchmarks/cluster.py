"""Measures what Ray costs: the same small search in processes and on a node of Ray, side by side.

    python -m benchmarks.cluster --rounds 3

Each room is a process of its own, whose CPU seconds are counted with those of all that it starts.
A trial is 20 epochs of a few steps of the study's network, so that it has the start, the reports,
the checkpoints and the images of a whole one, and not its training, which is the same in both
rooms. What Ray takes while a trial does nothing but train is measured apart, by the second.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import numpy as np
import psutil

from benchmarks.__main__ import start, together
from benchmarks.processes import IMAGES, TRAINING_IMAGES, TRIAL_EPOCHS
from benchmarks.rooms import SHORT_IMAGES, WAIT_SECONDS, search_in
from cifar_track.tuning.resources import usable_cores, worker_environment

ROOMS = ("processes", "ray")
HEAD = """\
| | CPU s until trials can begin | CPU s of the trials | wall s |
|---|---|---|---|"""


def main() -> None:
    """Measure round after round, and print what Ray takes of a whole trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=2, help="of a search")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="trials at once")
    parser.add_argument("--room", choices=ROOMS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.room:
        search_in(given.room, trials=given.trials, workers=given.workers)
        return
    cores = usable_cores()
    print(
        f"{given.trials} trials of {TRIAL_EPOCHS} epochs of {SHORT_IMAGES} images, "
        f"{given.workers} at once; Ray watching over {cores} on {cores} cores"
    )
    print(HEAD)
    once, each, by_the_second = [], [], []
    for _ in range(given.rounds):
        here, there = (measure(room, given.trials, given.workers) for room in ROOMS)
        for room in (here, there):
            print(room.row(), flush=True)
        once.append(there.once - here.once)
        more = there.cpu_seconds - here.cpu_seconds - once[-1]
        more -= there.by_the_second * there.trials_seconds  # long where a machine is busy
        each.append(more / given.trials)
        by_the_second.append(there.by_the_second / cores)
    alone = worker_environment(threads=1, device=None)
    [speed] = together([start("ours", images=IMAGES // 2, environment=alone)])
    whole = TRIAL_EPOCHS * TRAINING_IMAGES / speed["images_per_cpu_second"]
    print(f"\nCPU seconds that Ray takes more, median of {given.rounds} (lowest to highest):")
    print(f"- a search: {spread(once)}")
    print(f"- a trial: {spread(each)}")
    print(f"- a second that a trial trains: {spread(by_the_second)}")
    print(f"\nA trial of {TRIAL_EPOCHS} epochs of {TRAINING_IMAGES:,} images: {whole:.0f} CPU s.")
    for trials in (1, 5):
        share = statistics.median(once) / trials + statistics.median(each)
        share = share / whole + statistics.median(by_the_second)
        print(f"Ray's share of a search of {trials}: {100 * share:.1f} %")


def spread(values: list[float]) -> str:
    """The median, the lowest and the highest."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a search took in one of the two.

    Attributes:
        name: which.
        once: CPU seconds until trials could begin, Ray's start included.
        cpu_seconds: of the search and of all that it started.
        seconds: wall time.
        trials_seconds: that since trials could begin.
        by_the_second: CPU seconds a second of everything, while as many trials as there are cores
            slept.
    """

    name: str
    once: float
    cpu_seconds: float
    seconds: float
    trials_seconds: float
    by_the_second: float

    def row(self) -> str:
        """Of the table."""
        return (
            f"| {self.name} | {self.once:.1f} | {self.cpu_seconds - self.once:.1f} "
            f"| {self.seconds:.0f} |"
        )


def measure(room: str, trials: int, workers: int) -> Room:
    """A search in a process of its own, from its start to its end, and then trials that sleep."""
    began = time.monotonic()
    command = [
        *(sys.executable, "-m", "benchmarks.cluster", "--room", room),
        *("--trials", str(trials), "--workers", str(workers)),
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    meter = Meter(psutil.Process(process.pid))
    said, _ = process.communicate()
    meter.stop()
    if process.returncode:
        raise SystemExit(f"the search in {room} failed")
    at: dict[str, float] = {}
    for line in said.splitlines():
        name, moment = line.split()
        at.setdefault(name, float(moment))  # of the search of short trials
    by_the_second = 0.0
    if "sleep" in at:
        # All trials have begun to by the first moment, and none has woken by the last.
        first, last = at["sleep"] + WAIT_SECONDS / 4, at["sleep"] + WAIT_SECONDS
        by_the_second = (meter.at(last) - meter.at(first)) / (last - first)
    return Room(
        name=room,
        once=meter.at(at["joined"]),
        cpu_seconds=meter.at(at["searched"]),
        seconds=at["searched"] - began,
        trials_seconds=at["searched"] - at["joined"],
        by_the_second=by_the_second,
    )


class Meter(threading.Thread):
    """Processor seconds of a process and of all that descends from it, those that died included."""

    def __init__(self, root: psutil.Process) -> None:
        super().__init__(daemon=True)
        self._root = root
        self._seconds: dict[psutil.Process, float] = {}
        self._course = [(time.monotonic(), 0.0)]
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        """Look several times a second: what a process takes after the last look is lost."""
        while not self._over.wait(0.2):
            for process in {*self._seconds, *self._found()}:
                try:
                    times = process.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                self._seconds[process] = times.user + times.system
            self._course.append((time.monotonic(), sum(self._seconds.values())))

    def _found(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def at(self, moment: float) -> float:
        """All of them together until a moment."""
        return float(np.interp(moment, *zip(*self._course, strict=True)))

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()


if __name__ == "__main__":
    main()
