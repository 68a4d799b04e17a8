"""Runs that differ in the seed alone: their mean, their spread, and whether groups differ."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cifar_track.statistics import LEAST_SEEDS, MeanDifference, holm_adjust, welch

if TYPE_CHECKING:
    from cifar_track.comparison.run_result import RunResult

SEEDS = ("training.seed",)


@dataclass(frozen=True, kw_only=True)
class SeedGroup:
    """Runs of one iteration with equal settings but for the seed.

    Attributes:
        name: the iteration, with a number where it has several groups.
        labels: of the runs, as the comparison has them.
        seeds: that they have, as text, each once.
        accuracies: the test accuracy of each seed, of one that was run again the mean.
        test_digest: what its test images are known by.
    """

    name: str
    labels: tuple[str, ...]
    seeds: tuple[str, ...]
    accuracies: tuple[float, ...]
    test_digest: str | None = None

    @property
    def mean(self) -> float:
        """The mean of the accuracies."""
        return float(np.mean(self.accuracies))

    @property
    def deviation(self) -> float | None:
        """Their standard deviation (over n - 1); None of a single run."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else None


@dataclass(frozen=True, kw_only=True)
class SeedTest:
    """Two groups and whether their means differ by more than another seed would change.

    Attributes:
        first, second: names of the groups.
        difference: by Welch's test, second less first; None with too few seeds.
        adjusted_p_value: by Holm's adjustment over all tested groups.
    """

    first: str
    second: str
    difference: MeanDifference | None
    adjusted_p_value: float | None


def seed_groups(results: Sequence[RunResult], labels: Sequence[str]) -> list[SeedGroup]:
    """The groups of the runs that have a test accuracy, in the order of their first runs."""
    members: dict[tuple[str, str | None, frozenset[tuple[str, str]]], list[int]] = {}
    for index, result in enumerate(results):
        if result.metric("test_accuracy") is not None:
            alike = frozenset((k, v) for k, v in result.settings.items() if k not in SEEDS)
            key = result.iteration, result.test_digest, alike
            members.setdefault(key, []).append(index)
    iterations = [iteration for iteration, *_ in members]
    seen: dict[str, int] = {}
    groups = []
    for (iteration, test_digest, _), indices in members.items():
        of_seed: dict[str, list[float]] = {}
        for index in indices:
            seed = results[index].settings.get("training.seed", "?")
            of_seed.setdefault(seed, []).append(results[index].metric("test_accuracy") or 0.0)
        seen[iteration] = seen.get(iteration, 0) + 1
        several = iterations.count(iteration) > 1
        groups.append(
            SeedGroup(
                name=f"{iteration} ({seen[iteration]})" if several else iteration,
                labels=tuple(labels[i] for i in indices),
                seeds=tuple(of_seed),
                accuracies=tuple(float(np.mean(again)) for again in of_seed.values()),
                test_digest=test_digest,
            )
        )
    return groups


def seed_tests(groups: Sequence[SeedGroup]) -> list[SeedTest]:
    """Every two groups on the same test images, one of them of several seeds at least.

    They are tested where both have enough.
    """
    pairs = [
        (a, b)
        for a, b in itertools.combinations(groups, 2)
        if max(len(a.accuracies), len(b.accuracies)) > 1 and a.test_digest == b.test_digest
    ]
    found = [welch(a.accuracies, b.accuracies) for a, b in pairs]
    adjusted = iter(holm_adjust([f.p_value for f in found if f is not None]))
    return [
        SeedTest(
            first=a.name,
            second=b.name,
            difference=difference,
            adjusted_p_value=None if difference is None else next(adjusted),
        )
        for (a, b), difference in zip(pairs, found, strict=True)
    ]


def seed_rule() -> str:
    """The rule by which groups are tested, and where it comes from."""
    return (
        f"Tested where both sides have at least {LEAST_SEEDS} seeds, by Welch's t-test (Welch "
        "1947; for few seeds recommended by Colas, Sigaud and Oudeyer 2018, arXiv:1806.08295), "
        f"adjusted by Holm. With {LEAST_SEEDS} a side a difference of two standard deviations is "
        "found four times in five; with fewer, hardly anything is."
    )
