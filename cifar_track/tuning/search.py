"""The search as the other modules see it: one call, from a page and its data to the best trial."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cifar_track import interrupts
from cifar_track.config import CifarTrackError, Experiment
from cifar_track.tuning.scheduler import Scheduler
from cifar_track.tuning.space import check_space, planned_trials
from cifar_track.tuning.state import locked
from cifar_track.tuning.trials import SearchResult, TrialListener
from cifar_track.tuning.worker import TrainTrial, share_images, train_trial

if TYPE_CHECKING:
    from cifar_track.data import Dataset


def search(
    experiment: Experiment,
    data: Dataset,
    *,
    directory: Path,
    workers: int,
    listener: TrialListener,
    train: TrainTrial = train_trial,
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
    see. Each trial has its share of the cores, cores // workers, and keeps to them where the
    workers share out all; with `training.deterministic` it has one thread whatever the workers,
    and its result is the same to the bit.

    A search that was killed goes on when called again with the same arguments (`workers` may
    differ): trials that had ended are kept, those that were running are repeated from their first
    epoch with their values, then come the rest. A failed trial stays failed.

    Args:
        experiment: the page; its `search` says what to search. Hyperband trains its longest
            trials for `training.epochs`, makes as many trials as that needs (`planned_trials`)
            and does not use `search.trials`.
        data: the training and validation images; the test images are not touched.
        directory: where the search's state is kept, for one search at a time.
        workers: how many trials run at once.
        listener: hears of the trials.
        train: what trains a trial in its process; a module's function, found there by its name.

    Returns:
        Every trial, and the best.

    Raises:
        CifarTrackError: the space is wrong; the directory belongs to another search or another
            process; three trials in a row failed, or no trial was completed.
    """
    check_space(experiment)
    if workers < 1:
        raise CifarTrackError(f"workers={workers} is out of range; expected at least 1")
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory):
        scheduler = Scheduler(experiment, data, directory=directory, listener=listener, train=train)
        scheduler.report_ended()
        workers = min(workers, planned_trials(experiment))
        with share_images(data, directory / "images"), interrupts.raised(), scheduler.stopping():
            scheduler.run(workers)
        return scheduler.result()
