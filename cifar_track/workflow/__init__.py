"""The story, told once, a file a verb: load, build, fit, evaluate, log, compare, register."""

from cifar_track.workflow.compare import compare_runs
from cifar_track.workflow.doctor import mend_runs
from cifar_track.workflow.ensemble import blend_runs
from cifar_track.workflow.export import export_model
from cifar_track.workflow.move_runs import move_runs
from cifar_track.workflow.register import register_best, roll_back
from cifar_track.workflow.repeat import repeat_run
from cifar_track.workflow.runs import show_runs
from cifar_track.workflow.serve import serve_champion
from cifar_track.workflow.study import run_study
from cifar_track.workflow.train import run_experiment

__all__ = [
    "blend_runs",
    "compare_runs",
    "export_model",
    "mend_runs",
    "move_runs",
    "register_best",
    "repeat_run",
    "roll_back",
    "run_experiment",
    "run_study",
    "serve_champion",
    "show_runs",
]
