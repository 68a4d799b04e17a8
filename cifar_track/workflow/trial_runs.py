"""A search's trials as child runs: kept while they happen, and read back for a search to go on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from cifar_track import tracking, tuning
from cifar_track.config import Experiment, Value, flatten
from cifar_track.tracking import tag
from cifar_track.workflow.progress import SearchProgress
from cifar_track.workflow.terminal import tell


class TrialRuns:
    """Keeps a child run for every trial, found by the trial's number."""

    def __init__(
        self,
        run: tracking.Run,
        experiment: Experiment,
        *,
        progress: SearchProgress,
        logged: Mapping[int, int],
    ) -> None:
        """Say whose they are, who tells of them, and how many epochs each has already."""
        assert experiment.search is not None
        self.run = run
        self.experiment = experiment
        self.objective = experiment.search.objective
        self.progress = progress
        self.open: dict[int, tracking.ChildRun] = {}
        self.logged = dict(logged)
        self.restarts: dict[int, int] = {}
        self.val_accuracies: dict[tuple[int, int], float] = {}

    def trial_started(self, trial: tuning.TrialStart) -> None:
        """Open the trial's run, or go on with it where its epochs are gone on with."""
        number, parameters = trial.number, flatten(trial.experiment)
        if trial.finished_epochs:
            child = self.run.reopen_child(number, parameters)
        else:
            child = self.run.child(number, parameters)
            self.logged[number] = 0
        child.set_tags({tag.PROPOSAL: json.dumps(trial.proposal)})
        self.open[number] = child
        after = f"after epoch {trial.finished_epochs}, " if trial.finished_epochs else ""
        self.progress.show_start(number, f"{after}{_listed(trial.values)}")

    def trial_placed(self, number: int, node: str, resources: str) -> None:
        """Say where a trial runs, here and in its run."""
        self.open[number].set_tags({tag.NODE: node, tag.RESOURCES: resources})
        self.progress.show_place(number, f"on {node}, {resources}")

    def trial_restarted(self, number: int, reason: str) -> None:
        """Say that a trial goes on in another process, here and in its run."""
        self.restarts[number] = self.restarts.get(number, 0) + 1
        self.open[number].set_tags({tag.RESTARTS: f"{self.restarts[number]}; the last: {reason}"})
        tell(f"trial {number}: {reason}; tried again")

    def trial_epoch(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log an epoch, unless it was logged before a kill."""
        self.val_accuracies[number, epoch] = metrics["val_accuracy"]
        if epoch > self.logged.get(number, 0):
            self.logged[number] = epoch
            self.open[number].log_epoch(epoch, metrics)
        self.progress.show_epoch(number, epoch, metrics)

    def trial_machine(self, number: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log how busy the trial's machine was, unless that was logged before a kill."""
        if epoch > self.logged.get(number, 0):
            self.open[number].log_machine(metrics, step=epoch)

    def trial_ended(self, number: int, trial: tuning.TrialResult) -> None:
        """Log what a trial reached, and end its run."""
        child = self.open.pop(number, None)
        if child is None:  # its end is told again, because a kill may have swallowed the first time
            child = self.run.reopen_child(number, trial.values)
        figures = {"fit_cpu_seconds": trial.cpu_seconds, "trial_seconds": trial.seconds}
        if trial.score is not None:
            figures[f"best_{self.objective}"] = trial.score
        if trial.best_epoch is not None:
            figures["best_epoch"] = float(trial.best_epoch)
            if (number, trial.best_epoch) in self.val_accuracies:
                figures["best_val_accuracy"] = self.val_accuracies[number, trial.best_epoch]
        child.log_metrics(figures)
        if trial.stopped_early is not None:
            child.set_tags({tag.STOPPED_EARLY: trial.stopped_early})
        child.finish("stopped" if trial.status == "killed" else trial.status, error=trial.error)
        score = "" if trial.score is None else f", {trial.score:.4f}"
        early = "" if trial.stopped_early is None else f", ended early: {trial.stopped_early}"
        self.progress.show_end(number, f"{trial.status}{score}, {trial.seconds:.0f} s{early}")

    def notice(self, words: str) -> None:
        """Say what concerns all trials."""
        tell(words)

    def val_accuracy(self, trial: tuning.TrialResult) -> float:
        """What a trial reached, as heard of or, if it ran before this process, as logged."""
        heard = self.val_accuracies.get((trial.number, trial.best_epoch or 0))
        logged = heard or self.run.child_metric(trial.number, "best_val_accuracy")
        return math.nan if logged is None else logged


def read_records(
    run_id: str, experiment: Experiment
) -> tuple[list[tuning.TrialRecord], dict[int, int]]:
    """What a search's child runs say of its trials: enough to go on without its state.

    A trial whose run ended by itself has its result; any other is to be run again.

    Returns:
        The records, and the last epoch that each trial's run has.
    """
    trials = [trial for trial in tracking.recorded_trials(run_id) if trial.proposal is not None]
    logged = {trial.number: max(trial.epochs_of("val_accuracy"), default=0) for trial in trials}
    return [_record(trial, experiment) for trial in trials], logged


def take_over(earlier_run_id: str, run: tracking.Run, *, planned: int) -> None:
    """Give a search copies of another's trials that are over."""
    for trial in tracking.recorded_trials(earlier_run_id):
        if trial.number < planned and _is_over(trial):
            tracking.copy_trial(trial, parent_run_id=run.id)


def _record(trial: tracking.RecordedTrial, experiment: Experiment) -> tuning.TrialRecord:
    assert experiment.search is not None
    proposal = dict(trial.proposal or {})
    if not _is_over(trial):
        return tuning.TrialRecord(number=trial.number, proposal=proposal)
    scores = trial.epochs_of(experiment.search.objective)
    completed = trial.status == "FINISHED"
    return tuning.TrialRecord(
        number=trial.number,
        proposal=proposal,
        result=tuning.TrialResult(
            number=trial.number,
            values=tuning.typed_values(experiment, proposal),
            status="completed" if completed else "failed",
            score=trial.metrics[f"best_{experiment.search.objective}"] if completed else None,
            best_epoch=int(trial.metrics["best_epoch"]) if completed else None,
            epochs=max(scores, default=0),
            seconds=trial.metrics["trial_seconds"],
            cpu_seconds=trial.metrics["fit_cpu_seconds"],
            scores=tuple(scores.values()),
            error=trial.tags.get(tag.ERROR),
            stopped_early=trial.tags.get(tag.STOPPED_EARLY),
        ),
    )


def _is_over(trial: tracking.RecordedTrial) -> bool:
    """Whether a trial came to an end of its own, and that was logged whole."""
    if trial.status == "FINISHED":
        return "best_epoch" in trial.metrics
    # One that its parent's end cut short is FAILED as well, but was not told to have ended.
    return trial.status == "FAILED" and "trial_seconds" in trial.metrics


def _listed(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in values.items())
