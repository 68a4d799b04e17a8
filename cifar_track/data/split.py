"""Which images an experiment takes of a set: as many of every class, drawn by the split's seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cifar_track.config import CifarTrackError, Data
from cifar_track.seeds import Purpose, stream


def stratified_indices(
    labels: np.ndarray,
    per_class: Sequence[int],
    *,
    seed: int,
    purpose: Purpose = Purpose.SPLIT,
) -> tuple[np.ndarray, ...]:
    """Disjoint random subsets with the same number of images of every class.

    A subset does not depend on the size of those after it, and a smaller last subset is part
    of a larger one.

    Args:
        labels: (N,), the class of each image.
        per_class: the images of each class in each subset.
        seed: 0 or above; the same seed gives the same subsets.
        purpose: what the subsets are for.

    Returns:
        For each subset, sorted indices into `labels`.

    Raises:
        ValueError: some class has too few images.
    """
    ends = np.cumsum(per_class)
    chosen: list[list[np.ndarray]] = [[] for _ in per_class]
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < ends[-1]:
            raise ValueError(f"class {label} has {len(members)} images, {ends[-1]} asked for")
        members = stream(seed, purpose, int(label)).permutation(members)
        for subset, end, count in zip(chosen, ends, per_class, strict=True):
            subset.append(members[end - count : end])
    return tuple(np.sort(np.concatenate(subset)) for subset in chosen)


def split_indices(labels: np.ndarray, settings: Data) -> tuple[np.ndarray, np.ndarray]:
    """The validation and the training images among those of these labels, (N,).

    Raises:
        CifarTrackError: some class has too few images.
    """
    # Validation first: the same images are chosen by however many are trained on.
    per_class = (settings.validation_per_class, settings.train_per_class)
    try:
        validation, train = stratified_indices(labels, per_class, seed=settings.split_seed)
    except ValueError as error:
        raise CifarTrackError(
            f"data.train_per_class={settings.train_per_class} and data.validation_per_class="
            f"{settings.validation_per_class} are together more than the training set has: {error}"
        ) from error
    return validation, train


def test_indices(labels: np.ndarray, settings: Data) -> np.ndarray:
    """The test images of an experiment among all of these labels, (N,).

    Raises:
        CifarTrackError: some class has too few images.
    """
    try:
        (indices,) = stratified_indices(
            labels,
            (settings.test_per_class,),
            seed=settings.split_seed,
            purpose=Purpose.TEST_SUBSET,
        )
    except ValueError as error:
        raise CifarTrackError(
            f"data.test_per_class={settings.test_per_class} is more than the test set has: {error}"
        ) from error
    return indices
