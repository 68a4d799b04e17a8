"""A setting's value, from a page, a command line or a tuner: of its setting's type, or refused."""

from __future__ import annotations

import contextlib
import math
import re
from typing import TypeAlias

from cifar_track.config.checks import CifarTrackError

Value: TypeAlias = bool | int | float | str

# What each type looks like, for the end of a refusal.
EXPECTED: dict[type, str] = {
    bool: "true or false",
    int: "a whole number, such as 20",
    float: "a finite number, such as 0.02",
    str: "text",
}
# Python's own `int` and `float` take `1_000` and the digits of any script as well.
_NUMBERS = {
    int: re.compile(r"[+-]?[0-9]+"),
    float: re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"),
}


def typed(value: Value, kind: type, *, name: str) -> Value:
    """A value as its setting has it.

    A text is read: digits as a number (`1e3` only where fractions are allowed too), `true` and
    `false` in any case as a truth, spaces around it left out. A whole number is taken where
    fractions are allowed. Nothing else changes its type; what is no finite number is refused.

    Args:
        value: what was given.
        kind: `bool`, `int`, `float` or `str`.
        name: of the setting, for the refusal.

    Raises:
        CifarTrackError: the value is not of that type, and can't be read as it.
    """
    # A number of thousands of digits, or beyond what a float holds.
    with contextlib.suppress(ValueError, OverflowError):
        if isinstance(value, str):
            read = _read(value.strip(), kind)
        elif kind is float and type(value) is int:
            read = float(value)
        else:
            read = value if type(value) is kind else None
        if read is not None and not (isinstance(read, float) and not math.isfinite(read)):
            return read
    shown = value if isinstance(value, str) and value.isprintable() and value else repr(value)
    raise CifarTrackError(f"{name}={shown} is not {EXPECTED[kind]}")


def _read(text: str, kind: type) -> Value | None:
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower())
    if kind is str:
        return text or None
    if not _NUMBERS[kind].fullmatch(text):
        return None
    return int(text) if kind is int else float(text)
