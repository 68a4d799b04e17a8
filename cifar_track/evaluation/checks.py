"""What an evaluation refuses: probabilities, labels and names that do not fit each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Softmax outputs of float32 sum to 1 within 1e-6, of bfloat16 within 1e-2; logits do not.
PROBABILITY_SUM_TOLERANCE = 0.02


def require_names(
    class_names: tuple[str, ...], superclass_names: tuple[str, ...], superclass_of: tuple[int, ...]
) -> None:
    """Refuse names that are not one a class, or of classes that are in no superclass."""
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


def require_probabilities(scores: NDArray[np.float32], *, classes: int) -> None:
    """Refuse what is not a distribution over the classes in every row."""
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


def require_log_probabilities(logs: NDArray[np.float64], *, shape: tuple[int, ...]) -> None:
    """Refuse logarithms that are not those of the probabilities."""
    if logs.shape != shape:
        raise ValueError(
            f"log_probabilities must be {shape} as the probabilities, got {logs.shape}"
        )
    if not logs.max() <= PROBABILITY_SUM_TOLERANCE:  # NaN is refused as well
        raise ValueError(
            f"log_probabilities must be numbers of at most 0, got {logs.max()}; are these logits?"
        )


def require_labels(labels: NDArray[np.generic], *, images: int, classes: int) -> None:
    """Refuse labels that are not the number of a class for each image."""
    if labels.shape != (images,):
        raise ValueError(f"labels must be ({images},) as the probabilities, got {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be whole numbers, got {labels.dtype}")
    low, high = int(np.min(labels)), int(np.max(labels))
    if low < 0 or high >= classes:
        raise ValueError(f"labels must be from 0 to {classes - 1}, got {low} to {high}")
