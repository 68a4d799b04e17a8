"""What an experiment is: frozen values that are loaded, overridden, checked and flattened."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

Value: TypeAlias = bool | int | float | str

EXPERIMENTS_DIRECTORY = Path(__file__).resolve().parent.parent / "experiments"

DATASETS = ("cifar100", "procedural")
SELECTIONS = ("validation", "test")
PRECISIONS = ("auto", "float32", "bfloat16")
OPTIMIZERS = ("adam", "sgd")
TUNERS = ("random", "hyperband", "bayesian", "grid")
OBJECTIVES = ("val_accuracy", "val_loss")


class CifarTrackError(Exception):
    """An error a person can cause: one line saying what is wrong, what was expected, what to do."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which images are trained on and chosen by, counted per class.

    `selection="validation"` chooses by images held out of the training set and leaves the test
    set unread until the model is final. `selection="test"` repeats the study's own habit: all
    training images are trained on and the test images serve as validation.
    """

    dataset: str = "cifar100"
    train_per_class: int = 450
    validation_per_class: int = 50
    test_per_class: int = 100
    selection: str = "validation"
    split_seed: int = 0

    def __post_init__(self) -> None:
        _require_choice("data.dataset", self.dataset, DATASETS)
        _require_choice("data.selection", self.selection, SELECTIONS)
        for name in ("train_per_class", "validation_per_class", "test_per_class"):
            _require(f"data.{name}", getattr(self, name), at_least=1)
        _require("data.split_seed", self.split_seed, at_least=0)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The ranges of the random transform of a training image; all zero is none at all.

    Rotation in degrees either way, shifts as a fraction of the side either way, zoom as a
    fraction either way and drawn for each axis apart, as Keras's `ImageDataGenerator` has them.
    """

    rotation: float = 0.0
    width_shift: float = 0.0
    height_shift: float = 0.0
    zoom: float = 0.0
    horizontal_flip: bool = False

    def __post_init__(self) -> None:
        _require("augmentation.rotation", self.rotation, at_least=0, at_most=180)
        for name in ("width_shift", "height_shift"):
            _require(f"augmentation.{name}", getattr(self, name), at_least=0, at_most=1)
        _require("augmentation.zoom", self.zoom, at_least=0, below=1)


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
class Optimizer:
    """The optimizer; momentum is used by SGD alone."""

    name: str = "adam"
    learning_rate: float = 0.001
    momentum: float = 0.0

    def __post_init__(self) -> None:
        _require_choice("optimizer.name", self.name, OPTIMIZERS)
        _require("optimizer.learning_rate", self.learning_rate, above=0)
        _require("optimizer.momentum", self.momentum, at_least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long, in what batches, with what arithmetic and from which seed (0 is a seed)."""

    epochs: int = 20
    batch_size: int = 64
    seed: int = 0
    deterministic: bool = False
    precision: str = "auto"

    def __post_init__(self) -> None:
        _require("training.epochs", self.epochs, at_least=1)
        _require("training.batch_size", self.batch_size, at_least=1)
        _require("training.seed", self.seed, at_least=0, below=2**31)
        _require_choice("training.precision", self.precision, PRECISIONS)


@dataclass(frozen=True, kw_only=True)
class IntRange:
    """Whole numbers from low to high, both included, by step."""

    low: int
    high: int
    step: int = 1


@dataclass(frozen=True, kw_only=True)
class FloatRange:
    """Numbers from low to high, both included, by step."""

    low: float
    high: float
    step: float


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    values: tuple[Value, ...]


Range: TypeAlias = IntRange | FloatRange | Choice


@dataclass(frozen=True, kw_only=True)
class Search:
    """A hyperparameter search: who searches, how many trials, by which figure, over what.

    The keys of `space` are the names that `override` takes, such as `model.dense_units`.
    """

    tuner: str = "random"
    trials: int = 5
    objective: str = "val_accuracy"
    space: Mapping[str, Range] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _require_choice("search.tuner", self.tuner, TUNERS)
        _require_choice("search.objective", self.objective, OBJECTIVES)
        _require("search.trials", self.trials, at_least=1)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One iteration of the study, whole: what a page in `experiments/` holds."""

    name: str
    data: Data
    augmentation: Augmentation
    model: Model
    optimizer: Optimizer
    training: Training
    search: Search | None = None


def experiment_names(directory: Path = EXPERIMENTS_DIRECTORY) -> tuple[str, ...]:
    """The names of the pages at hand, sorted."""
    return tuple(sorted(p.stem for p in directory.glob("*.py") if not p.stem.startswith("_")))


def load_experiment(name: str, directory: Path = EXPERIMENTS_DIRECTORY) -> Experiment:
    """Read the page `experiments/<name>.py` and return its value.

    Raises:
        CifarTrackError: there is no such page, or it holds no `EXPERIMENT` of that name.
    """
    names = experiment_names(directory)
    if name not in names:
        raise CifarTrackError(f"no experiment {name!r}{nearest(name, names)}")
    path = directory / f"{name}.py"
    specification = importlib.util.spec_from_file_location(f"experiments.{name}", path)
    assert specification is not None
    assert specification.loader is not None
    page = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(page)
    experiment = getattr(page, "EXPERIMENT", None)
    if not isinstance(experiment, Experiment) or experiment.name != name:
        raise CifarTrackError(
            f"{path} must hold EXPERIMENT = Experiment(name={name!r}, ...); found {experiment!r}"
        )
    return experiment


def parse_overrides(text: str) -> dict[str, str]:
    """Split `"optimizer.learning_rate=0.02 training.epochs=5"` into names and texts.

    Raises:
        CifarTrackError: a word is not `name=value`, or a name comes twice.
    """
    overrides: dict[str, str] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise CifarTrackError(f"override {word!r} is not of the form name=value")
        if name in overrides:
            raise CifarTrackError(f"override {name!r} is given twice")
        overrides[name] = value
    return overrides


def override(experiment: Experiment, values: Mapping[str, Value]) -> Experiment:
    """The experiment with some settings changed; the one way anything is changed.

    Args:
        experiment: what to start from; it is left as it is.
        values: dotted name, as `flatten` gives them, to the new value. A text is read as the
            type of the value it replaces.

    Raises:
        CifarTrackError: an unknown name (the nearest known one is named), a value of another
            type, or one out of its range.
    """
    known = {name: value for name, value in _leaves(experiment) if name != "name"}
    for name, given in values.items():
        if name not in known:
            raise CifarTrackError(f"no setting {name!r}{nearest(name, known)}")
        section_name, _, key = name.partition(".")
        section = getattr(experiment, section_name)
        value = _as_type_of(known[name], name=name, value=given)
        if isinstance(section, Model) and key != "architecture":
            section = Model(section.architecture, **{**section.settings, key: value})
        elif isinstance(section, Model):
            section = Model(str(value), **section.settings)
        else:
            section = replace(section, **{key: value})
        experiment = replace(experiment, **{section_name: section})
    return experiment


def flatten(experiment: Experiment) -> dict[str, Value]:
    """Every setting by its dotted name, in the order of the page."""
    return dict(_leaves(experiment))


def describe_space(search: Search) -> dict[str, dict[str, Any]]:
    """The search space as plain values, ready to be written as JSON."""
    return {
        name: {
            "kind": type(values).__name__,
            **{entry.name: getattr(values, entry.name) for entry in fields(values)},
        }
        for name, values in search.space.items()
    }


def nearest(name: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    """`; did you mean 'x'?`, or the whole list where nothing is near; for the end of an error."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    if not matches:  # a last part alone, such as `epochs` for `training.epochs`
        matches = [full for full in known if full.rpartition(".")[2] == name][:1]
    return f"; did you mean {matches[0]!r}?" if matches else f"; expected one of {', '.join(known)}"


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Value]]:
    for entry in fields(value):
        child = getattr(value, entry.name)
        name = f"{prefix}{entry.name}"
        if is_dataclass(child):
            yield from _leaves(child, f"{name}.")
        elif isinstance(value, Model) and entry.name == "settings":
            yield from ((f"{prefix}{key}", setting) for key, setting in child.items())
        elif isinstance(child, bool | int | float | str):
            yield name, child


def _as_type_of(current: Value, *, name: str, value: Value) -> Value:
    kind = type(current)
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if type(value) is kind:
        return value
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(value, str) and kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            pass
    expected = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[kind]
    raise CifarTrackError(f"{name}={value} is not {expected} (it is {current!r} on the page)")


def _require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise CifarTrackError(f"{name}={value} is unknown{nearest(str(value), choices)}")


def _require(
    name: str,
    value: float,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> None:
    bounds = {
        "at least": (at_least, lambda bound: value >= bound),
        "above": (above, lambda bound: value > bound),
        "at most": (at_most, lambda bound: value <= bound),
        "below": (below, lambda bound: value < bound),
    }
    asked = {words: bound for words, (bound, _) in bounds.items() if bound is not None}
    if not all(bounds[words][1](bound) for words, bound in asked.items()):
        expected = " and ".join(f"{words} {bound}" for words, bound in asked.items())
        raise CifarTrackError(f"{name}={value} is out of range; expected {expected}")


def _restore_model(architecture: str, settings: dict[str, Value]) -> Model:
    return Model(architecture, **settings)
