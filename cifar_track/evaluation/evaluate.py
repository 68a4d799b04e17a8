"""What a classifier's probabilities are worth against the true labels, whole and by class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cifar_track.evaluation.checks import (
    require_labels,
    require_log_probabilities,
    require_names,
    require_probabilities,
)
from cifar_track.evaluation.confusion import count_confusion, figures_of
from cifar_track.evaluation.evaluation import Evaluation
from cifar_track.statistics import calibration_error, wilson_interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

TOP_K = 5
# The least number above 0 that float32 knows: a probability that it rounds to 0 is at most half.
LEAST_PROBABILITY = float(np.finfo(np.float32).smallest_subnormal)


def evaluate(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    class_names: tuple[str, ...],
    superclass_names: tuple[str, ...],
    superclass_of: tuple[int, ...],
    log_probabilities: ArrayLike | None = None,
    seen: ArrayLike | None = None,
) -> Evaluation:
    """Judge a classifier's probabilities by the true labels.

    Args:
        probabilities: float (N, C), each row a distribution over the classes; N at least 1.
        labels: int (N,), the true classes from 0 to C - 1.
        class_names: C different names, by class number.
        superclass_names: S names.
        superclass_of: C indices into `superclass_names`.
        log_probabilities: float (N, C), the natural logarithms of the same, where the network
            gives them. float32 rounds a probability below 1e-45 to 0, so that without them no
            image loses more than 103 nats.
        seen: bool (N,), which images occur, or all but occur, among those trained on.

    Returns:
        Every figure, computed once. A class that is never predicted has precision 0, one without
        images recall 0; both count in the macro means, as in scikit-learn with `zero_division=0`.

    Raises:
        ValueError: shapes do not fit, a probability is NaN, infinite or negative, a row does not
            sum to 1, a label is out of range or not whole, or names and indices do not fit.
    """
    scores = np.ascontiguousarray(probabilities, dtype=np.float32)
    truth = np.asarray(labels)
    require_names(class_names, superclass_names, superclass_of)
    require_probabilities(scores, classes=len(class_names))
    require_labels(truth, images=scores.shape[0], classes=len(class_names))
    truth = truth.astype(np.int64)

    images = np.arange(truth.size)
    predicted = np.argmax(scores, axis=1)
    confusion = count_confusion(truth, predicted, classes=len(class_names))
    precision, recall, f1 = figures_of(confusion)
    support = confusion.sum(axis=1)
    right = predicted == truth
    in_top5 = _in_top_k(scores, truth, k=TOP_K)
    group_of = np.asarray(superclass_of)
    in_superclass = group_of[predicted] == group_of[truth]
    intervals = [
        wilson_interval(int(r), int(n)) for r, n in zip(np.diag(confusion), support, strict=True)
    ]
    losses = _losses(scores, truth, log_probabilities)
    was_seen = None if seen is None else np.asarray(seen, dtype=bool)
    low, high = _interval(right)
    top5_low, top5_high = _interval(in_top5)
    superclass_low, superclass_high = _interval(in_superclass)
    unseen = np.zeros(0, dtype=bool) if was_seen is None else right[~was_seen]
    unseen_low, unseen_high = _interval(unseen) if unseen.size else (None, None)
    return Evaluation(
        class_names=class_names,
        superclass_names=superclass_names,
        superclass_of=superclass_of,
        probabilities=scores,
        labels=truth,
        accuracy=float(right.mean()),
        accuracy_low=low,
        accuracy_high=high,
        top5_accuracy=float(in_top5.mean()),
        top5_low=top5_low,
        top5_high=top5_high,
        macro_precision=float(precision.mean()),
        macro_recall=float(recall.mean()),
        macro_f1=float(f1.mean()),
        log_loss=float(losses.mean()),
        calibration_error=calibration_error(scores[images, predicted], right),
        superclass_accuracy=float(in_superclass.mean()),
        superclass_low=superclass_low,
        superclass_high=superclass_high,
        losses=losses,
        seen=was_seen,
        unseen_accuracy=float(unseen.mean()) if unseen.size else None,
        unseen_low=unseen_low,
        unseen_high=unseen_high,
        precision=precision,
        recall=recall,
        f1=f1,
        recall_low=np.array([bounds[0] for bounds in intervals]),
        recall_high=np.array([bounds[1] for bounds in intervals]),
        support=support,
        confusion=confusion,
    )


def _interval(right: NDArray[np.bool_]) -> tuple[float, float]:
    return wilson_interval(int(right.sum()), right.size)


def _losses(
    scores: NDArray[np.float32], labels: NDArray[np.int64], log_probabilities: ArrayLike | None
) -> NDArray[np.float64]:
    """Each image's negative logarithm of the true class's probability, float64 (N,), in nats."""
    images = np.arange(labels.size)
    if log_probabilities is not None:
        logs = np.asarray(log_probabilities)
        require_log_probabilities(logs, shape=scores.shape)
        return -logs[images, labels].astype(np.float64)
    exact = scores.astype(np.float64)
    shares = exact[images, labels] / exact.sum(axis=1)
    return np.asarray(-np.log(np.maximum(shares, LEAST_PROBABILITY)), dtype=np.float64)


def _in_top_k(
    scores: NDArray[np.float32], labels: NDArray[np.int64], *, k: int
) -> NDArray[np.bool_]:
    """The rows, bool (N,), whose true class has fewer than k before it, ties in class order.

    scikit-learn's puts the higher number first among equals, so that its top 1 is not argmax.
    """
    of_true = scores[np.arange(labels.size), labels][:, None]
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    before = (scores > of_true) | ((scores == of_true) & earlier)
    return np.asarray(before.sum(axis=1) < k)
