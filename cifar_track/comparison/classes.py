"""How two runs differ on each class and each superclass, and which of that is more than noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cifar_track.statistics import benjamini_hochberg, mcnemar_each, tango_intervals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cifar_track.comparison.run_result import RunResult

FALSE_DISCOVERIES = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupDifferences:
    """How the second of two runs differs from the first on each of G classes or superclasses.

    Attributes:
        names: G names.
        first, second: float64 (G,), the share of the group's images that each is right about.
        difference: float64 (G,), second less first.
        low, high: float64 (G,), Tango's 95 % interval of each by itself.
        adjusted_p_value: float64 (G,), McNemar's by Benjamini and Hochberg's adjustment over all.
    """

    names: tuple[str, ...]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    difference: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    adjusted_p_value: NDArray[np.float64]

    @property
    def stands_out(self) -> NDArray[np.bool_]:
        """Which differences are more than noise, bool (G,)."""
        return np.asarray(self.adjusted_p_value < FALSE_DISCOVERIES)

    @property
    def better(self) -> int:
        """In how many groups the second run is right more often."""
        return int(np.count_nonzero(self.difference > 0))

    @property
    def worse(self) -> int:
        """In how many it is right less often."""
        return int(np.count_nonzero(self.difference < 0))

    def sentence(self, kind: str) -> str:
        """How many are better and worse, and how many of them are more than noise.

        Args:
            kind: what the groups are, in the plural.
        """
        up = int(np.count_nonzero(self.stands_out & (self.difference > 0)))
        down = int(np.count_nonzero(self.stands_out & (self.difference < 0)))
        return (
            f"{self.better} {kind} better, {self.worse} worse; more than noise: {up} better and "
            f"{down} worse"
        )


def class_differences(first: RunResult, second: RunResult) -> GroupDifferences:
    """Each class's images that only one of two runs on the same images is right about."""
    labels = np.asarray(first.labels)
    return _differences(
        first.class_names,
        labels,
        np.asarray(first.predictions) == labels,
        np.asarray(second.predictions) == labels,
    )


def superclass_differences(first: RunResult, second: RunResult) -> GroupDifferences:
    """The same of each superclass, where any class of the true superclass is right."""
    group_of = first.superclass_of
    labels = group_of[np.asarray(first.labels)]
    return _differences(
        first.superclass_names,
        labels,
        group_of[np.asarray(first.predictions)] == labels,
        group_of[np.asarray(second.predictions)] == labels,
    )


def superclass_recall(result: RunResult) -> NDArray[np.float64]:
    """The share of each superclass's images whose predicted class is of it, float64 (S,)."""
    group_of = result.superclass_of
    labels = group_of[np.asarray(result.labels)]
    right = group_of[np.asarray(result.predictions)] == labels
    groups = len(result.superclass_names)
    hits = np.bincount(labels, weights=right, minlength=groups)
    return np.asarray(hits / np.maximum(np.bincount(labels, minlength=groups), 1))


def _differences(
    names: Sequence[str],
    group_of: NDArray[np.int64],
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
) -> GroupDifferences:
    def counted(where: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(group_of[where], minlength=len(names)).astype(np.int64)

    lost, gained = counted(first & ~second), counted(~first & second)
    images = np.maximum(counted(np.ones_like(first)), 1)
    low, high = tango_intervals(lost, gained, images)
    return GroupDifferences(
        names=tuple(names),
        first=counted(first) / images,
        second=counted(second) / images,
        difference=(gained - lost) / images,
        low=low,
        high=high,
        adjusted_p_value=benjamini_hochberg(mcnemar_each(lost, gained)),
    )
