"""A search under a parent run, each trial a child run while it happens."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar_track import plots, tracking, tuning
from cifar_track.config import EPOCH_METRICS, CifarTrackError, Experiment, describe_space, flatten
from cifar_track.data import Dataset
from cifar_track.tracking import tag
from cifar_track.workflow.outcome import log_classifier
from cifar_track.workflow.progress import following_search, waiting
from cifar_track.workflow.resume import Earlier, run_directory
from cifar_track.workflow.terminal import tell
from cifar_track.workflow.trial_runs import TrialRuns, read_records, take_over

if TYPE_CHECKING:
    from cifar_track import training


@dataclass(frozen=True)
class BestTrial:
    """The trial that a search settled on.

    Attributes:
        result: its hyperparameters, and what came of them.
        best_val_accuracy: what it reached in its run.
        weights: the file of its weights, where the refit wants them.
    """

    result: tuning.TrialResult
    best_val_accuracy: float
    weights: Path | None


def find_best_trial(
    run: tracking.Run,
    experiment: Experiment,
    data: Dataset,
    *,
    workers: int | None,
    cluster: tuning.ClusterConnection | None,
    earlier: Earlier | None,
) -> BestTrial:
    """Search the experiment's space and log what was found on the parent run.

    Args:
        run: the open run.
        experiment: the page.
        data: its images.
        workers: trials at once; as many as the machine carries, or the cluster, unless given.
        cluster: whose nodes run the trials; this machine if None.
        earlier: the run whose search is gone on with; it may be this one.

    Raises:
        CifarTrackError: three trials failed in a row, none was completed, or some were killed
            from outside each time.
    """
    search = experiment.search
    assert search is not None
    planned = tuning.planned_trials(experiment)
    if workers is None:
        workers = tuning.default_workers() if cluster is None else planned
    workers = min(workers, planned)
    run.log_json(describe_space(search), "search/space.json")
    run.set_tags({tag.WORKERS: str(workers)})
    recorded: Sequence[tuning.TrialRecord] = ()
    logged: Mapping[int, int] = {}
    if earlier is not None:
        if earlier.takes_from is not None:
            take_over(earlier.takes_from, run, planned=planned)
        recorded, logged = read_records(run.id, experiment)
    over = sum(record.result is not None for record in recorded)
    where = "" if cluster is None else f" at most, in the cluster at {cluster.cluster.address}"
    tell(
        f"{experiment.name}: {search.tuner} search, {planned} trials, {workers} at once{where}"
        + (f", {over} over already" if over else "")
    )
    epochs = search.trial_epochs or experiment.training.epochs
    with following_search(planned, epochs) as progress:
        listener = TrialRuns(run, experiment, progress=progress, logged=logged)
        found = tuning.search(
            experiment,
            data,
            directory=run_directory(run.id) / "search",
            workers=workers,
            listener=listener,
            recorded=recorded,
            cluster=cluster,
        )
    _log_trials(run, found, planned=planned, objective=search.objective)
    if found.kept:
        _log_kept(run, found, experiment, data)
    return BestTrial(found.best, listener.val_accuracy(found.best), found.weights)


def best_trial_as_fit(
    run: tracking.Run, best: BestTrial, experiment: Experiment, data: Dataset
) -> tuple[training.Fit, list[float]]:
    """The best trial's own network and course as the search's, and the moments of its epochs."""
    from cifar_track import training

    assert best.weights is not None
    model = training.build_model(experiment, classes=len(data.classes.fine))
    model.load_weights(best.weights)
    if not run.flush():
        raise CifarTrackError(
            "the store takes nothing, and the course of the best trial is read back from it; once "
            "it answers, the same command goes on"
        )
    child = tracking.find_child(run.id, best.result.number)
    assert child is not None
    columns = {name: tracking.epochs_of(child.info.run_id, name) for name in EPOCH_METRICS}
    epochs = list(columns["val_accuracy"])
    history = [{name: column[epoch] for name, column in columns.items()} for epoch in epochs]
    assert best.result.best_epoch is not None
    chosen = epochs.index(best.result.best_epoch)
    fit = training.Fit(
        model=model,
        history=tuple(history),
        best_epoch=chosen + 1,
        best_val_accuracy=history[chosen]["val_accuracy"],
        best_val_loss=history[chosen]["val_loss"],
        fit_seconds=best.result.seconds,
        fit_cpu_seconds=best.result.cpu_seconds,
        images_per_second=len(data.train) * len(history) / best.result.seconds,
    )
    return fit, [time.time()] * len(history)


def _log_kept(
    run: tracking.Run, found: tuning.SearchResult, experiment: Experiment, data: Dataset
) -> None:
    """Log the networks of the best trials to their runs, with what an ensemble chooses them by."""
    from cifar_track import models, training

    for trial, weights in found.kept:
        page = tuning.trial_experiment(experiment, number=trial.number, values=trial.values)
        network = training.build_model(page, classes=len(data.classes.fine))
        network.load_weights(weights)
        served = models.for_serving(network, views=page.prediction.views)
        child = run.reopen_child(trial.number, flatten(page))
        with waiting(f"keeping trial {trial.number}"), child.together():
            probabilities = training.predict(served, data.validation.images)
            child.log_validation(probabilities, data.validation.labels)
            log_classifier(child, served, data, step=trial.best_epoch or 0)
        child.finish("completed")
    numbers = ", ".join(str(trial.number) for trial, _ in found.kept)
    tell(f"{experiment.name}: kept the networks of trials {numbers}")


def _log_trials(
    run: tracking.Run, found: tuning.SearchResult, *, planned: int, objective: str
) -> None:
    rows = _trial_rows(found.trials)
    run.log_rows(rows, "search/trials.csv")
    run.log_table(rows, "search/trials.json")
    run.log_json(dict(found.best.values), "search/best.json")
    run.log_figure(plots.search_overview(rows, objective=objective), "figures/search.png")
    completed = sum(trial.status == "completed" for trial in found.trials)
    failed = len(found.trials) - completed
    early = sum(trial.stopped_early is not None for trial in found.trials)
    summary = f"{completed} of {planned} completed"
    summary += f", {failed} failed" if failed else ""
    summary += f", {early} ended early" if early else ""
    if completed < planned:
        tell(f"{summary}: the search is not whole")
    run.set_tags({tag.BEST_TRIAL: str(found.best.number), tag.TRIALS: summary})


def _trial_rows(trials: Sequence[tuning.TrialResult]) -> list[dict[str, Any]]:
    return [
        {
            "number": trial.number,
            "status": trial.status,
            "score": trial.score,
            "best_epoch": trial.best_epoch,
            "epochs": trial.epochs,
            **({"stopped_early": trial.stopped_early} if trial.stopped_early else {}),
            "seconds": round(trial.seconds, 1),
            "cpu_seconds": round(trial.cpu_seconds, 1),
            **trial.values,
        }
        for trial in trials
    ]
