"""What a person calls a run: its id, the beginning of its id, its name, or a filter of MLflow's."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence

import mlflow
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from cifar_track.config import DATASETS, CifarTrackError
from cifar_track.preflight import LEAST_OF_AN_ID, REMEMBERED, NamedRun, names_in, no_such_run
from cifar_track.tracking import store
from cifar_track.tracking.queries import FINISHED_ITERATIONS, quoted, search_runs
from cifar_track.tracking.reach import first_line

ID_LENGTH = 32
# Of several runs that a name may mean, so many are named.
NAMED = 5

_BEGINNING_OF_AN_ID = re.compile(rf"[0-9a-f]{{{LEAST_OF_AN_ID},{ID_LENGTH}}}")


def resolve_run(reference: str, *, dataset_name: str | None = None) -> mlflow.entities.Run:
    """The one run that a person means; every verb takes runs by this.

    Args:
        reference: the id, at least its first four characters, or the run's name.
        dataset_name: whose runs it may be one of; of any data set unless given.

    Raises:
        CifarTrackError: no run is called so, and the nearest is named, or several are, and their
            ids, names and starts are.
    """
    experiment_ids = _experiment_ids(dataset_name)
    candidates = _candidates(reference, experiment_ids)
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise _unknown(reference, experiment_ids)
    newest = sorted(candidates, key=lambda run: -run.info.start_time)
    listed = ", ".join(describe_run(run) for run in newest[:NAMED])
    more = " and more" if len(newest) > NAMED else ""
    raise CifarTrackError(f"{reference!r} may be {listed}{more}; name one by its id")


def resolve_runs(
    references: Sequence[str], *, dataset_name: str | None = None
) -> list[mlflow.entities.Run]:
    """The runs that are named, in that order.

    Args:
        references: each an id, the beginning of one, a name, or several of these parted by commas,
            as `names_in` parts them.
        dataset_name: whose runs; those of every data set unless given.

    Raises:
        CifarTrackError: as `resolve_run`.
    """
    experiment_ids = _experiment_ids(dataset_name)
    return [
        resolve_run(name, dataset_name=dataset_name)
        for text in references
        for name in names_in(text, lambda name: bool(_candidates(name, experiment_ids)))
    ]


def with_matching(
    runs: Sequence[mlflow.entities.Run],
    filter_string: str,
    *,
    dataset_name: str | None = None,
    limit: int | None = None,
) -> list[mlflow.entities.Run]:
    """Runs, and the others that match a filter, the oldest first; as `resolve_filter`."""
    named = {run.info.run_id for run in runs}
    found = resolve_filter(filter_string, dataset_name=dataset_name, limit=limit)
    return [*runs, *(run for run in reversed(found) if run.info.run_id not in named)]


def resolve_filter(
    filter_string: str, *, dataset_name: str | None = None, limit: int | None = None
) -> list[mlflow.entities.Run]:
    """The finished iterations that match a filter of MLflow's, the newest first.

    Args:
        filter_string: as MLflow's UI takes it, such as `params.optimizer.name = 'sgd'`.
        dataset_name: whose runs; of any data set unless given.
        limit: how many, the newest; all unless given.

    Raises:
        CifarTrackError: the filter can't be read, or matches no run.
    """
    experiment_ids = _experiment_ids(dataset_name)
    condition = f"{filter_string} AND {FINISHED_ITERATIONS}"
    try:
        found = search_runs(experiment_ids, condition, limit=limit)
    except MlflowException as error:
        raise CifarTrackError(
            f"MLflow can't read the filter {filter_string!r} ({first_line(error)}); write it "
            "as in \"params.optimizer.name = 'sgd' AND metrics.test_accuracy > 0.3\""
        ) from error
    if not found:
        raise CifarTrackError(f"no finished run matches the filter {filter_string!r}")
    return found


def describe_run(run: mlflow.entities.Run) -> str:
    """A run in a line that tells it from others: the id's beginning, the name, the start."""
    return str(_named(run))


def _conditions(reference: str) -> list[str]:
    """Filters that find a run by its id's beginning, and by its name."""
    conditions = []
    if _BEGINNING_OF_AN_ID.fullmatch(reference):
        conditions.append(f"attributes.run_id LIKE '{reference}%'")
    if reference:
        with contextlib.suppress(CifarTrackError):  # then it is nobody's
            conditions.append(f"attributes.run_name = {quoted(reference)}")
    return conditions


def _candidates(reference: str, experiment_ids: Sequence[str]) -> list[mlflow.entities.Run]:
    """The runs that a reference may mean; those in the trash where there is no other."""
    if len(reference) == ID_LENGTH and _BEGINNING_OF_AN_ID.fullmatch(reference):
        with contextlib.suppress(MlflowException):  # a name may look so
            return [store.client().get_run(reference)]
    found: dict[str, mlflow.entities.Run] = {}
    for condition in _conditions(reference):
        for run in _search(experiment_ids, condition, limit=NAMED + 1):
            found[run.info.run_id] = run
    active = [run for run in found.values() if run.info.lifecycle_stage == "active"]
    return active or list(found.values())


def _unknown(reference: str, experiment_ids: Sequence[str]) -> CifarTrackError:
    newest = search_runs(experiment_ids, limit=REMEMBERED)
    return no_such_run(reference, store.open_store(), [_named(run) for run in newest])


def _named(run: mlflow.entities.Run) -> NamedRun:
    return NamedRun(run.info.run_id, run.info.run_name, run.info.start_time)


def _search(
    experiment_ids: Sequence[str], condition: str, *, limit: int
) -> list[mlflow.entities.Run]:
    try:
        return search_runs(experiment_ids, condition, limit=limit, view=ViewType.ALL)
    except MlflowException:  # a name that MLflow's filters can't hold is nobody's
        return []


def _experiment_ids(dataset_name: str | None) -> list[str]:
    names = tuple(DATASETS) if dataset_name is None else (dataset_name,)
    found = [store.find_experiment_id(name) for name in names]
    return [experiment_id for experiment_id in found if experiment_id is not None]
