"""Pages of experiments: found, loaded, overridden, flattened."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from cifar_track.config.checks import CifarTrackError, nearest
from cifar_track.config.settings import Experiment, Model, Search, Value

EXPERIMENTS_DIRECTORY = Path(__file__).resolve().parents[2] / "experiments"


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
