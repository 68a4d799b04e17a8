"""The interval of a share of images, and how far confidence is from accuracy."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

CALIBRATION_BINS = 15


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
    z = normal_quantile(confidence)
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


def calibration_bins(confidences: ArrayLike, *, bins: int = CALIBRATION_BINS) -> NDArray[np.int64]:
    """The bin of each image, int64 (N,): equally many images a bin, from the least confident on.

    Where N is no multiple of `bins` the first ones hold one more; equal confidences go by order.
    """
    values = np.asarray(confidences, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    bin_of = np.empty(values.size, dtype=np.int64)
    for number, members in enumerate(np.array_split(order, min(bins, max(values.size, 1)))):
        bin_of[members] = number
    return bin_of


def calibration_error(
    confidences: ArrayLike, right: ArrayLike, *, bins: int = CALIBRATION_BINS
) -> float:
    """Expected calibration error over bins of equally many images.

    Args:
        confidences: float (N,), the probability of each image's predicted class; N at least 1.
        right: bool (N,), whether that class is the true one.
        bins: how many; fewer where there are fewer images.

    Returns:
        The mean over all images of how far their bin's mean confidence is from its accuracy. It
        is 0 for a perfect forecast of endless images; of a finite number chance alone makes it
        positive.

    Raises:
        ValueError: the two are not of one equal, positive length.

    Source:
        K. Nguyen and B. O'Connor (2015), Posterior calibration and exploratory analysis for
        natural language processing models, EMNLP, with bins of equal mass.
    """
    values = np.asarray(confidences, dtype=np.float64)
    hits = np.asarray(right, dtype=np.float64)
    if values.ndim != 1 or values.shape != hits.shape or values.size == 0:
        raise ValueError(f"expected two equal shapes (N,), N >= 1: {values.shape}, {hits.shape}")
    gaps = np.bincount(calibration_bins(values, bins=bins), weights=values - hits)
    return float(np.abs(gaps).sum() / values.size)


def normal_quantile(confidence: float) -> float:
    """How many standard deviations either way hold that share of a normal distribution."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be strictly between 0 and 1, got {confidence}")
    return NormalDist().inv_cdf((1 + confidence) / 2)
