"""Groups of repeated runs: their mean, their spread, and a test between two of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtr, stdtrit

if TYPE_CHECKING:
    from collections.abc import Sequence

# With 5 a side, a difference of two standard deviations is found four times in five (two-sided
# t-test at 5 %); with 3 a side it takes three standard deviations.
LEAST_SEEDS = 5


@dataclass(frozen=True, kw_only=True)
class MeanDifference:
    """How the means of two groups differ.

    Attributes:
        difference: mean of the second less mean of the first.
        low, high: its 95 % interval.
        p_value: of Welch's test, two-sided.
    """

    difference: float
    low: float
    high: float
    p_value: float


def welch(
    first: Sequence[float], second: Sequence[float], *, confidence: float = 0.95
) -> MeanDifference | None:
    """Welch's t-test of two groups whose variances may differ.

    Args:
        first: a figure of each run of the first group.
        second: the same of the second.
        confidence: coverage of the interval.

    Returns:
        The difference of the means; None where a group has fewer than `LEAST_SEEDS` runs, or
        neither varies.

    Source:
        B. L. Welch (1947), The generalization of "Student's" problem when several different
        population variances are involved, Biometrika 34, 28-35; for few seeds recommended by
        C. Colas, O. Sigaud and P.-Y. Oudeyer (2018), How many random seeds?, arXiv:1806.08295.
    """
    if min(len(first), len(second)) < LEAST_SEEDS:
        return None
    parts = [float(np.var(group, ddof=1)) / len(group) for group in (first, second)]
    variance = sum(parts)
    if variance == 0:
        return None
    freedom = variance**2 / (parts[0] ** 2 / (len(first) - 1) + parts[1] ** 2 / (len(second) - 1))
    difference = float(np.mean(second) - np.mean(first))
    error = math.sqrt(variance)
    half_width = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    return MeanDifference(
        difference=difference,
        low=difference - half_width,
        high=difference + half_width,
        p_value=float(2 * stdtr(freedom, -abs(difference) / error)),
    )
