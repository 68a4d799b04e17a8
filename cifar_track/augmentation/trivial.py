"""TrivialAugment (Müller and Hutter 2021): one transform an image, of a strength by chance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

Transform = Callable[[Image.Image, float], Image.Image]

# The strongest of the strengths, 0 to 30, of the paper's `wide` space.
LEVELS = 30


def transform_at_random(
    images: NDArray[np.uint8] | NDArray[np.float32], *, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Each image through one of fourteen transforms, at one of 31 strengths.

    Args:
        images: uint8 or float32 (N, H, W, 3) in 0..255.
        rng: what transforms, strengths and signs are drawn from.

    Returns:
        uint8 (N, H, W, 3).
    """
    kinds = rng.integers(0, len(TRANSFORMS), len(images))
    strengths = rng.integers(0, LEVELS + 1, len(images)) / LEVELS
    signs = rng.choice((-1.0, 1.0), len(images))
    changed = np.empty(images.shape, np.uint8)
    for place, (kind, strength, sign) in enumerate(zip(kinds, strengths, signs, strict=True)):
        image = Image.fromarray(np.rint(images[place]).astype(np.uint8))
        changed[place] = TRANSFORMS[kind](image, strength * sign)
    return changed


def _affine(image: Image.Image, *coefficients: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, coefficients)


def _enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Transform:
    return lambda image, strength: kind(image).enhance(1 + 0.99 * strength)


# Strengths from -1 to 1; those that have no direction take them without their sign.
TRANSFORMS: tuple[Transform, ...] = (
    lambda image, strength: image,
    lambda image, strength: ImageOps.autocontrast(image),
    lambda image, strength: ImageOps.equalize(image),
    lambda image, strength: image.rotate(135 * strength),
    lambda image, strength: ImageOps.solarize(image, round(256 * (1 - abs(strength)))),
    lambda image, strength: ImageOps.posterize(image, 8 - round(6 * abs(strength))),
    _enhanced(ImageEnhance.Color),
    _enhanced(ImageEnhance.Contrast),
    _enhanced(ImageEnhance.Brightness),
    _enhanced(ImageEnhance.Sharpness),
    lambda image, strength: _affine(image, 1, 0.99 * strength, 0, 0, 1, 0),
    lambda image, strength: _affine(image, 1, 0, 0, 0.99 * strength, 1, 0),
    lambda image, strength: _affine(image, 1, 0, 32 * strength, 0, 1, 0),
    lambda image, strength: _affine(image, 1, 0, 0, 0, 1, 32 * strength),
)
