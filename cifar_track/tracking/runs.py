"""A run from its beginning to its end, whichever way it ends, and what is logged meanwhile."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Mapping
from pathlib import Path

import mlflow
from mlflow.entities import Param

from cifar_track.addresses import shown
from cifar_track.config import CifarTrackError, Value
from cifar_track.interrupts import Terminated
from cifar_track.tracking import queries, store, tag
from cifar_track.tracking.artifacts import RunArtifacts
from cifar_track.tracking.model import log_prepared_model
from cifar_track.tracking.process import identity_tags
from cifar_track.tracking.writer import MetricWriter

# MLflow's own limit on one request.
PARAMETERS_A_BATCH = 100

FLUSH_SECONDS = 300.0
# Who sends SIGTERM follows with SIGKILL, commonly after 10 s.
FLUSH_SECONDS_WHEN_KILLED = 4.0

STATUS_OF_TRIAL = {"completed": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}

_log = logging.getLogger(__name__)


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
        super().__init__(run.info.run_id)
        self.experiment_id: str = run.info.experiment_id
        self.name: str = run.info.run_name
        self._tags = dict(run.data.tags)
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

    def epochs_logged(self) -> int:
        """The last epoch that the store has of this run; 0 unless it is gone on with."""
        points = self._client.get_metric_history(self.id, "val_accuracy")
        return max((point.step for point in points), default=0)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics of the whole run, or of a step; returns without waiting for the store."""
        self._writer.add(self.id, metrics, step=step or 0)

    def log_model(self, folder: Path, *, metrics_step: int) -> str:
        """Log the model that is served.

        Args:
            folder: the model on disk, as `cifar_track.serving` prepares it.
            metrics_step: the epoch whose metrics are the model's own.

        Returns:
            The logged model's address, `models:/m-…`; also the tag `cifar_track.model_uri`.
        """
        # MLflow gives a model the metrics that its run holds at that step by then.
        self.flush()
        uri = log_prepared_model(folder, run_id=self.id, step=metrics_step)
        self.set_tags({tag.MODEL_URI: uri})
        return uri

    def log_error(self, error: str) -> None:
        """Log a traceback: whole as `traceback.txt`, its last line as a tag."""
        error = shown(error)  # MLflow's own errors name the store's address
        lines = error.strip().splitlines() or ["unknown"]
        self.set_tags({tag.ERROR: lines[-1].strip()})
        self.log_text(error, "traceback.txt")

    def forget_error(self) -> None:
        """Remove the error of an earlier attempt from a run that is gone on with."""
        if tag.ERROR in self._tags:
            self._client.delete_tag(self.id, tag.ERROR)

    def flush(self, *, timeout: float = FLUSH_SECONDS) -> None:
        """Wait until every metric handed over so far has been sent."""
        self._writer.flush(timeout=timeout)

    def child(
        self, number: int, parameters: Mapping[str, Value], *, name: str | None = None
    ) -> ChildRun:
        """Begin a trial's child run; one trial number is one child run, however often begun.

        A child run of that number to which no metric has been logged is gone on with. Any other
        is a trial that was cut short and begins anew, and two curves in one figure would mislead:
        the old child run goes to MLflow's trash (`mlflow runs restore` brings it back), and the
        new one names it in the tag `cifar_track.replaces`.

        Args:
            number: the trial's number, from 0.
            parameters: the trial's hyperparameters by dotted name.
            name: what the UI shows; `trial 0` and so on by default.
        """
        found = queries.find_child(self.id, number)
        if found is None or _can_begin(found, parameters):
            return self._open_child(found, number, parameters, name=name)
        self._client.delete_run(found.info.run_id)
        child = self._open_child(None, number, parameters, name=name)
        child.set_tags({tag.REPLACES: found.info.run_id})
        return child

    def reopen_child(
        self, number: int, parameters: Mapping[str, Value], *, name: str | None = None
    ) -> ChildRun:
        """Go on with a trial's child run as it stands, or open one where there is none.

        For a trial whose end is told again because the first telling may have been lost.
        """
        found = queries.find_child(self.id, number)
        return self._open_child(found, number, parameters, name=name)

    def _open_child(
        self,
        found: mlflow.entities.Run | None,
        number: int,
        parameters: Mapping[str, Value],
        *,
        name: str | None,
    ) -> ChildRun:
        tags = {
            tag.MLFLOW_PARENT: self.id,
            tag.KIND: "trial",
            tag.TRIAL: str(number),
            **identity_tags(),
        }
        if found is None:
            inherited = {name: value for name, value in self._tags.items() if name in tag.INHERITED}
            found = self._client.create_run(
                self.experiment_id, tags={**inherited, **tags}, run_name=name or f"trial {number}"
            )
        else:
            self._client.update_run(found.info.run_id, status="RUNNING")
        child = ChildRun(found, writer=self._writer, parent=self)
        child.forget_error()
        child.set_tags(tags)
        child.log_parameters(parameters)
        self._open_children[child.id] = child
        return child

    def release(self, child: ChildRun) -> None:
        """Forget a child run that has ended by itself."""
        self._open_children.pop(child.id, None)

    def end(self, error: BaseException | None) -> None:
        """Log how the run ended, send what is left and end it; `start_run` calls this.

        Args:
            error: what left the block; None for its normal end. It is never hidden: what fails
                here while there is an error is only warned of.
        """
        status = status_of(error)
        with store.short_patience() if status == "KILLED" else contextlib.nullcontext():
            self._end(status, error)

    def _end(self, status: str, error: BaseException | None) -> None:
        try:
            self._log_ending(status, error)
        except Exception as failure:
            _log.warning("how the run %s ended could not be logged: %s", self.id, failure)
        lost = self._writer.close(
            timeout=FLUSH_SECONDS_WHEN_KILLED if status == "KILLED" else FLUSH_SECONDS
        )
        try:
            if lost is not None:
                _log.warning("run %s: %s", self.id, lost)
                self.set_tags({tag.LOGGING_ERROR: lost})
            mlflow.end_run(status)
        except Exception as failure:
            if error is None:
                raise CifarTrackError(
                    f"the run {self.id} could not be ended in the store "
                    f"({store.first_line(failure)}); `doctor` mends it once the store is back"
                ) from failure
            _log.warning("the run %s could not be ended: %s", self.id, store.first_line(failure))

    def _log_ending(self, status: str, error: BaseException | None) -> None:
        if status == "KILLED":
            self.set_tags({tag.ERROR: str(error) if isinstance(error, Terminated) else "Ctrl-C"})
        elif error is not None and status == "FAILED":
            self.log_error("".join(traceback.format_exception(error)))
        for child in list(self._open_children.values()):
            if status == "KILLED":
                child.finish("stopped")
            else:
                child.finish("failed", error="it was still open when its parent run ended")


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
        self._parent.release(self)
        self.flush(timeout=FLUSH_SECONDS_WHEN_KILLED if status == "stopped" else FLUSH_SECONDS)
        if error:
            self.log_error(error)
        self._client.set_terminated(self.id, STATUS_OF_TRIAL[status])


def _can_begin(found: mlflow.entities.Run, parameters: Mapping[str, Value]) -> bool:
    """Whether a trial can begin in a child run: no metric yet, and no other parameters."""
    wanted = {name: _text(value) for name, value in parameters.items()}
    return not found.data.metrics and all(
        wanted.get(name) == value for name, value in found.data.params.items()
    )


def status_of(error: BaseException | None) -> str:
    """The status of a run that this error ended; None is its normal end."""
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return "FINISHED"
    # A signal between the block and its end shows itself only as the block being dropped.
    return "KILLED" if isinstance(error, KeyboardInterrupt | GeneratorExit) else "FAILED"


def _text(value: Value) -> str:
    """A value as `override` reads it back."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)
