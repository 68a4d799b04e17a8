"""Images drawn again with replacement: what that says of figures that have no formula."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
# So many at once, so that what is counted stays in the processor's cache.
RESAMPLES_A_CHUNK = 50


@dataclass(frozen=True, eq=False)
class Resamples:
    """The same R draws of N images for every figure and every run, so that these stay paired.

    Attributes:
        counts: float32 (N, R), how often each image is in each draw.
    """

    counts: NDArray[np.float32] = field(repr=False)

    @property
    def images(self) -> int:
        """How many images a draw has, N."""
        return int(self.counts.shape[0])

    def sums(self, columns: ArrayLike) -> NDArray[np.float64]:
        """Each draw's sum of each column, from (N, k) to float64 (k, R)."""
        # Most columns say of each image whether, and half of them it is not.
        values = csr_array(np.asarray(columns, dtype=np.float32).T)
        return np.asarray(values @ self.counts, dtype=np.float64)

    def sums_by_group(
        self, group_of: ArrayLike, *, groups: int, weights: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """Each draw's sum over the images of each group.

        Args:
            group_of: int (N,), from 0 to `groups` - 1.
            groups: how many there are.
            weights: (N,), what an image counts each time that it is drawn; 1 unless given.

        Returns:
            float64 (groups, R).
        """
        images = np.arange(self.images)
        counted = np.ones(self.images) if weights is None else np.asarray(weights)
        members = csr_array(
            (counted.astype(np.float32), (np.asarray(group_of), images)),
            shape=(groups, self.images),
        )
        members.eliminate_zeros()
        return np.asarray(members @ self.counts, dtype=np.float64)


def draw_resamples(
    group_of: NDArray[np.integer[Any]], *, resamples: int = RESAMPLES, seed: int = 0
) -> Resamples:
    """Draw as many images of each group as it has, with replacement, R times.

    Args:
        group_of: whole numbers from 0, (N,), N at least 1; of a test set that was made with so many
            images a class, the class of each.
        resamples: R.
        seed: the same seed draws the same images.

    Source:
        B. Efron (1979), Bootstrap methods: another look at the jackknife, Annals of Statistics 7,
        1-26; by strata: A. C. Davison and D. V. Hinkley (1997), Bootstrap Methods and their
        Application, section 3.2.
    """
    images = len(group_of)
    if images < 1:
        raise ValueError("expected at least 1 image to draw from, got none")
    by_group = np.argsort(group_of, kind="stable")
    sizes = np.bincount(group_of)
    size, first = (np.repeat(of_group, sizes) for of_group in (sizes, np.cumsum(sizes) - sizes))
    random = np.random.default_rng(seed)
    counts = np.empty((images, resamples), dtype=np.float32)
    for start in range(0, resamples, RESAMPLES_A_CHUNK):
        rows = min(RESAMPLES_A_CHUNK, resamples - start)
        drawn = by_group[first + (random.random((rows, images)) * size).astype(np.int64)]
        chunk = np.stack([np.bincount(draw, minlength=images) for draw in drawn])
        counts[:, start : start + len(chunk)] = chunk.T
    return Resamples(counts)


def basic_interval(
    estimate: float,
    draws: ArrayLike,
    *,
    confidence: float = 0.95,
    lowest: float = -math.inf,
    highest: float = math.inf,
) -> tuple[float, float]:
    """The basic bootstrap interval: as far from the estimate as the draws are, the other way.

    Unlike the percentiles of the draws it takes out the bias of the figure.

    Args:
        estimate: the figure of the images themselves.
        draws: float (R,), the figure of each draw.
        confidence: coverage, strictly between 0 and 1.
        lowest: what the figure is at least; bounds are cut there.
        highest: what it is at most.

    Source:
        A. C. Davison and D. V. Hinkley (1997), Bootstrap Methods and their Application, section
        5.2.1.
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.asarray(draws, dtype=np.float64), [tail, 1 - tail])
    return max(2 * estimate - float(high), lowest), min(2 * estimate - float(low), highest)
