"""Test images as small pictures inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGES_A_STRIP = 5
GAP = 2


def strip(images: NDArray[np.uint8], numbers: Sequence[int]) -> str:
    """Some images side by side as one PNG, as the address of an `img`.

    Args:
        images: uint8 (N, 32, 32, 3).
        numbers: which of them, in order; the first few are taken.
    """
    from PIL import Image

    chosen = images[list(numbers[:IMAGES_A_STRIP])]
    side = chosen.shape[1]
    sheet = np.zeros((side, len(chosen) * (side + GAP) - GAP, 4), np.uint8)
    for place, image in enumerate(chosen):
        left = place * (side + GAP)
        sheet[:, left : left + side, :3] = image
        sheet[:, left : left + side, 3] = 255
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, format="PNG")  # no smaller if optimized
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
