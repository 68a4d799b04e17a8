"""One iteration with several seeds, each a run of its own under one parent, several at once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from cifar_track import tracking, tuning
from cifar_track.config import (
    Value,
    flatten,
    load_experiment,
    override,
    require_no_search,
)
from cifar_track.data import load_dataset
from cifar_track.workflow.groups import check_networks, find_group
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

    A command that was cut short, or has fewer seeds, is gone on with in its own parent, and none of
    the seeds that are finished there is repeated.

    Args:
        name: the page.
        overrides: settings that differ from the page, by dotted name.
        seeds: how many, at least 2.
        data_dir: where CIFAR-100 lies, before the usual places.
        workers: runs at once; as many as the machine carries unless given.
        run_name: what MLflow shows of the parent; the page's name and the number unless given.
        resume: as of `run_experiment`, of all together and of each seed.

    Returns:
        The parent's run id.

    Raises:
        CifarTrackError: the page searches, a setting is wrong, data are missing, or a run failed.
    """
    experiment = override(load_experiment(name), overrides)
    require_no_search(experiment, each="seed")
    tracking.open_store()
    data = load_dataset(experiment.data, directory=data_dir)  # what is missing is told once
    check_networks([experiment], data)
    pages = [
        override(experiment, {"training.seed": experiment.training.seed + n}) for n in range(seeds)
    ]
    label_of = {page.training.seed: f"seed {page.training.seed}" for page in pages}
    group = find_group(
        {"settings": flatten(experiment), "data": data.digest},
        pages,
        kind="study",
        dataset_name=data.name,
        mode=resume,
    )
    runs = {page.training.seed: group.finished(page) for page in pages}
    done = {label_of[number]: found.run_id for number, found in runs.items() if found}
    workers = min(workers or tuning.default_workers(), seeds)
    over = f", {len(done)} over already" if done else ""
    first, *_, last = label_of
    tell(f"{name}: seeds {first} to {last}, {workers} at once{over}")
    with tracking.start_run(
        dataset_name=data.name,
        name=run_name or f"{name}, {seeds} seeds",
        kind="study",
        tags=group.tags,
        resume_run_id=group.run_id,
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
                if label not in done
            },
            workers=workers,
        )
        run_ids |= done
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
