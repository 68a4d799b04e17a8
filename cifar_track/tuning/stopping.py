"""Which trials are not worth their remaining epochs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

# Fewer say too little; Katib's default as well.
FEWEST_TO_COMPARE = 3


def median_verdict(
    scores: Sequence[float], completed: Mapping[int, Sequence[float]], *, maximize: bool
) -> str | None:
    """Why a trial is stopped by the median rule, in one line; None where it goes on.

    The rule of Golovin et al. (2017), "Google Vizier", section 3.2.1: a trial is stopped after an
    epoch if its best objective so far is strictly worse than the median of the running averages
    that the completed trials had at that epoch.

    Args:
        scores: the trial's objective after each of its epochs so far.
        completed: those of trials that were trained to their last epoch, by number.
        maximize: whether higher is better.
    """
    epoch = len(scores)
    others = {n: values[:epoch] for n, values in completed.items() if len(values) >= epoch}
    if not scores or len(others) < FEWEST_TO_COMPARE:
        return None
    median = statistics.median(statistics.fmean(values) for values in others.values())
    best = max(scores) if maximize else min(scores)
    if not (best < median if maximize else best > median):
        return None
    named = ", ".join(str(number) for number in sorted(others))
    return (
        f"after epoch {epoch} its best, {best:.4f}, was worse than {median:.4f}, the median of the "
        f"running averages of trials {named}"
    )
