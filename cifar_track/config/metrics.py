"""What each figure of a run is: its name, its label, which way is better, its interval, its places.

What is logged under which name is read from here by whoever logs, compares, shows or registers it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

# Where a metric is shown: what a run reached and what that took, on the page of a comparison; that
# comparison's table in the terminal; the lists of runs, in the terminal and in MLflow's UI; the
# registry.
Place = Literal["page", "cost", "summary", "list", "registry"]

# The study draws the first eleven classes only.
FIRST_CLASSES = 11


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """A metric of a whole run as every other part of the project knows it.

    Attributes:
        name: under which it is logged.
        label: what the head of a column calls it.
        meaning: what it is, in a sentence that needs no other.
        unit: `share` from 0 to 1, `nats`, `seconds`, `count`, or `rate` a second.
        better: `higher`, `lower`, or `neither`.
        interval: `wilson` for a share of the images, `bootstrap` over the images, or `none`: the
            bootstrap's of a sum of distances, such as a calibration error, covers the truth in
            half of the cases that it says.
        places: where it is shown.
    """

    name: str
    label: str
    meaning: str
    unit: Literal["share", "nats", "seconds", "count", "rate"]
    better: Literal["higher", "lower", "neither"] = "higher"
    interval: Literal["wilson", "bootstrap", "none"] = "none"
    places: tuple[Place, ...] = ()

    @property
    def low(self) -> str:
        """The name under which the lower bound of its interval is logged."""
        return f"{self.name}_low"

    @property
    def high(self) -> str:
        """The name under which the upper bound of its interval is logged."""
        return f"{self.name}_high"

    @property
    def logged(self) -> tuple[str, ...]:
        """The names under which it is logged; the bounds are where one run's count gives them."""
        return (self.name, self.low, self.high) if self.interval == "wilson" else (self.name,)

    @property
    def is_the_tests(self) -> bool:
        """Whether it is a figure of the test images."""
        return self.name.startswith("test_")

    def text(self, value: float | None, *, missing: str = "-") -> str:
        """The value as it is shown; `missing` where there is none."""
        if value is None:
            return missing
        digits = 3 if self.unit in ("share", "nats") else 0
        return f"{value:,.{digits}f}"


@dataclass(frozen=True, kw_only=True)
class ClassFigure:
    """A figure of a single class, with the colour that the study gave it.

    Attributes:
        name: in tables and on `Evaluation`.
        label: what a legend calls it.
        colour: of its marks on white paper, at a contrast of 3 or more.
        colour_on_dark: of its marks on a dark page, likewise.
    """

    name: str
    label: str
    colour: str
    colour_on_dark: str

    @property
    def macro(self) -> str:
        """The name under which its mean over the classes is logged."""
        return f"test_macro_{self.name}"


# In the order in which they are shown. Green is the light one and red the dark one, so that those
# who cannot tell red from green tell them by lightness.
CLASS_FIGURES = (
    ClassFigure(name="precision", label="precision", colour="#2166ac", colour_on_dark="#6aa9e9"),
    ClassFigure(name="recall", label="recall", colour="#43a451", colour_on_dark="#7fce86"),
    ClassFigure(name="f1", label="F1", colour="#b2182b", colour_on_dark="#f0808a"),
)

# In the order in which they are shown.
METRICS: Mapping[str, MetricInfo] = MappingProxyType(
    {
        info.name: info
        for info in (
            MetricInfo(
                name="test_accuracy",
                label="test accuracy",
                meaning="share of the test images whose most probable class is the true one",
                unit="share",
                interval="wilson",
                places=("page", "summary", "list", "registry"),
            ),
            MetricInfo(
                name="test_top5_accuracy",
                label="top-5",
                meaning="share of the test images whose true class is among the five most probable",
                unit="share",
                interval="wilson",
                places=("page", "summary", "registry"),
            ),
            *(
                MetricInfo(
                    name=figure.macro,
                    label=figure.label,
                    meaning=f"{figure.label} of a class, the plain mean over all classes",
                    unit="share",
                    interval="bootstrap",
                    # F1 sums the other two up.
                    places=("page", "summary", "list", "registry")
                    if figure.name == "f1"
                    else ("page", "summary", "registry"),
                )
                for figure in CLASS_FIGURES
            ),
            MetricInfo(
                name="test_log_loss",
                label="log loss",
                meaning="mean negative logarithm of the true class's probability, in nats",
                unit="nats",
                better="lower",
                interval="bootstrap",
                places=("page", "registry"),
            ),
            MetricInfo(
                name="test_calibration_error",
                label="calibration error",
                meaning="mean distance between confidence and accuracy, in 15 bins of equally "
                "many images; no interval of it covers what it says",
                unit="share",
                better="lower",
                places=("page", "registry"),
            ),
            MetricInfo(
                name="test_superclass_accuracy",
                label="superclass",
                meaning="share of the test images whose most probable class is of the true "
                "superclass",
                unit="share",
                interval="wilson",
                places=("page", "registry"),
            ),
            MetricInfo(
                name="test_accuracy_unseen",
                label="unseen",
                meaning="test accuracy without the test images that occur, or all but occur, "
                "among those trained on",
                unit="share",
                interval="wilson",
                places=("page", "registry"),
            ),
            MetricInfo(
                name="test_images_seen",
                label="test images seen",
                meaning="test images that occur, or all but occur, among those trained on",
                unit="count",
                better="neither",
            ),
            MetricInfo(
                name="best_val_accuracy",
                label="validation",
                meaning="highest accuracy of an epoch on the validation images",
                unit="share",
                places=("page", "list", "registry"),
            ),
            MetricInfo(
                name="best_val_loss",
                label="validation loss",
                meaning="loss on the validation images in the epoch that was kept",
                unit="nats",
                better="lower",
            ),
            MetricInfo(
                name="best_epoch",
                label="best epoch",
                meaning="the epoch that was kept, counted from 1",
                unit="count",
                better="neither",
            ),
            MetricInfo(
                name="fit_seconds",
                label="seconds",
                meaning="wall time of the fit, validation included",
                unit="seconds",
                better="lower",
                places=("cost",),
            ),
            MetricInfo(
                name="fit_cpu_seconds",
                label="CPU seconds",
                meaning="processor time of the fit, validation included",
                unit="seconds",
                better="lower",
                places=("cost",),
            ),
            MetricInfo(
                name="images_per_second",
                label="images a second",
                meaning="training images a wall second",
                unit="rate",
                places=("cost",),
            ),
            MetricInfo(
                name="parameters",
                label="parameters",
                meaning="numbers that the network learns",
                unit="count",
                better="neither",
                places=("cost",),
            ),
        )
    }
)


# What each epoch of a fit is logged as.
EPOCH_METRICS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


def metrics_at(place: Place) -> tuple[MetricInfo, ...]:
    """The metrics that are shown at a place, in the order of their display."""
    return tuple(info for info in METRICS.values() if place in info.places)


def first_best(scores: Sequence[float], *, maximize: bool = True) -> int | None:
    """Index of the first best number among scores; None if there is no number at all.

    The one rule by which an epoch, or a trial, is the best of several.
    """
    numbers = [score for score in scores if not math.isnan(score)]
    if not numbers:
        return None
    return list(scores).index(max(numbers) if maximize else min(numbers))
