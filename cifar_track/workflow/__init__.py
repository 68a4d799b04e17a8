"""The story, told once: load, build, fit, evaluate, log, compare, register."""

from cifar_track.workflow.iteration import run_experiment
from cifar_track.workflow.results import compare_runs, mend_runs, register_best
from cifar_track.workflow.study import run_study

__all__ = ["compare_runs", "mend_runs", "register_best", "run_experiment", "run_study"]
