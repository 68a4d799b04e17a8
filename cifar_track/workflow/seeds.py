"""One iteration with several seeds, each a run of its own under one parent, several at once."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from cifar_track import environment, interrupts, tracking, tuning
from cifar_track.config import CifarTrackError, Value, load_experiment, override
from cifar_track.data import load_dataset
from cifar_track.workflow.terminal import tell
from cifar_track.workflow.train import run_experiment


def run_seeds(
    name: str,
    overrides: Mapping[str, Value],
    *,
    seeds: int,
    data_dir: Path | None = None,
    workers: int | None = None,
    run_name: str | None = None,
    resume: str = "auto",
) -> str:
    """Run a page that does not search with as many seeds, from its own seed on.

    Args:
        name: the page.
        overrides: settings that differ from the page, by dotted name.
        seeds: how many, at least 2.
        data_dir: where CIFAR-100 lies, before the usual places.
        workers: runs at once; as many as the machine carries unless given.
        run_name: what MLflow shows of the parent; the page's name and the number unless given.
        resume: of each seed, as of `run_experiment`.

    Returns:
        The parent's run id.

    Raises:
        CifarTrackError: the page searches, a setting is wrong, data are missing, or a run failed.
    """
    experiment = override(load_experiment(name), overrides)
    if experiment.search is not None:
        raise CifarTrackError(
            f"{name!r} searches, and each seed would be a search; give seeds= to a page that holds "
            "the values to be tried"
        )
    tracking.open_store()
    load_dataset(experiment.data, directory=data_dir)  # what is missing is told once, and now
    numbers = [experiment.training.seed + n for n in range(seeds)]
    workers = min(workers or tuning.default_workers(), seeds)
    tell(f"{name}: seeds {numbers[0]} to {numbers[-1]}, {workers} at once")
    with tracking.start_run(
        dataset_name=experiment.data.dataset,
        name=run_name or f"{name}, {seeds} seeds",
        kind="study",
    ) as run:
        accuracies, failures = _run_each(
            name,
            overrides,
            numbers,
            workers=workers,
            data_dir=data_dir,
            parent_run_id=run.id,
            resume=resume,
        )
        rows = [{"seed": n, "test_accuracy": accuracies[n]} for n in sorted(accuracies)]
        if rows:
            run.log_rows(rows, "seeds.csv")
        if len(rows) > 1:
            values = list(accuracies.values())
            mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
            run.log_metrics({"test_accuracy_mean": mean, "test_accuracy_deviation": deviation})
            tell(f"{name}: test accuracy {mean:.4f} on average, deviation {deviation:.4f}")
        tell(f"compare them: -P filter=\"tags.mlflow.parentRunId = '{run.id}'\"")
        if failures:
            listed = "; ".join(f"seed {n}: {error}" for n, error in failures.items())
            raise CifarTrackError(f"{len(failures)} of {seeds} runs failed ({listed})")
    return run.id


def _run_each(
    name: str,
    overrides: Mapping[str, Value],
    numbers: list[int],
    *,
    workers: int,
    **settings: Any,
) -> tuple[dict[int, float], dict[int, BaseException]]:
    """The test accuracy of each seed, run with these settings, and what ended the others."""
    threads = max(tuning.usable_cores() // workers, 1)
    accuracies: dict[int, float] = {}
    failures: dict[int, BaseException] = {}
    # Set here, since libraries read them as they are imported, and processes are started until the
    # last seed's.
    with (
        environment.variables(tuning.worker_environment(threads=threads, device=None)),
        ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            max_tasks_per_child=1,  # TensorFlow keeps the threads and the seed it has begun with
        ) as pool,
    ):
        seed_of = {
            pool.submit(
                _run_silently,
                name,
                {**overrides, "training.seed": number},
                run_name=f"{name} seed {number}",
                **settings,
            ): number
            for number in numbers
        }
        try:
            for future in as_completed(seed_of):
                seed, error = seed_of[future], future.exception()
                if error is not None:
                    failures[seed] = error
                    tell(f"{name} seed {seed}: failed")
                    continue
                accuracy = tracking.find_finished_run(future.result()).metrics["test_accuracy"]
                accuracies[seed] = accuracy
                tell(f"{name} seed {seed}: test accuracy {accuracy:.4f}")
        except BaseException:  # the seeds that wait don't begin, and those that run end theirs
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
    return accuracies, failures


def _run_silently(name: str, overrides: Mapping[str, Value], **settings: Any) -> str:
    """Run a seed in a process of its own; the lines of several would not tell whose they are."""
    with interrupts.raised(), contextlib.redirect_stdout(io.StringIO()):
        return run_experiment(name, overrides, **settings)
