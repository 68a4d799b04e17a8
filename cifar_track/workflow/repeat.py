"""A finished run again, from what it logged, and whether the same came out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cifar_track import tracking
from cifar_track.config import CifarTrackError, Cluster, load_experiment, settings_to_repeat
from cifar_track.statistics import paired_difference
from cifar_track.tracking import FinishedRun, tag
from cifar_track.workflow.terminal import tell
from cifar_track.workflow.train import run_experiment

# Where any of these is another, the same bits can't be promised.
DECISIVE: Mapping[str, str] = {
    tag.MLFLOW_COMMIT: "commit",
    tag.UNCOMMITTED_CHANGES: "uncommitted changes",
    tag.UNCOMMITTED_DIGEST: "digest of the uncommitted changes",
    tag.LOCK: "locked packages",
    tag.THREADS: "threads",
    tag.PROCESSOR: "processor",
    tag.WEIGHTS_DIGEST: "digest of the weights file",
}


def repeat_run(run_id: str, *, data_dir: Path | None = None, cluster: Cluster | None = None) -> str:
    """Run a finished run again with every setting that it logged, and compare the predictions.

    They are the same to the bit where the run was deterministic and nothing that decides them
    differs: commit, locked packages, threads, processor, data and the file of weights to begin
    with. Otherwise they are compared by the paired test. A search is searched again.

    Args:
        run_id: MLflow's run id, or the beginning of it.
        data_dir: where CIFAR-100 lies, before the usual places.
        cluster: where a search runs its trials; this machine if None.

    Returns:
        The new run's id.

    Raises:
        CifarTrackError: there is no such run, its page or a setting of it is not in this checkout,
            a cluster is given and it has no search, or the same bits were promised and others came.
    """
    tracking.open_store()
    before = tracking.find_finished_run(run_id)
    kind = before.tags.get(tag.KIND, "iteration")
    if kind != "iteration":
        parent = before.tags.get(tag.MLFLOW_PARENT)
        raise CifarTrackError(
            f"run {before.run_id} ({before.name}) is a {kind}, which is not repeated by itself; "
            f"expected the run of an iteration{f', such as {parent}' if parent else ''}"
        )
    page = load_experiment(before.iteration)
    again = tracking.find_finished_run(
        run_experiment(
            before.iteration,
            settings_to_repeat(page, before.parameters),
            data_dir=data_dir,
            cluster=cluster,
            run_name=f"{before.name} again",
            budget=before.tags.get(tag.BUDGET, "full"),
            resume="apart",
        )
    )
    differences = _differences(before, again)
    for what in differences or ["nothing that was logged differs here"]:
        tell(f"  {what}")
    outcome, same = _compare(before, again)
    tell(outcome)
    tracking.add_tags(again.run_id, {tag.REPEATS: before.run_id, tag.REPEATED: outcome})
    is_deterministic = before.parameters.get("training.deterministic") == "true"
    if is_deterministic and not differences and not same:
        raise CifarTrackError(
            f"run {again.run_id} is deterministic and nothing that is logged differs from run "
            f"{before.run_id}, yet {outcome}; something else decides too, which is a fault: please "
            "report it"
        )
    return again.run_id


def _differences(before: FinishedRun, again: FinishedRun) -> list[str]:
    """What decides the result and differs between two runs, a line each."""
    found = [
        f"{what}: {before.tags.get(name, 'not logged')}, here {again.tags.get(name, 'not logged')}"
        for name, what in DECISIVE.items()
        if before.tags.get(name) != again.tags.get(name)
    ]
    then, now = (tracking.digest_of_data(run.run_id) for run in (before, again))
    if then != now:
        found.append(f"data: digest {then}, here {now}")
    precision = (run.parameters.get("training.precision") for run in (before, again))
    if len(set(precision)) > 1:
        found.append("precision")
    return found


def _compare(before: FinishedRun, again: FinishedRun) -> tuple[str, bool]:
    """How the predictions of two runs differ, in words, and whether they are the same bits."""
    first, second = (
        tracking.load_arrays(run.run_id, tracking.PREDICTIONS) for run in (before, again)
    )
    if not np.array_equal(first["labels"], second["labels"]):
        return "the two were tested on different images", False
    if np.array_equal(first["probabilities"], second["probabilities"]):
        return f"the same to the bit on {len(first['labels']):,} test images", True
    test = paired_difference(
        first["predictions"] == first["labels"], second["predictions"] == second["labels"]
    )
    words = (
        f"test accuracy {test.difference:+.4f} from that of run {before.run_id} (95 % "
        f"{test.low:+.4f} to {test.high:+.4f}, McNemar p {test.p_value:.2g})"
    )
    return words, False
