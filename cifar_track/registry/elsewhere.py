"""How a model behaves where this package is not, asked in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cifar_track.config import CifarTrackError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCRIPT = Path(__file__).with_name("asked_elsewhere.py")


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What a model did elsewhere.

    Attributes:
        probabilities: float64 (N, C), for the images that it was given.
        load_seconds: until the first image had its answer.
        milliseconds: the median time of one image.
        megabytes: the size of its folder.
        environment: where it was loaded, in words.
    """

    probabilities: NDArray[np.float64]
    load_seconds: float
    milliseconds: float
    megabytes: float
    environment: str


class FailedElsewhereError(Exception):
    """A model that did not load or predict elsewhere: the last line of what was said."""


def ask_elsewhere(
    folder: Path, images: NDArray[np.uint8], *, fresh_environment: bool = False
) -> Behaviour:
    """Load a model in a process without this package, and ask it.

    Args:
        folder: the model.
        images: uint8 (N, 32, 32, 3).
        fresh_environment: whether to make an environment of the model's own requirements for it.

    Raises:
        FailedElsewhereError: it does not load, or does not predict.
        CifarTrackError: the environment can't be made.
    """
    with tempfile.TemporaryDirectory() as place:
        python, environment = sys.executable, "a fresh process"
        if fresh_environment:
            python = _make_environment(Path(place, "environment"), folder / "requirements.txt")
            environment = "a fresh environment of its own requirements"
        np.save(Path(place, "images.npy"), images)
        answer = Path(place, "answer.npz")
        done = subprocess.run(  # noqa: S603 - this package's own script
            [python, "-I", str(SCRIPT), str(folder), str(Path(place, "images.npy")), str(answer)],
            cwd=place,
            env={k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0 or not answer.is_file():
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise FailedElsewhereError(lines[-1])
        with np.load(answer, allow_pickle=False) as found:
            return Behaviour(
                probabilities=found["probabilities"],
                load_seconds=float(found["load_seconds"]),
                milliseconds=float(found["milliseconds"]),
                megabytes=sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6,
                environment=environment,
            )


def _make_environment(place: Path, requirements: Path) -> str:
    """Install a model's requirements, and nothing else; returns the environment's Python."""
    python = place / "bin" / "python"
    uv = shutil.which("uv")
    make = [uv, "venv", "-q", "--python", sys.executable, str(place)] if uv else None
    install = [uv, "pip", "install", "-q", "--python", str(python)] if uv else None
    commands = [
        make or [sys.executable, "-m", "venv", str(place)],
        [*(install or [str(python), "-m", "pip", "install", "-q"]), "-r", str(requirements)],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise CifarTrackError(
                f"an environment of the model's requirements could not be made ({said[-1]}); "
                "without -P fresh_environment=true the model is checked in this one"
            )
    return str(python)
