"""The tree of searches, trials, studies and their iterations, as much of it as is shown."""

from __future__ import annotations

from dataclasses import dataclass, field

import mlflow
from mlflow.exceptions import MlflowException

from cifar_track.config import METRICS, CifarTrackError, nearest
from cifar_track.tracking import store, tag
from cifar_track.tracking.claim import PARAMETER
from cifar_track.tracking.queries import FINISHED_ITERATIONS, search_runs
from cifar_track.tracking.reach import first_line

# Trials of one search, or iterations of one study, that are read.
MOST_CHILDREN = 100


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A run and the runs under it.

    Attributes:
        run_id: MLflow's run id.
        name: what the UI shows.
        kind: `iteration`, `trial`, `study`, `ablation`; empty where another program logged it.
        status: MLflow's word.
        started: milliseconds since 1970.
        seconds: from start to end; None while it runs, or where it ends before it starts.
        metrics: the last value of each.
        parameters: by dotted name, as text.
        is_best: whether no finished run of the data set has a better figure.
        children: in the order of their starts.
    """

    run_id: str
    name: str
    kind: str
    status: str
    started: int
    seconds: float | None
    metrics: dict[str, float] = field(repr=False)
    parameters: dict[str, str] = field(repr=False)
    is_best: bool
    children: tuple[Branch, ...] = field(repr=False)


def read_tree(
    dataset_name: str, *, metric: str | None = None, filter_string: str = "", limit: int = 20
) -> tuple[list[Branch], str]:
    """The newest runs, or the best by a metric, with what lies under each.

    The store sorts, filters and cuts; nothing is read that is not shown.

    Args:
        dataset_name: whose runs.
        metric: what to sort by, the best first; the newest first unless given. The best is marked
            by it, or else by validation accuracy.
        filter_string: a filter of MLflow's; what matches is shown without what lies under it.
        limit: how many.

    Returns:
        The branches, and the experiment's id; none and "" where nothing has been logged.

    Raises:
        CifarTrackError: the filter can't be read, or no run has the metric.
    """
    experiment_id = store.find_experiment_id(dataset_name)
    if experiment_id is None:
        return [], ""
    by = metric or "best_val_accuracy"
    info = METRICS.get(by)
    direction = "ASC" if (info.better == "lower" if info else by.endswith("loss")) else "DESC"
    order_by = f"metrics.`{by.replace('`', '')}` {direction}"
    best = search_runs([experiment_id], FINISHED_ITERATIONS, limit=1, order_by=order_by)
    if metric and best and metric not in best[0].data.metrics:
        known = tuple(sorted(best[0].data.metrics))
        raise CifarTrackError(f"no finished run has the metric {metric!r}{nearest(metric, known)}")
    best_id = best[0].info.run_id if best and by in best[0].data.metrics else ""
    condition = filter_string or (
        f"tags.`{tag.MLFLOW_PARENT}` IS NULL AND tags.`{tag.KIND}` != 'comparison'"
    )
    try:
        roots = search_runs(
            [experiment_id],
            condition,
            limit=limit,
            order_by=order_by if metric else "attributes.start_time DESC",
        )
    except MlflowException as error:
        raise CifarTrackError(
            f"MLflow can't read the filter {filter_string!r} ({first_line(error)}); write it "
            'as in "metrics.best_val_accuracy > 0.4"'
        ) from error
    return [
        _branch(run, experiment_id, best_id, deep=not filter_string) for run in roots
    ], experiment_id


def _branch(run: mlflow.entities.Run, experiment_id: str, best_id: str, *, deep: bool) -> Branch:
    tags = run.data.tags
    children: list[mlflow.entities.Run] = []
    if deep and (tags.get(tag.KIND) in ("study", "ablation") or tag.SEARCH_KEY in tags):
        children = search_runs(
            [experiment_id],
            f"tags.`{tag.MLFLOW_PARENT}` = '{run.info.run_id}'",
            limit=MOST_CHILDREN,
            order_by="attributes.start_time ASC",
        )
    started, ended = run.info.start_time, run.info.end_time
    return Branch(
        run_id=run.info.run_id,
        name=run.info.run_name,
        kind=tags.get(tag.KIND, ""),
        status=run.info.status,
        started=started,
        # Two hosts whose clocks differ may have set the two.
        seconds=None if ended is None or ended < started else (ended - started) / 1000,
        metrics=dict(run.data.metrics),
        parameters={k: v for k, v in run.data.params.items() if not k.startswith(PARAMETER)},
        is_best=run.info.run_id == best_id,
        children=tuple(_branch(child, experiment_id, best_id, deep=deep) for child in children),
    )
