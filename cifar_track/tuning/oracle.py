"""Keras Tuner's oracles with a state that survives a kill: one file, replaced whole."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial

from cifar_track.config import Experiment, IntRange, Search, Value
from cifar_track.tuning.space import HYPERBAND_FACTOR, check_space, range_values
from cifar_track.tuning.state import STATE_VERSION, write_atomically
from cifar_track.tuning.trials import TrialResult

# Keras Tuner ends a search after so many failures in a row by itself, but before it saves the
# last; the search counts them instead.
NEVER = 2**31


class _Durable(keras_tuner.Oracle):
    """Mixed into an oracle: the oracle, its trials and their results saved as one file.

    Keras Tuner writes `oracle.json` and a `trial.json` for each trial in place: a kill between or
    within two of them loses a trial, repeats a completed one or leaves a file that can't be read.
    """

    file: Path
    settings: dict[str, Any]
    results: dict[int, TrialResult]
    reported: set[int]
    ongoing_trials: dict[str, Trial]
    _retry_queue: list[str]

    def prepare(self, file: Path, settings: Mapping[str, Any]) -> None:
        """Say where to save, and what the search depends on."""
        self.file = file
        self.settings = dict(settings)
        self.results = {}
        self.reported = set()
        self.verbose = 0  # else Keras Tuner prints tables

    def save(self) -> None:
        """Replace the file by one of the present state."""
        write_atomically(
            self.file,
            json.dumps(
                {
                    "version": STATE_VERSION,
                    "settings": self.settings,
                    "oracle": self.get_state(),
                    "results": [asdict(result) for result in self.results.values()],
                    "reported": sorted(self.reported),
                }
            ),
        )

    def _save_trial(self, trial: Trial) -> None:
        """Nothing: trials are in the one file, which Keras Tuner saves after each of these."""

    def get_state(self) -> dict[str, Any]:
        state: dict[str, Any] = super().get_state()
        state["trials"] = [
            {
                "trial_id": trial.trial_id,
                "values": trial.hyperparameters.values,
                "status": trial.status,
                "score": None if trial.score is None else float(trial.score),
                "best_step": trial.best_step,
                "message": trial.message,
            }
            for trial in self.trials.values()
        ]
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        for saved in state["trials"]:
            hyperparameters = self.hyperparameters.copy()
            hyperparameters.values = saved["values"]
            trial = Trial(hyperparameters=hyperparameters, trial_id=saved["trial_id"])
            trial.status, trial.message = saved["status"], saved["message"]
            trial.score, trial.best_step = saved["score"], saved["best_step"]
            self.trials[trial.trial_id] = trial
        super().set_state(state)
        # What ran when the search was killed runs again; the queue is popped from its end. Keras
        # Tuner saves the end of a trial before it takes the trial from those under way.
        running = (trial for trial in self.ongoing_trials.values() if trial.status == "RUNNING")
        unfinished = {trial.trial_id for trial in running} | set(self._retry_queue)
        self._retry_queue = sorted(unfinished, key=int, reverse=True)
        self.ongoing_trials = {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `save` wrote."""
        self.set_state(state["oracle"])
        self.results = {saved["number"]: TrialResult(**saved) for saved in state["results"]}
        self.reported = set(state["reported"])


class _RandomSearch(_Durable, keras_tuner.oracles.RandomSearchOracle):
    """Random search."""


class _Hyperband(_Durable, keras_tuner.oracles.HyperbandOracle):
    """Hyperband."""


class _Bayesian(_Durable, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimisation whose random numbers go on where they stopped."""

    def get_state(self) -> dict[str, Any]:
        kind, keys, *rest = self._random_state.get_state()
        return {**super().get_state(), "random_state": [kind, keys.tolist(), *rest]}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._random_state.set_state(tuple(state["random_state"]))

    def populate_space(self, trial_id: str) -> Any:
        with warnings.catch_warnings():
            # The Gaussian process says so whenever a bound of its kernel is reached.
            warnings.simplefilter("ignore")
            return super().populate_space(trial_id)


class _GridSearch(_Durable, keras_tuner.oracles.GridSearchOracle):
    """Grid search in Keras Tuner's order, from the trial last made alone.

    Keras Tuner's own asks for the next combination only once a trial has ended, in case it brought
    new hyperparameters, which keeps all but two workers idle; and it does not save the list it
    keeps for that, so that it can't be resumed. Here the space is known beforehand.
    """

    def populate_space(self, trial_id: str) -> Any:  # noqa: ARG002
        if self.start_order:
            last = self.trials[self.start_order[-1]]
            values = self._get_next_combination(last.hyperparameters.values)
        else:
            values = {setting.name: setting.default for setting in self.hyperparameters.space}
        return {"status": "STOPPED" if values is None else "RUNNING", "values": values}


def build_oracle(experiment: Experiment) -> Any:
    """The oracle that the experiment's search names, at its beginning.

    Keras Tuner takes a seed of 0 to mean a random one, and draws the n-th number from the seed
    plus n, so that neighbouring seeds give almost the same search: our seed s becomes
    1 + 1,000,003 s modulo a prime below 2^32.
    """
    search = check_space(experiment)
    space = keras_tuner.HyperParameters()
    for name, values in search.space.items():
        if isinstance(values, IntRange):
            space.Int(name, values.low, values.high, step=values.step)
        else:
            # Not HyperParameters.Float: it leaves out the upper end where rounding says so.
            space.Choice(name, list(range_values(values)), default=range_values(values)[0])
    common = {
        "objective": keras_tuner.Objective(search.objective, direction(search)),
        "hyperparameters": space,
        "allow_new_entries": False,
        "seed": 1 + experiment.training.seed * 1_000_003 % 4_294_967_291,
        "max_consecutive_failed_trials": NEVER,
    }
    match search.tuner:
        case "random":
            return _RandomSearch(max_trials=search.trials, **common)
        case "grid":
            return _GridSearch(max_trials=search.trials, **common)
        case "hyperband":
            return _Hyperband(
                max_epochs=search.trial_epochs or experiment.training.epochs,
                factor=HYPERBAND_FACTOR,
                hyperband_iterations=1,
                **common,
            )
    # Keras Tuner's default, three random trials for each dimension, would leave nothing of a
    # short search for the Gaussian process.
    points = max(1, min(3 * len(search.space), search.trials // 2))
    return _Bayesian(max_trials=search.trials, num_initial_points=points, **common)


def direction(search: Search) -> str:
    """`max` or `min`: which way the search's objective is better."""
    return "max" if search.objective == "val_accuracy" else "min"


def space_values(trial: Trial) -> dict[str, Value]:
    """What the oracle chose for a trial, without what it keeps there for itself."""
    values = trial.hyperparameters.values
    return {name: value for name, value in values.items() if not name.startswith("tuner/")}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Ignores what Python deprecates and Keras Tuner uses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
