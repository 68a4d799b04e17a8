"""The scheduler: asks the oracle, has its trials run side by side, and keeps what came out."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cifar_track import child, interrupts
from cifar_track.config import CifarTrackError, first_best
from cifar_track.tuning.announcer import Announcer
from cifar_track.tuning.executors import (
    EndReport,
    EpochReport,
    Executor,
    Job,
    KilledReport,
    PlaceReport,
    Report,
)
from cifar_track.tuning.jobs import Jobs, kept_course
from cifar_track.tuning.running import RunningTrial
from cifar_track.tuning.space import check_space, typed_values
from cifar_track.tuning.state import StateFile
from cifar_track.tuning.stopping import median_verdict
from cifar_track.tuning.trials import (
    TrialListener,
    TrialRecord,
    TrialResult,
    TrialStart,
)

FAILURES_IN_A_ROW = 3


class Scheduler:
    """A search under way: its oracle, the trials that run, and the results of those that don't."""

    def __init__(
        self,
        jobs: Jobs,
        *,
        state: StateFile,
        listener: TrialListener,
        executor: Executor,
    ) -> None:
        # Imported here: it imports TensorFlow, which trials' processes import for themselves, and
        # only where they train.
        from cifar_track.tuning import oracle

        self._oracles = oracle
        self._settings = check_space(jobs.experiment)
        self._maximize = oracle.direction(self._settings) == "max"
        self._jobs = jobs
        self._state = state
        self._listener = listener
        self._announcer = Announcer()
        self._executor = executor
        self._running: dict[int, RunningTrial] = {}
        self._records: dict[int, TrialRecord] = {}
        self._told: set[int] = set()
        self._killed: dict[int, str] = {}
        self._failures = 0
        self._names = itertools.count()
        with oracle.quiet():
            self._oracle = oracle.build_oracle(jobs.experiment)

    def restore(self, records: Sequence[TrialRecord], told: set[int]) -> None:
        """Go on from trials that have begun, and tell those ends that may not have been heard."""
        self._records = {record.number: record for record in records}
        self._told = {number for number in told if number in self._records}
        with self._oracles.quiet():
            self._oracle.restore(records)
        for record in sorted(records, key=lambda record: record.number):
            if record.result is not None and record.number not in self._told:
                self._tell_end(record.result)

    def run(self) -> None:
        """Run trials until the oracle wants no more.

        Raises:
            CifarTrackError: three trials in a row failed.
            Exception: what the listener still raises once all trials are over.
        """
        wanted = True
        while True:
            while wanted and len(self._running) < self._executor.capacity:
                with self._oracles.quiet():
                    trial = self._oracle.create_trial(str(next(self._names)))
                wanted = trial.status != "STOPPED"
                if trial.status != "RUNNING":
                    break  # IDLE: it waits for the result of a trial that runs
                self._begin(trial)
            if not self._running:
                break
            for number, report in self._executor.hear():
                self._hear(number, report)
        self._announcer.finish()

    def weights_of(self, number: int) -> Path:
        """The weights of a completed trial's best epoch; it is trained again if they are lost.

        Raises:
            CifarTrackError: they are lost, and it can't be trained again.
        """
        file = self._jobs.weights(number)
        if not file.is_file():
            record = self._records[number]
            assert record.result is not None
            self._listener.notice(f"trial {number}: its weights are not here; training it again")
            job = self._jobs.job(number, record.proposal, record.result.values)
            for _ in range(self._settings.retries + 1):
                report = self._run_alone(job)
                if isinstance(report, EndReport):
                    break
            if not file.is_file():
                error = report.error if isinstance(report, EndReport) else report.reason
                raise CifarTrackError(
                    f"the weights of trial {number} are not in {file.parent}, and training it "
                    f"again failed: {child.last_line(error)}"
                )
        return file

    def _run_alone(self, job: Job) -> EndReport | KilledReport:
        """Run a job while no other is under way; returns its end."""
        self._executor.submit(job)
        report: Any = None
        while not isinstance(report, EndReport | KilledReport):
            for _, report in self._executor.hear():  # noqa: B007 - the last one counts
                pass
        self._executor.cancel(job.number)
        return report

    def results(self) -> tuple[TrialResult, ...]:
        """What came of the trials that are over, by their numbers."""
        ordered = (record.result for _, record in sorted(self._records.items()))
        return tuple(result for result in ordered if result is not None)

    def killed(self) -> dict[int, str]:
        """The trials that were killed more often than they are tried again, and how at last."""
        return dict(self._killed)

    @contextlib.contextmanager
    def stopping(self) -> Iterator[None]:
        """Whatever ends the search early, end its processes and tell that their trials stopped."""
        try:
            yield
        except BaseException:
            with interrupts.deferred():  # the first signal is the one that counts
                stopped = [self._result(running, "stopped") for running in self._running.values()]
                for result in stopped:
                    self._executor.cancel(result.number)
                for result in stopped:
                    self._tell_end(result)
            raise

    def _begin(self, trial: Any) -> None:
        number, chosen = int(trial.trial_id), dict(trial.hyperparameters.values)
        values = typed_values(self._jobs.experiment, self._oracles.space_values(trial))
        job = self._jobs.job(number, chosen, values)
        kept = kept_course(job)
        self._running[number] = RunningTrial(
            trial=trial, job=job, values=values, objective=self._settings.objective, kept=kept
        )
        self._records[number] = TrialRecord(number=number, proposal=chosen)
        self._save()
        start = TrialStart(
            number=number,
            values=values,
            experiment=job.experiment,
            proposal=chosen,
            finished_epochs=kept.epochs,
        )
        self._announcer.tell(lambda: self._listener.trial_started(start))
        self._executor.submit(job)

    def _hear(self, number: int, report: Report) -> None:
        running = self._running.get(number)
        if running is None:  # stopped for another trial's report of the same moment
            return
        match report:
            case PlaceReport(node, resources):
                self._announcer.tell(lambda: self._listener.trial_placed(number, node, resources))
            case EpochReport(epoch, metrics, cpu_seconds, machine):
                running.epochs[epoch] = metrics
                running.cpu_seconds = cpu_seconds
                if machine:
                    self._announcer.tell(
                        lambda: self._listener.trial_machine(number, epoch, machine)
                    )
                self._announcer.tell(lambda: self._listener.trial_epoch(number, epoch, metrics))
                self._stop_if_poor(running)
            case EndReport(error, cpu_seconds):
                running.cpu_seconds = cpu_seconds or running.cpu_seconds
                self._end(running, error=error)
            case KilledReport(reason):
                running.kills += 1
                if running.kills <= self._settings.retries:
                    self._executor.cancel(number)
                    running.kept, running.cpu_seconds = kept_course(running.job), 0.0
                    self._announcer.tell(lambda: self._listener.trial_restarted(number, reason))
                    self._executor.submit(running.job)
                else:
                    self._give_up(running, reason)

    def _stop_if_poor(self, running: RunningTrial) -> None:
        last = running.job.first_epoch + running.job.experiment.training.epochs
        if self._settings.stop != "median" or max(running.epochs) >= last:
            return
        verdict = median_verdict(
            running.scores(),
            {
                result.number: result.scores
                for result in self.results()
                if result.score is not None and result.stopped_early is None
            },
            maximize=self._maximize,
        )
        if verdict is not None:
            self._end(running, error=None, stopped_early=verdict)

    def _end(
        self, running: RunningTrial, *, error: str | None, stopped_early: str | None = None
    ) -> None:
        objective, scores = self._settings.objective, running.scores()
        best = first_best(scores, maximize=self._maximize)
        if error is None and best is None:
            error = f"{objective} was not a number in any of {len(scores)} epochs"
        trial = running.trial
        with self._oracles.quiet():
            if error is None and best is not None:
                epochs = sorted(running.epochs)
                result = self._result(
                    running,
                    "completed",
                    score=scores[best],
                    best_epoch=epochs[best],
                    stopped_early=stopped_early,
                )
                for epoch, score in zip(epochs, scores, strict=True):
                    self._oracle.update_trial(trial.trial_id, {objective: score}, step=epoch)
                trial.status = "COMPLETED"
            else:
                result = self._result(running, "failed", error=error)
                trial.status, trial.message = "FAILED", error
            self._oracle.end_trial(trial)
        self._let_go(running)
        self._records[result.number] = TrialRecord(
            number=result.number, proposal=running.trial.hyperparameters.values, result=result
        )
        self._save()
        running.job.checkpoint.unlink(missing_ok=True)
        self._tell_end(result)
        self._failures = self._failures + 1 if result.status == "failed" else 0
        if self._failures == FAILURES_IN_A_ROW:
            raise CifarTrackError(
                f"{FAILURES_IN_A_ROW} trials in a row failed; the last, trial {result.number}: "
                f"{child.last_line(error)}"
            )

    def _give_up(self, running: RunningTrial, reason: str) -> None:
        """Leave a trial for the next call; the oracle takes it for one that still runs."""
        self._killed[running.job.number] = reason
        result = self._result(running, "killed", error=reason)
        self._let_go(running)
        self._tell_end(result)

    def _let_go(self, running: RunningTrial) -> None:
        self._executor.cancel(running.job.number)
        del self._running[running.job.number]

    def _result(self, running: RunningTrial, status: str, **outcome: Any) -> TrialResult:
        seconds = self._executor.seconds(running.job.number)
        return running.result(status, seconds=seconds, **outcome)

    def _tell_end(self, result: TrialResult) -> None:
        def tell() -> None:
            self._listener.trial_ended(result.number, result)
            if result.status in ("completed", "failed"):
                self._told.add(result.number)
                self._save()

        self._announcer.tell(tell)

    def _save(self) -> None:
        self._state.write([record for _, record in sorted(self._records.items())], self._told)
