"""The settings of an experiment: frozen values that check themselves."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias, get_type_hints

from cifar_track.config.checks import CifarTrackError, require, require_choice
from cifar_track.config.datasets import DATASETS, DEFAULT_DATASET
from cifar_track.config.fit import Augmentation, Optimizer, Prediction, Schedule, Training
from cifar_track.config.section import Section
from cifar_track.config.values import Value

SELECTIONS = ("validation", "test")
TUNERS = ("random", "hyperband", "bayesian", "grid")
OBJECTIVES = ("val_accuracy", "val_loss")
TRIAL_AUGMENTATIONS = ("page", "none")
STOPS = ("none", "median")
REFITS = ("anew", "continue", "none")


@dataclass(frozen=True, kw_only=True)
class Data(Section):
    """Which images are trained on and chosen by, counted per class.

    `selection="validation"` chooses by images held out of the training set and leaves the test
    set unread until the model is final. `selection="test"` repeats the study's own habit: all
    training images are trained on and the test images serve as validation.
    """

    dataset: str = DEFAULT_DATASET
    train_per_class: int = 450
    validation_per_class: int = 50
    test_per_class: int = 100
    selection: str = "validation"
    split_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("data.dataset", self.dataset, tuple(DATASETS))
        require_choice("data.selection", self.selection, SELECTIONS)
        for name in ("train_per_class", "validation_per_class", "test_per_class"):
            require(f"data.{name}", getattr(self, name), at_least=1, below=2**31)
        require("data.split_seed", self.split_seed, at_least=0, below=2**31)


@dataclass(frozen=True, init=False)
class Model:
    """The name of an architecture (a file in `cifar_track/models`) and its settings.

    The settings are the keyword arguments of that file's `build`, which checks their ranges.
    """

    architecture: str
    settings: Mapping[str, Value] = field(hash=False)

    def __init__(self, architecture: str, **settings: Value) -> None:
        object.__setattr__(self, "architecture", architecture)
        object.__setattr__(self, "settings", MappingProxyType(dict(settings)))

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy cannot be pickled, and trials run in processes of their own.
        return _restore_model, (self.architecture, dict(self.settings))


@dataclass(frozen=True, kw_only=True)
class IntRange(Section):
    """Whole numbers from low to high, both included, by step."""

    low: int
    high: int
    step: int = 1


@dataclass(frozen=True, kw_only=True)
class FloatRange(Section):
    """Numbers from low to high, both included, by step."""

    low: float
    high: float
    step: float


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        _require_kind("the values of a Choice", self.values, tuple)
        for value in self.values:
            _require_kind("a value of a Choice", value, bool | int | float | str)


Range: TypeAlias = IntRange | FloatRange | Choice


@dataclass(frozen=True, kw_only=True)
class Search(Section):
    """A hyperparameter search: who searches, how many trials, by which figure, over what.

    Attributes:
        tuner: who proposes the values.
        trials: how many are tried; Hyperband makes as many as its brackets need.
        objective: the figure that the best trial is chosen by.
        trial_epochs: how long a trial trains; 0 for as long as the page, `training.epochs`.
        augmentation: what the trials see: as the `page` says, or plain images, `none`.
        stop: which trials end early: `none`, or by the `median` of those before (Golovin 2017).
        retries: how often a trial whose process was killed from outside is tried again.
        refit: what becomes of the best: its settings are fitted `anew` as the page says, training
            goes on from its weights (`continue`), or its own network is the result (`none`), whose
            settings are those of the trial's run.
        keep: of how many of the best trials the networks are logged to their runs, for `ensemble`.
        space: the ranges by the names that `override` takes, such as `model.dense_units`.
    """

    tuner: str = "random"
    trials: int = 5
    objective: str = "val_accuracy"
    trial_epochs: int = 0
    augmentation: str = "page"
    stop: str = "none"
    retries: int = 2
    refit: str = "anew"
    keep: int = 0
    space: Mapping[str, Range] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("search.tuner", self.tuner, TUNERS)
        require_choice("search.objective", self.objective, OBJECTIVES)
        require("search.trials", self.trials, at_least=1)
        require("search.trial_epochs", self.trial_epochs, at_least=0)
        require_choice("search.augmentation", self.augmentation, TRIAL_AUGMENTATIONS)
        require_choice("search.stop", self.stop, STOPS)
        require("search.retries", self.retries, at_least=0)
        require_choice("search.refit", self.refit, REFITS)
        require("search.keep", self.keep, at_least=0)
        for name, values in self.space.items():
            _require_kind(f"search.space[{name!r}]", values, IntRange | FloatRange | Choice)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One iteration of the study, whole: what a page in `experiments/` holds."""

    name: str
    data: Data
    augmentation: Augmentation
    model: Model
    optimizer: Optimizer
    schedule: Schedule = field(default_factory=Schedule)
    training: Training
    prediction: Prediction = field(default_factory=Prediction)
    search: Search | None = None

    def __post_init__(self) -> None:
        for name, kind in _kinds_of_sections().items():
            _require_kind(f"{name}=", getattr(self, name), kind)


@functools.cache
def _kinds_of_sections() -> Mapping[str, Any]:
    return get_type_hints(Experiment)


def _require_kind(name: str, value: object, kind: Any) -> None:
    if not isinstance(value, kind):
        words = getattr(kind, "__name__", str(kind).replace(f"{__name__}.", ""))
        raise CifarTrackError(f"{name} is {value!r}; expected {words}")


def _restore_model(architecture: str, settings: dict[str, Value]) -> Model:
    return Model(architecture, **settings)
