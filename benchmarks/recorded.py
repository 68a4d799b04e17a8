"""Results that are dear to have: a line of a file each, and what is in the file not made again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cifar_track.tuning.resources import worker_environment


def read(file: Path) -> list[dict[str, Any]]:
    """The results that the file has, those of an earlier command too."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def add(result: Mapping[str, Any], file: Path) -> None:
    """Add a result, once it is whole."""
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(result) + "\n")


def measure_apart(module: str, *arguments: str | Path) -> None:
    """Call a benchmark in a process of its own, with one thread."""
    subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, **worker_environment(threads=1, device=None)},
        check=True,
    )
