"""What one run left behind, and what the study reports of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from cifar_track.config import DATASETS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

# What the study reports of its own iterations; the baseline's macro figures it does not give.
STUDY: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "baseline": MappingProxyType({"accuracy": 0.18}),
        "adam_bn": MappingProxyType(
            {"accuracy": 0.34, "precision": 0.36, "recall": 0.34, "f1": 0.33}
        ),
        "tune": MappingProxyType({"accuracy": 0.46, "precision": 0.48, "recall": 0.46, "f1": 0.45}),
    }
)


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchRecord:
    """What a search tried.

    Attributes:
        objective: the metric that it went by; lower is better if it ends in `loss`.
        trials: one mapping a trial: `number`, `status`, `score` (or None), `seconds`, and every
            hyperparameter by its dotted name.
        curves: of each trial's number the validation accuracy of its epochs, as far as logged.
    """

    objective: str
    trials: Sequence[Mapping[str, Any]]
    curves: Mapping[int, Sequence[float]] = field(default_factory=dict)

    @property
    def lower_is_better(self) -> bool:
        """Whether the trial with the lowest score is the best."""
        return self.objective.endswith("loss")


@dataclass(frozen=True, kw_only=True, eq=False)
class RunResult:
    """What one run left behind; what it lacks is absent or None, never 0.

    Attributes:
        run_id: the tracking server's id.
        name: the run's name.
        iteration: the name of its experiment page.
        parameters: dotted name to text.
        metrics: name to last value.
        per_class: one mapping a class, as the rows of `per_class.csv`: `class`, `name`,
            `superclass`, `precision`, `recall`, `f1`, `support`; values may be texts.
        labels: int (N,), the true classes of the test images, or None.
        predictions: int (N,), the predicted classes, or None.
        probabilities: float32 (N, C) of the same images, or None.
        losses: float (N,), each image's part of the log loss in nats, or None.
        seen: bool (N,), the test images that occur among those trained on, or None.
        history: for each epoch from 1 on `train_loss`, `train_accuracy`, `val_loss` and
            `val_accuracy`, as far as they were logged.
        search: what its search tried, or None.
        status: how it ended, in MLflow's word.
        test_digest: what its test images are known by; None where it does not say.
        remarks: what is said of a run that is shown only because it was asked for.
        url: the address of its page in MLflow's UI; empty where there is none.
    """

    run_id: str
    name: str
    iteration: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    per_class: Sequence[Mapping[str, Any]] = ()
    labels: NDArray[np.int64] | None = field(default=None, repr=False)
    predictions: NDArray[np.int64] | None = field(default=None, repr=False)
    probabilities: NDArray[np.float32] | None = field(default=None, repr=False)
    losses: NDArray[np.float64] | None = field(default=None, repr=False)
    seen: NDArray[np.bool_] | None = field(default=None, repr=False)
    history: Sequence[Mapping[str, float]] = field(default=(), repr=False)
    search: SearchRecord | None = field(default=None, repr=False)
    status: str = "FINISHED"
    test_digest: str | None = None
    remarks: tuple[str, ...] = ()
    url: str = ""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of its classes in order; empty where it has no per-class figures."""
        return tuple(str(row["name"]) for row in self.per_class)

    @property
    def superclass_names(self) -> tuple[str, ...]:
        """The names of its superclasses, each once, in the order of its classes."""
        return tuple(dict.fromkeys(str(row.get("superclass", "")) for row in self.per_class))

    @property
    def superclass_of(self) -> NDArray[np.int64]:
        """For each class the number of its superclass in `superclass_names`, int64 (C,)."""
        number_of_name = {name: number for number, name in enumerate(self.superclass_names)}
        return np.array(
            [number_of_name[str(row.get("superclass", ""))] for row in self.per_class],
            dtype=np.int64,
        )

    @property
    def settings(self) -> Mapping[str, str]:
        """Its settings by dotted name; what MLflow logs of the command is left out."""
        return {name: value for name, value in self.parameters.items() if "." in name}

    @property
    def right(self) -> NDArray[np.bool_] | None:
        """Which test images it is right about, bool (N,); None where it has no predictions."""
        if self.labels is None or self.predictions is None:
            return None
        return np.equal(self.predictions, self.labels).astype(np.bool_)

    def metric(self, name: str) -> float | None:
        """The metric of that name, or None where it is missing or not finite."""
        return number_of(self.metrics.get(name))

    def per_class_figure(self, name: str) -> NDArray[np.float64]:
        """A column of `per_class` as float64 (C,), NaN where a value is missing."""
        values = [number_of(row.get(name)) for row in self.per_class]
        return np.array([math.nan if v is None else v for v in values], dtype=np.float64)

    @property
    def study(self) -> Mapping[str, float]:
        """The study's figures for this iteration; none for another iteration or other images."""
        return STUDY.get(self.iteration, {}) if self.on_study_images else {}

    @property
    def on_study_images(self) -> bool:
        """Whether it is on CIFAR-100; a run that does not say is not taken to be."""
        info = DATASETS.get(self.parameters.get("data.dataset", ""))
        return info is not None and info.is_the_studys


def number_of(value: object) -> float | None:
    """A finite number as such, or as its text; None for anything else."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def whole_of(value: object) -> int | None:
    """A number cut to a whole one; None for anything else."""
    number = number_of(value)
    return None if number is None else int(number)
