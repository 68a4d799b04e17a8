"""Runs, parameters, metrics, artifacts and models in MLflow: where mlflow is imported."""

from cifar_track.tracking import quiet  # noqa: F401 - before mlflow is imported
from cifar_track.tracking.abandoned import Abandoned, fail_pending_models, find_abandoned, mend
from cifar_track.tracking.choice import (
    ALLOWED,
    Choice,
    dataset_of,
    newest_alike,
    require_comparable,
)
from cifar_track.tracking.claim import Claim, Holder, claim_run, holder_of, release_run
from cifar_track.tracking.groups import find_group, finished_children
from cifar_track.tracking.left_behind import LeftBehind, kept_for, open_store, send_left_behind
from cifar_track.tracking.process import COMMAND_VARIABLE, command_line, current_commit
from cifar_track.tracking.queries import (
    FinishedRun,
    find_child,
    find_runs,
    finished_run,
    load_result,
)
from cifar_track.tracking.records import (
    PREDICTIONS,
    VALIDATION,
    add_files,
    add_tags,
    digest_of_data,
    find_finished_run,
    find_finished_runs,
    load_arrays,
    read_arrays,
)
from cifar_track.tracking.relocation import Relocation, find_relocation, relocate
from cifar_track.tracking.resolve import (
    describe_run,
    resolve_filter,
    resolve_run,
    resolve_runs,
    with_matching,
)
from cifar_track.tracking.runs import ChildRun, NotSentError, Run
from cifar_track.tracking.sender import patience
from cifar_track.tracking.start import start_run
from cifar_track.tracking.store import (
    compare_url,
    open_other_store,
    open_registry,
    run_url,
    ui_address,
    ui_command,
)
from cifar_track.tracking.transfer import Transfer, move_runs
from cifar_track.tracking.tree import Branch, read_tree
from cifar_track.tracking.trials import (
    RecordedTrial,
    copy_trial,
    epochs_logged,
    epochs_of,
    find_fit,
    kept_trials,
    recorded_trials,
    searches_of,
)
from cifar_track.tracking.view import experiment_url

__all__ = [
    "ALLOWED",
    "COMMAND_VARIABLE",
    "PREDICTIONS",
    "VALIDATION",
    "Abandoned",
    "Branch",
    "ChildRun",
    "Choice",
    "Claim",
    "FinishedRun",
    "Holder",
    "LeftBehind",
    "NotSentError",
    "RecordedTrial",
    "Relocation",
    "Run",
    "Transfer",
    "add_files",
    "add_tags",
    "claim_run",
    "command_line",
    "compare_url",
    "copy_trial",
    "current_commit",
    "dataset_of",
    "describe_run",
    "digest_of_data",
    "epochs_logged",
    "epochs_of",
    "experiment_url",
    "fail_pending_models",
    "find_abandoned",
    "find_child",
    "find_finished_run",
    "find_finished_runs",
    "find_fit",
    "find_group",
    "find_relocation",
    "find_runs",
    "finished_children",
    "finished_run",
    "holder_of",
    "kept_for",
    "kept_trials",
    "load_arrays",
    "load_result",
    "mend",
    "move_runs",
    "newest_alike",
    "open_other_store",
    "open_registry",
    "open_store",
    "patience",
    "read_arrays",
    "read_tree",
    "recorded_trials",
    "release_run",
    "relocate",
    "require_comparable",
    "resolve_filter",
    "resolve_run",
    "resolve_runs",
    "run_url",
    "searches_of",
    "send_left_behind",
    "start_run",
    "ui_address",
    "ui_command",
    "with_matching",
]
