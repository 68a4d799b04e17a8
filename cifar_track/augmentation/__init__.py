"""The random changes that a batch of training images goes through."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from cifar_track.augmentation.affine import affine_transforms, resample
from cifar_track.augmentation.mixing import mix
from cifar_track.augmentation.trivial import transform_at_random
from cifar_track.config import Augmentation

__all__ = ["affine_transforms", "augment", "mix", "resample", "resize"]

# What an erased square shows: the middle of the range, near every data set's mean.
GREY = 127.5

Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]


def augment(
    images: NDArray[np.uint8],
    settings: Augmentation,
    *,
    rng: np.random.Generator,
    mirrored: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Change every image by amounts of its own, as the settings say and in their order.

    The ranges, the order and the filling of rotation, zoom and shift are those of Keras's
    `ImageDataGenerator`: zoom about the centre, shift, rotation, then the flip; bilinear; pixels
    from outside take the nearest edge's colour. It resamples once where separate layers would
    resample four times.

    Args:
        images: uint8 (N, H, W, 3).
        settings: what is changed, and how far.
        rng: what the amounts are drawn from; in the same state it gives the same images.
        mirrored: which images are mirrored, (N,), where that is not left to chance.

    Returns:
        float32 (N, H, W, 3) in 0..255.
    """
    count, height, width, _ = images.shape
    chance = 0.5 if settings.horizontal_flip else 0.0
    flipped = np.asarray(rng.random(count) < chance if mirrored is None else mirrored)
    seen: Pixels = images
    if settings.rotation or settings.width_shift or settings.height_shift or settings.zoom:
        rotation, shift_y, shift_x, zoom_y, zoom_x = rng.uniform(-1.0, 1.0, (5, count))
        transforms = affine_transforms(
            rotation=rotation * np.radians(settings.rotation),
            shift_y=shift_y * settings.height_shift * height,
            shift_x=shift_x * settings.width_shift * width,
            zoom_y=1.0 + zoom_y * settings.zoom,
            zoom_x=1.0 + zoom_x * settings.zoom,
            flip=np.where(flipped, -1.0, 1.0),
            size=(height, width),
        )
        seen = resample(images, transforms)
    elif flipped.any():
        seen = images.copy()
        seen[flipped] = images[flipped, :, ::-1]
    if settings.crop:
        seen = crop_reflected(seen, settings.crop, rng=rng)
    if settings.trivial:
        seen = transform_at_random(seen, rng=rng)
    changed = seen.astype(np.float32, copy=False)
    if settings.cutout:
        changed = changed.copy() if changed is seen else changed
        erase_squares(changed, settings.cutout, rng=rng)
    return changed


def crop_reflected(images: Pixels, border: int, *, rng: np.random.Generator) -> Pixels:
    """Shift each image by up to `border` whole pixels; what comes in is what went out, mirrored.

    Args:
        images: (N, H, W, 3).
        border: pixels by which each side is extended, the edge itself not repeated.
        rng: what the shifts are drawn from, each of (2 border + 1)² alike.
    """
    count, height, width, _ = images.shape
    sides = ((0, 0), (border, border), (border, border), (0, 0))
    extended = np.pad(images, sides, mode="reflect")
    cropped = np.empty_like(images)
    places = rng.integers(0, 2 * border + 1, (count, 2)).tolist()
    for image, (y, x), into in zip(extended, places, cropped, strict=True):
        into[:] = image[y : y + height, x : x + width]
    return cropped


def erase_squares(images: NDArray[np.float32], side: int, *, rng: np.random.Generator) -> None:
    """Make a square of each image grey, in place; its centre is any pixel, so it may stick out.

    Args:
        images: float32 (N, H, W, 3) in 0..255.
        side: of the square, in pixels.
        rng: what the centres are drawn from.
    """
    count, height, width, _ = images.shape
    corners = rng.integers(0, (height, width), (count, 2)) - side // 2
    for image, (y, x) in zip(images, corners.tolist(), strict=True):
        image[max(0, y) : y + side, max(0, x) : x + side] = GREY


def resize(images: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Images made smaller, each pixel the mean of the area that it covers.

    Args:
        images: float32 (N, H, W, 3).
        side: of the square that they become, at most H and W.
    """
    smaller = np.empty((len(images), side, side, images.shape[3]), np.float32)
    for image, into in zip(images, smaller, strict=True):
        cv2.resize(image, (side, side), dst=into, interpolation=cv2.INTER_AREA)
    return smaller
