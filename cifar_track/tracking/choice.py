"""Which runs may be put side by side, and which are when nobody names any."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import mlflow

from cifar_track.config import DATASETS, CifarTrackError
from cifar_track.tracking import store, tag
from cifar_track.tracking.queries import (
    FINISHED_ITERATIONS,
    FinishedRun,
    finished_run,
    is_of_the_future,
    latest_start,
    quoted,
    search_runs,
)
from cifar_track.tracking.resolve import describe_run

# Kinds of runs that hold others' results and none of their own.
NO_RESULT = ("comparison", "study", "ablation")
# What `allow` lets in, and what it says of a run. A run without an evaluation has nothing to show.
ALLOWED = {
    "different_tests": "judged on other test images; no test is made with it",
    "other_protocol": "chosen by another protocol (data.selection) than the first run",
    "unfinished": "did not finish",
    "deleted": "lies in the trash",
    "trials": "a trial of a search",
}
# The newest runs that are looked through for what the default choice passes over.
LOOKED_THROUGH = 200
# Of the same reason, so many are named one by one.
NAMED = 3

_EVALUATED = "metrics.test_accuracy >= 0"
_FULL = f"tags.`{tag.BUDGET}` = 'full'"


@dataclass(frozen=True)
class Choice:
    """Runs that were chosen because nobody named any.

    Attributes:
        runs: in the order in which they were started.
        left_out: a line for each that was passed over, or for several, and why.
    """

    runs: tuple[FinishedRun, ...]
    left_out: tuple[str, ...]


def newest_alike(dataset_name: str, *, most: int) -> Choice:
    """Of each iteration the newest finished run that was taught and judged as the newest of all.

    Alike are runs on the same training and the same test images. What an ablation made of a page
    does not stand for it. Runs at a quick budget stand back where there is one at a full budget,
    and runs that start in the future, as of a host whose clock is ahead, where there is another.
    The store filters and sorts: what is not chosen is not read, beyond the newest few, so that what
    was left out can be said.

    Args:
        dataset_name: whose runs.
        most: so many iterations are chosen, those with the newest runs.

    Raises:
        CifarTrackError: somebody has given a run a tag that no filter can hold.
    """
    experiment_id = store.find_experiment_id(dataset_name)
    if experiment_id is None:
        return Choice((), ())
    evaluated = f"{FINISHED_ITERATIONS} AND {_EVALUATED} AND tags.`{tag.WITHOUT}` IS NULL"
    past = f"{evaluated} AND attributes.start_time <= {latest_start()}"
    newest = None
    for condition in (f"{past} AND {_FULL}", past, f"{evaluated} AND {_FULL}", evaluated):
        newest = newest or _newest(experiment_id, condition)
    if newest is None:
        return Choice((), tuple(_summary([], experiment_id, None)))
    evaluated = evaluated if is_of_the_future(newest) else past
    alike = _alike(newest, (tag.BUDGET, tag.TRAINING_DIGEST, tag.TEST_DIGEST))
    chosen, others = [newest], []
    while tag.ITERATION in newest.data.tags:  # one small question an iteration
        condition = f"{evaluated} AND {alike}{_of_no_iteration_of(chosen)}"
        if len(chosen) == most:
            others = search_runs([experiment_id], condition, limit=LOOKED_THROUGH)
            break
        found = _newest(experiment_id, condition)
        if found is None:
            break
        chosen.append(found)
    chosen.sort(key=lambda run: run.info.start_time)
    left_out = [*_older(others, most), *_summary(chosen, experiment_id, newest)]
    return Choice(tuple(finished_run(run) for run in chosen), tuple(left_out))


def require_comparable(
    runs: Sequence[mlflow.entities.Run], *, allow: Collection[str] = ()
) -> dict[str, tuple[str, ...]]:
    """Refuse runs that can't be put side by side, unless they are asked for.

    Args:
        runs: as a person named them; the first stands for what the others are held against.
        allow: words of `ALLOWED`.

    Returns:
        By run id, what is said of a run that is shown nevertheless.

    Raises:
        CifarTrackError: an unknown word, or a run that is not allowed; of runs that were judged
            differently, both are named.
    """
    unknown = sorted(set(allow) - set(ALLOWED))
    if unknown:
        raise CifarTrackError(
            f"allow={unknown[0]} is unknown; expected words of {', '.join(ALLOWED)}"
        )
    first = runs[0]
    remarks: dict[str, tuple[str, ...]] = {}
    for run in runs:
        objections = dict(_objections(run, first))
        for word, reason in objections.items():
            if word not in allow:
                way_on = (
                    f"leave it out, or show it with -P allow={word}" if word else "leave it out"
                )
                raise CifarTrackError(f"run {describe_run(run)} {reason}; {way_on}")
        if objections:
            remarks[run.info.run_id] = tuple(ALLOWED[word] for word in objections)
    return remarks


def _objections(run: mlflow.entities.Run, first: mlflow.entities.Run) -> list[tuple[str, str]]:
    """What speaks against a run beside the first: the word that allows it, and why, in order."""
    tags = run.data.tags
    found = []
    kind = tags.get(tag.KIND, "")
    if kind in NO_RESULT or "test_accuracy" not in run.data.metrics:
        what = f"is a {kind}" if kind in NO_RESULT else "holds no evaluation"
        if kind != "trial" or "test_accuracy" not in run.data.metrics:
            status = "" if run.info.status == "FINISHED" else f" (it is {run.info.status})"
            return [("", f"{what}{status}: nothing to compare")]
    if kind == "trial":
        found.append(("trials", "is a trial of a search"))
    if run.info.lifecycle_stage != "active":
        found.append(("deleted", "is deleted"))
    if run.info.status != "FINISHED":
        found.append(("unfinished", f"is {run.info.status}"))
    beside = f"than run {describe_run(first)}"
    if tags.get(tag.DATASET) != first.data.tags.get(tag.DATASET):
        names = [t.get(tag.DATASET, "an unknown data set") for t in (tags, first.data.tags)]
        found.append(("different_tests", f"is on {names[0]}, on another data set {beside}"))
    elif not _same(run, first, tag.TEST_DIGEST):
        found.append(("different_tests", f"was judged on other test images {beside}"))
    if tags.get(tag.PROTOCOL, "validation") != first.data.tags.get(tag.PROTOCOL, "validation"):
        protocol = tags.get(tag.PROTOCOL, "validation")
        found.append(("other_protocol", f"has another protocol (selection={protocol}) {beside}"))
    return found


def dataset_of(runs: Sequence[mlflow.entities.Run]) -> str:
    """The data set that the first run is on; where its comparison is filed.

    Raises:
        CifarTrackError: it does not say; nothing is taken for CIFAR-100 that does not.
    """
    name = runs[0].data.tags.get(tag.DATASET) or runs[0].data.params.get("data.dataset", "")
    if name not in DATASETS:
        raise CifarTrackError(
            f"run {describe_run(runs[0])} does not say on which data set it is; expected one of "
            f"{', '.join(DATASETS)} in its tag {tag.DATASET}"
        )
    return name


def _newest(experiment_id: str, condition: str) -> mlflow.entities.Run | None:
    return next(iter(search_runs([experiment_id], condition, limit=1)), None)


def _alike(run: mlflow.entities.Run, names: Sequence[str]) -> str:
    """A filter for runs with the same of these tags, or without them as this one."""
    return " AND ".join(
        f"tags.`{name}` = {quoted(run.data.tags[name])}"
        if name in run.data.tags
        else f"tags.`{name}` IS NULL"
        for name in names
    )


def _same(run: mlflow.entities.Run, other: mlflow.entities.Run, name: str) -> bool:
    return run.data.tags.get(name) == other.data.tags.get(name)


def _of_no_iteration_of(runs: Sequence[mlflow.entities.Run]) -> str:
    """What is added to a filter so that no other run of their iterations matches."""
    return "".join(
        f" AND tags.`{tag.ITERATION}` != {quoted(run.data.tags[tag.ITERATION])}"
        for run in runs
        if tag.ITERATION in run.data.tags
    )


def _older(others: Sequence[mlflow.entities.Run], most: int) -> list[str]:
    """A line for the iterations that came after the most that are chosen."""
    names = list(dict.fromkeys(run.data.tags.get(tag.ITERATION, "") for run in others))
    if not names:
        return []
    listed = ", ".join(names[:NAMED]) + (" and more" if len(names) > NAMED else "")
    at_least = "at least " if len(others) == LOOKED_THROUGH else ""
    line = (
        f"left out: {at_least}{len(names)} iterations ({listed}) whose newest runs are older than "
        f"those of the {most} that are shown; name runs by -P runs=, or choose by -P filter="
    )
    return [line]


def _budget(run: mlflow.entities.Run) -> str:
    return run.data.tags.get(tag.BUDGET, "unknown")


def _summary(
    chosen: Sequence[mlflow.entities.Run],
    experiment_id: str,
    newest: mlflow.entities.Run | None,
) -> list[str]:
    """What of the newest runs was passed over, other than for a newer one that is alike."""
    taken = {run.info.run_id for run in chosen}
    passed_over = defaultdict(list)
    for run in search_runs([experiment_id], FINISHED_ITERATIONS, limit=LOOKED_THROUGH):
        if run.info.run_id in taken:
            continue
        if "test_accuracy" not in run.data.metrics:
            passed_over["no evaluation"].append(run)
        elif is_of_the_future(run) and (newest is None or not is_of_the_future(newest)):
            passed_over["it starts in the future, by this machine's clock"].append(run)
        elif tag.WITHOUT in run.data.tags:
            passed_over["an ablation's, without a part of its page"].append(run)
        elif newest is None or _budget(run) != _budget(newest):
            passed_over[f"{_budget(run)} budget"].append(run)
        elif not _same(run, newest, tag.TEST_DIGEST):
            passed_over["other test images"].append(run)
        elif not _same(run, newest, tag.TRAINING_DIGEST):
            passed_over["another training set"].append(run)
    return _lines(passed_over)


def _lines(passed_over: dict[str, list[mlflow.entities.Run]]) -> list[str]:
    lines = []
    for reason, runs in passed_over.items():
        if len(runs) <= NAMED:
            lines += [f"left out: run {describe_run(run)}: {reason}" for run in runs]
        else:
            lines.append(f"left out: {len(runs)} runs: {reason}")
    return lines
