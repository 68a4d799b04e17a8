"""Intervals and paired tests against scipy, published figures and hand-worked cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, bootstrap, norm, ttest_ind
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower

from cifar_track.statistics import (
    LEAST_SEEDS,
    basic_interval,
    benjamini_hochberg,
    calibration_bins,
    calibration_error,
    draw_resamples,
    dunnett,
    holm_adjust,
    holm_levels,
    mcnemar,
    mcnemar_each,
    paired_difference,
    tango_interval,
    tango_intervals,
    welch,
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


def test_mcnemar_is_statsmodels() -> None:
    lost, gained = np.array([0, 3, 40, 812]), np.array([1, 9, 40, 700])
    expected = [
        min(statsmodels_mcnemar([[9, a], [b, 9]], exact=True).pvalue, 1)
        for a, b in zip(lost, gained, strict=True)
    ]
    np.testing.assert_allclose(mcnemar_each(lost, gained), expected, rtol=1e-9)


def test_many_tango_intervals_are_those_of_each() -> None:
    counts = [(1, 7, 21), (0, 0, 50), (0, 50, 50), (12, 3, 100)]
    low, high = tango_intervals(*np.array(counts).T)
    assert [*zip(low, high, strict=True)] == [tango_interval(*count) for count in counts]


P_VALUES = (0.003, 0.04, 0.011, 0.9, 0.011, 0.2, 0.0004)


def test_adjustments_are_statsmodels() -> None:
    assert holm_adjust(P_VALUES) == pytest.approx(multipletests(P_VALUES, method="holm")[1])
    np.testing.assert_allclose(
        benjamini_hochberg(P_VALUES), multipletests(P_VALUES, method="fdr_bh")[1]
    )
    assert benjamini_hochberg([]).size == 0
    with pytest.raises(ValueError, match="from 0 to 1"):
        benjamini_hochberg([0.5, 1.5])


def test_holms_levels_reject_what_his_adjustment_rejects() -> None:
    assert holm_levels([0.01, 0.04, 0.03]) == pytest.approx((0.05 / 3, 0.025, 0.025))
    random = np.random.default_rng(0)
    for _ in range(200):
        values = random.uniform(0, 0.06, size=random.integers(1, 7))
        levels, adjusted = holm_levels(values), holm_adjust(values)
        for value, level, other in zip(values, levels, adjusted, strict=True):
            assert (value < level) == (other < 0.05)


def test_calibration_error_by_hand() -> None:
    # Two bins of two: mean confidence 0.3 and 0.8, accuracy 0.5 and 0.5.
    assert calibration_error([0.2, 0.7, 0.4, 0.9], [0, 1, 1, 0], bins=2) == pytest.approx(0.25)
    assert calibration_error([1.0, 1.0], [1, 1]) == 0
    assert np.bincount(calibration_bins(np.full(31, 0.5))).tolist() == [3, *[2] * 14]
    with pytest.raises(ValueError, match="N >= 1"):
        calibration_error([], [])


def test_a_perfect_forecast_of_many_images_is_calibrated() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(size=100_000)
    right = random.uniform(size=100_000) < confidence
    assert calibration_error(confidence, right) < 0.01
    assert calibration_error(confidence, right ^ True) > 0.4


def test_the_bootstrap_is_scipys() -> None:
    values = np.random.default_rng(3).gamma(2, size=400)
    one_group = np.zeros(400, dtype=np.int64)
    draws = draw_resamples(one_group, resamples=4000).sums(values[:, None])[0] / 400
    found = basic_interval(float(values.mean()), draws)
    expected = bootstrap(
        (values,), np.mean, method="basic", n_resamples=4000, rng=np.random.default_rng(1)
    )
    assert found == pytest.approx(tuple(expected.confidence_interval), abs=0.01)


def test_each_draw_has_as_many_images_and_groups_are_counted() -> None:
    class_of = np.random.default_rng(0).permutation(np.repeat(np.arange(3), [10, 20, 30]))
    resamples = draw_resamples(class_of, resamples=300)
    by_class = resamples.sums_by_group(class_of, groups=3)
    np.testing.assert_array_equal(by_class, np.tile([[10.0], [20.0], [30.0]], 300))
    once = resamples.counts[class_of == 1].mean(axis=1)  # each as often as any other
    assert once == pytest.approx(np.ones(20), abs=0.25)
    assert resamples.sums(np.ones((60, 1))).tolist() == [[60.0] * 300]
    group_of = np.arange(60) % 4
    where = np.arange(60) < 30
    one_hot = (group_of[:, None] == np.arange(5)) & where[:, None]
    np.testing.assert_array_equal(
        resamples.sums_by_group(group_of, groups=5, weights=where), resamples.sums(one_hot)
    )
    assert not resamples.sums_by_group(group_of, groups=5, weights=where & ~where).any()
    again = draw_resamples(class_of, resamples=300)
    np.testing.assert_array_equal(again.counts, resamples.counts)


def test_bounds_stay_within_what_is_possible() -> None:
    assert basic_interval(0.01, [0.0, 0.05, 0.06], lowest=0.0, highest=1.0)[0] == 0.0


# Dunnett (1964), New tables for multiple comparisons with a control, two-sided, 5 %: by the number
# of groups beside the control, with 12 and 20 degrees of freedom.
@pytest.mark.parametrize(("groups", "tabulated"), [(2, 2.50), (4, 2.65)])
def test_dunnetts_intervals_are_as_wide_as_he_tabulates(groups: int, tabulated: float) -> None:
    runs = np.random.default_rng(1).normal(size=(groups + 1, 5)) + np.arange(groups + 1)[:, None]
    control, *others = runs.tolist()
    pooled = math.sqrt(np.mean(np.var(runs, axis=1, ddof=1)))
    found = dunnett(others, control)
    assert found == dunnett(others, control)
    for group, difference in zip(others, found, strict=True):
        assert difference is not None
        assert difference.difference == pytest.approx(np.mean(group) - np.mean(control))
        for half_width in (
            difference.high - difference.difference,
            difference.difference - difference.low,
        ):
            assert half_width == pytest.approx(tabulated * pooled * math.sqrt(2 / 5), rel=0.004)
        assert (difference.p_value < 0.05) == (difference.low > 0 or difference.high < 0)


def test_dunnett_says_nothing_of_groups_too_small_or_without_spread() -> None:
    few, enough = [0.4, 0.5], [0.4, 0.5, 0.6]
    assert dunnett([few, enough], few) == [None, None]
    assert dunnett([[0.4] * 3, [0.5] * 3], [0.4] * 3) == [None, None]
    nothing, found = dunnett([few, enough], enough)
    assert nothing is None
    assert found is not None
    assert found.difference == pytest.approx(0)


def test_welch_is_scipys() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(0.40, 0.01, 5), random.normal(0.42, 0.03, 8)
    found = welch(first.tolist(), second.tolist())
    assert found is not None
    expected = ttest_ind(second, first, equal_var=False)
    assert found.p_value == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert welch(first.tolist()[:4], second.tolist()) is None
    assert welch([0.4] * 5, [0.5] * 5) is None


def test_what_is_said_of_five_seeds_holds() -> None:
    power = TTestIndPower()
    assert power.power(2.0, LEAST_SEEDS, 0.05) == pytest.approx(0.8, abs=0.02)
    assert power.power(2.0, 3, 0.05) < 0.5


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
