"""Groups of repeated runs: their mean, their spread, and tests between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.stats
from scipy.special import stdtr, stdtrit

if TYPE_CHECKING:
    from collections.abc import Sequence

# With 5 a side, a difference of two standard deviations is found four times in five (two-sided
# t-test at 5 %); with 3 a side it takes three standard deviations.
LEAST_SEEDS = 5
# Where one spread is taken of several groups, three runs of each tell it.
LEAST_POOLED = 3


@dataclass(frozen=True, kw_only=True)
class MeanDifference:
    """How the means of two groups differ.

    Attributes:
        difference: mean of the second less mean of the first.
        low, high: its 95 % interval.
        p_value: of the test, two-sided.
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


def dunnett(
    groups: Sequence[Sequence[float]], control: Sequence[float]
) -> list[MeanDifference | None]:
    """Dunnett's test of several groups beside one, whose spread is taken to be the same in all.

    Args:
        groups: of each group a figure of each run.
        control: the same of the group that each is held beside.

    Returns:
        Of each group how its mean differs from the control's (its mean less the control's), with
        intervals that hold all at once in 95 of 100 cases, and a p value adjusted likewise; None of
        a group with fewer than `LEAST_POOLED` runs, of all where the control has fewer or nothing
        varies.

    Source:
        C. W. Dunnett (1955), A multiple comparison procedure for comparing several treatments with
        a control, Journal of the American Statistical Association 50, 1096-1121; as SciPy has it.
    """
    enough = [group for group in groups if len(group) >= LEAST_POOLED]
    if not enough or len(control) < LEAST_POOLED:
        return [None] * len(groups)
    if not any(np.ptp(group) for group in (control, *enough)):
        return [None] * len(groups)
    # Its integral is taken at random points, the same each time.
    test = scipy.stats.dunnett(*enough, control=control, rng=np.random.default_rng(0))
    interval = test.confidence_interval()
    found = iter(
        MeanDifference(
            difference=float(np.mean(group) - np.mean(control)),
            low=float(low),
            high=float(high),
            p_value=float(p_value),
        )
        for group, low, high, p_value in zip(
            enough, interval.low, interval.high, test.pvalue, strict=True
        )
    )
    return [next(found) if len(group) >= LEAST_POOLED else None for group in groups]
