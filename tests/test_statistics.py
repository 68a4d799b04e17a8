"""Intervals and paired tests against scipy, published figures and hand-worked cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, norm

from cifar_track.statistics import (
    holm_adjust,
    mcnemar,
    paired_difference,
    tango_interval,
    wilson_interval,
)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
@pytest.mark.parametrize(
    ("successes", "total"), [(0, 1), (1, 1), (0, 7), (7, 7), (3, 10), (46, 100), (4600, 10_000)]
)
def test_wilson_is_scipys(successes: int, total: int, confidence: float) -> None:
    expected = binomtest(successes, total).proportion_ci(confidence, method="wilson")
    found = wilson_interval(successes, total, confidence=confidence)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= found[0] <= successes / total <= found[1] <= 1


def test_wilson_of_nothing_knows_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "total"), [(-1, 5), (6, 5), (1, 0)])
def test_wilson_refuses_impossible_counts(successes: int, total: int) -> None:
    with pytest.raises(ValueError, match="successes must be"):
        wilson_interval(successes, total)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_a_confidence_must_be_a_fraction(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        wilson_interval(1, 2, confidence=confidence)


def test_mcnemar_by_hand() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(0, 5) == pytest.approx(2 / 2**5)
    # Two-sided: twice the probability of at most 1 of 8 heads, (1 + 8) / 256.
    assert mcnemar(1, 7) == mcnemar(7, 1) == pytest.approx(18 / 256)
    assert mcnemar(4, 4) == pytest.approx(1.0)


def test_mcnemar_refuses_negative_counts() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        mcnemar(-1, 3)


def test_tango_gives_the_published_interval() -> None:
    # Airway hyper-responsiveness before and after transplantation, n = 21, 1 against 7:
    # Fagerland, Lydersen and Laake (2014), Statistics in Medicine 33, 2850-2875.
    assert tango_interval(1, 7, 21) == pytest.approx((0.026, 0.517), abs=5e-4)
    assert tango_interval(7, 1, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(
    ("lost", "gained", "total"), [(1, 7, 21), (0, 3, 30), (5, 5, 40), (1200, 1700, 10_000)]
)
def test_tango_bounds_are_where_the_score_test_is_just_not_rejected(
    lost: int, gained: int, total: int
) -> None:
    for bound in tango_interval(lost, gained, total):
        share = _likeliest_share_lost(lost, gained, total, difference=bound)
        variance = total * (2 * share + bound * (1 - bound))
        statistic = (gained - lost - total * bound) / math.sqrt(variance)
        assert abs(statistic) == pytest.approx(norm.isf(0.025), rel=1e-4)


@pytest.mark.parametrize("total", [1, 2, 5, 12])
def test_tango_holds_the_estimate_within_the_possible(total: int) -> None:
    for lost in range(total + 1):
        for gained in range(total + 1 - lost):
            low, high = tango_interval(lost, gained, total)
            assert -1 <= low <= (gained - lost) / total <= high <= 1
            assert low < high
            assert tango_interval(gained, lost, total) == pytest.approx((-high, -low), abs=1e-9)


def test_tango_where_the_two_never_or_always_differ() -> None:
    squared = norm.isf(0.025) ** 2
    bound = squared / (50 + squared)
    assert tango_interval(0, 0, 50) == pytest.approx((-bound, bound))
    assert tango_interval(0, 50, 50) == pytest.approx(((50 - squared) / (50 + squared), 1))


@pytest.mark.parametrize("counts", [(-1, 2, 5), (3, 3, 5), (0, 0, 0)])
def test_tango_refuses_impossible_counts(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected 0 <= counts"):
        tango_interval(*counts)


def test_paired_difference_counts_by_hand() -> None:
    first = np.array([1, 1, 1, 0, 0, 0, 0, 0, 1, 0], dtype=bool)
    second = np.array([1, 1, 0, 1, 1, 1, 0, 0, 1, 0], dtype=bool)
    found = paired_difference(first, second)
    assert (found.images, found.both_right, found.both_wrong) == (10, 3, 3)
    assert (found.only_first_right, found.only_second_right) == (1, 3)
    assert found.difference == pytest.approx(0.2)
    assert found.p_value == pytest.approx(binomtest(1, 4).pvalue)
    assert (found.low, found.high) == tango_interval(1, 3, 10)


def test_paired_difference_agrees_with_its_test() -> None:
    """The interval leaves out 0 about where the test rejects: both read the discordant pairs."""
    for gained in (520, 620):
        found = paired_difference(*_paired(lost=500, gained=gained, total=10_000))
        assert (found.low > 0) == (found.p_value < 0.05)


@pytest.mark.parametrize("lengths", [(3, 4), (0, 0)])
def test_paired_difference_refuses_unpaired(lengths: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="equal shapes"):
        paired_difference(np.ones(lengths[0], bool), np.ones(lengths[1], bool))


def test_holm_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1; the last may not fall below 0.06.
    assert holm_adjust([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm_adjust([0.2]) == (0.2,)
    assert holm_adjust([0.6, 0.9]) == (1.0, 1.0)
    assert holm_adjust([]) == ()


@pytest.mark.parametrize("p_value", [-0.1, 1.1, math.nan])
def test_holm_refuses_what_is_no_probability(p_value: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        holm_adjust([0.5, p_value])


def _likeliest_share_lost(lost: int, gained: int, total: int, *, difference: float) -> float:
    """The maximum likelihood share of pairs lost under that difference, found numerically."""

    def cost(share: float) -> float:
        agreed = max(1 - 2 * share - difference, 1e-300)
        return -(
            gained * math.log(max(share + difference, 1e-300))
            + lost * math.log(max(share, 1e-300))
            + (total - gained - lost) * math.log(agreed)
        )

    bounds = (max(0.0, -difference), (1 - difference) / 2)
    found = minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-12})
    return float(found.x)


def _paired(*, lost: int, gained: int, total: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.zeros(total, bool), np.zeros(total, bool)
    first[:lost] = True
    second[lost : lost + gained] = True
    return first, second
