"""The beginning of a run, and the one block that it lives in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import mlflow

import cifar_track
from cifar_track import interrupts
from cifar_track.config import Experiment
from cifar_track.tracking import launcher, store, tag
from cifar_track.tracking.process import git_tags, identity_tags, machine_tags
from cifar_track.tracking.runs import Run
from cifar_track.tracking.writer import MetricWriter

KINDS = ("iteration", "study", "comparison")


@contextmanager
def start_run(
    experiment: Experiment | None = None,
    *,
    dataset_name: str,
    name: str,
    kind: str = "iteration",
    tags: Mapping[str, str] | None = None,
    resume_run_id: str | None = None,
) -> Iterator[Run]:
    """Open a run, and end it with the status that is true.

    The block's normal end and `SystemExit(0)` end it FINISHED; Ctrl-C and SIGTERM, KILLED;
    anything else, FAILED, with the traceback in `traceback.txt` and its last line in the tag
    `cifar_track.error`. Inside another `start_run` it becomes that run's child. In a process that
    `mlflow run` started, the first run goes on with the one that `mlflow run` opened, or is
    linked with it: see `cifar_track.tracking.launcher`.

    Args:
        experiment: the page that is run; its name, protocol and selection become tags. None for
            a run that trains nothing.
        dataset_name: `cifar100` or `procedural`; it decides MLflow's experiment.
        name: what the UI shows.
        kind: `iteration`, `study` (several iterations as its children) or `comparison`.
        tags: further tags.
        resume_run_id: an unfinished run to go on with, as `find_resumable` gives it.

    Raises:
        CifarTrackError: the store can't be reached, or the run is not there.
    """
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}; expected one of {', '.join(KINDS)}")
    store.open_store()
    experiment_id = store.ensure_experiment_id(dataset_name)
    launched = launcher.claim_launcher_run()
    joins = launched is not None and launched.experiment_id == experiment_id and not resume_run_id
    run_id = launched.run_id if launched is not None and joins else resume_run_id
    all_tags = {
        tag.KIND: kind,
        tag.DATASET: dataset_name,
        tag.VERSION: cifar_track.__version__,
        **({} if experiment is None else _experiment_tags(experiment)),
        **git_tags(),
        **machine_tags(),
        **identity_tags(),
        **(tags or {}),
    }
    outer = mlflow.active_run()
    if outer is not None:
        # MLflow sets it for a new run; one that is gone on with may have had another parent.
        all_tags[tag.MLFLOW_PARENT] = outer.info.run_id
    if launched is not None and not joins:
        all_tags[tag.LAUNCHER_RUN_ID] = launched.run_id
    with interrupts.raised(), interrupts.deferred():
        active = mlflow.start_run(
            run_id=run_id,
            experiment_id=None if run_id else experiment_id,
            run_name=name,
            nested=outer is not None,
            tags=all_tags,
            log_system_metrics=kind == "iteration",
        )
        run = Run(active, writer=MetricWriter(store.client()))
        run.name = name
        try:
            run.forget_error()
            if launched is not None and not joins:
                launcher.link_launcher_run(launched, active, name=name)
            with interrupts.allowed():
                yield run
        except BaseException as error:
            run.end(error)
            raise
        else:
            run.end(None)


def _experiment_tags(experiment: Experiment) -> dict[str, str]:
    return {
        tag.ITERATION: experiment.name,
        tag.PROTOCOL: experiment.data.selection,
    }
