"""One model's figures on one set of images, and the tables that are written of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from cifar_track.config import CLASS_FIGURES
from cifar_track.evaluation.confusion import figures_of, merge_classes

if TYPE_CHECKING:
    from numpy.typing import NDArray

Row: TypeAlias = dict[str, int | float | str | bool]


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
        top5_low, top5_high: its 95 % Wilson interval.
        log_loss: mean negative logarithm of the true class's probability, in nats.
        calibration_error: mean distance of confidence from accuracy, in 15 bins of equally many
            images.
        superclass_accuracy: share of images whose predicted class is of the true superclass.
        superclass_low, superclass_high: its 95 % Wilson interval.
        losses: float64 (N,), each image's part of the log loss, in nats.
        seen: bool (N,), the images that occur, or all but occur, among those trained on; None
            where that was not asked.
        unseen_accuracy: accuracy on the others; None where none are left or it was not asked.
        unseen_low, unseen_high: its 95 % Wilson interval.
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
    top5_low: float
    top5_high: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    log_loss: float
    calibration_error: float
    superclass_accuracy: float
    superclass_low: float
    superclass_high: float
    losses: NDArray[np.float64] = field(repr=False)
    seen: NDArray[np.bool_] | None = field(repr=False)
    unseen_accuracy: float | None
    unseen_low: float | None
    unseen_high: float | None
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
        return merge_classes(self.confusion, self.superclass_of, len(self.superclass_names))

    def metrics(self) -> dict[str, float]:
        """The figures of the whole, by the names under which they are logged, in their order."""
        macro = {
            "precision": self.macro_precision,
            "recall": self.macro_recall,
            "f1": self.macro_f1,
        }
        values = {
            "test_accuracy": self.accuracy,
            "test_accuracy_low": self.accuracy_low,
            "test_accuracy_high": self.accuracy_high,
            "test_top5_accuracy": self.top5_accuracy,
            "test_top5_accuracy_low": self.top5_low,
            "test_top5_accuracy_high": self.top5_high,
            **{figure.macro: macro[figure.name] for figure in CLASS_FIGURES},
            "test_log_loss": self.log_loss,
            "test_calibration_error": self.calibration_error,
            "test_superclass_accuracy": self.superclass_accuracy,
            "test_superclass_accuracy_low": self.superclass_low,
            "test_superclass_accuracy_high": self.superclass_high,
            "test_accuracy_unseen": self.unseen_accuracy,
            "test_accuracy_unseen_low": self.unseen_low,
            "test_accuracy_unseen_high": self.unseen_high,
            "test_images_seen": None if self.seen is None else float(self.seen.sum()),
        }
        return {name: value for name, value in values.items() if value is not None}

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
        precision, recall, f1 = figures_of(merged)
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
        from sklearn import metrics  # half a second, for this text alone

        report: str = metrics.classification_report(
            self.labels,
            self.predictions,
            labels=np.arange(len(self.class_names)),
            target_names=list(self.class_names),
            digits=4,
            zero_division=0,
        )
        return report
