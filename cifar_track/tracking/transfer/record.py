"""What a transfer found, did and left, and which ids it gave."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

Entry = TypeVar("Entry")

_AN_ID = re.compile(r"\b(?:m-)?[0-9a-f]{32}\b")


@dataclass(kw_only=True)
class Transfer:
    """What a call found and did.

    Attributes:
        found: by kind (`experiment`, `run`, `model`, `version`, `alias`), how many there are.
        moved: by kind, how many were copied now; the rest stood in the other store already.
        left: one line each on what was left behind, and why.
        differing: ids of the runs whose copy, read back, is not what was read here.
        runs: the new id of each run by its old one.
        models: the new id of each logged model by its old one.
    """

    found: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)
    left: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    runs: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)

    def renamed(self, text: str) -> str:
        """A text in which the ids of runs and models are those of the other store."""
        known = {**self.runs, **self.models}
        return _AN_ID.sub(lambda found: known.get(found[0], found[0]), text)


def entries(search: Callable[..., Any], *given: Any, **named: Any) -> Iterator[Any]:
    """Every entry of one of MLflow's searches, page by page."""
    token = None
    while True:
        page = search(*given, **named, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def batches(entries: Sequence[Entry], size: int) -> Iterator[Sequence[Entry]]:
    """Entries in order, so many at a time, as MLflow limits a request."""
    for start in range(0, len(entries), size):
        yield entries[start : start + size]
