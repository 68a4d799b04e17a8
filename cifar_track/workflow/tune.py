"""A search under a parent run, each trial a child run while it happens."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifar_track import folders, plots, tracking, tuning
from cifar_track.config import Experiment, Value, describe_space
from cifar_track.data import Dataset
from cifar_track.tracking import tag
from cifar_track.workflow.progress import SearchProgress, following_search
from cifar_track.workflow.terminal import tell


@dataclass(frozen=True)
class BestTrial:
    """The hyperparameters that a search settled on, and what they reached there."""

    values: Mapping[str, Value]
    best_val_accuracy: float
    weights: Path | None


class _TrialRuns:
    """Keeps a child run for every trial, found by the trial's number."""

    def __init__(
        self, run: tracking.Run, experiment: Experiment, *, progress: SearchProgress
    ) -> None:
        self.run = run
        self.experiment = experiment
        self.progress = progress
        self.open: dict[int, tracking.ChildRun] = {}
        self.val_accuracies: dict[tuple[int, int], float] = {}

    def trial_started(self, number: int, values: Mapping[str, Value]) -> None:
        self.open[number] = self.run.child(number, values)
        self.progress.show_start(number, _listed(values))

    def trial_epoch(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        self.open[number].log_epoch(epoch, metrics)
        self.val_accuracies[number, epoch] = metrics["val_accuracy"]
        self.progress.show_epoch(number, epoch, metrics)

    def trial_ended(self, number: int, trial: tuning.TrialResult) -> None:
        child = self.open.pop(number, None)
        if child is None:  # its end is told again, because a kill may have swallowed the first time
            child = self.run.reopen_child(number, trial.values)
        figures = {"fit_cpu_seconds": trial.cpu_seconds, "trial_seconds": trial.seconds}
        if trial.score is not None and self.experiment.search is not None:
            figures[f"best_{self.experiment.search.objective}"] = trial.score
        if trial.best_epoch is not None:
            figures["best_epoch"] = float(trial.best_epoch)
            if (number, trial.best_epoch) in self.val_accuracies:
                figures["best_val_accuracy"] = self.val_accuracies[number, trial.best_epoch]
        child.log_metrics(figures, step=trial.best_epoch)
        child.finish(trial.status, error=trial.error)
        score = "" if trial.score is None else f", {trial.score:.4f}"
        self.progress.show_end(number, f"{trial.status}{score}, {trial.seconds:.0f} s")

    def val_accuracy(self, trial: tuning.TrialResult) -> float:
        """What a trial reached, as heard of or, if it ran before this process, as logged."""
        heard = self.val_accuracies.get((trial.number, trial.best_epoch or 0))
        logged = heard or self.run.child_metric(trial.number, "best_val_accuracy")
        return math.nan if logged is None else logged


def find_best_values(
    run: tracking.Run, experiment: Experiment, data: Dataset, *, workers: int | None
) -> BestTrial:
    """Search the experiment's space and log what was found on the parent run.

    The state is kept in a folder of the run's own until `forget_search`: the same command goes on
    with the trial that a kill cut short, or with the refit of the best, from its first epoch.

    Raises:
        CifarTrackError: three trials failed in a row, or none was completed.
    """
    search = experiment.search
    assert search is not None
    planned = tuning.planned_trials(experiment)
    workers = min(workers or tuning.default_workers(), planned)
    run.log_json(describe_space(search), "search/space.json")
    run.set_tags({tag.WORKERS: str(workers)})
    tell(f"{experiment.name}: {search.tuner} search, {planned} trials, {workers} at once")
    epochs = search.trial_epochs or experiment.training.epochs
    with following_search(planned, epochs) as progress:
        listener = _TrialRuns(run, experiment, progress=progress)
        found = tuning.search(
            experiment,
            data,
            directory=_state_directory(run.id),
            workers=workers,
            listener=listener,
        )
    rows = _trial_rows(found.trials)
    run.log_rows(rows, "search/trials.csv")
    run.log_table(rows, "search/trials.json")
    run.log_json(dict(found.best.values), "search/best.json")
    run.log_figure(plots.search_overview(rows, objective=search.objective), "figures/search.png")
    run.set_tags({tag.BEST_TRIAL: str(found.best.number)})
    return BestTrial(found.best.values, listener.val_accuracy(found.best), found.weights)


def has_search_state(run_id: str) -> bool:
    """Whether the state of a run's search is on this machine."""
    return _state_directory(run_id).is_dir()


def forget_search(run_id: str) -> None:
    """Remove the state of a search whose run is over, refit and all."""
    shutil.rmtree(_state_directory(run_id), ignore_errors=True)


def _trial_rows(trials: Sequence[tuning.TrialResult]) -> list[dict[str, Any]]:
    return [
        {
            "number": trial.number,
            "status": trial.status,
            "score": trial.score,
            "best_epoch": trial.best_epoch,
            "epochs": trial.epochs,
            "seconds": round(trial.seconds, 1),
            "cpu_seconds": round(trial.cpu_seconds, 1),
            **trial.values,
        }
        for trial in trials
    ]


def _listed(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in values.items())


def _state_directory(run_id: str) -> Path:
    """Where a search keeps its state."""
    return folders.state_directory() / "searches" / run_id
