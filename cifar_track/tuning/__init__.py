"""Keras Tuner's search, each trial in a process of its own and reported as it happens."""

from cifar_track.tuning.executors.cluster import ClusterConnection, connected, require_ray
from cifar_track.tuning.resources import default_workers, devices, usable_cores, worker_environment
from cifar_track.tuning.search import search
from cifar_track.tuning.space import planned_trials, trial_experiment, typed_values
from cifar_track.tuning.state import MAY_CHANGE, fingerprint, first_difference
from cifar_track.tuning.trials import (
    SearchResult,
    TrialListener,
    TrialRecord,
    TrialResult,
    TrialStart,
)

__all__ = [
    "MAY_CHANGE",
    "ClusterConnection",
    "SearchResult",
    "TrialListener",
    "TrialRecord",
    "TrialResult",
    "TrialStart",
    "connected",
    "default_workers",
    "devices",
    "fingerprint",
    "first_difference",
    "planned_trials",
    "require_ray",
    "search",
    "trial_experiment",
    "typed_values",
    "usable_cores",
    "worker_environment",
]
