"""What each part of a page brings: the page, and the page without each, several seeds of all."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from pathlib import Path

from cifar_track import tracking
from cifar_track.comparison import PAGE, Ablated, ablation_rows, ablation_rule, ablation_table
from cifar_track.config import (
    CifarTrackError,
    Value,
    flatten,
    load_experiment,
    override,
    require_no_search,
    without,
)
from cifar_track.data import load_dataset
from cifar_track.tracking import FinishedRun, tag
from cifar_track.workflow.groups import check_networks, find_group
from cifar_track.workflow.terminal import tell
from cifar_track.workflow.train import run_experiment


def ablate_page(
    name: str,
    overrides: Mapping[str, Value],
    *,
    leave_out: str,
    seeds: int = 3,
    data_dir: Path | None = None,
    resume: str = "auto",
) -> str:
    """Run a page and the page without each of its additions, and log what each gives and costs.

    Every run is a run as any other, under one parent, one after the other, so that their seconds
    can be compared. A command that was cut short, or has fewer seeds, is gone on with in its own
    parent, and none of the runs that are finished there is repeated.

    Args:
        name: the page.
        overrides: settings that differ from the page in every run, by dotted name.
        leave_out: the additions, as `config.without` reads them.
        seeds: how many of each, from the page's own on; at least 1.
        data_dir: where CIFAR-100 lies, before the usual places.
        resume: as of `run_experiment`.

    Returns:
        The parent's run id.

    Raises:
        CifarTrackError: the page searches, an addition or a setting is wrong, data are missing, or
            a run failed.
    """
    experiment = override(load_experiment(name), overrides)
    require_no_search(experiment, each="run")
    changes = {PAGE: {}, **without(experiment, leave_out)}
    numbers = range(experiment.training.seed, experiment.training.seed + seeds)
    variants = {
        without_what: [
            override(experiment, {**values, "training.seed": number}) for number in numbers
        ]
        for without_what, values in changes.items()
    }
    tracking.open_store()
    data = load_dataset(experiment.data, directory=data_dir)  # what is missing is told once
    check_networks([first for first, *_ in variants.values()], data)
    group = find_group(
        {"settings": flatten(experiment), "changes": changes, "data": data.digest},
        [variant for several in variants.values() for variant in several],
        kind="ablation",
        dataset_name=data.name,
        mode=resume,
    )
    with tracking.start_run(
        dataset_name=data.name,
        name=f"ablation of {name}",
        kind="ablation",
        tags=group.tags,
        resume_run_id=group.run_id,
    ) as run:
        run.log_parameters({"ablation.without": ",".join(list(changes)[1:])})
        ablated, failures = [], []
        for without_what, several in variants.items():
            results = []
            for variant in several:
                title = name if without_what == PAGE else f"{name} without {without_what}"
                title = f"{title}, seed {variant.training.seed}"
                try:
                    finished = group.finished(variant) or _run(
                        name,
                        {
                            **overrides,
                            **changes[without_what],
                            "training.seed": variant.training.seed,
                        },
                        without_what=without_what,
                        title=title,
                        data_dir=data_dir,
                        resume=resume,
                    )
                except tracking.NotSentError:
                    raise
                except CifarTrackError as error:  # the others may do better
                    failures.append(f"{title}: {error}")
                    tell(f"failed: {failures[-1]}")
                    continue
                results.append(finished.metrics)
            ablated.append(Ablated(without=without_what, runs=results))
        _log(run, ablated)
        if failures:
            raise CifarTrackError(f"{len(failures)} runs failed ({'; '.join(failures)})")
    tell(f"ablation: {tracking.run_url(run.id, run.experiment_id)}")
    return run.id


def _run(
    name: str,
    settings: Mapping[str, Value],
    *,
    without_what: str,
    title: str,
    data_dir: Path | None,
    resume: str,
) -> FinishedRun:
    tags = {} if without_what == PAGE else {tag.WITHOUT: without_what}
    run_id = run_experiment(
        name, settings, data_dir=data_dir, run_name=title, resume=resume, tags=tags
    )
    gc.collect()  # Keras's graphs are cycles, and hold the images
    return tracking.find_finished_run(run_id)


def _log(run: tracking.Run, ablated: Sequence[Ablated]) -> None:
    page, *variants = ablated
    rows = ablation_rows(page, variants)
    table = ablation_table(rows)
    run.log_table(rows, "ablation.json")
    run.log_rows(rows, "ablation.csv")
    run.set_tags({tag.MLFLOW_NOTE: f"{table}\n\n{ablation_rule()}"})
    tell(table)
    tell(ablation_rule())
