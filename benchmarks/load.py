"""Measures one MLflow server under many searches at once, whose training is a second's sleep.

    python -m benchmarks.load --searches 5 10 20 --backend postgresql+psycopg2://me@localhost/load

Starts the server itself, with two workers, on an empty database. A search is a process with a
parent run and its trials one after the other, each epoch logged as training logs it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.servers import free_port, wait_until_it_answers

EPOCH_SECONDS = 1.0
HEAD = """\
| searches | epochs logged | in the store | trials | `log_epoch`, 95 % below | at their end, \
longer than an epoch | longest | epochs a second |
|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Run the searches, count what the server has of them, and print a row for each number."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searches", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--backend", help="the server's database; a file of its own unless given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, server(given.backend, Path(folder)) as address:
        os.environ["MLFLOW_TRACKING_URI"] = address
        os.environ["XDG_STATE_HOME"] = folder
        print(HEAD)
        for searches in given.searches:
            print(row(searches, given.trials, given.epochs))


def row(searches: int, trials: int, epochs: int) -> str:
    """So many searches at once, and what is there of them afterwards."""
    context = multiprocessing.get_context("spawn")
    answers, barrier = context.Queue(), context.Barrier(searches)
    processes = [
        context.Process(target=one_search, args=(trials, epochs, barrier, answers))
        for _ in range(searches)
    ]
    for process in processes:
        process.start()
    found = [answers.get() for _ in processes]
    ended = time.time()
    for process in processes:
        process.join()
    run_ids, began, calls, waits = zip(*found, strict=True)
    stored, statuses = count(run_ids)
    slow = f"{1000 * np.quantile(np.concatenate(calls), 0.95):.2f} ms"
    rate = stored / (ended - min(began))
    late = sum(wait > EPOCH_SECONDS for wait in waits)
    return (
        f"| {searches} | {searches * trials * epochs} | {stored} | {dict(statuses)} | {slow} "
        f"| {late} | {max(waits):.1f} s | {rate:.1f} |"
    )


def one_search(trials: int, epochs: int, barrier: object, answers: object) -> None:
    """A parent run and its trials; tells its id, when it began, the seconds of calls and end."""
    from cifar_track import tracking

    tracking.open_store()
    barrier.wait()  # type: ignore[attr-defined]
    began, calls = time.time(), []
    with tracking.start_run(dataset_name="procedural", name="search", kind="study") as run:
        for number in range(trials):
            child = run.child(number, {"optimizer.learning_rate": 0.1 / (number + 1)})
            for epoch in range(1, epochs + 1):
                time.sleep(EPOCH_SECONDS)
                figures = {"train_loss": 4 / epoch, "train_accuracy": epoch / 50,
                           "val_loss": 4 / epoch, "val_accuracy": epoch / 60}  # fmt: skip
                called = time.perf_counter()
                child.log_epoch(epoch, figures)
                calls.append(time.perf_counter() - called)
            child.finish("completed")
        ending = time.perf_counter()
    answers.put((run.id, began, calls, time.perf_counter() - ending))  # type: ignore[attr-defined]


def count(run_ids: tuple[str, ...]) -> tuple[int, Counter[str]]:
    """The epochs that the server has of the searches' trials, and the trials' statuses."""
    import mlflow

    client = mlflow.MlflowClient()
    statuses: Counter[str] = Counter()
    epochs = 0
    for run_id in run_ids:
        parent = client.get_run(run_id)
        condition = f"tags.mlflow.parentRunId = '{run_id}'"
        for trial in client.search_runs([parent.info.experiment_id], condition):
            statuses[trial.info.status] += 1
            points = client.get_metric_history(trial.info.run_id, "val_accuracy")
            epochs += len(points)  # one that was sent twice would be one too many
    return epochs, statuses


@contextmanager
def server(backend: str | None, folder: Path) -> Iterator[str]:
    """MLflow's server with two workers; its address."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "2",
         "--backend-store-uri", backend or f"sqlite:///{folder}/mlflow.db",
         "--artifacts-destination", str(folder / "artifacts")],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until_it_answers(port, "/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


if __name__ == "__main__":
    main()
