"""The search space: checked, counted, and a trial's values applied to the page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from cifar_track.config import (
    Augmentation,
    Choice,
    CifarTrackError,
    Experiment,
    FloatRange,
    IntRange,
    Range,
    Search,
    Value,
    flatten,
    override,
)
from cifar_track.seeds import Purpose, derived_seed

HYPERBAND_FACTOR = 3


def range_values(values: Range) -> tuple[Value, ...]:
    """Every value of a range in order, both ends included.

    Floats are rounded to 12 digits, so that three steps of 0.1 are 0.3 and not
    0.30000000000000004.
    """
    match values:
        case IntRange(low=low, high=high, step=step):
            return tuple(range(low, high + 1, step))
        case FloatRange(low=start, high=end, step=width):
            # The tolerance keeps the upper end, where (0.5 - 0.0) // 0.1 is 4 and not 5.
            steps = math.floor((end - start) / width + 1e-9)
            return tuple(float(f"{start + index * width:.12g}") for index in range(steps + 1))
        case Choice(values=choices):
            return choices


def check_space(experiment: Experiment) -> Search:
    """The experiment's search, once everything in its space is known to fit the experiment.

    Raises:
        CifarTrackError: there is no search or nothing to search over; a name is unknown or can't
            be varied from trial to trial; a range is empty or has a value of a wrong type.
    """
    search = experiment.search
    if search is None:
        raise CifarTrackError(
            f"experiment {experiment.name!r} has no search; expected search=Search(...)"
        )
    if not search.space:
        raise CifarTrackError(
            f"experiment {experiment.name!r} has an empty search.space; name a setting"
        )
    if search.tuner == "hyperband" and search.stop != "none":
        raise CifarTrackError(
            f"search.stop={search.stop} is not for hyperband, which ends poor trials by itself; "
            "expected none"
        )
    for name, values in search.space.items():
        _check_range(name, values)
        if name.startswith("data."):
            raise CifarTrackError(
                f"search.space has {name!r}; the data are the same in every trial"
            )
        if name.startswith("augmentation.") and search.augmentation == "none":
            raise CifarTrackError(
                f"search.space has {name!r}, and no trial sees it where search.augmentation is "
                "none; expected page"
            )
        if name == "training.epochs" and search.tuner == "hyperband":
            raise CifarTrackError(
                "search.space has 'training.epochs'; hyperband chooses the epochs"
            )
    _check_together(experiment, search.space)
    return search


def trial_experiment(
    experiment: Experiment, *, number: int, values: Mapping[str, Value]
) -> Experiment:
    """The experiment that a trial trains: the page with its values and its seed, without a search.

    The seed is derived from the page's and the trial's number, so that a trial's result does not
    hang on which process ran it or on what ran before, and no two pages share a trial.
    """
    search = check_space(experiment)
    chosen = replace(override(experiment, values), search=None)
    if search.augmentation == "none":
        chosen = replace(chosen, augmentation=Augmentation())
    if search.trial_epochs and "training.epochs" not in values:
        chosen = override(chosen, {"training.epochs": search.trial_epochs})
    if "training.seed" in values:
        return chosen
    return override(
        chosen,
        {"training.seed": derived_seed(experiment.training.seed, Purpose.TRIAL, number)},
    )


def typed_values(experiment: Experiment, values: Mapping[str, Value]) -> dict[str, Value]:
    """Values by dotted name in the types that the page has, in the order of `values`."""
    settings = flatten(experiment)
    values = {name: value for name, value in values.items() if name in settings}
    kinds = {name: type(settings[name]) for name in values}
    return {
        # Keras Tuner turns a choice between booleans into one between 0 and 1.
        name: bool(value) if kinds[name] is bool else kinds[name](value)
        for name, value in values.items()
    }


def planned_trials(experiment: Experiment) -> int:
    """How many trials a search makes if none fails.

    `search.trials`, or every combination of the space where there are fewer. Hyperband takes no
    number of trials: one pass of its brackets over `training.epochs` makes as many as it makes,
    and `search.trials` is not used.

    Raises:
        CifarTrackError: the search or its space is wrong.
    """
    search = check_space(experiment)
    combinations = math.prod(len(range_values(values)) for values in search.space.values())
    if search.tuner != "hyperband":
        return min(search.trials, combinations)
    epochs = search.trial_epochs or experiment.training.epochs
    brackets = 0
    while epochs >= HYPERBAND_FACTOR**brackets:
        brackets += 1
    last_size = math.ceil(1 + math.log(epochs, HYPERBAND_FACTOR))
    return sum(
        math.ceil(last_size / (bracket + 1) * HYPERBAND_FACTOR ** (bracket - successive))
        for bracket in range(brackets)
        for successive in range(bracket + 1)
    )


def _check_together(experiment: Experiment, space: Mapping[str, Range]) -> None:
    """Refuse a space with values that make no sense together, before a trial draws them."""
    for together in _sections(space):
        for combination in itertools.product(*(_ends(space[name]) for name in together)):
            chosen = dict(zip(together, combination, strict=True))
            try:
                override(experiment, chosen)
            except CifarTrackError as error:
                if len(chosen) == 1:
                    raise
                listed = ", ".join(f"{name}={value}" for name, value in chosen.items())
                raise CifarTrackError(f"search.space has trials with {listed}: {error}") from error


def _sections(names: Iterable[str]) -> list[list[str]]:
    """The names that are checked together: those of a section; of an architecture, each alone."""
    sections: dict[str, list[str]] = {}
    for name in names:
        section = name.partition(".")[0]
        sections.setdefault(name if section == "model" else section, []).append(name)
    return list(sections.values())


def _ends(values: Range) -> tuple[Value, ...]:
    """Every value of a choice, the first and the last of a range."""
    listed = range_values(values)
    return listed if isinstance(values, Choice) else (listed[0], listed[-1])


def _check_range(name: str, values: Range) -> None:
    if isinstance(values, Choice):
        if not values.values or len(set(values.values)) < len(values.values):
            raise CifarTrackError(
                f"search.space[{name!r}] is {values.values}; expected one or more different values"
            )
        if len({type(value) for value in values.values}) > 1:
            raise CifarTrackError(
                f"search.space[{name!r}] is {values.values}; expected values of one type"
            )
    elif values.low > values.high or values.step <= 0:
        raise CifarTrackError(
            f"search.space[{name!r}] goes from {values.low} to {values.high} by {values.step}; "
            "expected low <= high and a step above 0"
        )
