"""Runs, parameters, metrics, artifacts and models in MLflow: where mlflow is imported."""

from cifar_track.tracking import quiet  # noqa: F401 - before mlflow is imported
from cifar_track.tracking.abandoned import Abandoned, find_abandoned, mend
from cifar_track.tracking.left_behind import LeftBehind, open_store, send_left_behind
from cifar_track.tracking.queries import (
    FinishedRun,
    find_child,
    find_resumable,
    find_runs,
    load_result,
    newest_of_each_iteration,
)
from cifar_track.tracking.relocation import Relocation, find_relocation, relocate
from cifar_track.tracking.runs import ChildRun, NotSentError, Run
from cifar_track.tracking.sender import patience
from cifar_track.tracking.start import start_run
from cifar_track.tracking.store import compare_url, run_url, ui_address, ui_command
from cifar_track.tracking.transfer import Transfer, move_runs

__all__ = [
    "Abandoned",
    "ChildRun",
    "FinishedRun",
    "LeftBehind",
    "NotSentError",
    "Relocation",
    "Run",
    "Transfer",
    "compare_url",
    "find_abandoned",
    "find_child",
    "find_relocation",
    "find_resumable",
    "find_runs",
    "load_result",
    "mend",
    "move_runs",
    "newest_of_each_iteration",
    "open_store",
    "patience",
    "relocate",
    "run_url",
    "send_left_behind",
    "start_run",
    "ui_address",
    "ui_command",
]
