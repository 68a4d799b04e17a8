"""Keras Tuner's oracles, each of whose proposals hangs on the page's seed and the trials alone."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial

from cifar_track.config import Experiment, IntRange, Search, Value
from cifar_track.seeds import Purpose, derived_seed
from cifar_track.tuning.space import HYPERBAND_FACTOR, check_space, planned_trials, range_values
from cifar_track.tuning.trials import TrialRecord

# Keras Tuner ends a search after so many failures in a row by itself; the scheduler counts them.
NEVER = 2**31


class _Durable(keras_tuner.Oracle):
    """Mixed into an oracle: what it proposes for a trial can be worked out again from the others.

    Keras Tuner draws from one stream after another and keeps its place in `oracle.json`, beside a
    `trial.json` for each trial, written in place: a kill between or within two of them loses a
    trial, repeats a completed one or leaves a file that can't be read. Here trial n draws from a
    stream of its own, so that the trials alone are the state: whoever has them, from a file or
    from MLflow, has the search. By design this differs from Keras Tuner's own tests in where the
    state lies: saving and reloading through `oracle.json` are not there.
    """

    page_seed: int = 0

    def restore(self, records: Sequence[TrialRecord]) -> None:
        """Go on from trials that have begun; those without a result run first, and again."""
        known = {record.number: record for record in records}
        for number in range(max(known, default=-1) + 1):
            self._restore(number, known.get(number))
        # It is popped from its end.
        self._retry_queue.sort(key=int, reverse=True)

    def _restore(self, number: int, record: TrialRecord | None) -> None:
        trial_id = self._id(number)
        if record is None:  # lost, or its run was deleted: proposed again
            values = self.populate_space(trial_id).get("values")
        else:
            values = dict(record.proposal)
        hyperparameters = self.hyperparameters.copy()
        hyperparameters.values = values or {}
        trial = Trial(hyperparameters=hyperparameters, trial_id=trial_id, status="RUNNING")
        self.trials[trial_id] = trial
        self.start_order.append(trial_id)
        self._record_values(trial)
        result = None if record is None else record.result
        if result is None:
            self._retry_queue.append(trial_id)
            return
        trial.status = "FAILED" if result.score is None else "COMPLETED"
        trial.score, trial.best_step = result.score, result.best_epoch
        self.end_order.append(trial_id)
        self._run_times[trial_id] = 1

    def populate_space(self, trial_id: str) -> Any:
        self._seed_state = derived_seed(self.page_seed, Purpose.SEARCH, int(trial_id))
        return super().populate_space(trial_id)

    def _id(self, number: int) -> str:
        """A trial's name in Keras Tuner, which is as wide as the number of all trials."""
        return f"{number:0{len(str(self.max_trials))}d}"

    def save(self) -> None:
        """Nothing: the scheduler saves the trials."""

    def _save_trial(self, trial: Trial) -> None:
        """Nothing, likewise."""


class _RandomSearch(_Durable, keras_tuner.oracles.RandomSearchOracle):
    """Random search, to the last combination where there are few.

    Keras Tuner gives up once it has drawn twenty that were tried before. By design this differs
    from Keras Tuner's own tests in that it then draws among those that are left.
    """

    def populate_space(self, trial_id: str) -> Any:
        found = super().populate_space(trial_id)
        if found["status"] != "STOPPED":
            return found
        tried = self._tried_so_far
        left = [c for c in self._combinations() if self._compute_values_hash(c) not in tried]
        if not left:
            return found
        random = np.random.default_rng(self._seed_state)
        return {"status": "RUNNING", "values": left[random.integers(len(left))]}

    def _combinations(self) -> Iterator[dict[str, Value]]:
        space = self.hyperparameters.space
        for values in itertools.product(*(setting.values for setting in space)):
            yield dict(zip((setting.name for setting in space), values, strict=True))


class _Hyperband(_Durable, keras_tuner.oracles.HyperbandOracle):
    """Hyperband."""

    def restore(self, records: Sequence[TrialRecord]) -> None:
        known = {record.number: record for record in records}
        # What a lost trial's place in its bracket was, nobody knows: those after it are run again.
        kept = next(number for number in range(len(known) + 1) if number not in known)
        super().restore([known[number] for number in range(kept)])
        bracket_of: dict[str, int] = {}
        for trial_id in self.start_order:
            values = self.trials[trial_id].hyperparameters.values
            past = values.get("tuner/trial_id")
            # Keras Tuner writes the newest bracket into a trial that an older one promotes.
            number = values["tuner/bracket"] if past is None else bracket_of[past]
            bracket_of[trial_id] = number
            while self._current_bracket > number:
                self._increment_bracket_num()
                self._start_new_bracket()
            [bracket] = [entry for entry in self._brackets if entry["bracket_num"] == number]
            bracket["rounds"][values["tuner/round"]].append({"past_id": past, "id": trial_id})


class _Bayesian(_Durable, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimisation."""

    def populate_space(self, trial_id: str) -> Any:
        self._random_state = np.random.RandomState(
            derived_seed(self.page_seed, Purpose.SEARCH, int(trial_id))
        )
        with warnings.catch_warnings():
            # The Gaussian process says so whenever a bound of its kernel is reached.
            warnings.simplefilter("ignore")
            return super().populate_space(trial_id)


class _GridSearch(_Durable, keras_tuner.oracles.GridSearchOracle):
    """Grid search in Keras Tuner's order, from the trial last made alone.

    Keras Tuner's own asks for the next combination only once a trial has ended, in case it brought
    new hyperparameters, which keeps all but two workers idle; and it does not save the list it
    keeps for that, so that it can't be resumed. Here the space is known beforehand. By design this
    differs from Keras Tuner's own tests in that it does not wait, and that no trial brings
    hyperparameters.
    """

    def populate_space(self, trial_id: str) -> Any:  # noqa: ARG002
        if self.start_order:
            last = self.trials[self.start_order[-1]]
            values = self._get_next_combination(last.hyperparameters.values)
        else:
            values = {setting.name: setting.default for setting in self.hyperparameters.space}
        return {"status": "STOPPED" if values is None else "RUNNING", "values": values}


def build_oracle(experiment: Experiment) -> Any:
    """The oracle that the experiment's search names, at its beginning."""
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
        # Of the Gaussian process alone; 0 would mean a random one.
        "seed": 1 + derived_seed(experiment.training.seed, Purpose.SEARCH),
        "max_consecutive_failed_trials": NEVER,
    }
    trials = planned_trials(experiment)
    oracle: Any
    match search.tuner:
        case "random":
            oracle = _RandomSearch(max_trials=trials, **common)
        case "grid":
            oracle = _GridSearch(max_trials=trials, **common)
        case "hyperband":
            oracle = _Hyperband(
                max_epochs=search.trial_epochs or experiment.training.epochs,
                factor=HYPERBAND_FACTOR,
                hyperband_iterations=1,
                **common,
            )
        case _:
            # Keras Tuner's default, three random trials for each dimension, would leave nothing of
            # a short search for the Gaussian process.
            points = max(1, min(3 * len(search.space), trials // 2))
            oracle = _Bayesian(max_trials=trials, num_initial_points=points, **common)
    oracle.page_seed = experiment.training.seed
    oracle.verbose = 0  # else Keras Tuner prints tables
    return oracle


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
