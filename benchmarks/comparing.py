"""Measures `compare` of six runs among many, each with its evaluation of 10,000 images.

    python -m benchmarks.comparing --runs 5000

Makes a store of its own in a temporary folder. CPU seconds are those of the whole command.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cifar_track.evaluation import Evaluation

COMPARED = 6
IMAGES_A_CLASS = 100
CLASSES = 100


def main() -> None:
    """Fill a store, compare, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5000, help="finished runs in the store")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
            "XDG_CACHE_HOME": folder,
        }
        os.environ.update(environment)
        os.chdir(folder)
        compared = fill(given.runs)
        root = str(Path(__file__).resolve().parents[1])
        command = [sys.executable, "-m", "cifar_track", "compare", "--runs", ",".join(compared),
                   "--output", "out"]  # fmt: skip
        for number in range(1, given.rounds + 1):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            started = time.perf_counter()
            subprocess.run(
                command, check=True, env={**environment, "PYTHONPATH": root}, capture_output=True
            )
            wall = time.perf_counter() - started
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            size = Path("out", "comparison.html").stat().st_size / 1e6
            print(
                f"round {number}: {cpu:.1f} CPU seconds, {wall:.1f} wall seconds, "
                f"{after.ru_maxrss / 1024:.0f} MiB, {size:.2f} MB"
            )


def fill(runs: int) -> list[str]:
    """Log that many finished runs, the last six with an evaluation; returns the ids of those."""
    from cifar_track import tracking
    from cifar_track.tracking import tag

    tracking.open_store()
    compared: list[str] = []
    for number in range(runs):
        with_evaluation = number >= runs - COMPARED
        with tracking.start_run(
            dataset_name="procedural",
            name=f"run {number}",
            tags={tag.ITERATION: f"page{number % COMPARED}", tag.TEST_DIGEST: "the same"},
        ) as run:
            run.log_parameters({"data.dataset": "procedural", "training.seed": number})
            if with_evaluation:
                evaluation = evaluation_of(number)
                run.log_metrics(evaluation.metrics())
                run.log_evaluation(evaluation)
                for epoch in range(1, 21):
                    run.log_epoch(epoch, {"val_accuracy": epoch / 50, "val_loss": 4 - epoch / 10})
                compared.append(run.id)
    return compared


def evaluation_of(seed: int) -> Evaluation:
    """An evaluation of 10,000 images drawn from a seed, with an accuracy near 0.4."""
    from cifar_track.evaluation import evaluate

    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), IMAGES_A_CLASS)
    scores = random.gumbel(size=(labels.size, CLASSES))
    scores[np.arange(labels.size), labels] += 4
    logarithms = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return evaluate(
        np.exp(logarithms),
        labels,
        log_probabilities=logarithms,
        class_names=tuple(f"class_{n}" for n in range(CLASSES)),
        superclass_names=tuple(f"superclass_{n}" for n in range(20)),
        superclass_of=tuple(n % 20 for n in range(CLASSES)),
    )


if __name__ == "__main__":
    main()
