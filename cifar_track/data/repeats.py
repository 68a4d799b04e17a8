"""Test images that occur, or all but occur, among the images that were trained on."""

from __future__ import annotations

import hashlib

import numpy as np

# Where a test image's repeat would be is found by thumbnails of colour fields, whether it is one
# by the detail of both, shifted against each other.
THUMBNAIL_SIDE = 8
DETAIL_SIDE = 16
BLUR = 2.0  # in pixels of the detail
SHIFTS = range(-2, 3)
# Chosen so that as many of CIFAR-100's 10,000 test images are found in the training set as the
# ciFAIR paper counts by eye: 883 to its 891, which is therefore no evidence that they are the same
# images. That is: of 252 of the paper's, this finds 98 % of what its authors call exact duplicates,
# 72 % of the near duplicates and 63 % of the very similar images; others it finds are none of them.
SAME_CORRELATION = 0.72
IMAGES_A_BATCH = 1000


def find_seen(test: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Which test images occur among those trained on, as they are or all but.

    Args:
        test: uint8 (N, 32, 32, 3).
        train: uint8 (M, 32, 32, 3), M at least 1.

    Returns:
        bool (N,): equal to an image that was trained on (by hash), or with detail that correlates
        by more than `SAME_CORRELATION` with that of the image whose colours are the most alike,
        as it is or mirrored, shifted by up to 4 pixels.

    Source:
        B. Barz and J. Denzler (2020), Do we train on test data? Purging CIFAR of near-duplicates,
        Journal of Imaging 6, 41, for the number of repeats that there are.
    """
    known = {_digest(image) for image in train}
    seen = np.array([_digest(image) in known for image in test], dtype=bool)
    details, test_fields = _detail(test), _fields(test, THUMBNAIL_SIDE)
    train_fields = _fields(train, THUMBNAIL_SIDE)
    for step in (1, -1):  # as it is, and mirrored
        likely = _most_alike(test_fields, train_fields[:, :, ::step])
        for start in range(0, len(test), IMAGES_A_BATCH):
            batch = slice(start, start + IMAGES_A_BATCH)
            other = _detail(train[likely[batch]][:, :, ::step])
            seen[batch] |= _correlation(details[batch], other) > SAME_CORRELATION
    return seen


def _digest(image: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()


def _most_alike(test: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Of each test image the number of the training image with the fields nearest to its."""
    thumbnails = _thumbnails(train).T
    return np.concatenate(
        [
            (_thumbnails(test[start : start + IMAGES_A_BATCH]) @ thumbnails).argmax(axis=1)
            for start in range(0, len(test), IMAGES_A_BATCH)
        ]
    )


def _thumbnails(fields: np.ndarray) -> np.ndarray:
    """Mean colours of fields, (N, 8, 8, 3), as rows, float32 (N, 192), centred, of unit length."""
    return _centred(fields.reshape(len(fields), -1))


def _detail(images: np.ndarray) -> np.ndarray:
    """What a blur takes out of the brightness of 16x16 fields, float32 (N, 16, 16)."""
    import cv2  # for those who look for repeats, not for all who read images

    grey = _fields(images, DETAIL_SIDE).mean(axis=-1)
    return np.stack([image - cv2.GaussianBlur(image, (0, 0), BLUR) for image in grey])


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The highest correlation of each two details over the shifts of the second, float32 (N,)."""
    edge = max(SHIFTS)
    side = DETAIL_SIDE - 2 * edge
    middle = _centred(first[:, edge:-edge, edge:-edge].reshape(len(first), -1))
    correlations = [
        np.einsum(
            "ij,ij->i",
            middle,
            _centred(
                second[:, edge + y : edge + y + side, edge + x : edge + x + side].reshape(
                    len(second), -1
                )
            ),
        )
        for y in SHIFTS
        for x in SHIFTS
    ]
    return np.asarray(np.max(correlations, axis=0), dtype=np.float32)


def _fields(images: np.ndarray, side: int) -> np.ndarray:
    """The mean colours of side x side fields, float32 (N, side, side, 3)."""
    count, size = images.shape[:2]
    field = size // side
    # Row by row and column by column: ten times as fast as a mean over both axes, and exact.
    rows = images.reshape(count, side, field, size, 3)
    strips = sum(rows[:, :, n].astype(np.uint16) for n in range(field))
    columns = np.asarray(strips).reshape(count, side, side, field, 3)
    sums = sum(columns[:, :, :, n] for n in range(field))
    return np.asarray(sums, dtype=np.float32) / np.float32(field**2)


def _centred(rows: np.ndarray) -> np.ndarray:
    """Rows less their means and of unit length, so that a product of two is their correlation."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-3), dtype=np.float32)
