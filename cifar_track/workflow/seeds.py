"""One iteration with several seeds, each a run of its own under one parent, several at once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from cifar_track import tracking, tuning
from cifar_track.config import CifarTrackError, Value, load_experiment, override
from cifar_track.data import load_dataset
from cifar_track.workflow.side_by_side import require_all, run_side_by_side
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
    label_of = {number: f"seed {number}" for number in numbers}
    tell(f"{name}: seeds {numbers[0]} to {numbers[-1]}, {workers} at once")
    with tracking.start_run(
        dataset_name=experiment.data.dataset,
        name=run_name or f"{name}, {seeds} seeds",
        kind="study",
    ) as run:
        run_ids, failures = run_side_by_side(
            {
                label: partial(
                    run_experiment,
                    name,
                    {**overrides, "training.seed": number},
                    run_name=f"{name} {label}",
                    data_dir=data_dir,
                    parent_run_id=run.id,
                    resume=resume,
                )
                for number, label in label_of.items()
            },
            workers=workers,
        )
        accuracies = {
            number: tracking.find_finished_run(run_ids[label]).metrics["test_accuracy"]
            for number, label in label_of.items()
            if label in run_ids
        }
        if accuracies:
            rows = [{"seed": n, "test_accuracy": accuracies[n]} for n in accuracies]
            run.log_rows(rows, "seeds.csv")
        if len(accuracies) > 1:
            values = list(accuracies.values())
            mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
            run.log_metrics({"test_accuracy_mean": mean, "test_accuracy_deviation": deviation})
            tell(f"{name}: test accuracy {mean:.4f} on average, deviation {deviation:.4f}")
        tell(f"compare them: -P filter=\"tags.mlflow.parentRunId = '{run.id}'\"")
        require_all(run_ids, failures)
    return run.id
