"""What is asked of a model that is to become the champion, and what it is registered as."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cifar_track.config.checks import CifarTrackError, require, require_choice
from cifar_track.config.datasets import DATASETS
from cifar_track.config.metrics import METRICS

GATES = ("better", "not_worse", "none")
DEFAULT_METRIC = "best_val_accuracy"


@dataclass(frozen=True, kw_only=True)
class Demands:
    """What is asked of a model that is to become the champion.

    Attributes:
        gate: how it has to do against the champion on the same test images: `better` (the 95 %
            interval of the difference in accuracy lies above 0), `not_worse` (above less than
            nothing by `margin`), or `none`.
        margin: the loss of accuracy that counts as none, a fraction.
        never_predicted: how many classes may never be predicted.
        max_megabytes: the size of the model's folder.
        max_milliseconds: the median time of one image.
        fresh_environment: whether it has to load in an environment made of its own requirements.
    """

    gate: str = "not_worse"
    margin: float = 0.01
    never_predicted: int = 0
    max_megabytes: float = 250.0
    max_milliseconds: float = 500.0
    fresh_environment: bool = False

    def __post_init__(self) -> None:
        require_choice("gate", self.gate, GATES)
        require("margin", self.margin, at_least=0, at_most=1)
        for name in ("never_predicted", "max_megabytes", "max_milliseconds"):
            require(name, getattr(self, name), at_least=0)


def registered_name(dataset_name: str, given: str | None = None) -> str:
    """The name of the registered model: the data set's own unless given.

    Raises:
        CifarTrackError: MLflow has no models of that name, or could not find them again.
    """
    name = DATASETS[dataset_name].registered_model if given is None else given
    if not re.fullmatch(r"[^/:\\'\"`@?#]+", name) or not name.strip(" .") or not name.isprintable():
        raise CifarTrackError(
            f"name={name} can't be a registered model's; expected one without / : @ ? # and "
            f"quotes, such as {DATASETS[dataset_name].registered_model}"
        )
    return name


def is_of_validation(metric: str) -> bool:
    """Whether a figure is one of the validation images, by its name."""
    return metric.removeprefix("best_").startswith("val_")


def require_chooses(metric: str) -> None:
    """Check that a run may be chosen by this figure, as far as its name tells.

    Raises:
        CifarTrackError: it is one of the test images or of those trained on, or says of no run that
            it is better.
    """
    info = METRICS.get(metric)
    if metric.startswith("train_"):
        raise CifarTrackError(
            f"metric={metric} is a figure of the images that the run learnt from; expected one of "
            f"the validation images, such as {DEFAULT_METRIC}"
        )
    if metric.startswith("test_"):
        raise CifarTrackError(
            f"metric={metric} is a figure of the test images, which choose nothing here; expected "
            f"one of the validation images, such as {DEFAULT_METRIC}"
        )
    if info is not None and info.better == "neither":
        raise CifarTrackError(f"metric={metric} says of no run that it is better than another")
