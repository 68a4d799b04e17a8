"""What two runs could do together: their union of right images, and the mean of what they say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cifar_track.statistics import PairedDifference, paired_difference, wilson_interval

if TYPE_CHECKING:
    from cifar_track.comparison.run_result import RunResult


@dataclass(frozen=True, kw_only=True)
class Together:
    """Two runs on the same images, taken together.

    Attributes:
        only_first, only_second: shares of the images that only one of them is right about.
        oracle: the share that at least one is right about: what choosing the better of the two
            for each image would get, if one could know.
        mean: accuracy of the mean of their probabilities; None where those are missing.
        mean_low, mean_high: its 95 % Wilson interval.
        gain: the mean against the better of the two, on the same images.
    """

    only_first: float
    only_second: float
    oracle: float
    mean: float | None = None
    mean_low: float | None = None
    mean_high: float | None = None
    gain: PairedDifference | None = None


def together(first: RunResult, second: RunResult) -> Together:
    """Take two runs with predictions on the same images together."""
    a, b = first.right, second.right
    assert a is not None
    assert b is not None
    alone = Together(
        only_first=float(np.mean(a & ~b)),
        only_second=float(np.mean(b & ~a)),
        oracle=float(np.mean(a | b)),
    )
    if first.probabilities is None or second.probabilities is None:
        return alone
    mean = (first.probabilities + second.probabilities).argmax(axis=1)
    right = mean == np.asarray(first.labels)
    low, high = wilson_interval(int(right.sum()), right.size)
    return replace(
        alone,
        mean=float(right.mean()),
        mean_low=low,
        mean_high=high,
        gain=paired_difference(a if a.sum() >= b.sum() else b, right),
    )
