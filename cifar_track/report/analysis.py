"""Everything that the page tells of a comparison, each worked out once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from cifar_track.comparison import (
    Comparison,
    Confusion,
    GroupDifferences,
    Importances,
    Number,
    Pair,
    RunNumbers,
    RunResult,
    SeedGroup,
    SeedTest,
    Together,
    class_differences,
    differences,
    importances,
    most_confused,
    numbers_of,
    seed_groups,
    seed_tests,
    superclass_differences,
    together,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True, eq=False)
class PairAnalysis:
    """Two runs that were tested on the same images.

    Attributes:
        name: `second − first`, by their labels.
        pair: the verdict.
        differences: of every figure, second less first.
        classes: by class.
        superclasses: by superclass; None where there are none.
        together: what the two could do together.
    """

    name: str
    pair: Pair
    differences: Mapping[str, Number]
    classes: GroupDifferences | None
    superclasses: GroupDifferences | None
    together: Together


@dataclass(frozen=True, eq=False)
class Analysis:
    """A comparison with what follows from it, worked out when it is first asked for.

    Attributes:
        comparison: the runs.
    """

    comparison: Comparison

    @cached_property
    def results(self) -> Mapping[str, RunResult]:
        """The runs by their labels."""
        return dict(zip(self.comparison.labels, self.comparison.results, strict=True))

    @cached_property
    def numbers(self) -> tuple[RunNumbers, ...]:
        """The figures of each run."""
        return numbers_of(self.comparison.results)

    @cached_property
    def pairs(self) -> tuple[PairAnalysis, ...]:
        """Every two runs that were tested, the leader's first."""
        numbers = dict(zip(self.comparison.labels, self.numbers, strict=True))
        return tuple(
            _pair_analysis(pair, self.results, numbers)
            for pair in sorted(self.comparison.pairs, key=lambda pair: _rank(pair, self.results))
            if pair.test is not None
        )

    @cached_property
    def groups(self) -> tuple[SeedGroup, ...]:
        """Runs that differ in the seed alone."""
        return tuple(seed_groups(self.comparison.results, self.comparison.labels))

    @cached_property
    def seed_tests(self) -> tuple[SeedTest, ...]:
        """The groups against each other."""
        return tuple(seed_tests(self.groups))

    @cached_property
    def judged(self) -> Mapping[str, RunResult]:
        """The runs that judged the images of the first that has predictions, by their labels."""
        return _judged(self.comparison)

    @cached_property
    def confusions(self) -> Sequence[Confusion]:
        """What those runs take for what."""
        return most_confused(list(self.judged.values()))

    @cached_property
    def importances(self) -> Mapping[str, Importances]:
        """Of each search, by its run's label."""
        return {
            label: importances(result.search)
            for label, result in self.results.items()
            if result.search is not None and result.search.trials
        }


def _judged(comparison: Comparison) -> dict[str, RunResult]:
    """The runs with predictions on the same images as the first that has any."""
    tested_with: dict[str, set[str]] = {}
    for pair in comparison.pairs:
        if pair.test is not None:
            tested_with.setdefault(pair.first, {pair.first}).add(pair.second)
    usable = [
        label
        for label, result in zip(comparison.labels, comparison.results, strict=True)
        if result.right is not None and result.per_class
    ]
    if not usable:
        return {}
    alike = tested_with.get(usable[0], {usable[0]})
    return {
        label: result
        for label, result in zip(comparison.labels, comparison.results, strict=True)
        if label in usable and label in alike
    }


def _rank(pair: Pair, results: Mapping[str, RunResult]) -> tuple[float, float]:
    """The two best runs first, so that they are what the page shows at first."""
    accuracies = sorted(
        (results[label].metric("test_accuracy") or 0.0) for label in (pair.first, pair.second)
    )
    return -accuracies[1], -accuracies[0]


def _pair_analysis(
    pair: Pair, results: Mapping[str, RunResult], numbers: Mapping[str, RunNumbers]
) -> PairAnalysis:
    first, second = results[pair.first], results[pair.second]
    with_classes = bool(first.per_class and second.per_class)
    with_superclasses = with_classes and len(first.superclass_names) > 1
    return PairAnalysis(
        name=f"{pair.second} − {pair.first}",
        pair=pair,
        differences=differences(numbers[pair.first], numbers[pair.second]),
        classes=class_differences(first, second) if with_classes else None,
        superclasses=superclass_differences(first, second) if with_superclasses else None,
        together=together(first, second),
    )
