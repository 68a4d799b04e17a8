"""Two classifiers on the same images: exact tests and intervals from the paired counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtr

from cifar_track.statistics.shares import normal_quantile

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


# Halvings of a difference of at most 2, down to 1e-15.
BISECTIONS = 51


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """How two classifiers differ on the same images.

    Attributes:
        images: how many images both classified.
        both_right, only_first_right, only_second_right, both_wrong: counts that sum to `images`.
        difference: accuracy of the second less accuracy of the first, from -1 to 1.
        low, high: bounds of the difference's interval (Tango's score interval).
        p_value: of McNemar's exact test, two-sided.
    """

    images: int
    both_right: int
    only_first_right: int
    only_second_right: int
    both_wrong: int
    difference: float
    low: float
    high: float
    p_value: float


def mcnemar(only_first_right: int, only_second_right: int) -> float:
    """The two-sided p-value of McNemar's test, exact: binomial in the discordant pairs.

    Args:
        only_first_right: images that the first classifier alone gets right.
        only_second_right: images that the second classifier alone gets right.

    Returns:
        How probable a split at least this uneven is if either is as likely to be the one that is
        right; 1.0 where the two never differ.

    Raises:
        ValueError: a count is negative.

    Source:
        Q. McNemar (1947), Note on the sampling error of the difference between correlated
        proportions or percentages, Psychometrika 12, 153-157; exact form as in A. Agresti,
        Categorical Data Analysis, section 11.1.
    """
    return float(mcnemar_each([only_first_right], [only_second_right])[0])


def mcnemar_each(only_first_right: ArrayLike, only_second_right: ArrayLike) -> NDArray[np.float64]:
    """`mcnemar` for many pairs of counts at once: int (n,) and int (n,) to float64 (n,)."""
    lost, gained = np.asarray(only_first_right), np.asarray(only_second_right)
    if np.any(lost < 0) or np.any(gained < 0):
        raise ValueError(f"counts must be at least 0: {lost}, {gained}")
    discordant = lost + gained
    # A fair coin's tails are alike, so that the two-sided value is twice the smaller one.
    return np.asarray(np.minimum(2 * bdtr(np.minimum(lost, gained), discordant, 0.5), 1.0))


def tango_interval(
    only_first_right: int, only_second_right: int, total: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Tango's score interval for the difference of two proportions of the same images.

    The bounds are the differences at which the score test, whose variance is the maximum
    likelihood one under that difference, is just not rejected.

    Args:
        only_first_right: images that the first classifier alone gets right.
        only_second_right: images that the second classifier alone gets right.
        total: all images, those on which the two agree included; at least 1.
        confidence: coverage, strictly between 0 and 1.

    Returns:
        Bounds of second less first, each from -1 to 1.

    Raises:
        ValueError: a count is negative, or the two exceed `total`, or `total` is 0.

    Source:
        T. Tango (1998), Equivalence test and confidence interval for the difference in proportions
        for the paired-sample design, Statistics in Medicine 17, 891-908.
    """
    low, high = tango_intervals(
        [only_first_right], [only_second_right], [total], confidence=confidence
    )
    return float(low[0]), float(high[0])


def tango_intervals(
    only_first_right: ArrayLike,
    only_second_right: ArrayLike,
    total: ArrayLike,
    *,
    confidence: float = 0.95,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`tango_interval` for many pairs of counts at once: three int (n,) to two float64 (n,)."""
    lost = np.asarray(only_first_right, dtype=np.float64)
    gained = np.asarray(only_second_right, dtype=np.float64)
    images = np.asarray(total, dtype=np.float64)
    if np.any((lost < 0) | (gained < 0) | (images < 1) | (lost + gained > images)):
        raise ValueError(f"expected 0 <= counts, {lost} + {gained} <= total={images}, total >= 1")
    z = normal_quantile(confidence)
    estimate = (gained - lost) / images

    def rejected(difference: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the score statistic is beyond the quantile; both squared, times the variance."""
        a = 2 * images
        b = -gained - lost + (2 * images - gained + lost) * difference
        c = -lost * difference * (1 - difference)
        share_lost = (np.sqrt(np.maximum(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        variance = images * (2 * share_lost + difference * (1 - difference))
        return (gained - lost - images * difference) ** 2 > z * z * np.maximum(variance, 0.0)

    ends = np.array([[-1.0], [1.0]])
    outside, inside = np.broadcast_arrays(ends, estimate)
    for _ in range(BISECTIONS):
        middle = (outside + inside) / 2
        beyond = rejected(middle)
        outside, inside = np.where(beyond, middle, outside), np.where(beyond, inside, middle)
    low, high = np.where(estimate == ends, ends, inside)
    return low, high


def paired_difference(
    first_right: ArrayLike, second_right: ArrayLike, *, confidence: float = 0.95
) -> PairedDifference:
    """Compare two classifiers by which of the same images each gets right.

    Args:
        first_right: bool (N,), whether the first classifier is right about each image.
        second_right: bool (N,), the same of the second.
        confidence: coverage of the interval.

    Returns:
        The counts, the difference (second less first), its interval, and McNemar's p-value.

    Raises:
        ValueError: the two are not of one equal, positive length.
    """
    first = np.asarray(first_right, dtype=bool)
    second = np.asarray(second_right, dtype=bool)
    if first.ndim != 1 or first.shape != second.shape or first.size == 0:
        raise ValueError(f"expected two equal shapes (N,), N >= 1: {first.shape}, {second.shape}")
    lost = int(np.count_nonzero(first & ~second))
    gained = int(np.count_nonzero(~first & second))
    low, high = tango_interval(lost, gained, first.size, confidence=confidence)
    return PairedDifference(
        images=first.size,
        both_right=int(np.count_nonzero(first & second)),
        only_first_right=lost,
        only_second_right=gained,
        both_wrong=int(np.count_nonzero(~first & ~second)),
        difference=(gained - lost) / first.size,
        low=low,
        high=high,
        p_value=mcnemar(lost, gained),
    )
