"""The search as the other modules see it: one call, from a page and its data to the best trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cifar_track import child, interrupts
from cifar_track.config import CifarTrackError, Experiment
from cifar_track.tuning import resources
from cifar_track.tuning.executors import Executor
from cifar_track.tuning.executors.cluster import ClusterConnection, ClusterExecutor
from cifar_track.tuning.executors.processes import ProcessExecutor, share_images
from cifar_track.tuning.executors.trial import TrainTrial, train_trial
from cifar_track.tuning.jobs import Jobs
from cifar_track.tuning.scheduler import Scheduler
from cifar_track.tuning.space import check_space, planned_trials
from cifar_track.tuning.state import StateFile, fingerprint, locked
from cifar_track.tuning.trials import (
    SearchResult,
    TrialListener,
    TrialRecord,
    ranked_trials,
)

if TYPE_CHECKING:
    from cifar_track.data import Dataset


def search(
    experiment: Experiment,
    data: Dataset,
    *,
    directory: Path,
    workers: int,
    listener: TrialListener,
    recorded: Sequence[TrialRecord] = (),
    train: TrainTrial = train_trial,
    cluster: ClusterConnection | None = None,
) -> SearchResult:
    """Search an experiment's space, each trial in a process of its own, several at once.

    How far the result of a fixed seed is independent of `workers`: random and grid search choose
    the values of trial n by the seed, the space and n alone, so that they are the same for any
    number of workers. Bayesian optimisation chooses its first few trials (half of
    `search.trials`, at most three for each dimension) so, and every later one by the results
    known when a worker falls free; Hyperband promotes by them, and begins the next bracket while
    it waits for them. With one worker both repeat exactly; with several they depend on which
    trial ends first. A trial's training depends on its values, its number (`trial_experiment`)
    and the number of threads, which changes the order of sums and, in bfloat16, figures one can
    see. Each trial has its share of the cores, cores // workers; with `training.deterministic` it
    has one thread whatever the workers, and its result is the same to the bit.

    A search that was cut short, or ended with fewer trials, goes on when called again (`workers`,
    `search.trials`, `search.retries` and `search.refit` may differ): trials that had ended are
    kept, those that were running go on with their values from their last finished epoch, then
    come the rest. A failed trial stays failed. Hyperband makes the trials of its brackets, and
    no others.

    Args:
        experiment: the page; its `search` says what to search. Hyperband trains its longest
            trials for the page's epochs, makes as many trials as that needs (`planned_trials`)
            and does not use `search.trials`.
        data: the training and validation images; the test images are not touched.
        directory: where the search's state is kept, for one search at a time.
        workers: how many trials run at once.
        listener: hears of the trials.
        recorded: what is known of the search's trials from elsewhere. It stands in for what the
            directory has lost, or never had.
        train: what trains a trial in its process; a module's function, found there by its name.
        cluster: whose nodes run the trials, this machine if None. Each trial then has the threads
            that were asked for, and the same of a trial's figures hold as above where the nodes
            have one kind of processor.

    Returns:
        Every trial, and the best.

    Raises:
        CifarTrackError: the space is wrong; the directory belongs to another search or another
            process; three trials in a row failed, no trial was completed, or some were killed
            from outside each time they were tried.
    """
    check_space(experiment)
    if workers < 1:
        raise CifarTrackError(f"workers={workers} is out of range; expected at least 1")
    planned = planned_trials(experiment)
    with locked(directory):
        state = StateFile(directory, fingerprint(experiment, data))
        saved, told = state.read()
        records = _united(saved, recorded, planned=planned)
        scheduler = Scheduler(
            Jobs(experiment=experiment, folder=directory, classes=len(data.classes.fine)),
            state=state,
            listener=listener,
            executor=_executor(
                experiment,
                train,
                workers=min(workers, planned),
                cluster=cluster,
                listener=listener,
            ),
        )
        scheduler.restore(records, told | {r.number for r in recorded if r.result is not None})
        with share_images(data, directory / "images"), interrupts.raised(), scheduler.stopping():
            scheduler.run()
            return _result(scheduler, experiment, directory)


def _executor(
    experiment: Experiment,
    train: TrainTrial,
    *,
    workers: int,
    cluster: ClusterConnection | None,
    listener: TrialListener,
) -> Executor:
    """Where the trials run: in processes of this machine, or on a cluster's nodes."""
    alone = experiment.training.deterministic
    if cluster is None:
        threads = 1 if alone else max(1, resources.usable_cores() // workers)
        return ProcessExecutor(train, workers=workers, threads=threads)
    threads = 1 if alone else cluster.cluster.cpus
    return ClusterExecutor(cluster, train, at_most=workers, threads=threads, notice=listener.notice)


def _united(
    saved: Sequence[TrialRecord], recorded: Sequence[TrialRecord], *, planned: int
) -> list[TrialRecord]:
    """What is known of each trial: what was saved here, or else what was recorded elsewhere."""
    known = {record.number: record for record in recorded}
    for record in saved:
        if record.result is not None or record.number not in known:
            known[record.number] = record
    return [record for number, record in sorted(known.items()) if number < planned]


def _result(scheduler: Scheduler, experiment: Experiment, directory: Path) -> SearchResult:
    settings = check_space(experiment)
    trials, killed = scheduler.results(), scheduler.killed()
    if killed:
        numbers = ", ".join(map(str, sorted(killed)))
        raise CifarTrackError(
            f"{len(trials)} of {len(trials) + len(killed)} trials are over, and those missing "
            f"({numbers}) were killed from outside each time, {settings.retries + 1} times; the "
            f"last: {killed[max(killed)]}; the same command tries them again, and fewer --workers "
            "need less memory"
        )
    ranked = ranked_trials(trials, maximize=settings.objective == "val_accuracy")
    if not ranked:
        last = f"; the last: {child.last_line(trials[-1].error)}" if trials else ""
        raise CifarTrackError(
            f"none of {len(trials)} trials was completed{last}; another space or other settings "
            "make another search, and --resume never begins this one anew"
        )
    best = ranked[0]
    weights = None if settings.refit == "anew" else scheduler.weights_of(best.number)
    # One that was stopped early has left no weights, and trained again it would be another's.
    whole = [trial for trial in ranked if trial.stopped_early is None]
    kept = tuple((trial, scheduler.weights_of(trial.number)) for trial in whole[: settings.keep])
    for file in directory.glob("*.weights.h5"):
        if file not in {weights, *(file for _, file in kept)}:
            file.unlink()
    return SearchResult(trials=trials, best=best, weights=weights, kept=kept)
