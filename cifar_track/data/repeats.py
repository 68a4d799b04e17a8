"""Test images that occur, or all but occur, among the images that were trained on."""

from __future__ import annotations

import hashlib

import numpy as np

# Images are compared as 8x8 colour thumbnails, their mean taken out and of unit length.
THUMBNAIL_SIDE = 8
SAME_CORRELATION = 0.95
IMAGES_A_BATCH = 1000


def find_seen(test: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Which test images occur among those trained on, as they are or all but.

    Args:
        test: uint8 (N, 32, 32, 3).
        train: uint8 (M, 32, 32, 3).

    Returns:
        bool (N,): equal to an image that was trained on (by hash), or with a thumbnail that
        correlates by `SAME_CORRELATION` or more with that of one, as it is or mirrored.
    """
    known = {_digest(image) for image in train}
    seen = np.array([_digest(image) in known for image in test], dtype=bool)
    thumbnails = np.concatenate([_thumbnails(train), _thumbnails(train[:, :, ::-1])]).T
    for start in range(0, len(test), IMAGES_A_BATCH):
        batch = slice(start, start + IMAGES_A_BATCH)
        correlations = _thumbnails(test[batch]) @ thumbnails
        seen[batch] |= correlations.max(axis=1) >= SAME_CORRELATION
    return seen


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()


def _thumbnails(images: np.ndarray) -> np.ndarray:
    """Mean colours of 8x8 fields, float32 (N, 192), centred and of unit length; 0 if all equal."""
    count, side = images.shape[:2]
    field = side // THUMBNAIL_SIDE
    fields = images.reshape(count, THUMBNAIL_SIDE, field, THUMBNAIL_SIDE, field, -1)
    flat = fields.mean(axis=(2, 4), dtype=np.float32).reshape(count, -1)
    flat -= flat.mean(axis=1, keepdims=True)
    flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return np.asarray(flat, dtype=np.float32)
