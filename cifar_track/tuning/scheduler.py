"""The scheduler: asks the oracle, runs its trials side by side, and keeps what came out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifar_track.config import CifarTrackError, Experiment, Value, first_best, override
from cifar_track.tuning import resources
from cifar_track.tuning.space import check_space, trial_experiment, typed_values
from cifar_track.tuning.state import fingerprint, read_state, require_same_search
from cifar_track.tuning.trials import (
    SearchResult,
    TrialListener,
    TrialResult,
    best_trial,
)
from cifar_track.tuning.worker import (
    EndReport,
    EpochReport,
    Job,
    TrainTrial,
    TrialProcess,
    wait_for_reports,
)

if TYPE_CHECKING:
    from cifar_track.data import Dataset

FAILURES_IN_A_ROW = 3


@dataclass
class _Running:
    """A trial that is under way."""

    trial: Any
    number: int
    values: dict[str, Value]
    first_epoch: int
    slot: int
    process: TrialProcess | None = None
    epochs: dict[int, dict[str, float]] = field(default_factory=dict)
    cpu_seconds: float = 0.0

    def result(self, status: str, **outcome: Any) -> TrialResult:
        outcome = {"score": None, "best_epoch": None, "error": None, **outcome}
        return TrialResult(
            number=self.number,
            values=self.values,
            status=status,
            epochs=max(self.epochs, default=self.first_epoch),
            seconds=self.process.seconds if self.process else 0.0,
            cpu_seconds=self.cpu_seconds,
            **outcome,
        )


class Scheduler:
    """A search under way: its oracle, and the trials that run."""

    def __init__(
        self,
        experiment: Experiment,
        data: Dataset,
        *,
        directory: Path,
        listener: TrialListener,
        train: TrainTrial,
    ) -> None:
        # Imported here: it imports TensorFlow, which trials' processes import for themselves, and
        # only where they train.
        from cifar_track.tuning import oracle

        self._oracles = oracle
        self._experiment = experiment
        self._settings = check_space(experiment)
        self._maximize = oracle.direction(self._settings) == "max"
        self._classes = len(data.classes.fine)
        self._directory = directory
        self._listener = listener
        self._train = train
        self._running: list[_Running] = []
        self._failures = 0
        with oracle.quiet():
            self._oracle = oracle.build_oracle(experiment)
            file = directory / "search.json"
            self._oracle.prepare(file, fingerprint(experiment, data))
            if file.exists():
                state = read_state(file)
                require_same_search(state["settings"], self._oracle.settings, directory)
                self._oracle.restore(state)

    def run(self, workers: int) -> None:
        """Run trials until the oracle wants no more."""
        devices = resources.devices()
        alike = self._experiment.training.deterministic
        threads = 1 if alike else max(1, resources.usable_cores() // workers)
        cores = [
            resources.worker_cores(slot, workers=workers, threads=threads)
            for slot in range(workers)
        ]
        wanted = True
        while True:
            slots = set(range(workers)) - {running.slot for running in self._running}
            while wanted and slots:
                with self._oracles.quiet():
                    trial = self._oracle.create_trial(f"worker {min(slots)}")
                wanted = trial.status != "STOPPED"
                if trial.status != "RUNNING":
                    break  # IDLE: it waits for the result of a trial that runs
                slot = min(slots)
                slots.remove(slot)
                device = devices[slot % len(devices)] if devices else None
                self._start(
                    trial,
                    slot=slot,
                    environment=resources.worker_environment(threads=threads, device=device),
                    cores=cores[slot],
                )
            if not self._running:
                return
            self._hear()

    def report_ended(self) -> None:
        """Tell the listener of trials whose end is saved and may not have reached it."""
        for number, result in sorted(self._oracle.results.items()):
            if number not in self._oracle.reported:
                self._listener.trial_ended(number, result)
                self._oracle.reported.add(number)
                self._oracle.save()

    def result(self) -> SearchResult:
        """All trials and the best.

        Raises:
            CifarTrackError: none was completed.
        """
        trials = tuple(result for _, result in sorted(self._oracle.results.items()))
        best = best_trial(trials, maximize=self._maximize)
        if best is None:
            last = f"; the last: {_last_line(trials[-1].error)}" if trials else ""
            raise CifarTrackError(
                f"none of {len(trials)} trials was completed{last}; "
                f"remove {self._directory} to start anew"
            )
        weights = None if self._settings.refit == "anew" else self._weights(best.number)
        for file in self._directory.glob("*.weights.h5"):
            if file != weights:
                file.unlink()
        return SearchResult(trials=trials, best=best, weights=weights)

    @contextlib.contextmanager
    def stopping(self) -> Iterator[None]:
        """Whatever ends the search early, end its processes and report their trials stopped."""
        try:
            yield
        except BaseException:
            for running in self._running:
                if running.process is not None:
                    running.process.kill()
            for running in self._running:
                # The first error is the one to show; the state has these trials as unfinished.
                with contextlib.suppress(Exception):
                    self._listener.trial_ended(running.number, running.result("stopped"))
            raise

    def _start(
        self, trial: Any, *, slot: int, environment: dict[str, str], cores: tuple[int, ...]
    ) -> None:
        chosen = trial.hyperparameters.values
        running = _Running(
            trial=trial,
            number=int(trial.trial_id),
            values=typed_values(self._experiment, self._oracles.space_values(trial)),
            first_epoch=int(chosen.get("tuner/initial_epoch", 0)),
            slot=slot,
        )
        self._running.append(running)
        self._listener.trial_started(running.number, running.values)
        try:
            running.process = TrialProcess(
                self._train, self._job(running), environment=environment, cores=cores
            )
        except OSError as error:
            self._end(running, error=f"the trial's process could not be started: {error}")

    def _job(self, running: _Running) -> Job:
        chosen = running.trial.hyperparameters.values
        experiment = trial_experiment(
            self._experiment, number=running.number, values=running.values
        )
        hyperband = "tuner/epochs" in chosen
        if hyperband:
            epochs = int(chosen["tuner/epochs"]) - running.first_epoch
            experiment = override(experiment, {"training.epochs": epochs})
        earlier = chosen.get("tuner/trial_id")
        keeps = self._settings.refit != "anew"
        return Job(
            experiment=experiment,
            number=running.number,
            classes=self._classes,
            images=self._directory / "images",
            log=self._directory / f"trial_{running.number}.log",
            first_epoch=running.first_epoch,
            initial_weights=self._weights(int(earlier)) if earlier is not None else None,
            final_weights=self._weights(running.number) if hyperband or keeps else None,
        )

    def _weights(self, number: int) -> Path:
        return self._directory / f"trial_{number}.weights.h5"

    def _hear(self) -> None:
        """Wait until a trial reports, and act on one report of each that does."""
        speaking = {
            running.process.connection: running for running in self._running if running.process
        }
        for connection in wait_for_reports(speaking):
            running = speaking[connection]
            assert running.process is not None
            report = running.process.receive()
            match report:
                case EpochReport(epoch, metrics, cpu_seconds):
                    running.epochs[epoch] = metrics
                    running.cpu_seconds = cpu_seconds
                    self._listener.trial_epoch(running.number, epoch, metrics)
                case EndReport(error, cpu_seconds):
                    running.cpu_seconds = cpu_seconds
                    running.process.close()
                    self._end(running, error=error)
                case None:
                    error = running.process.death()
                    running.process.close()
                    self._end(running, error=error)

    def _end(self, running: _Running, *, error: str | None) -> None:
        objective = self._settings.objective
        scores = [metrics[objective] for metrics in running.epochs.values()]
        best = first_best(scores, maximize=self._maximize)
        if error is None and best is None:
            error = f"{objective} was not a number in any of {len(scores)} epochs"
        trial = running.trial
        with self._oracles.quiet():
            if error is None and best is not None:
                epochs = list(running.epochs)
                result = running.result("completed", score=scores[best], best_epoch=epochs[best])
                for epoch, score in zip(epochs, scores, strict=True):
                    self._oracle.update_trial(trial.trial_id, {objective: score}, step=epoch)
                trial.status = "COMPLETED"
            else:
                result = running.result("failed", error=error)
                trial.status, trial.message = "FAILED", error
            self._oracle.results[running.number] = result
            self._oracle.end_trial(trial)  # saves, the result with it
        self._running.remove(running)
        self.report_ended()
        self._failures = self._failures + 1 if result.status == "failed" else 0
        if self._failures == FAILURES_IN_A_ROW:
            raise CifarTrackError(
                f"{FAILURES_IN_A_ROW} trials in a row failed; the last, trial {running.number}: "
                f"{_last_line(error)}"
            )


def _last_line(error: str | None) -> str:
    lines = (error or "").strip().splitlines()
    return lines[-1].strip() if lines else "no reason is known"
