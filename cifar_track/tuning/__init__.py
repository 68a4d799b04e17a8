"""Keras Tuner's search, each trial in a process of its own and reported as it happens."""

from cifar_track.tuning.resources import default_workers
from cifar_track.tuning.search import search
from cifar_track.tuning.space import planned_trials, trial_experiment
from cifar_track.tuning.state import fingerprint
from cifar_track.tuning.trials import SearchResult, TrialListener, TrialResult

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
