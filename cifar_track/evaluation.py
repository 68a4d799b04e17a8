"""What a classifier's probabilities are worth against the true labels, whole and by class."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from sklearn import metrics as sklearn_metrics

from cifar_track.statistics import wilson_interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Row: TypeAlias = dict[str, int | float | str | bool]

TOP_K = 5
# Softmax outputs of float32 sum to 1 within 1e-6, of bfloat16 within 1e-2; logits do not.
PROBABILITY_SUM_TOLERANCE = 0.02


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Every figure of one model on one set of N images of C classes; fractions from 0 to 1.

    Attributes:
        class_names: C names, by class number.
        superclass_names: S names.
        superclass_of: C indices into `superclass_names`.
        probabilities: float32 (N, C).
        labels: int64 (N,), the true classes.
        accuracy: share of images whose most probable class is the true one.
        accuracy_low, accuracy_high: its 95 % Wilson interval.
        top5_accuracy: share of images whose true class is among the five most probable.
        macro_precision, macro_recall, macro_f1: unweighted means over all C classes.
        log_loss: mean negative logarithm of the true class's probability, in nats.
        precision, recall, f1: float64 (C,); 0 where undefined, as of a class never predicted.
        recall_low, recall_high: float64 (C,), 95 % Wilson intervals of recall.
        support: int64 (C,), images of each class.
        confusion: int64 (C, C), images by true class (rows) and predicted class (columns).
    """

    class_names: tuple[str, ...]
    superclass_names: tuple[str, ...]
    superclass_of: tuple[int, ...]
    probabilities: NDArray[np.float32] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    top5_accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    log_loss: float
    precision: NDArray[np.float64] = field(repr=False)
    recall: NDArray[np.float64] = field(repr=False)
    f1: NDArray[np.float64] = field(repr=False)
    recall_low: NDArray[np.float64] = field(repr=False)
    recall_high: NDArray[np.float64] = field(repr=False)
    support: NDArray[np.int64] = field(repr=False)
    confusion: NDArray[np.int64] = field(repr=False)

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The most probable class of each image, int64 (N,); the lowest number among equals."""
        return np.asarray(np.argmax(self.probabilities, axis=1), dtype=np.int64)

    @property
    def superclass_confusion(self) -> NDArray[np.int64]:
        """Images by true and predicted superclass, int64 (S, S)."""
        return _merge_classes(self.confusion, self.superclass_of, len(self.superclass_names))

    def metrics(self) -> dict[str, float]:
        """The figures of the whole, by the names under which they are logged."""
        return {
            "test_accuracy": self.accuracy,
            "test_accuracy_low": self.accuracy_low,
            "test_accuracy_high": self.accuracy_high,
            "test_top5_accuracy": self.top5_accuracy,
            "test_macro_precision": self.macro_precision,
            "test_macro_recall": self.macro_recall,
            "test_macro_f1": self.macro_f1,
            "test_log_loss": self.log_loss,
        }

    def per_class_rows(self) -> list[Row]:
        """One row a class, by class number: its names, figures, support and recall's interval."""
        return [
            {
                "class": number,
                "name": name,
                "superclass": self.superclass_names[self.superclass_of[number]],
                "precision": float(self.precision[number]),
                "recall": float(self.recall[number]),
                "f1": float(self.f1[number]),
                "support": int(self.support[number]),
                "recall_low": float(self.recall_low[number]),
                "recall_high": float(self.recall_high[number]),
            }
            for number, name in enumerate(self.class_names)
        ]

    def superclass_rows(self) -> list[Row]:
        """One row a superclass: how well it is told from the others, and its classes apart.

        `precision`, `recall` and `f1` count a prediction as right when it falls anywhere in the
        superclass; `class_accuracy` is the share of the superclass's images whose very class is
        predicted.
        """
        merged = self.superclass_confusion
        precision, recall, f1 = _figures_of(merged)
        members = np.asarray(self.superclass_of)
        right = np.bincount(
            members, weights=np.diag(self.confusion), minlength=len(self.superclass_names)
        )
        support = merged.sum(axis=1)
        return [
            {
                "superclass": name,
                "classes": int(np.count_nonzero(members == number)),
                "support": int(support[number]),
                "precision": float(precision[number]),
                "recall": float(recall[number]),
                "f1": float(f1[number]),
                "class_accuracy": float(right[number] / max(support[number], 1)),
            }
            for number, name in enumerate(self.superclass_names)
        ]

    def confused_pairs(self) -> list[Row]:
        """Every mistake made at least once, the most frequent first.

        `share` is the part of the true class's images that goes to the predicted class. Equal
        counts come in order of the class numbers.
        """
        true, predicted = np.nonzero(self.confusion)
        mistakes = true != predicted
        true, predicted = true[mistakes], predicted[mistakes]
        counts = self.confusion[true, predicted]
        order = np.argsort(-counts, kind="stable")
        return [
            {
                "true": self.class_names[row],
                "predicted": self.class_names[column],
                "count": int(count),
                "share": float(count / self.support[row]),
                "same_superclass": self.superclass_of[row] == self.superclass_of[column],
            }
            for row, column, count in zip(
                true[order].tolist(), predicted[order].tolist(), counts[order], strict=True
            )
        ]

    def confusion_rows(self) -> list[Row]:
        """One row a true class: its name under `true`, then a count for each predicted class."""
        return [
            {"true": name, **dict(zip(self.class_names, counts, strict=True))}
            for name, counts in zip(self.class_names, self.confusion.tolist(), strict=True)
        ]

    def classification_report(self) -> str:
        """scikit-learn's own text report, to four digits, with the class names."""
        report: str = sklearn_metrics.classification_report(
            self.labels,
            self.predictions,
            labels=np.arange(len(self.class_names)),
            target_names=list(self.class_names),
            digits=4,
            zero_division=0,
        )
        return report


def evaluate(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    class_names: tuple[str, ...],
    superclass_names: tuple[str, ...],
    superclass_of: tuple[int, ...],
) -> Evaluation:
    """Judge a classifier's probabilities by the true labels.

    Args:
        probabilities: float (N, C), each row a distribution over the classes; N at least 1.
        labels: int (N,), the true classes from 0 to C - 1.
        class_names: C different names, by class number.
        superclass_names: S names.
        superclass_of: C indices into `superclass_names`.

    Returns:
        Every figure, computed once. A class that is never predicted has precision 0, one without
        images recall 0; both count in the macro means, as in scikit-learn with `zero_division=0`.

    Raises:
        ValueError: shapes do not fit, a probability is NaN, infinite or negative, a row does not
            sum to 1, a label is out of range or not whole, or names and indices do not fit.
    """
    scores = np.ascontiguousarray(probabilities, dtype=np.float32)
    truth = np.asarray(labels)
    _require_names(class_names, superclass_names, superclass_of)
    _require_probabilities(scores, classes=len(class_names))
    _require_labels(truth, images=scores.shape[0], classes=len(class_names))
    truth = truth.astype(np.int64)

    classes = np.arange(len(class_names))
    predicted = np.argmax(scores, axis=1)
    confusion = sklearn_metrics.confusion_matrix(truth, predicted, labels=classes).astype(np.int64)
    precision, recall, f1 = _figures_of(confusion)
    right = np.diag(confusion)
    support = confusion.sum(axis=1)
    intervals = [wilson_interval(int(r), int(n)) for r, n in zip(right, support, strict=True)]
    low, high = wilson_interval(int(right.sum()), truth.size)
    return Evaluation(
        class_names=class_names,
        superclass_names=superclass_names,
        superclass_of=superclass_of,
        probabilities=scores,
        labels=truth,
        accuracy=float(right.sum() / truth.size),
        accuracy_low=low,
        accuracy_high=high,
        top5_accuracy=_top_k_accuracy(scores, truth, k=TOP_K),
        macro_precision=float(precision.mean()),
        macro_recall=float(recall.mean()),
        macro_f1=float(f1.mean()),
        log_loss=_log_loss(scores, truth),
        precision=precision,
        recall=recall,
        f1=f1,
        recall_low=np.array([bounds[0] for bounds in intervals]),
        recall_high=np.array([bounds[1] for bounds in intervals]),
        support=support,
        confusion=confusion,
    )


def _figures_of(
    confusion: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Precision, recall and F1 of each class, (C,) each, 0 where the denominator is 0."""
    right = np.diag(confusion).astype(np.float64)
    predicted, support = confusion.sum(axis=0), confusion.sum(axis=1)
    return (
        right / np.maximum(predicted, 1),
        right / np.maximum(support, 1),
        2 * right / np.maximum(predicted + support, 1),
    )


def _top_k_accuracy(scores: NDArray[np.float32], labels: NDArray[np.int64], *, k: int) -> float:
    """Share of rows whose true class has fewer than k classes before it, ties in class order.

    scikit-learn's puts the higher number first among equals, so that its top 1 is not argmax.
    """
    of_true = scores[np.arange(labels.size), labels][:, None]
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    before = (scores > of_true) | ((scores == of_true) & earlier)
    return float(np.mean(before.sum(axis=1) < k))


def _log_loss(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    # In float64 and summing to 1, so that scikit-learn neither clips at 1e-7 nor warns.
    exact = scores.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    return float(sklearn_metrics.log_loss(labels, exact, labels=np.arange(scores.shape[1])))


def _merge_classes(
    confusion: NDArray[np.int64], group_of: tuple[int, ...], groups: int
) -> NDArray[np.int64]:
    """The confusion (C, C) summed over groups of classes, (groups, groups)."""
    membership = np.zeros((len(group_of), groups), dtype=np.int64)
    membership[np.arange(len(group_of)), list(group_of)] = 1
    merged: NDArray[np.int64] = membership.T @ confusion @ membership
    return merged


def _require_names(
    class_names: tuple[str, ...], superclass_names: tuple[str, ...], superclass_of: tuple[int, ...]
) -> None:
    if len(class_names) < 2 or len(set(class_names)) != len(class_names):
        raise ValueError(f"class_names must be at least 2 different names, got {class_names}")
    if "true" in class_names:  # the first column of the confusion's rows
        raise ValueError("class_names must not hold 'true'")
    if len(superclass_of) != len(class_names):
        raise ValueError(
            f"superclass_of must have an index for each of {len(class_names)} classes, "
            f"got {len(superclass_of)}"
        )
    if not all(0 <= index < len(superclass_names) for index in superclass_of):
        raise ValueError(
            f"superclass_of must hold indices below {len(superclass_names)}, got {superclass_of}"
        )


def _require_probabilities(scores: NDArray[np.float32], *, classes: int) -> None:
    if scores.ndim != 2 or scores.shape[0] < 1 or scores.shape[1] != classes:
        raise ValueError(f"probabilities must be (N, {classes}) with N >= 1, got {scores.shape}")
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if bad.size:
        raise ValueError(
            f"probabilities hold NaN or infinity in {bad.size} of {len(scores)} rows, "
            f"first in row {bad[0]}"
        )
    if scores.min() < 0:
        raise ValueError(f"probabilities must be at least 0, got {scores.min()}")
    sums = scores.sum(axis=1)
    worst = int(np.argmax(np.abs(sums - 1)))
    if abs(sums[worst] - 1) > PROBABILITY_SUM_TOLERANCE:
        raise ValueError(
            f"each row of probabilities must sum to 1, row {worst} sums to {sums[worst]:.6g}; "
            "are these logits?"
        )


def _require_labels(labels: NDArray[np.generic], *, images: int, classes: int) -> None:
    if labels.shape != (images,):
        raise ValueError(f"labels must be ({images},) as the probabilities, got {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be whole numbers, got {labels.dtype}")
    low, high = int(np.min(labels)), int(np.max(labels))
    if low < 0 or high >= classes:
        raise ValueError(f"labels must be from 0 to {classes - 1}, got {low} to {high}")
