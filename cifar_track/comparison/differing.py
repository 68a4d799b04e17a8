"""The settings in which runs differ, and what a difference between them can be put down to."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cifar_track.comparison.seeds import SEEDS

if TYPE_CHECKING:
    from cifar_track.comparison.run_result import RunResult


def differing_settings(first: RunResult, second: RunResult) -> list[str]:
    """The names of the settings, but for the seed, that the two don't share."""
    a, b = first.settings, second.settings
    names = [name for name in dict.fromkeys([*a, *b]) if name not in SEEDS]
    return [name for name in names if a.get(name) != b.get(name)]


def attributions(results: Sequence[RunResult], labels: Sequence[str]) -> list[str]:
    """For every two runs that differ in settings, whether one of them can be the reason."""
    sentences = []
    for (a, first), (b, second) in itertools.combinations(zip(labels, results, strict=True), 2):
        names = differing_settings(first, second)
        if len(names) == 1:
            sentences.append(f"{a} and {b} differ in {names[0]} alone.")
        elif names:
            sentences.append(
                f"{a} and {b} differ in {len(names)} settings, so that a difference between them "
                "can't be put down to any one of them."
            )
    return sentences
