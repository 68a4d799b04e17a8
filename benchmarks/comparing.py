"""Measures `compare` of six runs among many, each with its evaluation of 10,000 images, and `runs`.

    python -m benchmarks.comparing --runs 5000

Makes a store of its own in a temporary folder. CPU seconds are those of the whole command; beside
them stand those of `import mlflow` alone, which both have to do.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cifar_track.evaluation import Evaluation

COMPARED = 6
# Of each of the others, about as many as a run has.
METRICS, PARAMETERS = 20, 47
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
            "XDG_STATE_HOME": folder,
        }
        os.environ.update(environment)
        os.chdir(folder)
        # Elsewhere, because a command's memory is counted from what this process holds.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            compared = pool.submit(fill, given.runs).result()
        python, verb = sys.executable, [sys.executable, "-m", "cifar_track"]
        commands = {
            "import mlflow": [python, "-c", "import mlflow"],
            "runs": [*verb, "runs", "--dataset", "procedural"],
            "compare": [*verb, "compare", "--runs", ",".join(compared), "--output", "out"],
        }
        environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
        for number in range(1, given.rounds + 1):
            for name, command in commands.items():
                print(f"round {number}, {name}: {measured(command, environment)}", flush=True)
        print(f"page: {Path('out', 'comparison.html').stat().st_size / 1e6:.2f} MB")


def measured(command: list[str], environment: dict[str, str]) -> str:
    """What a command takes, in words."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed")
    cpu = used.ru_utime + used.ru_stime
    return f"{cpu:.2f} CPU seconds, {wall:.1f} wall seconds, {used.ru_maxrss / 1024:.0f} MiB"


def fill(runs: int) -> list[str]:
    """Log that many finished runs, the last six with an evaluation; returns the ids of those."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    from cifar_track import tracking
    from cifar_track.tracking import store, tag

    tracking.open_store()
    experiment_id = store.ensure_experiment_id("procedural")
    client = MlflowClient()
    for number in range(runs - COMPARED):
        tags = {tag.KIND: "iteration", tag.ITERATION: f"page{number % COMPARED}"}
        run = client.create_run(experiment_id, run_name=f"run {number}", tags=tags)
        client.log_batch(
            run.info.run_id,
            metrics=[
                Metric(f"figure_{n}", number / runs, 1_700_000_000_000, 0) for n in range(METRICS)
            ],
            params=[Param(f"setting.{n}", str(number)) for n in range(PARAMETERS)],
        )
        client.set_terminated(run.info.run_id)
    compared: list[str] = []
    for number in range(COMPARED):
        with tracking.start_run(
            dataset_name="procedural",
            name=f"compared {number}",
            tags={tag.ITERATION: f"page{number}", tag.TEST_DIGEST: "the same"},
        ) as run:
            run.log_parameters({"data.dataset": "procedural", "training.seed": number})
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
