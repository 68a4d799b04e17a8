"""How a setting is checked, and the one error that tells a person what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any


class CifarTrackError(Exception):
    """An error a person can cause: one line saying what is wrong, what was expected, what to do."""

    exit_status = 2


def nearest(name: str, known: Mapping[str, Any] | tuple[str, ...], *, sign: str = "") -> str:
    """`; did you mean 'x'?`, or the whole list where nothing is near; for the end of an error.

    `sign` is what all of them begin with, and says nothing of how near they are.
    """
    matches = [full for full in known if _initials(full) == name]  # `optimizer.lr`
    matches = matches or difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    if not matches:  # a last part alone, such as `epochs` for `training.epochs`
        matches = [full for full in known if full.rpartition(".")[2] == name][:1]
    if matches:
        return f"; did you mean {sign + matches[0]!r}?"
    return f"; expected one of {', '.join(sign + full for full in known)}"


def _initials(name: str) -> str:
    """A dotted name with the initials of its last part, `optimizer.lr` of the learning rate's."""
    section, dot, last = name.rpartition(".")
    return section + dot + "".join(word[:1] for word in last.split("_"))


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise unless a setting's value is one of a few."""
    if value not in choices:
        raise CifarTrackError(f"{name}={value} is unknown{nearest(str(value), choices)}")


def require(
    name: str,
    value: float,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> None:
    """Raise unless a setting's value is finite and within its bounds."""
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
