"""What the sections of an experiment have in common: settings of the types of their annotations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, get_type_hints

from cifar_track.config.values import EXPECTED, typed


@dataclass(frozen=True, kw_only=True)
class Section:
    """Settings that are of the types that their annotations say, or are refused."""

    types: ClassVar[Mapping[str, type]]  # of each setting, in the order of the fields

    def __init_subclass__(cls) -> None:
        hints = get_type_hints(cls)
        cls.types = {name: kind for name, kind in hints.items() if kind in EXPECTED}

    def __post_init__(self) -> None:
        for name, kind in self.types.items():
            value = typed(getattr(self, name), kind, name=f"{type(self).__name__.lower()}.{name}")
            object.__setattr__(self, name, value)
