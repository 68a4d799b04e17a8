"""The tags of a run, of a logged model and of a registered version, each named once.

Tags of this project begin with `cifar_track.`; the rest are MLflow's own, which give its UI a name,
a description or a tree. A constant is named for what the tag says.
"""

from __future__ import annotations

# What a run is.
KIND = "cifar_track.kind"
ITERATION = "cifar_track.iteration"
PROTOCOL = "cifar_track.protocol"
DATASET = "cifar_track.dataset"
# Over the images and labels that it was trained on, chosen by and judged on.
TRAINING_DIGEST = "cifar_track.training_digest"
VALIDATION_DIGEST = "cifar_track.validation_digest"
TEST_DIGEST = "cifar_track.test_digest"
# SHA-256 of the file of weights from which it began.
WEIGHTS_DIGEST = "cifar_track.weights_digest"
# `full`, or `quick` for a run that shows the product at work and says little of its network.
BUDGET = "cifar_track.budget"
VERSION = "cifar_track.version"
UNCOMMITTED_CHANGES = "cifar_track.uncommitted_changes"
UNCOMMITTED_DIGEST = "cifar_track.uncommitted_digest"

# With what it works.
COMMAND = "cifar_track.command"
THREADS = "cifar_track.threads"
PROCESSOR = "cifar_track.processor"
LOCK = "cifar_track.lock"

# Who works on it.
HOST = "cifar_track.host"
PID = "cifar_track.pid"
PROCESS_STARTED = "cifar_track.process_started"
SINCE_BOOT = "cifar_track.process_since_boot"
# The number of the last claim that was let go; see `cifar_track.tracking.claim`.
RELEASED = "cifar_track.released"

# How it ended.
ERROR = "cifar_track.error"
LOGGING_ERROR = "cifar_track.logging_error"
MENDED = "cifar_track.mended"
# What was sent: by it, an earlier attempt to send the same is found.
KEY = "cifar_track.key"

# What belongs together.
LAUNCHER_RUN_ID = "cifar_track.launcher_run_id"
RUN_ID = "cifar_track.run_id"
# Of an ensemble, its members; of a run that is another again, which, and what came out.
MEMBERS = "cifar_track.members"
REPEATS = "cifar_track.repeats"
REPEATED = "cifar_track.repeated"
COMPARED_RUNS = "cifar_track.compared_runs"
# Of several runs together, what they depend on, by which a later command goes on with them.
GROUP_KEY = "cifar_track.group_key"
# What of its page a run of an ablation does without.
WITHOUT = "cifar_track.without"
MODEL_URI = "cifar_track.model_uri"
COMMIT = "cifar_track.commit"
# SHA-256 of `evaluation/predictions.npz`, so that an altered file is found.
PREDICTIONS_DIGEST = "cifar_track.predictions_digest"
# Of a copy in another store: what it is a copy of, and that all of it has arrived.
MOVED_FROM = "cifar_track.moved_from"
MOVED_WHOLE = "cifar_track.moved_whole"

# Of a registered version: the figure that chose it, and what each gate found.
CHOSEN_BY = "cifar_track.chosen_by"
GATE = "cifar_track.gate."
# Of a registered model: its champions, the newest last, and what is being changed right now.
CHAMPIONS = "cifar_track.champions"
PENDING_CHANGE = "cifar_track.pending_change"

# Of a search and its trials.
SEARCH_KEY = "cifar_track.search_key"
SEARCH_SETTINGS = "cifar_track.search_settings"
EARLIER_COMMITS = "cifar_track.earlier_commits"
CONTINUES = "cifar_track.continues"
TRIALS = "cifar_track.trials"
TRIAL = "cifar_track.trial"
PROPOSAL = "cifar_track.proposal"
# Where in a cluster a trial ran at last, and with what.
NODE = "cifar_track.node"
RESOURCES = "cifar_track.resources"
RESTARTS = "cifar_track.restarts"
STOPPED_EARLY = "cifar_track.stopped_early"
COPIED_FROM = "cifar_track.copied_from"
REPLACES = "cifar_track.replaces"
WORKERS = "cifar_track.workers"
BEST_TRIAL = "cifar_track.best_trial"

# MLflow's own.
MLFLOW_PARENT = "mlflow.parentRunId"
MLFLOW_NAME = "mlflow.runName"
MLFLOW_NOTE = "mlflow.note.content"
MLFLOW_USER = "mlflow.user"
MLFLOW_ENTRY_POINT = "mlflow.project.entryPoint"
MLFLOW_SOURCE_NAME = "mlflow.source.name"
MLFLOW_SOURCE_TYPE = "mlflow.source.type"
MLFLOW_COMMIT = "mlflow.source.git.commit"
# MLflow's UI shows as a table what this tag lists.
MLFLOW_TABLES = "mlflow.loggedArtifacts"
MLFLOW_DATA_CONTEXT = "mlflow.data.context"

# What a trial shares with the search that it belongs to.
INHERITED = (
    ITERATION,
    PROTOCOL,
    DATASET,
    TRAINING_DIGEST,
    VALIDATION_DIGEST,
    BUDGET,
    VERSION,
    COMMAND,
    PROCESSOR,
    LOCK,
    MLFLOW_USER,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
    MLFLOW_COMMIT,
)
