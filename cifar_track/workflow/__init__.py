"""The story, told once, a file a verb: load, build, fit, evaluate, log, compare, register."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Called as its file is, so that the file would stand in its place.
from cifar_track.workflow.move_runs import move_runs

if TYPE_CHECKING:
    from cifar_track.workflow.ablate import ablate_page
    from cifar_track.workflow.compare import compare_runs
    from cifar_track.workflow.doctor import mend_runs
    from cifar_track.workflow.ensemble import blend_runs
    from cifar_track.workflow.export import export_model
    from cifar_track.workflow.register import register_best, roll_back
    from cifar_track.workflow.repeat import repeat_run
    from cifar_track.workflow.runs import show_runs
    from cifar_track.workflow.seeds import run_seeds
    from cifar_track.workflow.serve import serve_champion
    from cifar_track.workflow.study import run_study
    from cifar_track.workflow.train import run_experiment

__all__ = [
    "ablate_page",
    "blend_runs",
    "compare_runs",
    "export_model",
    "mend_runs",
    "move_runs",
    "register_best",
    "repeat_run",
    "roll_back",
    "run_experiment",
    "run_seeds",
    "run_study",
    "serve_champion",
    "show_runs",
]

_FILES = {
    "ablate_page": "ablate",
    "blend_runs": "ensemble",
    "compare_runs": "compare",
    "export_model": "export",
    "mend_runs": "doctor",
    "register_best": "register",
    "repeat_run": "repeat",
    "roll_back": "register",
    "run_experiment": "train",
    "run_seeds": "seeds",
    "run_study": "study",
    "serve_champion": "serve",
    "show_runs": "runs",
}


def __getattr__(name: str) -> Any:
    """A verb's story, imported when it is told: who registers does not wait for plots."""
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FILES[name]}"), name)
