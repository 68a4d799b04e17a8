"""Images counted by true and predicted class, and the figures that follow from the counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def count_confusion(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], *, classes: int
) -> NDArray[np.int64]:
    """Images by true class (rows) and predicted class (columns), int64 (classes, classes)."""
    cells = np.bincount(labels * classes + predictions, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


def figures_of(
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


def merge_classes(
    confusion: NDArray[np.int64], group_of: tuple[int, ...], groups: int
) -> NDArray[np.int64]:
    """The confusion (C, C) summed over groups of classes, (groups, groups)."""
    membership = np.zeros((len(group_of), groups), dtype=np.int64)
    membership[np.arange(len(group_of)), list(group_of)] = 1
    merged: NDArray[np.int64] = membership.T @ confusion @ membership
    return merged
