"""The figures of each run with their intervals, and how any two runs differ in each of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cifar_track.config import CLASS_FIGURES, METRICS, MetricInfo
from cifar_track.statistics import (
    Resamples,
    basic_interval,
    draw_resamples,
    wilson_interval,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cifar_track.comparison.run_result import RunResult

TOP_K = 5
# Of a class with fewer test images, draws say too little for a mean over the classes.
LEAST_OF_A_CLASS = 20


@dataclass(frozen=True, kw_only=True)
class Number:
    """A figure with its 95 % interval; without bounds where there is none to give."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class RunNumbers:
    """The figures of one run.

    Attributes:
        numbers: by the metric's name; what the run lacks is absent.
        draws: of the metrics that are counted on images, their value in each draw, (R,).
    """

    numbers: Mapping[str, Number]
    draws: Mapping[str, NDArray[np.float64]]


def numbers_of(results: Sequence[RunResult]) -> tuple[RunNumbers, ...]:
    """The figures of each run with their 95 % intervals.

    Shares of images have Wilson's interval; the rest the basic bootstrap interval over the images
    of each class. Runs on the same images share the draws, so that their differences stay paired.
    What a run logged without the predictions it came from has the bounds that were logged, or none.
    """
    drawn: dict[bytes, Resamples] = {}
    found = []
    for result in results:
        labels = b"" if result.right is None else np.asarray(result.labels).tobytes()
        if labels and labels not in drawn:
            drawn[labels] = draw_resamples(np.asarray(result.labels))
        found.append(_run_numbers(result, drawn.get(labels)))
    return tuple(found)


def differences(first: RunNumbers, second: RunNumbers) -> dict[str, Number]:
    """Second less first in every figure that both have draws of, with the paired interval.

    The two must have judged the same images.
    """
    return {
        name: _number(
            second.numbers[name].value - first.numbers[name].value,
            basic_interval(
                second.numbers[name].value - first.numbers[name].value,
                second.draws[name] - first.draws[name],
            ),
        )
        for name in METRICS
        if name in first.draws and name in second.draws
    }


def logged_numbers(result: RunResult) -> dict[str, Number]:
    """The figures of a run as it logged them."""
    return {
        info.name: Number(value=value, low=result.metric(info.low), high=result.metric(info.high))
        for info in METRICS.values()
        if (value := result.metric(info.name)) is not None
    }


def _run_numbers(result: RunResult, resamples: Resamples | None) -> RunNumbers:
    numbers = logged_numbers(result)
    if resamples is None:
        return RunNumbers(numbers=numbers, draws={})
    once = Resamples(np.ones((resamples.images, 1), dtype=np.float32))
    values = {name: float(draw[0]) for name, draw in _figures(result, once).items()}
    draws = _figures(result, resamples)
    for name, value in values.items():
        numbers[name] = _with_interval(METRICS[name], value, draws[name], result)
    return RunNumbers(numbers={n: numbers[n] for n in METRICS if n in numbers}, draws=draws)


def _with_interval(
    info: MetricInfo, value: float, draws: NDArray[np.float64], result: RunResult
) -> Number:
    if info.interval == "wilson":
        images = _images_of(info, result)
        return _number(value, wilson_interval(round(value * images), images))
    highest = 1.0 if info.unit == "share" else math.inf
    return _number(value, basic_interval(value, draws, lowest=0.0, highest=highest))


def _images_of(info: MetricInfo, result: RunResult) -> int:
    if info.name == "test_accuracy_unseen" and result.seen is not None:
        return int(np.count_nonzero(~result.seen))
    return 0 if result.labels is None else len(result.labels)


def _number(value: float, bounds: tuple[float, float]) -> Number:
    return Number(value=value, low=bounds[0], high=bounds[1])


def _figures(result: RunResult, resamples: Resamples) -> dict[str, NDArray[np.float64]]:
    """Every figure of each draw, (R,), by its metric's name."""
    labels, predictions = np.asarray(result.labels), np.asarray(result.predictions)
    right = labels == predictions
    images = labels.size
    shares: dict[str, NDArray[np.generic]] = {"test_accuracy": right}
    if result.probabilities is not None:
        shares["test_top5_accuracy"] = _in_top_k(result.probabilities, labels)
    if result.losses is not None:
        shares["test_log_loss"] = result.losses
    if result.per_class:
        group_of = result.superclass_of
        shares["test_superclass_accuracy"] = group_of[labels] == group_of[predictions]
    unseen = None if result.seen is None or result.seen.all() else ~result.seen
    of_unseen = [] if unseen is None else [right & unseen, unseen]
    sums = resamples.sums(np.stack([*shares.values(), *of_unseen], axis=1))
    figures = {name: sums[n] / images for n, name in enumerate(shares)}
    if unseen is not None:
        figures["test_accuracy_unseen"] = sums[-2] / np.maximum(sums[-1], 1)
    figures |= _macro_figures(labels, predictions, resamples, classes=len(result.per_class))
    return figures


def _in_top_k(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether fewer than five classes come before the true one, ties in class order."""
    of_true = probabilities[np.arange(labels.size), labels][:, None]
    earlier = np.arange(probabilities.shape[1]) < labels[:, None]
    before = (probabilities > of_true) | ((probabilities == of_true) & earlier)
    return np.asarray(before.sum(axis=1) < TOP_K)


def _macro_figures(
    labels: NDArray[np.int64],
    predictions: NDArray[np.int64],
    resamples: Resamples,
    *,
    classes: int,
) -> dict[str, NDArray[np.float64]]:
    if not classes or np.bincount(labels, minlength=classes).min() < LEAST_OF_A_CLASS:
        return {}
    hits = labels == predictions
    right = resamples.sums_by_group(labels, groups=classes, weights=hits)
    predicted = right + resamples.sums_by_group(predictions, groups=classes, weights=~hits)
    support = resamples.sums_by_group(labels, groups=classes)
    by_class = {
        "precision": right / np.maximum(predicted, 1),
        "recall": right / np.maximum(support, 1),
        "f1": 2 * right / np.maximum(predicted + support, 1),
    }
    return {figure.macro: by_class[figure.name].mean(axis=0) for figure in CLASS_FIGURES}
