"""A run from its beginning to its end, whichever way it ends, and what is logged meanwhile."""

from __future__ import annotations

import logging
import shutil
import traceback
from collections.abc import Mapping
from pathlib import Path

from cifar_track import interrupts
from cifar_track.addresses import shown
from cifar_track.config import CifarTrackError, Value
from cifar_track.interrupts import Terminated, launcher_is_gone
from cifar_track.tracking import queries, store, tag
from cifar_track.tracking.artifacts import RunArtifacts
from cifar_track.tracking.delivery import TRACEBACK
from cifar_track.tracking.operations import as_text, ending, now, points
from cifar_track.tracking.process import identity_tags
from cifar_track.tracking.reach import first_line
from cifar_track.tracking.sender import PATIENCE, Sender, patience

# Who sends SIGTERM follows with SIGKILL, commonly after 10 s; who presses Ctrl-C waits and sees.
PATIENCE_WHEN_TERMINATED = 4.0
PATIENCE_AFTER_CTRL_C = 20.0

REFIT = "refit"
STATUS_OF_TRIAL = {"completed": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}

_log = logging.getLogger(__name__)


class NotSentError(CifarTrackError):
    """A run is over, and what it made is not in the store yet."""

    exit_status = 75  # what sysexits.h calls a temporary failure


class Run(RunArtifacts):
    """An open run; it ends with the `with` block of `start_run`.

    Attributes:
        experiment_id: MLflow's experiment id.
        name: the name that the UI shows.
    """

    def __init__(
        self, handle: str, *, sender: Sender, experiment_id: str, name: str, tags: Mapping[str, str]
    ) -> None:
        super().__init__(handle, sender)
        self.experiment_id = experiment_id
        self.name = name
        self._tags = dict(tags)
        self._begun = 0
        self._open_children: dict[str, ChildRun] = {}

    @property
    def id(self) -> str:
        """MLflow's run id."""
        return self._handle

    @property
    def url(self) -> str:
        """The run's page in the UI."""
        return store.run_url(self.id, self.experiment_id)

    def log_parameters(self, parameters: Mapping[str, Value]) -> None:
        """Log parameters under their dotted names; the same again is no error, another value is."""
        texts = {name: as_text(value) for name, value in parameters.items()}
        self._add({"do": "parameters", "parameters": texts})

    def log_epoch(
        self, epoch: int, metrics: Mapping[str, float], *, at: float | None = None
    ) -> None:
        """Log the metrics of an epoch, counted from 1, as of now or of a time since 1970."""
        self._add(points(metrics, step=epoch, at=at))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics of the whole run, or of a step, at the present time.

        Those of the whole run stand at step 0, by which MLflow's UI draws them as bars; at an
        epoch they would be lone dots beside the curves.
        """
        self._add(points(metrics, step=step or 0))

    def log_machine(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Log how busy the machine is, from any thread; a power cut may lose it."""
        self._sender.add({"run": self._handle, **points(metrics, step=step)}, durable=False)

    def log_model(self, folder: Path, *, metrics_step: int) -> None:
        """Log the model that is served.

        Its address, `models:/m-…`, becomes the tag `cifar_track.model_uri`.

        Args:
            folder: the model on disk, as `cifar_track.serving` prepares it.
            metrics_step: the epoch whose metrics are the model's own.
        """
        key = f"{self._sender.outbox.folder.name}/model"
        with self._files(do="model", key=key, step=metrics_step) as kept:
            shutil.copytree(folder, kept, dirs_exist_ok=True)

    def log_error(self, error: str) -> None:
        """Log a traceback: whole as `traceback.txt`, its last line as a tag."""
        error = shown(error)  # MLflow's own errors name the store's address
        lines = error.strip().splitlines() or ["unknown"]
        self.set_tags({tag.ERROR: lines[-1].strip()})
        self.log_text(error, TRACEBACK)

    def forget_error(self) -> None:
        """Remove the error of an earlier attempt from a run that is gone on with."""
        self._add({"do": "forget"})

    def flush(self, *, timeout: float | None = None) -> bool:
        """Wait until everything logged so far has been sent; False when patience ran out."""
        return self._sender.wait(patience=patience() if timeout is None else timeout)

    def child(
        self, number: int | str, parameters: Mapping[str, Value], *, name: str | None = None
    ) -> ChildRun:
        """Begin a trial's child run; one trial number is one child run, however often begun.

        A child run of that number to which no metric has been logged is gone on with. Any other
        is a trial that was cut short and begins anew, and two curves in one figure would mislead:
        the old child run goes to MLflow's trash (`mlflow runs restore` brings it back), and the
        new one names it in the tag `cifar_track.replaces`.

        The store is not waited for: it opens the child run when its turn comes.

        Args:
            number: the trial's number, from 0, or `refit` for what is trained after all of them.
            parameters: the trial's hyperparameters by dotted name.
            name: what the UI shows; `trial 0` and so on by default.
        """
        return self._open_child(number, parameters, name=name, begins=True)

    def reopen_child(
        self, number: int | str, parameters: Mapping[str, Value], *, name: str | None = None
    ) -> ChildRun:
        """Go on with a trial's child run as it stands, or open one where there is none.

        For a trial whose end is told again because the first telling may have been lost.
        """
        return self._open_child(number, parameters, name=name, begins=False)

    def _open_child(
        self, number: int | str, parameters: Mapping[str, Value], *, name: str | None, begins: bool
    ) -> ChildRun:
        self._begun += 1
        handle = f"{self._sender.outbox.folder.name}/{self._begun}"
        child = ChildRun(
            handle,
            sender=self._sender,
            experiment_id=self.experiment_id,
            name=name or (f"trial {number}" if number != REFIT else REFIT),
            parent=self,
        )
        # A signal in between would leave a run that nobody ends.
        with interrupts.deferred():
            self._add(
                {
                    "do": "child",
                    "child": handle,
                    "key": handle,
                    "number": number,
                    "begins": begins,
                    "name": child.name,
                    "time": now(),
                    "experiment_id": self.experiment_id,
                    "parameters": {key: as_text(value) for key, value in parameters.items()},
                    "tags": {
                        tag.KIND: REFIT if number == REFIT else "trial",
                        tag.TRIAL: str(number),
                        **identity_tags(),
                    },
                    "inherited": {k: v for k, v in self._tags.items() if k in tag.INHERITED},
                }
            )
            child.log_parameters(parameters)
            self._open_children[str(number)] = child
        return child

    def child_metric(self, number: int, name: str) -> float | None:
        """A metric of a trial's child run, from the store; None where it has none or is away."""
        self.flush()
        try:
            found = queries.find_child(self._handle, number)
        except Exception as error:
            _log.warning("%s of trial %s is not known: %s", name, number, first_line(error))
            return None
        return None if found is None else found.data.metrics.get(name)

    def release(self, child: ChildRun) -> None:
        """Forget a child run that has ended by itself."""
        for number, known in list(self._open_children.items()):
            if known is child:
                del self._open_children[number]

    def end(self, error: BaseException | None) -> None:
        """Log how the run ended, send what is left and end it; `start_run` calls this.

        The run says RUNNING until all of it is in the store.

        Args:
            error: what left the block; None for its normal end. It is never hidden: what fails
                here while there is an error is only warned of.

        Raises:
            NotSentError: the store did not take all of it in time.
            CifarTrackError: it refused something that the run can't do without.
        """
        status = status_of(error)
        if status == "KILLED":
            self.set_tags({tag.ERROR: str(error) if isinstance(error, Terminated) else "Ctrl-C"})
        elif error is not None and status == "FAILED":
            self.log_error("".join(traceback.format_exception(error)))
        for child in list(self._open_children.values()):
            if status == "KILLED":
                child.finish("stopped")
            else:
                child.finish("failed", error="it was still open when its parent run ended")
        self._end(status)
        if launcher_is_gone() and tag.LAUNCHER_RUN_ID in self._tags:  # nobody else ends it
            self._add(ending("KILLED", run=self._tags[tag.LAUNCHER_RUN_ID]))
        self._sender.wait(patience=_patience_after(error) if status == "KILLED" else patience())
        problem = self._problem() if self._sender.close() else self._not_sent()
        if problem is not None and error is None:
            raise problem
        if problem is not None:
            _log.warning("%s", problem)

    def _end(self, status: str) -> None:
        self._add(ending(status, run=self._handle))

    def _not_sent(self) -> CifarTrackError:
        reason = self._sender.trouble or f"a larger {PATIENCE} waits longer"
        return NotSentError(
            f"run {self._handle} ({self.name}) is not whole in the tracking store yet ({reason}); "
            f"what it lacks is kept in {self._sender.outbox.folder}; "
            "`python -m cifar_track doctor` sends it"
        )

    def _problem(self) -> CifarTrackError | None:
        """What the store refused for good, in a line."""
        progress = self._sender.outbox.progress
        if not progress.refused:
            return None
        lost = f"run {self._handle} ({self.name}): not logged: {'; '.join(progress.refused[:3])}"
        if not progress.whole:
            return CifarTrackError(f"{lost}; it is FAILED")
        _log.warning("%s", lost)
        return None


class ChildRun(Run):
    """The open run of a trial; it ends with `finish`, or with its parent."""

    def __init__(
        self, handle: str, *, sender: Sender, experiment_id: str, name: str, parent: Run
    ) -> None:
        super().__init__(handle, sender=sender, experiment_id=experiment_id, name=name, tags={})
        self._parent = parent

    @property
    def id(self) -> str:
        """MLflow's run id; waits for the store to give one.

        Raises:
            TimeoutError: the store has not for too long.
        """
        return self._sender.run_id(self._handle, patience=patience())

    def finish(self, status: str, error: str | None = None) -> None:
        """End the run, once all that was logged to it has been sent.

        Args:
            status: `completed`, `failed` or `stopped`.
            error: the traceback of a failed trial.
        """
        if status not in STATUS_OF_TRIAL:
            raise ValueError(f"status {status!r}; expected one of {', '.join(STATUS_OF_TRIAL)}")
        with interrupts.deferred():  # let go of and not ended, it would say RUNNING for good
            self._parent.release(self)
            if error:
                self.log_error(error)
            self._end(STATUS_OF_TRIAL[status])


def status_of(error: BaseException | None) -> str:
    """The status of a run that this error ended; None is its normal end."""
    if error is None or (isinstance(error, SystemExit) and not error.code):
        return "FINISHED"
    # A signal between the block and its end shows itself only as the block being dropped.
    return "KILLED" if isinstance(error, KeyboardInterrupt | GeneratorExit) else "FAILED"


def _patience_after(error: BaseException | None) -> float:
    """How long a store that takes nothing is waited for after this error, in seconds."""
    longest = PATIENCE_WHEN_TERMINATED if isinstance(error, Terminated) else PATIENCE_AFTER_CTRL_C
    return min(longest, patience())
