"""Which classes the runs take for which, and how often each of them does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cifar_track.comparison.run_result import RunResult

PAIRS_OF_EACH_RUN = 5
MOST_PAIRS = 20


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """A class that is taken for another.

    Attributes:
        true: the name of the class that it is.
        predicted: the name of the class that it is taken for.
        same_superclass: whether the two are of one.
        support: how many test images the true class has.
        counts: how many of them each run takes so, in the order of the runs.
        examples: numbers of test images that are taken so, those first that most runs take so.
    """

    true: str
    predicted: str
    same_superclass: bool
    support: int
    counts: tuple[int, ...]
    examples: tuple[int, ...]


def most_confused(
    results: Sequence[RunResult], *, each: int = PAIRS_OF_EACH_RUN
) -> list[Confusion]:
    """The most frequent confusions of every run, each once, the most frequent over all first.

    Of many runs that are confused by different classes, the `MOST_PAIRS` most frequent.

    Args:
        results: runs with predictions on the same images.
        each: how many of every run are among them.
    """
    if not results:
        return []
    names, group_of = results[0].class_names, results[0].superclass_of
    labels = np.asarray(results[0].labels)
    classes = len(names)
    counts = [_counts(labels, np.asarray(r.predictions), classes=classes) for r in results]
    chosen: dict[int, None] = {}
    for count in counts:
        order = np.argsort(-count.ravel(), kind="stable")[:each]
        chosen |= dict.fromkeys(int(cell) for cell in order if count.ravel()[cell] > 0)
    total = np.sum(counts, axis=0).ravel()
    support = np.bincount(labels, minlength=classes)
    found = []
    for cell in sorted(chosen, key=lambda cell: (-total[cell], cell))[:MOST_PAIRS]:
        true, predicted = divmod(cell, classes)
        found.append(
            Confusion(
                true=names[true],
                predicted=names[predicted],
                same_superclass=bool(group_of[true] == group_of[predicted]),
                support=int(support[true]),
                counts=tuple(int(count[true, predicted]) for count in counts),
                examples=_examples(results, labels, true=true, predicted=predicted),
            )
        )
    return found


def _counts(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], *, classes: int
) -> NDArray[np.int64]:
    cells = np.bincount(labels * classes + predictions, minlength=classes * classes)
    counts = cells.reshape(classes, classes).astype(np.int64)
    np.fill_diagonal(counts, 0)
    return counts


def _examples(
    results: Sequence[RunResult], labels: NDArray[np.int64], *, true: int, predicted: int
) -> tuple[int, ...]:
    taken = np.sum([np.asarray(r.predictions) == predicted for r in results], axis=0)
    images = np.flatnonzero((labels == true) & (taken > 0))
    order = np.argsort(-taken[images], kind="stable")
    return tuple(images[order].tolist())
