"""A run from its beginning to its end, whichever way it ends, and what is logged meanwhile."""

from __future__ import annotations

import logging
import signal
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import mlflow
from mlflow.entities import Param, RunTag

import cifar_track
from cifar_track.config import CifarTrackError, Experiment, Value
from cifar_track.tracking import launcher, queries, store
from cifar_track.tracking.artifacts import RunArtifacts
from cifar_track.tracking.process import git_tags, identity_tags
from cifar_track.tracking.writer import MetricWriter

KINDS = ("iteration", "study", "comparison")

ERROR_TAG = "cifar_track.error"
LOGGING_ERROR_TAG = "cifar_track.logging_error"

# MLflow's own limits on one request and on a tag.
PARAMETERS_A_BATCH = 100
TAGS_A_BATCH = 100
TAG_LENGTH = 5000

FLUSH_SECONDS = 300.0
# Who sends SIGTERM follows with SIGKILL, commonly after 10 s.
FLUSH_SECONDS_WHEN_KILLED = 4.0

STATUS_OF_TRIAL = {"completed": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}

_log = logging.getLogger(__name__)


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised where the program stood, so that it ends as it does on Ctrl-C."""


class Run(RunArtifacts):
    """An open run.

    Metrics are handed to a thread and sent as the store takes them; everything else is sent at
    once. The run ends with the `with` block of `start_run`.

    Attributes:
        id: MLflow's run id.
        experiment_id: MLflow's experiment id.
        name: the name that the UI shows.
    """

    def __init__(self, run: mlflow.entities.Run, *, writer: MetricWriter) -> None:
        self.id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id
        self.name: str = run.info.run_name
        self._client = store.client()
        self._writer = writer
        self._open_children: dict[str, ChildRun] = {}

    @property
    def url(self) -> str:
        """The run's page in the UI."""
        return store.run_url(self.id, self.experiment_id)

    def log_parameters(self, parameters: Mapping[str, Value]) -> None:
        """Log parameters under their dotted names; the same again is no error, another value is."""
        entries = [Param(name, _text(value)) for name, value in parameters.items()]
        for start in range(0, len(entries), PARAMETERS_A_BATCH):
            self._client.log_batch(self.id, params=entries[start : start + PARAMETERS_A_BATCH])

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of an epoch, counted from 1; returns without waiting for the store."""
        self._writer.add(self.id, metrics, step=epoch)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics of the whole run, or of a step; returns without waiting for the store."""
        self._writer.add(self.id, metrics, step=step or 0)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, cut at the 5000 characters that MLflow takes."""
        entries = [RunTag(name, str(value)[:TAG_LENGTH]) for name, value in tags.items()]
        for start in range(0, len(entries), TAGS_A_BATCH):
            self._client.log_batch(self.id, tags=entries[start : start + TAGS_A_BATCH])

    def log_error(self, error: str) -> None:
        """Log a traceback: whole as `traceback.txt`, its last line as a tag."""
        lines = error.strip().splitlines() or ["unknown"]
        self.set_tags({ERROR_TAG: lines[-1].strip()})
        self.log_text(error, "traceback.txt")

    def flush(self, *, timeout: float = FLUSH_SECONDS) -> None:
        """Wait until every metric handed over so far has been sent."""
        self._writer.flush(timeout=timeout)

    def child(
        self, number: int, parameters: Mapping[str, Value], *, name: str | None = None
    ) -> ChildRun:
        """Open the child run of a trial; one trial number is one child run, however often opened.

        A child run of that number that a search left unfinished is gone on with as long as no
        metric has been logged to it. Otherwise the trial begins anew, and two curves in one
        figure would mislead: the old child run goes to MLflow's trash (`mlflow gc` empties it,
        `mlflow runs restore` brings it back), and the new one names it in the tag
        `cifar_track.replaces`.

        Args:
            number: the trial's number, from 0.
            parameters: the trial's hyperparameters by dotted name.
            name: what the UI shows; `trial 0` and so on by default.
        """
        tags = {
            "mlflow.parentRunId": self.id,
            queries.KIND_TAG: "trial",
            queries.TRIAL_TAG: str(number),
            **identity_tags(),
        }
        found = queries.find_child(self.id, number)
        if found is not None and not _is_fresh(found, parameters):
            self._client.delete_run(found.info.run_id)
            tags["cifar_track.replaces"] = found.info.run_id
            found = None
        if found is None:
            inherited = {
                tag: value
                for tag, value in self._client.get_run(self.id).data.tags.items()
                if tag in queries.INHERITED_TAGS
            }
            found = self._client.create_run(
                self.experiment_id, tags={**inherited, **tags}, run_name=name or f"trial {number}"
            )
        else:
            self._client.update_run(found.info.run_id, status="RUNNING")
        child = ChildRun(found, writer=self._writer, parent=self)
        child.set_tags(tags)
        child.log_parameters(parameters)
        self._open_children[child.id] = child
        return child

    def _end_children(self, *, status: str, error: str) -> None:
        for child in list(self._open_children.values()):
            child.finish(status, error=error)


class ChildRun(Run):
    """The open run of a trial; it ends with `finish`, or with its parent."""

    def __init__(self, run: mlflow.entities.Run, *, writer: MetricWriter, parent: Run) -> None:
        super().__init__(run, writer=writer)
        self._parent = parent

    def finish(self, status: str, error: str | None = None) -> None:
        """End the run once its metrics have been sent.

        Args:
            status: `completed`, `failed` or `stopped`.
            error: the traceback of a failed trial.
        """
        if status not in STATUS_OF_TRIAL:
            raise ValueError(f"status {status!r}; expected one of {', '.join(STATUS_OF_TRIAL)}")
        self._parent._open_children.pop(self.id, None)
        self.flush(timeout=FLUSH_SECONDS_WHEN_KILLED if status == "stopped" else FLUSH_SECONDS)
        if error:
            self.log_error(error)
        self._client.set_terminated(self.id, STATUS_OF_TRIAL[status])


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
        queries.KIND_TAG: kind,
        "cifar_track.dataset": dataset_name,
        "cifar_track.version": cifar_track.__version__,
        **({} if experiment is None else _experiment_tags(experiment)),
        **git_tags(),
        **identity_tags(),
        **(tags or {}),
    }
    if launched is not None and not joins:
        all_tags[launcher.LAUNCHER_TAG] = launched.run_id
    with _sigterm_raises():
        active = mlflow.start_run(
            run_id=run_id,
            experiment_id=None if run_id else experiment_id,
            run_name=name,
            nested=mlflow.active_run() is not None,
            tags=all_tags,
            log_system_metrics=kind == "iteration",
        )
        run = Run(active, writer=MetricWriter(store.client()))
        run.name = name
        try:
            if resume_run_id is not None:
                with suppress(mlflow.MlflowException):
                    run._client.delete_tag(run.id, ERROR_TAG)
            if launched is not None and not joins:
                launcher.link_launcher_run(launched, active, name=name)
            yield run
        except BaseException as error:
            _end(run, error)
            raise
        else:
            _end(run, None)


def _experiment_tags(experiment: Experiment) -> dict[str, str]:
    return {
        queries.ITERATION_TAG: experiment.name,
        queries.PROTOCOL_TAG: experiment.data.selection,
    }


def _end(run: Run, error: BaseException | None) -> None:
    """Log how it ended, send what is left, and end the run; never hides `error`."""
    status = _status(error)
    try:
        if status == "FAILED" and error is not None:
            run.log_error("".join(traceback.format_exception(error)))
        if status == "KILLED":
            run.set_tags({ERROR_TAG: f"ended by {_reason(error)}"})
        if error is not None:
            run._end_children(
                status="stopped" if status == "KILLED" else "failed",
                error="ended because its parent run did",
            )
    except Exception as failure:
        _log.warning("how the run ended could not be logged: %s", _first_line(failure))
    timeout = FLUSH_SECONDS_WHEN_KILLED if status == "KILLED" else FLUSH_SECONDS
    lost = run._writer.close(timeout=timeout)
    if lost is not None:
        _log.warning("run %s: %s", run.id, lost)
    try:
        if lost is not None:
            run.set_tags({LOGGING_ERROR_TAG: lost})
        mlflow.end_run(status)
    except Exception as failure:
        if error is None:
            raise CifarTrackError(
                f"the run {run.id} could not be ended in the store: {_first_line(failure)}; "
                "`doctor` mends it once the store is back"
            ) from failure
        _log.warning("the run %s could not be ended: %s", run.id, _first_line(failure))


def _status(error: BaseException | None) -> str:
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return "FINISHED"
    return "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"


def _reason(error: BaseException | None) -> str:
    return "SIGTERM" if isinstance(error, Terminated) else "Ctrl-C"


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Let SIGTERM raise `Terminated`; where signals can't be caught, leave them as they are."""

    def raise_terminated(number: int, frame: FrameType | None) -> None:
        raise Terminated("SIGTERM")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: Any = signal.signal(signal.SIGTERM, raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


def _is_fresh(found: mlflow.entities.Run, parameters: Mapping[str, Value]) -> bool:
    """Whether a child run found can be gone on with: no metric yet, and no other parameters."""
    wanted = {name: _text(value) for name, value in parameters.items()}
    return not found.data.metrics and all(
        wanted.get(name) == value for name, value in found.data.params.items()
    )


def _text(value: Value) -> str:
    """A value as `override` reads it back."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


