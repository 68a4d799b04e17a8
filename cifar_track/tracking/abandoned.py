"""Runs that say RUNNING although nobody works on them, and their mending."""
from __future__ import annotations
from dataclasses import dataclass
@dataclass(frozen=True, kw_only=True)
class Abandoned:
    """x."""
def find_abandoned() -> list[Abandoned]: return []
def mend(x) -> None: return None
