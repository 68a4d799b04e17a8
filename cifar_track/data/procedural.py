"""The procedural stand-in for CIFAR-100: 100 classes of 32x32 images drawn from a seed.

A superclass is a shape or a texture, a class is that shape in one of five colours. Position,
size, rotation, shade, background, light and noise vary from image to image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cifar_track.seeds import Purpose, stream

SIDE = 32
PARTS = ("train", "validation", "test")
TRAITS = 15  # random numbers that make up an image, apart from its noise

Floats: TypeAlias = NDArray[np.float32]

# Hues as fractions of the colour circle.
COLOURS: Mapping[str, float] = MappingProxyType(
    {"red": 0.0, "yellow": 0.17, "green": 0.36, "blue": 0.6, "purple": 0.8}
)

# How much the hue of an image strays from its class's, as a standard deviation. This and the
# noise are what keeps a good network from a perfect score.
HUE_SPREAD = 0.045
NOISE_SPREAD = 0.05

# Each pattern is positive inside the shape and negative outside, near its edge about as large as
# the distance to it; the coordinates run from -1 to 1 across an image, r and a are polar ones.
_PATTERNS: Mapping[str, Callable[[Floats, Floats, Floats, Floats], Any]] = MappingProxyType(
    {
        "disc": lambda x, y, r, a: 0.6 - r,
        "ring": lambda x, y, r, a: 0.14 - np.abs(r - 0.55),
        "square": lambda x, y, r, a: 0.55 - np.maximum(np.abs(x), np.abs(y)),
        "frame": lambda x, y, r, a: 0.14 - np.abs(np.maximum(np.abs(x), np.abs(y)) - 0.55),
        "triangle": lambda x, y, r, a: 0.36 - np.maximum(-y, 0.5 * y + 0.866 * np.abs(x)),
        "cross": lambda x, y, r, a: np.minimum(
            0.17 - np.minimum(np.abs(x), np.abs(y)), 0.75 - np.maximum(np.abs(x), np.abs(y))
        ),
        "star": lambda x, y, r, a: 0.7 * (0.5 + 0.25 * np.cos(5 * a) - r),
        "crescent": lambda x, y, r, a: np.minimum(0.7 - r, np.hypot(x - 0.35, y) - 0.5),
        "bar": lambda x, y, r, a: np.minimum(0.85 - np.abs(x), 0.2 - np.abs(y)),
        "pair": lambda x, y, r, a: 0.3 - np.hypot(np.abs(x) - 0.45, y),
        "stripes": lambda x, y, r, a: 0.13 * np.sin(9 * y),
        "waves": lambda x, y, r, a: 0.13 * np.sin(9 * y + 1.8 * np.sin(5 * x)),
        "checks": lambda x, y, r, a: 0.2 * np.sin(6 * x) * np.sin(6 * y),
        "dots": lambda x, y, r, a: 0.1 * (np.cos(9 * x) + np.cos(9 * y) - 0.6),
        "grid": lambda x, y, r, a: 0.2 * (np.maximum(np.cos(8 * x), np.cos(8 * y)) - 0.6),
        "bricks": lambda x, y, r, a: (
            0.2
            * (
                0.7
                - np.maximum(
                    np.cos(9 * y), np.cos(4.5 * x + np.where(np.sin(4.5 * y) > 0, np.pi / 2, 0.0))
                )
            )
        ),
        "target": lambda x, y, r, a: 0.12 * np.sin(10 * r),
        "rays": lambda x, y, r, a: 0.3 * r * np.sin(7 * a),
        "spiral": lambda x, y, r, a: 0.14 * np.sin(2 * a + 8 * r),
        "clouds": lambda x, y, r, a: (
            0.15 * (np.sin(4 * x + 2 * y) + np.sin(5 * y - 3 * x) + np.sin(6 * x - y) - 0.3)
        ),
    }
)


def procedural_names() -> tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]]:
    """The names of the 100 classes, of the 20 superclasses, and the superclass of each class."""
    coarse = tuple(f"procedural-{pattern}" for pattern in _PATTERNS)
    fine = tuple(f"{name}-{colour}" for name in coarse for colour in COLOURS)
    return fine, coarse, tuple(i // len(COLOURS) for i in range(len(fine)))


def generate_images(
    per_class: int, *, seed: int, part: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw the same number of images of every class.

    The first images of a class are the same however many are asked for.

    Args:
        per_class: images of each class, at least 1.
        seed: 0 or above.
        part: one of `PARTS`, which have no image in common.

    Returns:
        uint8 (100 * per_class, 32, 32, 3) and int64 labels, the classes taking turns.
    """
    patterns, hues = tuple(_PATTERNS.values()), tuple(COLOURS.values())
    images = empty_images(per_class)
    classes = images.shape[1]
    for label in range(classes):
        shape, colour = divmod(label, len(hues))
        # Two streams, each read image by image, so that an image does not depend on `per_class`.
        traits, noise = (
            stream(seed, Purpose.STAND_IN, PARTS.index(part), label, number) for number in (0, 1)
        )
        for start in range(0, per_class, 64):  # blocks that stay in the processor's cache
            count = min(64, per_class - start)
            images[start : start + count, label] = _draw(
                patterns[shape],
                hues[colour],
                traits=traits.random((count, TRAITS), dtype=np.float32),
                noise=noise.standard_normal((count, SIDE, SIDE, 3), dtype=np.float32),
            )
    labels = np.tile(np.arange(classes, dtype=np.int64), per_class)
    return images.reshape(-1, SIDE, SIDE, 3), labels


def empty_images(per_class: int) -> NDArray[np.uint8]:
    """The place that images take: uint8 (per_class, 100, 32, 32, 3), not drawn yet.

    Raises:
        MemoryError: there is no such place.
    """
    classes = len(_PATTERNS) * len(COLOURS)
    return np.empty((per_class, classes, SIDE, SIDE, 3), dtype=np.uint8)


def _draw(
    pattern: Callable[[Floats, Floats, Floats, Floats], Any],
    hue: float,
    *,
    traits: Floats,
    noise: Floats,
) -> NDArray[np.uint8]:
    uniform = iter(traits.T[:, :, None, None])

    def between(low: float, high: float) -> Floats:
        drawn: Floats = np.float32(low) + np.float32(high - low) * next(uniform)
        return drawn

    x, y = _coordinates(
        shift_x=between(-0.25, 0.25),
        shift_y=between(-0.25, 0.25),
        size=between(0.75, 1.25),
        turn=between(-0.4, 0.4),
    )
    edge = pattern(x, y, np.hypot(x, y), np.arctan2(y, x))
    inside = np.clip(0.5 + 8 * edge, 0, 1)[..., None]
    # The sum of three of these has a variance of 1, is nearly normal, and is never far off.
    stray = between(-1, 1) + between(-1, 1) + between(-1, 1)
    ink = _rgb(hue + HUE_SPREAD * stray, saturation=between(0.5, 1), value=between(0.55, 1))
    paper = _rgb(between(0, 1), saturation=between(0, 0.45), value=between(0.15, 0.85))
    # Light falls off across the image, in any direction.
    slope_x, slope_y = between(-0.25, 0.25), between(-0.25, 0.25)
    light = between(0.8, 1.1) + slope_x * _GRID_X + slope_y * _GRID_Y
    image = (paper + inside * (ink - paper)) * light[..., None] + NOISE_SPREAD * noise
    pixels: NDArray[np.uint8] = np.clip(255 * image, 0, 255).astype(np.uint8)
    return pixels


_GRID_X = ((np.arange(SIDE, dtype=np.float32) + 0.5) / (SIDE / 2) - 1)[None, None, :]
_GRID_Y = _GRID_X.transpose(0, 2, 1)


def _coordinates(
    *, shift_x: Floats, shift_y: Floats, size: Floats, turn: Floats
) -> tuple[Floats, Floats]:
    x, y = (_GRID_X - shift_x) / size, (_GRID_Y - shift_y) / size
    cosine, sine = np.cos(turn), np.sin(turn)
    return x * cosine + y * sine, y * cosine - x * sine


def _rgb(hue: Floats, *, saturation: Floats, value: Floats) -> Floats:
    # Alvy Ray Smith's HSV, with the three channels a third of the circle apart.
    phase = (hue[..., None] + np.array([0, 2 / 3, 1 / 3], dtype=np.float32)) % 1
    pure = np.clip(np.abs(6 * phase - 3) - 1, 0, 1)
    return np.asarray(value[..., None] * (1 - saturation[..., None] * (1 - pure)))
