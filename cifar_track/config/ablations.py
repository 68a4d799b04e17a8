"""What may be switched off on a page to see what it brings: settings and groups of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from cifar_track.config.architectures import architecture_settings
from cifar_track.config.checks import CifarTrackError, nearest
from cifar_track.config.pages import flatten, override
from cifar_track.config.section import Section
from cifar_track.config.settings import Experiment
from cifar_track.config.values import Value

# Of these no value is neutral: they say on what, for how long and from which seed.
NO_ADDITIONS = ("data.", "search.")
NO_ADDITION = (
    "training.epochs",
    "training.batch_size",
    "training.seed",
    "training.deterministic",
    "training.precision",
)


def neutral_values(experiment: Experiment) -> dict[str, Value]:
    """The value of each setting of a page with which it is as if the page did not name it."""
    values: dict[str, Value] = {}
    for entry in fields(experiment):
        section = getattr(experiment, entry.name)
        if entry.name == "model":
            known = architecture_settings(experiment.model.architecture)
            defaults: dict[str, Any] = {name: known[name].default for name in known}
        elif isinstance(section, Section):
            defaults = {field.name: field.default for field in fields(section)}
        else:
            continue
        values |= {
            f"{entry.name}.{name}": value
            for name, value in defaults.items()
            if isinstance(value, bool | int | float | str)
        }
    return {
        name: value
        for name, value in values.items()
        if name not in NO_ADDITION and not name.startswith(NO_ADDITIONS)
    }


def without(experiment: Experiment, text: str) -> dict[str, dict[str, Value]]:
    """What to override for each addition that a person wants to do without.

    Args:
        experiment: the page, with what was overridden.
        text: words between commas: a setting (`augmentation.cutout`), its last part where that is
            unique (`cutout`), a group of settings (`augmentation`), or several of these that go
            off together (`momentum+nesterov`).

    Returns:
        By each word, its names in full, the neutral values of the settings that have others.

    Raises:
        CifarTrackError: no word, one that is unknown, ambiguous, twice there, neutral already, or
            whose neutral value does not go with the rest of the page.
    """
    neutral, now = neutral_values(experiment), flatten(experiment)
    changes: dict[str, dict[str, Value]] = {}
    for word in (part.strip() for part in text.split(",")):
        if not word:
            continue
        parts = [_settings_of(part.strip(), neutral) for part in word.split("+")]
        name = "+".join(full for full, _ in parts)
        values = {
            setting: neutral[setting]
            for _, settings in parts
            for setting in settings
            if now[setting] != neutral[setting]
        }
        if not values:
            raise CifarTrackError(
                f"{name} is neutral on the page {experiment.name!r} already; name what is on: "
                f"{', '.join(n for n in neutral if now[n] != neutral[n]) or 'nothing is'}"
            )
        if values in changes.values():
            raise CifarTrackError(f"{word} is given twice; name each addition once")
        try:
            override(experiment, values)
        except CifarTrackError as error:
            raise CifarTrackError(f"without {name}: {error}") from error
        changes[name] = values
    if not changes:
        raise CifarTrackError(
            "nothing to do without; name settings or groups of them, as in -P without=cutout,mixup"
        )
    return changes


def _settings_of(word: str, neutral: Mapping[str, Value]) -> tuple[str, list[str]]:
    """A word's name in full, and the settings that it stands for."""
    groups = tuple(dict.fromkeys(name.partition(".")[0] for name in neutral))
    if word in groups:
        return word, [name for name in neutral if name.startswith(f"{word}.")]
    found = [name for name in neutral if word in (name, name.partition(".")[2])]
    if len(found) > 1:
        raise CifarTrackError(f"{word!r} may be {' or '.join(found)}; name one in full")
    if not found:
        if word.startswith(NO_ADDITIONS) or word in (
            *NO_ADDITION,
            *(name.partition(".")[2] for name in NO_ADDITION),
        ):
            raise CifarTrackError(
                f"{word} can't be switched off: no value of it is neutral; change it with -P set="
            )
        shorts = dict.fromkeys(name.partition(".")[2] for name in neutral)
        known = tuple(neutral) if "." in word else (*groups, *shorts)
        raise CifarTrackError(f"no addition {word!r}{nearest(word, known)}")
    return found[0], found
