"""Images of two classes at once: mixup and CutMix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cifar_track.config import Augmentation

Labelled = tuple[NDArray[np.float32], NDArray[np.float32]]


def mix(
    images: NDArray[np.float32],
    labels: NDArray[np.float32],
    settings: Augmentation,
    *,
    rng: np.random.Generator,
) -> Labelled:
    """Mix each image of a batch, and its label, with another of the same batch.

    Args:
        images: float32 (N, H, W, 3).
        labels: float32 (N, classes), each summing to 1.
        settings: `mixup` and `cutmix`, the alphas; with both above 0 a batch has one by chance.
        rng: what the partners and the shares are drawn from, one share for the batch.

    Returns:
        New images and labels, of the same shapes.
    """
    partner = rng.permutation(len(images))
    if settings.mixup and not (settings.cutmix and rng.random() < 0.5):
        share = rng.beta(settings.mixup, settings.mixup)
        mixed = share * images + (1 - share) * images[partner]
        return mixed.astype(np.float32, copy=False), _mixed_labels(labels, partner, share)
    height, width = images.shape[1:3]
    side = np.sqrt(1 - rng.beta(settings.cutmix, settings.cutmix))
    y, x = rng.integers(0, height), rng.integers(0, width)
    rows = slice(max(0, y - int(side * height) // 2), y + int(side * height) // 2)
    columns = slice(max(0, x - int(side * width) // 2), x + int(side * width) // 2)
    mixed = images.copy()
    mixed[:, rows, columns] = images[partner, rows, columns]
    # By what is seen: the piece may stick out.
    covered = mixed[0, rows, columns, 0].size / (height * width)
    return mixed, _mixed_labels(labels, partner, 1 - covered)


def _mixed_labels(
    labels: NDArray[np.float32], partner: NDArray[np.int64], share: float
) -> NDArray[np.float32]:
    mixed = share * labels + (1 - share) * labels[partner]
    return mixed.astype(np.float32, copy=False)
