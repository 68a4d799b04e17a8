"""Everything that the page tells of a comparison, worked out once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Analysis:
    """A comparison with what follows from it.

    Attributes:
        comparison: the runs.
        numbers: the figures of each run.
        pairs: every two runs that were tested, the leader's first.
        groups: runs that differ in the seed alone.
        seed_tests: the groups against each other.
        judged: labels and results of the runs that judged the images of the leader.
        confusions: what those runs take for what.
        importances: of each search by its run's label.
    """

    comparison: Comparison
    numbers: tuple[RunNumbers, ...]
    pairs: tuple[PairAnalysis, ...]
    groups: tuple[SeedGroup, ...]
    seed_tests: tuple[SeedTest, ...]
    judged: Mapping[str, RunResult]
    confusions: Sequence[Confusion]
    importances: Mapping[str, Importances]

    @property
    def leader(self) -> str:
        """The label of the run with the highest test accuracy; the first where none has one."""
        labels = self.comparison.labels
        accuracies = [result.metric("test_accuracy") for result in self.comparison.results]
        return max(zip(labels, accuracies, strict=True), key=lambda entry: entry[1] or 0.0)[0]


def analyse(comparison: Comparison) -> Analysis:
    """Work out what the page tells of a comparison."""
    results = dict(zip(comparison.labels, comparison.results, strict=True))
    numbers = dict(zip(comparison.labels, numbers_of(comparison.results), strict=True))
    groups = tuple(seed_groups(comparison.results, comparison.labels))
    judged = _judged(comparison)
    return Analysis(
        comparison=comparison,
        numbers=tuple(numbers.values()),
        pairs=tuple(
            _pair_analysis(pair, results, numbers)
            for pair in sorted(comparison.pairs, key=lambda pair: _rank(pair, results))
            if pair.test is not None
        ),
        groups=groups,
        seed_tests=tuple(seed_tests(groups)),
        judged=judged,
        confusions=most_confused(list(judged.values())),
        importances={
            label: importances(result.search)
            for label, result in results.items()
            if result.search is not None and result.search.trials
        },
    )


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
