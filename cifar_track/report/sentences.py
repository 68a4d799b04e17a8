"""What the page says in words: verdicts, and what makes figures incomparable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cifar_track.config import DATASETS

if TYPE_CHECKING:
    from cifar_track.comparison import Comparison, Pair, SeedGroup, SeedTest


def headline(comparison: Comparison) -> str:
    """The verdict over all runs in one sentence."""
    measured = [
        (accuracy, label)
        for label, result in zip(comparison.labels, comparison.results, strict=True)
        if (accuracy := result.metric("test_accuracy")) is not None
    ]
    if not measured:
        return "None of these runs has a test accuracy."
    accuracy, leader = max(measured, key=lambda entry: entry[0])
    leaders = [label for reached, label in measured if reached == accuracy]
    lead = f"{leader} is right on the most test images, {100 * accuracy:.1f} %"
    if len(leaders) > 1:
        lead = f"{_listed(leaders)} are right on the most test images, {100 * accuracy:.1f} % each"
    if len(comparison.results) == 1:
        return f"{leader} is right on {100 * accuracy:.1f} % of the test images; it stands alone."
    against = {
        pair.second if pair.first == leader else pair.first: pair
        for pair in comparison.pairs
        if leader in (pair.first, pair.second) and not {pair.first, pair.second} <= set(leaders)
    }
    if not against:
        return f"{lead}."
    alike = [label for label, pair in against.items() if pair.differs is False]
    untested = [label for label, pair in against.items() if pair.differs is None]
    if untested and len(untested) == len(against):
        return f"{lead}, but could not be tested against any other run."
    ending = f"; {_listed(untested)} could not be tested" if untested else ""
    if not alike:
        others = "the other" if len(against) == 1 else "each of the others"
        return f"{lead}, and ahead of {others} by more than luck{ending}."
    rest = len(against) - len(alike) - len(untested)
    others = "the other" if rest == 1 else f"the other {rest}"
    more = f", but not ahead of {others}" if rest else ""
    return f"{lead}; luck alone could put it ahead of {_listed(alike)}{more}{ending}."


def judgement(pair: Pair) -> str:
    """Whether two runs that were tested differ by more than luck."""
    return "More than luck" if pair.differs else "Could be luck"


def verdict(pair: Pair) -> str:
    """One plain sentence on how far apart two runs are, as `judgement` judges it."""
    test = pair.test
    if test is None or pair.adjusted_p_value is None or pair.low is None or pair.high is None:
        return f"{pair.second} and {pair.first} were not tested: {pair.missing}."
    images = f"of the {test.images:,} test images"
    if test.difference == 0:
        fact = f"{pair.second} and {pair.first} are right on equally many {images}"
    else:
        ahead, behind = (
            (pair.second, pair.first) if test.difference > 0 else (pair.first, pair.second)
        )
        points = f"{100 * abs(test.difference):.1f} percentage points"
        fact = f"{ahead} is right on {points} more {images} than {behind}"
    low, high = sorted((pair.low, pair.high) if test.difference >= 0 else (-pair.low, -pair.high))
    confidence = 100 * (pair.confidence or 0.95)
    interval = f"{confidence:.3g} % interval {100 * low:+.1f} to {100 * high:+.1f}"
    return f"{fact} ({interval}, {probability(pair.adjusted_p_value)})."


def seed_sentence(test: SeedTest, groups: Sequence[SeedGroup]) -> str:
    """Whether two groups of seeds differ by more than another seed would change."""
    found = test.difference
    if found is None or test.adjusted_p_value is None:
        counts = {group.name: len(group.accuracies) for group in groups}
        return (
            f"{test.second} ({counts[test.second]}) and {test.first} ({counts[test.first]}): too "
            "few seeds to say."
        )
    judgement = (
        "more than another seed would change"
        if test.adjusted_p_value < 0.05
        else "no more than another seed could change"
    )
    return (
        f"{test.second} less {test.first}: {100 * found.difference:+.1f} percentage points (95 % "
        f"interval, taken alone, {100 * found.low:+.1f} to {100 * found.high:+.1f}); of all tested "
        f"together, {judgement} ({probability(test.adjusted_p_value)})."
    )


def notices(comparison: Comparison) -> list[str]:
    """What makes some of the figures mean less than they seem to."""
    found = []
    stand_in = _where(comparison, "data.dataset", "procedural")
    if stand_in:
        found.append(
            f"{stand_in}: trained and tested on the procedural stand-in, not on CIFAR-100; the "
            "study's figures say nothing about it."
        )
    by_test = _where(comparison, "data.selection", "test")
    if by_test:
        found.append(
            f"{by_test}: epochs and settings were chosen by the test images themselves, as the "
            "study did, so that the test accuracy is too high."
        )
    for label, result in zip(comparison.labels, comparison.results, strict=True):
        found += [f"{label}: {remark}." for remark in result.remarks]
    different = [pair for pair in comparison.pairs if "different images" in pair.missing]
    if different:
        found.append(
            f"{len(different)} of {len(comparison.pairs)} pairs were tested on different images "
            "and are shown side by side without a test."
        )
    return found


def dataset_titles(comparison: Comparison) -> str:
    """What the runs were trained and tested on, as far as they say."""
    names = dict.fromkeys(r.parameters.get("data.dataset", "") for r in comparison.results)
    titles = [DATASETS[name].title if name in DATASETS else name for name in names if name]
    return _listed(titles) if titles else "a data set that the runs do not name"


def probability(p_value: float) -> str:
    """A p-value as it is written."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _where(comparison: Comparison, parameter: str, value: str) -> str:
    return ", ".join(
        label
        for label, result in zip(comparison.labels, comparison.results, strict=True)
        if result.parameters.get(parameter) == value
    )
