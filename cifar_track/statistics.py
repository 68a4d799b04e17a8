"""Intervals and paired tests for accuracies counted on a finite set of images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


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


def wilson_interval(successes: int, total: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval, without continuity correction, for a binomial proportion.

    Args:
        successes: how many of the trials succeeded, 0 to `total`.
        total: how many trials there were; with none, nothing is known and (0, 1) is returned.
        confidence: coverage, strictly between 0 and 1.

    Returns:
        The lower and the upper bound, both from 0 to 1.

    Raises:
        ValueError: `successes` is not within 0 and `total`, or `confidence` within 0 and 1.

    Source:
        E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference,
        Journal of the American Statistical Association 22, 209-212.
    """
    if not 0 <= successes <= total:
        raise ValueError(f"successes must be from 0 to total={total}, got {successes}")
    z = _normal_quantile(confidence)
    if total == 0:
        return 0.0, 1.0
    share = successes / total
    shrunk = (share + z * z / (2 * total)) / (1 + z * z / total)
    half_width = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    half_width /= 1 + z * z / total
    # At 0 and at `total` a bound is exactly 0 or 1; rounding must not carry it past.
    low = 0.0 if successes == 0 else max(0.0, shrunk - half_width)
    high = 1.0 if successes == total else min(1.0, shrunk + half_width)
    return low, high


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
    if only_first_right < 0 or only_second_right < 0:
        raise ValueError(f"counts must be at least 0: {only_first_right}, {only_second_right}")
    discordant = only_first_right + only_second_right
    if discordant == 0:
        return 1.0
    return float(binomtest(only_second_right, discordant, 0.5).pvalue)


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
    gained, lost = only_second_right, only_first_right
    if gained < 0 or lost < 0 or total < 1 or gained + lost > total:
        raise ValueError(f"expected 0 <= counts, {lost} + {gained} <= total={total}, total >= 1")
    z = _normal_quantile(confidence)

    def excess(difference: float) -> float:
        """The score statistic's square less the quantile's, both times the variance."""
        a = 2 * total
        b = -gained - lost + (2 * total - gained + lost) * difference
        c = -lost * difference * (1 - difference)
        share_lost = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        variance = total * (2 * share_lost + difference * (1 - difference))
        return (gained - lost - total * difference) ** 2 - z * z * max(variance, 0.0)

    estimate = (gained - lost) / total
    step = 1e-9  # the statistic is 0/0 at the estimate itself where the variance vanishes there
    low = -1.0 if estimate == -1 else float(brentq(excess, -1.0, estimate - step, xtol=1e-12))
    high = 1.0 if estimate == 1 else float(brentq(excess, estimate + step, 1.0, xtol=1e-12))
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


def holm_adjust(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down adjustment of the p-values of several tests made at once.

    Args:
        p_values: one for each test, each from 0 to 1, in any order.

    Returns:
        The adjusted p-values in the same order: to reject those below 0.05 keeps the chance of
        any false rejection below 0.05, whatever the tests' dependence.

    Raises:
        ValueError: a p-value is not from 0 to 1.

    Source:
        S. Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian
        Journal of Statistics 6, 65-70.
    """
    values: NDArray[np.float64] = np.asarray(p_values, dtype=np.float64)
    if not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"p-values must be from 0 to 1, got {list(p_values)}")
    order = np.argsort(values, kind="stable")
    steps = values[order] * (values.size - np.arange(values.size))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return tuple(float(value) for value in adjusted)


def _normal_quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be strictly between 0 and 1, got {confidence}")
    return float(norm.isf((1 - confidence) / 2))
