"""Evaluations and run results drawn from a seed, for the tests of what reads them."""

from __future__ import annotations

from typing import Any

import numpy as np

from cifar_track.comparison import RunResult
from cifar_track.evaluation import Evaluation, evaluate

# As long as the longest of CIFAR-100, so that a label that fits here fits there.
LONG_NAMES = ("aquarium_fish", "sweet_pepper", "pickup_truck", "caterpillar", "television")
LONG_SUPERCLASSES = ("large_omnivores_and_herbivores", "large_man-made_outdoor_things")


def make_evaluation(
    *,
    classes: int = 100,
    superclasses: int = 20,
    per_class: int = 20,
    seed: int = 0,
    strength: float = 4.4,
    never_predicted: int | None = 3,
    seen: np.ndarray | None = None,
) -> Evaluation:
    """An evaluation whose accuracy is near 0.4, with one class that is never predicted."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    superclass_of = tuple((7 * number) % superclasses for number in range(classes))
    scores = random.gumbel(size=(labels.size, classes))
    scores[np.arange(labels.size), labels] += random.normal(strength, 1, classes)[labels]
    if never_predicted is not None:
        scores[:, never_predicted] -= 50
    probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return evaluate(
        probabilities,
        labels,
        class_names=tuple(f"{LONG_NAMES[n % 5]}{n}" for n in range(classes)),
        superclass_names=tuple(f"{LONG_SUPERCLASSES[n % 2]}{n}" for n in range(superclasses)),
        superclass_of=superclass_of,
        seen=seen,
    )


def make_result(
    iteration: str, evaluation: Evaluation | None, *, run_id: str = "", **parameters: Any
) -> RunResult:
    """The result of a run that was evaluated so, or of an unfinished one."""
    return RunResult(
        run_id=run_id or f"{iteration}-id",
        name=f"{iteration}-name",
        iteration=iteration,
        parameters={"training.epochs": "20", "data.dataset": "cifar100", **parameters},
        metrics={} if evaluation is None else {**evaluation.metrics(), "best_epoch": 17.0},
        per_class=() if evaluation is None else evaluation.per_class_rows(),
        labels=None if evaluation is None else evaluation.labels,
        predictions=None if evaluation is None else evaluation.predictions,
        probabilities=None if evaluation is None else evaluation.probabilities,
        losses=None if evaluation is None else evaluation.losses,
        seen=None if evaluation is None else evaluation.seen,
    )


# What can become of a file of arrays on a disk.
DAMAGES = {
    "another kind of file": lambda content: b"cut short",
    "empty": lambda content: b"",
    "its second half lost": lambda content: content[: len(content) // 2],
    "a few bytes altered": lambda content: content[:200] + bytes([255] * 50) + content[250:],
}
