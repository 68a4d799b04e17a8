"""The beginning of a run, and the one block that it lives in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import Token

import cifar_track
from cifar_track import interrupts
from cifar_track.config import Experiment
from cifar_track.tracking import launcher, store, tag
from cifar_track.tracking.claim import claim_run, released_at_the_end
from cifar_track.tracking.machine import MachineWatch
from cifar_track.tracking.opening import innermost, open_run
from cifar_track.tracking.process import git_tags, identity_tags, machine_tags
from cifar_track.tracking.runs import Run
from cifar_track.tracking.sender import patience

KINDS = ("iteration", "study", "ablation", "comparison")


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
        name: what the UI shows, unless the person gave `mlflow run` another by `--run-name`.
        kind: `iteration`, `study` or `ablation` (several iterations as its children), or
            `comparison`.
        tags: further tags.
        resume_run_id: an unfinished run to go on with, as `workflow.resume` finds it. It is
            claimed first, and let go at the end.

    Raises:
        CifarTrackError: the store can't be reached, the run is not there, or another process has
            it, which is named; or `CIFAR_TRACK_PATIENCE` is no number of seconds.
    """
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}; expected one of {', '.join(KINDS)}")
    patience()  # wanted at the end
    store.open_store()
    experiment_id = store.ensure_experiment_id(dataset_name)
    claim = None if resume_run_id is None else claim_run(resume_run_id)
    launched = launcher.claim_launcher_run()
    joins = launched is not None and launched.experiment_id == experiment_id and not resume_run_id
    run_id = launched.run_id if launched is not None and joins else resume_run_id
    if launched is not None:
        name = launched.name or name
        claim = launched.claim if joins else claim
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
    outer = innermost.get()
    if outer is not None:
        all_tags[tag.MLFLOW_PARENT] = outer.id
    if launched is not None and not joins:
        all_tags[tag.LAUNCHER_RUN_ID] = launched.run_id
    with released_at_the_end(claim), interrupts.raised(), interrupts.deferred():
        opened, run = open_run(run_id, experiment_id=experiment_id, name=name, tags=all_tags)
        watch = MachineWatch(opened, run.log_machine) if kind == "iteration" else None
        token = innermost.set(run)
        try:
            if run_id is not None:
                run.forget_error()
            if launched is not None and not joins:
                launcher.link_launcher_run(launched, opened, name=name)
            if watch is not None:
                watch.start()
            with interrupts.allowed():
                yield run
        except BaseException as error:
            _stop(watch, token)
            run.end(error)
            raise
        else:
            _stop(watch, token)
            run.end(None)


def _stop(watch: MachineWatch | None, token: Token[Run | None]) -> None:
    innermost.reset(token)
    if watch is not None:
        watch.finish()


def _experiment_tags(experiment: Experiment) -> dict[str, str]:
    return {
        tag.ITERATION: experiment.name,
        tag.PROTOCOL: experiment.data.selection,
    }
