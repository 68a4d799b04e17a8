"""Runs, parameters, metrics, artifacts and models in MLflow: where mlflow is imported."""

import logging
import os

# Read by mlflow when it is imported: progress and hints would stand between the lines that a
# person is meant to read, and a training program has no business calling home.
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
# It warns of an environment without pip, such as uv makes, each time a model is logged.
logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)

from cifar_track.tracking.abandoned import Abandoned, find_abandoned, mend
from cifar_track.tracking.queries import (
    FinishedRun,
    find_child,
    find_resumable,
    find_runs,
    load_result,
    newest_of_each_iteration,
)
from cifar_track.tracking.runs import ChildRun, Run, Terminated, start_run
from cifar_track.tracking.store import compare_url, open_store, run_url, ui_address, ui_command

__all__ = [
    "Abandoned",
    "ChildRun",
    "FinishedRun",
    "Run",
    "Terminated",
    "compare_url",
    "find_abandoned",
    "find_child",
    "find_resumable",
    "find_runs",
    "load_result",
    "mend",
    "newest_of_each_iteration",
    "open_store",
    "run_url",
    "start_run",
    "ui_address",
    "ui_command",
]
