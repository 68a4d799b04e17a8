"""Keras Tuner's search, each trial in a process of its own and reported as it happens."""

from cifar_track.tuning.resources import default_workers
from cifar_track.tuning.results import SearchResult, TrialListener, TrialResult
from cifar_track.tuning.search import search
from cifar_track.tuning.space import planned_trials, trial_experiment
from cifar_track.tuning.state import fingerprint

__all__ = [
    "SearchResult",
    "TrialListener",
    "TrialResult",
    "default_workers",
    "fingerprint",
    "planned_trials",
    "search",
    "trial_experiment",
]
