"""Several runs under one parent, with which a command goes on: an ablation, or several seeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cifar_track import tracking
from cifar_track.config import Experiment, flatten, other_settings
from cifar_track.data import Dataset
from cifar_track.tracking import FinishedRun, tag
from cifar_track.workflow.resume import Earlier, earlier_of
from cifar_track.workflow.terminal import load_tensorflow, tell


@dataclass(frozen=True, kw_only=True)
class Group:
    """What an earlier command of the same has left.

    Attributes:
        earlier: its run, to go on with; None to begin anew.
        done: the finished runs under it.
        tags: of the run that all are under.
    """

    earlier: Earlier | None
    done: Sequence[FinishedRun]
    tags: Mapping[str, str]

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run to go on with."""
        return None if self.earlier is None else self.earlier.run_id

    def finished(self, experiment: Experiment) -> FinishedRun | None:
        """The run of exactly these settings, whatever `auto` has come to."""
        ignored = {"name"}
        if experiment.training.precision == "auto":
            ignored.add("training.precision")
        wanted = flatten(experiment).keys() - ignored
        for run in self.done:
            others = other_settings(experiment, run.parameters) - ignored
            if wanted <= run.parameters.keys() and not others:
                return run
        return None


def check_networks(experiments: Iterable[Experiment], data: Dataset) -> None:
    """Find what is wrong with the networks of several runs before any of them begins.

    Raises:
        CifarTrackError: a setting of an architecture is wrong, or its weights can't be had.
    """
    load_tensorflow()
    from cifar_track import training

    for experiment in experiments:
        training.check_model(experiment, classes=len(data.classes.fine))


def find_group(
    facts: Mapping[str, Any],
    wanted: Sequence[Experiment],
    *,
    kind: str,
    dataset_name: str,
    mode: str,
) -> Group:
    """What a command goes on with, told in the terminal.

    Args:
        facts: by which a later command knows the same; without the seeds, of which more may be
            asked for.
        wanted: the runs that are to be under it.
        kind: `ablation` or `study`.
        dataset_name: whose runs.
        mode: as of `workflow.resume.find_earlier`.

    Raises:
        CifarTrackError: another process has it; or another commit began it, and `mode` refuses
            that.
    """
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    tags = {tag.GROUP_KEY: key}
    found = None if mode == "never" else tracking.find_group(key, kind, dataset_name=dataset_name)
    if found is None:
        return Group(earlier=None, done=(), tags=tags)
    group = Group(earlier=None, done=tracking.finished_children(found.info.run_id), tags=tags)
    name = tracking.describe_run(found)
    is_over = found.info.status == "FINISHED"
    if is_over and all(group.finished(experiment) for experiment in wanted):
        tell(f"run {name} is the same, finished; beginning anew")
        return Group(earlier=None, done=(), tags=tags)
    earlier = earlier_of(found, mode=mode)
    tell(f"adding to run {name}" if is_over else f"going on with run {name}, which was cut short")
    return Group(earlier=earlier, done=group.done, tags={**tags, **earlier.tags})
