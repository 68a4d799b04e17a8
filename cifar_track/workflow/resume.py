"""What an earlier run left that a command can go on with: a search, its trials, or a fit."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cifar_track import folders, tracking, tuning
from cifar_track.config import CifarTrackError, Experiment, flatten
from cifar_track.data import Dataset
from cifar_track.tracking import tag
from cifar_track.workflow.terminal import tell

COMMIT_LETTERS = 10


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """A run to go on with.

    Attributes:
        run_id: MLflow's run id.
        takes_from: the run whose trials are taken over, or were being taken over at a kill.
        is_over: whether nothing is left to do: its process was killed when all was kept, and what
            it had not sent has been sent since.
        tags: what the run that goes on is tagged with.
    """

    run_id: str
    takes_from: str | None = None
    is_over: bool = False
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def takes_over(self) -> bool:
        """Whether a new run takes over its trials, because its own best is settled."""
        return self.takes_from == self.run_id


def search_tags(experiment: Experiment, data: Dataset) -> dict[str, str]:
    """The tags by which a later command knows a search: all it depends on, and a key of that."""
    settings = tuning.fingerprint(experiment, data)
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]
    budget = {name: flatten(experiment)[name] for name in tuning.MAY_CHANGE}
    return {tag.SEARCH_KEY: key, tag.SEARCH_SETTINGS: json.dumps({**settings, **budget})}


def find_earlier(experiment: Experiment, data: Dataset, *, mode: str) -> Earlier | None:
    """What a command goes on with, told in the terminal; None where it begins anew.

    A search goes on in its own run until its best is settled. With another number of trials, or
    another refit, after that, a new run takes over the trials that are over. A fit goes on where
    its checkpoint is on this machine.

    Args:
        experiment: the page, its precision resolved.
        data: its images.
        mode: `auto`; `never` to begin anew; `same_commit` to refuse what another commit began;
            `apart` to begin anew beside what there is.

    Raises:
        CifarTrackError: another process has it; or another commit began it, and `mode` refuses
            that.
    """
    if mode in ("never", "apart"):
        return None
    if experiment.search is None:
        return _find_fit(experiment, data, mode=mode)
    return _find_search(experiment, data, mode=mode)


def passed_over(experiment: Experiment, data: Dataset) -> list[str]:
    """The runs that a command would go on with, now or later, and that no process works on."""
    if experiment.search is None:
        runs = [run for _, run in _fits(experiment, data)]
    else:
        runs = _searches(experiment, data)
    return [run.info.run_id for run in runs if tracking.holder_of(run) is None]


def run_directory(run_id: str) -> Path:
    """Where a run keeps what a later command goes on with; removed once the run is finished."""
    return folders.state_directory() / "runs" / run_id


def forget(run_id: str) -> None:
    """Remove what a run kept to be gone on with, once it is over."""
    shutil.rmtree(run_directory(run_id), ignore_errors=True)


def checkpoint_of(run_id: str) -> Path:
    """The file with the state of a run's fit after its last finished epoch."""
    return run_directory(run_id) / "fit.checkpoint"


def _find_search(experiment: Experiment, data: Dataset, *, mode: str) -> Earlier | None:
    settings = json.loads(search_tags(experiment, data)[tag.SEARCH_SETTINGS])
    same = _searches(experiment, data)
    if not same:
        runs = tracking.searches_of(experiment.name, dataset_name=data.name)
        if runs:
            before = _settings(runs[0])
            difference = tuning.first_difference(_fixed(before), _fixed(settings))
            tell(
                f"{experiment.name}: another search than that of run {runs[0].info.run_id}: "
                f"{difference}"
            )
        return None
    run = same[0]
    before = _settings(run)
    changed = [name for name in tuning.MAY_CHANGE if before.get(name) != settings[name]]
    finished = run.info.status == "FINISHED"
    if finished and not changed:
        if run_directory(run.info.run_id).exists():
            return _over(experiment, run)
        tell(f"{experiment.name}: run {run.info.run_id} is this search, finished; beginning anew")
        return None
    settled = finished or tag.BEST_TRIAL in run.data.tags
    earlier = earlier_of(run, mode=mode, takes_over=settled and bool(changed))
    what = "taking over the trials of" if earlier.takes_over else "going on with"
    was = "" if finished else ", which was cut short"
    tell(f"{experiment.name}: {what} run {earlier.run_id}{was}")
    if "search.trials" in changed and settings["search.tuner"] == "hyperband":
        tell("hyperband makes the trials of its brackets; search.trials adds none")
    return earlier


def _find_fit(experiment: Experiment, data: Dataset, *, mode: str) -> Earlier | None:
    for epochs, run in _fits(experiment, data):
        if run.info.status == "FINISHED":
            return _over(experiment, run)
        earlier = earlier_of(run, mode=mode)
        tell(f"{experiment.name}: going on with run {earlier.run_id} after epoch {epochs}")
        return earlier
    return None


def _searches(experiment: Experiment, data: Dataset) -> list[Any]:
    """The runs of the same search, the newest first."""
    key = search_tags(experiment, data)[tag.SEARCH_KEY]
    runs = tracking.searches_of(experiment.name, dataset_name=data.name)
    return [run for run in runs if run.data.tags.get(tag.SEARCH_KEY) == key]


def _fits(experiment: Experiment, data: Dataset) -> Iterator[tuple[int, Any]]:
    """The runs of the same fit whose checkpoints lie here, the last changed first.

    Yields:
        The epochs that are over, and MLflow's run.
    """
    from cifar_track.training import checkpoints

    files = folders.state_directory().glob("runs/*/fit.checkpoint")
    for file in sorted(files, key=_changed, reverse=True):
        epochs = checkpoints.finished_epochs(file, experiment=experiment)
        run = tracking.find_fit(file.parent.name, iteration=experiment.name) if epochs else None
        if run is not None and run.data.tags.get(tag.DATASET) == data.name:
            yield epochs, run


def _over(experiment: Experiment, run: Any) -> Earlier:
    """A run that was finished in its process's place: what that one kept of it still lies here."""
    run_id = run.info.run_id
    tell(
        f"{experiment.name}: run {run_id} is the same, cut short when nothing but sending was left "
        "to do, and has been finished since; begin another by repeating the command"
    )
    return Earlier(run_id=run_id, is_over=True)


def earlier_of(run: Any, *, mode: str, takes_over: bool = False) -> Earlier:
    """An earlier run that is free, with what has to be said of its commit.

    Raises:
        CifarTrackError: another process has it, what is left of it has not been sent, or another
            commit began it and `mode` refuses that.
    """
    holder = tracking.holder_of(run)
    if holder is not None and not takes_over:
        raise CifarTrackError(
            f"run {run.info.run_id} ({run.info.run_name}) is the same and belongs to {holder}: "
            f"{holder.way_on}; or begin another with --resume never"
        )
    kept = None if takes_over else tracking.kept_for(run.info.run_id)
    if kept is not None:
        raise CifarTrackError(
            f"run {run.info.run_id} ({run.info.run_name}) is the same, and {kept.left} uploads of "
            f"it are still kept in {kept.folder}; `doctor` sends them or says why not, then repeat "
            "the command, or begin another with --resume never"
        )
    tags = {tag.CONTINUES: run.info.run_id} if takes_over else {}
    before, now = run.data.tags.get(tag.MLFLOW_COMMIT), tracking.current_commit()
    if before != now:
        words = (
            f"run {run.info.run_id} was begun with commit {_short(before)}, this is {_short(now)}"
        )
        if mode == "same_commit":
            raise CifarTrackError(
                f"{words}; expected the same: check that commit out, or allow it with "
                "--resume auto, or begin anew with --resume never"
            )
        tell(words)
        known = [*run.data.tags.get(tag.EARLIER_COMMITS, "").split(), before or "none"]
        tags[tag.EARLIER_COMMITS] = " ".join(dict.fromkeys(known))
    takes_from = run.info.run_id if takes_over else run.data.tags.get(tag.CONTINUES)
    return Earlier(run_id=run.info.run_id, takes_from=takes_from, tags=tags)


def _short(commit: str | None) -> str:
    return commit[:COMMIT_LETTERS] if commit else "none"


def _settings(run: Any) -> dict[str, Any]:
    try:
        return dict(json.loads(run.data.tags[tag.SEARCH_SETTINGS]))
    except ValueError:  # cut at a tag's longest
        return {}


def _fixed(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in tuning.MAY_CHANGE}


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:  # its run has just ended
        return 0.0
