"""Pages of experiments: found, loaded, overridden, flattened."""

from __future__ import annotations

import importlib.util
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from cifar_track.config.architectures import architecture_settings, complete_model
from cifar_track.config.checks import CifarTrackError, nearest
from cifar_track.config.section import Section
from cifar_track.config.settings import Experiment, Model, Search
from cifar_track.config.values import Value, typed

EXPERIMENTS_DIRECTORY = Path(__file__).resolve().parents[2] / "experiments"


def experiment_names(directory: Path = EXPERIMENTS_DIRECTORY) -> tuple[str, ...]:
    """The names of the pages at hand, sorted."""
    return tuple(sorted(p.stem for p in directory.glob("*.py") if not p.stem.startswith("_")))


def load_experiment(name: str, directory: Path = EXPERIMENTS_DIRECTORY) -> Experiment:
    """Read the page `experiments/<name>.py` and return its value.

    Raises:
        CifarTrackError: there is no such page, it is no Python that can be run, it holds no
            `EXPERIMENT` of that name, or its architecture is unknown, has other settings, or wants
            one that the page lacks.
    """
    names = experiment_names(directory)
    if name not in names:
        raise CifarTrackError(f"no experiment {name!r}{nearest(name, names)}")
    path = directory / f"{name}.py"
    specification = importlib.util.spec_from_file_location(f"experiments.{name}", path)
    assert specification is not None
    assert specification.loader is not None
    page = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(page)
    except CifarTrackError:
        raise
    except Exception as error:  # a page that is being written may raise anything
        raise CifarTrackError(
            f"{path}{_line_of(error, path)}: {type(error).__name__}: {error}; mend the page, as "
            "another one in that folder has it"
        ) from error
    experiment = getattr(page, "EXPERIMENT", None)
    if not isinstance(experiment, Experiment) or experiment.name != name:
        raise CifarTrackError(
            f"{path} must hold EXPERIMENT = Experiment(name={name!r}, ...); found {experiment!r}"
        )
    return replace(experiment, model=complete_model(experiment.model))


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

    With another architecture the settings that it does not have are left behind, and all that it
    wants has to be given.

    Args:
        experiment: what to start from; it is left as it is.
        values: dotted name, as `flatten` gives them, to the new value. A text is read as the
            type that the setting has (`typed`).

    Raises:
        CifarTrackError: an unknown name (the nearest known one is named), a value of another
            type, or one out of its range.
    """
    if "model.architecture" in values:
        experiment = _with_architecture(experiment, str(values["model.architecture"]))
    types = types_of_settings(experiment)
    changes: dict[str, dict[str, Value]] = {}
    for name, value in values.items():
        if name not in types:
            raise CifarTrackError(f"no setting {name!r}{nearest(name, types)}")
        section, _, key = name.partition(".")
        changes.setdefault(section, {})[key] = typed(value, types[name], name=name)
    sections: dict[str, Any] = {
        name: _changed(getattr(experiment, name), settings) for name, settings in changes.items()
    }
    return replace(experiment, **sections)


def types_of_settings(experiment: Experiment) -> dict[str, type]:
    """The type of every setting that can be changed, by its dotted name.

    They come from the annotations, not from the values that the experiment happens to have.

    Raises:
        CifarTrackError: there is no architecture of the model's name.
    """
    types: dict[str, type] = {}
    for entry in fields(experiment):
        section = getattr(experiment, entry.name)
        if isinstance(section, Model):
            known = architecture_settings(section.architecture)
            types["model.architecture"] = str
            types |= {f"model.{name}": setting.kind for name, setting in known.items()}
        elif isinstance(section, Section):
            types |= {f"{entry.name}.{name}": kind for name, kind in section.types.items()}
    return types


def settings_to_repeat(experiment: Experiment, logged: Mapping[str, str]) -> dict[str, str]:
    """Of what a run logged the settings that make it again: all but what its search finds.

    Args:
        experiment: the run's page.
        logged: the run's parameters.
    """
    sections = {name.partition(".")[0] for name in types_of_settings(experiment)}
    searched = experiment.search.space if experiment.search is not None else {}
    return {
        name: text
        for name, text in logged.items()
        if name.partition(".")[0] in sections and name not in searched
    }


def require_no_search(experiment: Experiment, *, each: str) -> None:
    """Raise if a page searches, of which each of several runs (`each` says which) would do so."""
    if experiment.search is not None:
        raise CifarTrackError(
            f"{experiment.name!r} searches, and each {each} would be a search; expected a page "
            "without one"
        )


def require_unsearched(experiment: Experiment, given: Iterable[str]) -> None:
    """Raise if a setting that was given is what the page's search draws for each trial."""
    search = experiment.search
    if search is None:
        return
    for name in given:
        if name in search.space:
            raise CifarTrackError(
                f"{name} is drawn for each trial of {experiment.name!r}; leave it out, or change "
                "the page's space"
            )


def other_settings(experiment: Experiment, logged: Mapping[str, str]) -> set[str]:
    """The settings of which a run logged another value than the experiment has.

    Args:
        experiment: the settings that are expected.
        logged: the run's parameters; what is absent is no other value.
    """
    return {
        name
        for name, value in flatten(experiment).items()
        if name in logged and typed(logged[name], type(value), name=name) != value
    }


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


def _line_of(error: Exception, path: Path) -> str:
    """Which line of a page raised, as `, line 12`; nothing where none is known."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    return "" if line is None else f", line {line}"


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


def _changed(section: Any, settings: Mapping[str, Value]) -> Any:
    if not isinstance(section, Model):
        return replace(section, **settings)
    given = {**section.settings, **settings}
    given.pop("architecture", None)  # it has that already
    return complete_model(Model(section.architecture, **given))


def _with_architecture(experiment: Experiment, architecture: str) -> Experiment:
    known = architecture_settings(architecture)
    kept = {name: value for name, value in experiment.model.settings.items() if name in known}
    return replace(experiment, model=Model(architecture, **kept))
