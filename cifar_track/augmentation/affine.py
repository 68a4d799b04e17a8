"""Rotation, zoom, shift and flip of each image in one resampling."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

# One image is too small to share; its threads would only wait for one another.
cv2.setNumThreads(1)


def affine_transforms(
    *,
    rotation: NDArray[np.float64],
    shift_y: NDArray[np.float64],
    shift_x: NDArray[np.float64],
    zoom_y: NDArray[np.float64],
    zoom_x: NDArray[np.float64],
    flip: NDArray[np.float64],
    size: tuple[int, int],
) -> NDArray[np.float64]:
    """Compose each image's flip, zoom, shift and rotation into one map of output to input pixels.

    With (y, x) counted from the centre of the image, an output pixel shows the input at
    `R(rotation) . (zoom . (y, flip x) + shift)`.

    Args:
        rotation: radians, (N,).
        shift_y: pixels, (N,).
        shift_x: pixels, (N,).
        zoom_y: factor, (N,); above 1 shows more of the image, smaller.
        zoom_x: factor, (N,).
        flip: -1 to mirror left and right, else 1, (N,).
        size: height and width in pixels.

    Returns:
        float64 (N, 2, 3): the input's x and y are each a row times the output's (x, y, 1).
    """
    cosine, sine = np.cos(rotation), np.sin(rotation)
    center_y, center_x = (size[0] - 1) / 2, (size[1] - 1) / 2
    x_by_x, x_by_y = cosine * zoom_x * flip, sine * zoom_y
    y_by_x, y_by_y = -sine * zoom_x * flip, cosine * zoom_y
    x_offset = sine * shift_y + cosine * shift_x + center_x - x_by_x * center_x - x_by_y * center_y
    y_offset = cosine * shift_y - sine * shift_x + center_y - y_by_x * center_x - y_by_y * center_y
    rows = np.array([[x_by_x, x_by_y, x_offset], [y_by_x, y_by_y, y_offset]])
    return np.ascontiguousarray(rows.transpose(2, 0, 1))


def resample(images: NDArray[np.uint8], transforms: NDArray[np.float64]) -> NDArray[np.float32]:
    """Each image seen through its transform; bilinear, the nearest edge's colour outside.

    Args:
        images: uint8 (N, H, W, 3).
        transforms: float64 (N, 2, 3), as `affine_transforms` gives them.

    Returns:
        float32 (N, H, W, 3), not rounded.
    """
    seen = np.empty(images.shape, np.float32)
    size = images.shape[2], images.shape[1]
    # One image after another, whose float32 copy fits the fastest cache.
    for image, transform, into in zip(images, transforms, seen, strict=True):
        cv2.warpAffine(
            image.astype(np.float32),
            transform,
            size,
            dst=into,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return seen
