"""The runs of a data set as a tree in the terminal, or as JSON for a script."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

from cifar_track import tracking
from cifar_track.config import DEFAULT_DATASET, CifarTrackError, metrics_at
from cifar_track.tracking import Branch
from cifar_track.workflow.terminal import tell

SHOWN = tuple(info.name for info in metrics_at("list"))
BEST = "*"


def show_runs(
    *,
    dataset: str = DEFAULT_DATASET,
    metric: str | None = None,
    filter_string: str = "",
    limit: int = 20,
    as_json: bool = False,
) -> None:
    """Print searches with their trials, studies with their iterations, and the other runs.

    Args:
        dataset: whose runs.
        metric: what to sort by, the best first; the newest first unless given.
        filter_string: a filter of MLflow's; what matches is listed flat.
        limit: how many, not counting what lies under them.
        as_json: one JSON document with every metric and parameter, in place of the table.

    Raises:
        CifarTrackError: a filter or a metric that MLflow can't read.
    """
    tracking.open_store()
    branches, experiment_id = tracking.read_tree(
        dataset, metric=metric, filter_string=filter_string, limit=limit
    )
    if as_json:
        tell(json.dumps([_as_json(branch) for branch in branches], indent=2, allow_nan=False))
        return
    if not branches:
        raise CifarTrackError(
            f"no run on {dataset}{' matches' if filter_string else ''}; run one first: "
            "mlflow run . -e baseline"
        )
    names = tuple(dict.fromkeys((*((metric,) if metric else ()), *SHOWN)))
    header = ("run", "id", "status", "started", "seconds", *names)
    lines = [header, *(_line(*entry, names) for entry in _walk(branches))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        left = [text.ljust(width) for text, width in zip(line[:4], widths[:4], strict=True)]
        right = [text.rjust(width) for text, width in zip(line[4:], widths[4:], strict=True)]
        tell("  ".join([*left, *right]).rstrip())
    tell(f"{BEST} the best by {metric or 'best_val_accuracy'}")
    if len(branches) == limit:
        tell(f"there may be more: -P limit={2 * limit}")
    tell(f"in the UI ({tracking.ui_command()}): {tracking.experiment_url(experiment_id)}")


def _as_json(branch: Branch) -> dict[str, Any]:
    """All of a branch; JSON has no word for what is no number, as the loss of a broken fit is."""
    return {
        **vars(branch),
        "metrics": {n: v if math.isfinite(v) else None for n, v in branch.metrics.items()},
        "children": [_as_json(child) for child in branch.children],
    }


def _walk(branches: Sequence[Branch], depth: int = 0) -> Iterator[tuple[Branch, int]]:
    for branch in branches:
        yield branch, depth
        yield from _walk(branch.children, depth + 1)


def _line(branch: Branch, depth: int, names: Sequence[str]) -> tuple[str, ...]:
    started = time.strftime("%Y-%m-%d %H:%M", time.localtime(branch.started / 1000))
    return (
        f"{'  ' * depth}{branch.name}{f' {BEST}' if branch.is_best else ''}",
        branch.run_id[:8],
        branch.status,
        started,
        "-" if branch.seconds is None else f"{branch.seconds:.0f}",
        *("-" if (v := branch.metrics.get(name)) is None else f"{v:.4f}" for name in names),
    )
