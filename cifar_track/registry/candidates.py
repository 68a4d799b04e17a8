"""Which finished runs may become the champion, and why the others may not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cifar_track.config import DEFAULT_METRIC, METRICS, CifarTrackError, nearest, require_chooses
from cifar_track.tracking import FinishedRun, tag

# What decides which images are held out to choose by, where a run has no digest of them.
DRAWN_BY = ("data.dataset", "data.validation_per_class", "data.split_seed")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A run that is to become the champion, and how it was chosen.

    Attributes:
        run: the run.
        metric: the figure that was chosen by.
        looked_at: the runs that were judged by the same validation images, the best first.
        left_out: the others, each with the reason.
        better: the champion's run, where that is the better one by the same figure on the same
            images; None otherwise.
    """

    run: FinishedRun
    metric: str
    looked_at: tuple[FinishedRun, ...]
    left_out: tuple[tuple[FinishedRun, str], ...]
    better: FinishedRun | None

    @property
    def figure(self) -> float:
        """The run's figure."""
        return self.run.metrics[self.metric]


def choose_run(
    runs: Sequence[FinishedRun],
    *,
    dataset_name: str,
    metric: str = DEFAULT_METRIC,
    named: FinishedRun | None = None,
    champion: str | None = None,
) -> Choice:
    """Choose the best run by a figure of the validation images, or take the one that is named.

    Runs are compared on the same validation images as the champion's run, or else the newest run
    of a full budget. Runs of a quick budget count only where there is none of a full one.

    Args:
        runs: the finished runs of the data set, the newest first.
        dataset_name: what to call them in an error.
        metric: the figure; not one of the test images.
        named: the run to take.
        champion: the id of the champion's run.

    Raises:
        CifarTrackError: no run qualifies, the named one does not, or the figure can't be chosen by.
    """
    lower_is_better = _require_metric(metric, runs)
    champion_run = next((run for run in runs if run.run_id == champion), None)
    if named is not None and _unfit(named, metric):
        raise CifarTrackError(f"run {named.run_id} {_unfit(named, metric)}; name another")
    newest = _newest(runs, metric)
    reference = named or newest
    # A champion of a quick budget is no measure for runs of a full one.
    if champion_run is not None and (newest is None or is_quick(champion_run) == is_quick(newest)):
        reference = champion_run
    if reference is None:
        raise CifarTrackError(_nothing_to_choose(runs, dataset_name, metric))
    looked_at: list[FinishedRun] = []
    left_out: list[tuple[FinishedRun, str]] = []
    for candidate in runs:
        reason = _unfit(candidate, metric) or _incomparable(candidate, reference)
        if reason:
            left_out.append((candidate, reason))
        else:
            looked_at.append(candidate)
    looked_at.sort(key=lambda r: r.metrics[metric], reverse=not lower_is_better)
    chosen = named or (looked_at[0] if looked_at else None)
    if chosen is None:
        raise CifarTrackError(_nothing_to_choose(runs, dataset_name, metric))
    better = champion_run if champion_run in looked_at and chosen in looked_at else None
    if better is not None and looked_at.index(better) >= looked_at.index(chosen):
        better = None
    if better is not None and better.metrics[metric] == chosen.metrics[metric]:
        better = None
    return Choice(
        run=chosen,
        metric=metric,
        looked_at=tuple(looked_at),
        left_out=tuple(left_out),
        better=better,
    )


def _require_metric(metric: str, runs: Sequence[FinishedRun]) -> bool:
    """Whether the figure is better when it is lower."""
    require_chooses(metric)
    info = METRICS.get(metric)
    chooses_nothing = ("test_", "train_", "system/")
    logged = sorted({n for run in runs for n in run.metrics if not n.startswith(chooses_nothing)})
    if runs and metric not in logged:
        raise CifarTrackError(f"no run has a metric {metric!r}{nearest(metric, tuple(logged))}")
    return info.better == "lower" if info is not None else "loss" in metric


def _newest(runs: Sequence[FinishedRun], metric: str) -> FinishedRun | None:
    fit = [run for run in runs if not _unfit(run, metric)]
    return next((run for run in fit if not is_quick(run)), fit[0] if fit else None)


def _unfit(run: FinishedRun, metric: str) -> str:
    """Why a run can't become the champion at all; empty where it can."""
    if run.protocol != "validation":
        return "was chosen by the test images (selection=test)"
    if run.model_uri is None:
        return "logged no model"
    if not math.isfinite(run.metrics.get(metric, math.nan)):
        return f"has no {metric}"
    return ""


def _incomparable(run: FinishedRun, reference: FinishedRun) -> str:
    """Why a run's figures can't be held beside the reference's; empty where they can."""
    if validation_images(run) != validation_images(reference):
        return "was judged by other validation images"
    if is_quick(run) and not is_quick(reference):
        return "had a quick budget"
    return ""


def is_quick(run: FinishedRun) -> bool:
    """Whether a run's budget was cut to show that everything works."""
    return run.tags.get(tag.BUDGET) == "quick"


def validation_images(run: FinishedRun) -> str:
    """What tells the images that a run was chosen by from others."""
    digest = run.tags.get(tag.VALIDATION_DIGEST)
    return digest or " ".join(f"{name}={run.parameters.get(name)}" for name in DRAWN_BY)


def _nothing_to_choose(runs: Sequence[FinishedRun], dataset_name: str, metric: str) -> str:
    reasons = dict.fromkeys(_unfit(run, metric) for run in runs)
    why = f"{len(runs)} finished, each of which {' or '.join(reasons)}" if runs else "none finished"
    return f"no run on {dataset_name} to register: {why}; run one first: mlflow run . -e baseline"
