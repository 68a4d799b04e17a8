"""Measures the product's speed beside the study's recipe, in turns on one machine.

    python -m benchmarks

Each figure is the median over the rounds, with the lowest and the highest in brackets; a ratio is
taken within each round. Wall seconds want a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.processes import (
    IMAGES,
    MEASUREMENTS,
    TRAINING_IMAGES,
    TRIAL_EPOCHS,
    VALIDATION_SHARE,
)
from cifar_track.tuning.resources import (
    default_workers,
    devices,
    usable_cores,
    worker_environment,
)

Result = dict[str, float]


def main() -> None:
    """Measure round after round and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=IMAGES, help="images an epoch")
    parser.add_argument("--workers", type=int, default=default_workers())
    given = parser.parse_args()
    threads = max(1, usable_cores() // given.workers)
    rounds = []
    for number in range(1, given.rounds + 1):
        print(f"round {number} of {given.rounds}", file=sys.stderr)
        rounds.append(measure_round(images=given.images, workers=given.workers, threads=threads))
    print(report(rounds, workers=given.workers, threads=threads))


def measure_round(*, images: int, workers: int, threads: int) -> dict[str, list[Result]]:
    """One measurement of each, the recipe next to what is compared with it."""

    def plain(name: str) -> list[Result]:
        return together([start(name, images=images, environment={})])

    def trials(name: str, count: int = 1) -> list[Result]:
        """Each with the threads and the device that a search gives a trial."""
        return together(
            [
                start(
                    name,
                    images=images,
                    environment=worker_environment(
                        threads=threads, device=gpus[slot % len(gpus)] if gpus else None
                    ),
                )
                for slot in range(count)
            ]
        )

    gpus = devices()
    return {
        "recipe": plain("recipe"),
        "ours": trials("ours"),
        "ours-all": trials("ours", workers),
        "ours-float32": trials("ours-float32"),
        "augmentation-recipe": trials("augmentation-recipe"),
        "augmentation-ours": trials("augmentation-ours"),
        "start-up": plain("start-up"),
        "logging": plain("logging"),
    }


def start(name: str, *, images: int, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start one measurement in a process of its own."""
    assert name in MEASUREMENTS
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks.processes", name, "--images", str(images)),
        ],
        env={
            **os.environ,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "BENCHMARK_STARTED": str(time.time()),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def together(started: Sequence[subprocess.Popen[str]]) -> list[Result]:
    """Wait for measurements that run at once."""
    outputs = [process.communicate()[0] for process in started]
    for process in started:
        if process.returncode:
            raise SystemExit(f"a measurement failed; run: {shlex.join(map(str, process.args))}")
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def report(rounds: Sequence[Mapping[str, list[Result]]], *, workers: int, threads: int) -> str:
    """The table in Markdown."""

    def figures(name: str, figure: str) -> list[float]:
        return [sum(result[figure] for result in measured[name]) for measured in rounds]

    def training_row(label: str, name: str) -> str:
        per_cpu = [
            value / len(measured[name])
            for value, measured in zip(figures(name, "images_per_cpu_second"), rounds, strict=True)
        ]
        per_wall = figures(name, "images_per_wall_second")
        cells = [spread(per_cpu, 0), spread(ratios(per_cpu, recipe_cpu), 2)]
        cells += [spread(per_wall, 0), spread(ratios(per_wall, recipe_wall), 2)]
        return " | ".join(("", label, *cells, "")).strip()

    recipe_cpu = figures("recipe", "images_per_cpu_second")
    recipe_wall = figures("recipe", "images_per_wall_second")
    validated = TRAINING_IMAGES // VALIDATION_SHARE
    trial = f"{TRIAL_EPOCHS} epochs of {TRAINING_IMAGES:,} + {validated:,} images"
    recipe_trials, trials = (
        [sum(trials_an_hour(process) for process in measured[name]) for measured in rounds]
        for name in ("recipe", "ours-all")
    )

    def trials_row(label: str, values: list[float]) -> str:
        return f"| {label} | {spread(values, 1)} | {spread(ratios(values, recipe_trials), 2)} |"

    auto = "bfloat16" if rounds[0]["ours"][0]["bfloat16"] else "float32"
    lines = [
        f"{processor()}, {usable_cores()} cores; {len(rounds)} rounds, median (lowest to highest).",
        "",
        "| training | images a CPU second | × (a) | images a wall second | × (a) |",
        "|---|---|---|---|---|",
        training_row("(a) the study's recipe", "recipe"),
        training_row(f"(b) ours, one process, {threads} thread, {auto}", "ours"),
        training_row(f"(c) ours, {workers} processes at once", "ours-all"),
        training_row("(b) in float32", "ours-float32"),
        "",
        f"| {trial} | trials an hour | × (a) |",
        "|---|---|---|",
        trials_row("(a) one after the other in one process", recipe_trials),
        trials_row(f"(c) {workers} at once, a process each", trials),
        "",
        "| augmentation alone | images a CPU second | × (a) |",
        "|---|---|---|",
    ]
    base = figures("augmentation-recipe", "images_per_cpu_second")
    for label, name in (
        ("(a) `ImageDataGenerator`", "augmentation-recipe"),
        ("ours, reading and shuffling included", "augmentation-ours"),
    ):
        values = figures(name, "images_per_cpu_second")
        lines.append(f"| {label} | {spread(values, 0)} | {spread(ratios(values, base), 2)} |")
    epochs_seconds = [
        TRIAL_EPOCHS * TRAINING_IMAGES / rate for rate in figures("ours", "images_per_wall_second")
    ]
    logged = figures("logging", "seconds")
    share = [100 * log / fit for log, fit in zip(logged, epochs_seconds, strict=True)]
    steps = rounds[0]["start-up"][0]["steps"]
    starts, cpu = figures("start-up", "seconds"), figures("start-up", "cpu_seconds")
    slowest = [1000 * seconds for seconds in figures("logging", "seconds_of_log_epoch")]
    lines += [
        "",
        "| what else a run takes | |",
        "|---|---|",
        f"| start to the end of the first {steps:.0f} steps, wall seconds | {spread(starts, 1)} |",
        f"| the same, CPU seconds | {spread(cpu, 1)} |",
        f"| logging all of a run of {TRIAL_EPOCHS} epochs, wall seconds | {spread(logged, 1)} |",
        f"| the same, % of (b)'s {TRIAL_EPOCHS} epochs | {spread(share, 2)} |",
        f"| the slowest `log_epoch` of {TRIAL_EPOCHS}, milliseconds | {spread(slowest, 2)} |",
    ]
    return "\n".join(lines)


def trials_an_hour(process: Result) -> float:
    """Whole trials, from the rates that a process measured and the time it took to start."""
    epoch = TRAINING_IMAGES / process["images_per_wall_second"]
    epoch += TRAINING_IMAGES / VALIDATION_SHARE / process["validated_per_wall_second"]
    return 3600 / (process["start_seconds"] + TRIAL_EPOCHS * epoch)


def ratios(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Each round's figure over that round's base."""
    return [value / against for value, against in zip(values, base, strict=True)]


def spread(values: Sequence[float], digits: int) -> str:
    """Median, lowest and highest."""
    median = statistics.median(values)
    return f"{median:,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
