"""What each part of a page brings: the page, and the page without each, several seeds of all."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from cifar_track import tracking
from cifar_track.comparison import PAGE, Ablated, ablation_rows, ablation_rule, ablation_table
from cifar_track.config import (
    CifarTrackError,
    Experiment,
    Value,
    flatten,
    load_experiment,
    override,
    typed,
    without,
)
from cifar_track.data import load_dataset
from cifar_track.tracking import FinishedRun, tag
from cifar_track.workflow.resume import earlier_of
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
    can be compared. A command that was cut short goes on in its own parent, and repeats none of the
    runs that are finished there.

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
    if experiment.search is not None:
        raise CifarTrackError(
            f"{name!r} searches, and each run would be a search; ablate a page that holds the "
            "values to be tried"
        )
    changes = {PAGE: {}, **without(experiment, leave_out)}
    tracking.open_store()
    data = load_dataset(experiment.data, directory=data_dir)  # what is missing is told once
    key = _key(experiment, changes, digest=data.digest)
    found = None if resume == "never" else tracking.find_ablation(key, dataset_name=data.name)
    earlier = None
    if found is not None and found.info.status == "FINISHED":
        tell(f"{name}: run {found.info.run_id} is this ablation, finished; beginning anew")
    elif found is not None:
        earlier = earlier_of(found, mode=resume)
        tell(f"{name}: going on with the ablation {earlier.run_id}, which was cut short")
    with tracking.start_run(
        dataset_name=data.name,
        name=f"ablation of {name}",
        kind="ablation",
        tags={tag.ABLATION_KEY: key, **(earlier.tags if earlier else {})},
        resume_run_id=earlier.run_id if earlier else None,
    ) as run:
        run.log_parameters({"ablation.without": ",".join(list(changes)[1:])})
        done = tracking.finished_children(run.id) if earlier else []
        ablated, failures = [], []
        for without_what, values in changes.items():
            results = []
            for seed in range(experiment.training.seed, experiment.training.seed + seeds):
                settings = {**overrides, **values, "training.seed": seed}
                title = name if without_what == PAGE else f"{name} without {without_what}"
                finished = _same(done, override(load_experiment(name), settings))
                try:
                    finished = finished or _run(
                        name, settings, title=f"{title}, seed {seed}", data_dir=data_dir,
                        resume=resume,
                    )  # fmt: skip
                except tracking.NotSentError:
                    raise
                except CifarTrackError as error:  # the others may do better
                    failures.append(f"{title}, seed {seed}: {error}")
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
    name: str, settings: Mapping[str, Value], *, title: str, data_dir: Path | None, resume: str
) -> FinishedRun:
    run_id = run_experiment(name, settings, data_dir=data_dir, run_name=title, resume=resume)
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


def _key(experiment: Experiment, changes: Mapping[str, Mapping[str, Value]], *, digest: str) -> str:
    """By what a later command knows the same ablation; more seeds may be asked for."""
    facts = {"settings": flatten(experiment), "changes": changes, "data": digest}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _same(runs: Sequence[FinishedRun], experiment: Experiment) -> FinishedRun | None:
    """The run of exactly these settings, whatever `auto` has come to."""
    wanted = flatten(experiment)
    del wanted["name"]
    if wanted["training.precision"] == "auto":
        del wanted["training.precision"]
    for run in runs:
        logged = run.parameters
        if all(
            key in logged and typed(logged[key], type(value), name=key) == value
            for key, value in wanted.items()
        ):
            return run
    return None
