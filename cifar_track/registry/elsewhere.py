"""How a model behaves where this package is not, asked in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifar_track import child
from cifar_track.config import CifarTrackError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCRIPT = Path(__file__).with_name("asked_elsewhere.py")
# A gigabyte has come in by then, and a model that answers has answered.
ENVIRONMENT_SECONDS = 1800.0
ANSWER_SECONDS = 3600.0


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
    folder: Path,
    images: NDArray[np.uint8],
    *,
    fresh_environment: bool = False,
    on_step: Callable[[str], None] = lambda words: None,
) -> Behaviour:
    """Load a model in a process without this package, and ask it.

    Args:
        folder: the model.
        images: uint8 (N, 32, 32, 3).
        fresh_environment: whether to make an environment of the model's own requirements for it.
        on_step: told what takes the next minutes.

    Raises:
        FailedElsewhereError: it does not load, or does not predict, or not in time.
        CifarTrackError: the environment can't be made.
    """
    with tempfile.TemporaryDirectory() as place:
        python, environment = sys.executable, "a fresh process"
        if fresh_environment:
            python = _make_environment(
                Path(place, "environment"), folder / "requirements.txt", on_step
            )
            environment = "a fresh environment of its own requirements"
        np.save(Path(place, "images.npy"), images)
        answer = Path(place, "answer.npz")
        on_step(f"loading the model in {environment}, and asking it for {len(images):,} images")
        done = _finished(
            [python, "-I", str(SCRIPT), str(folder), str(Path(place, "images.npy")), str(answer)],
            seconds=ANSWER_SECONDS,
            cwd=place,
            env={k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")},
        )
        if done.returncode != 0 or not answer.is_file():
            raise FailedElsewhereError(_last_line(done))
        with np.load(answer, allow_pickle=False) as found:
            return Behaviour(
                probabilities=found["probabilities"],
                load_seconds=float(found["load_seconds"]),
                milliseconds=float(found["milliseconds"]),
                megabytes=sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6,
                environment=environment,
            )


def _make_environment(place: Path, requirements: Path, on_step: Callable[[str], None]) -> str:
    """Install a model's requirements, and nothing else; returns the environment's Python."""
    python = place / "bin" / "python"
    uv = shutil.which("uv")
    if uv:
        make = [uv, "venv", "-q", "--python", sys.executable, str(place)]
        install = [uv, "pip", "install", "-q", "--python", str(python), "-r", str(requirements)]
    else:
        make = [sys.executable, "-m", "venv", str(place)]
        install = [str(python), "-m", "pip", "install", "-q", "--no-input", "-r", str(requirements)]
    tool = "uv" if uv else "pip"
    on_step(
        f"making an environment of the model's own requirements with {tool}, "
        "which may bring in a gigabyte"
    )
    until = time.monotonic() + ENVIRONMENT_SECONDS
    for command in (make, install):
        done = _finished(command, seconds=until - time.monotonic())
        if done.returncode != 0:
            raise CifarTrackError(
                f"{tool} could not make an environment of the model's requirements "
                f"({_last_line(done)}), for which it needs a package index or its cache; "
                "without -P fresh_environment=true the model is checked in this one"
            )
    return str(python)


def _finished(
    command: list[str], *, seconds: float, **settings: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; one that waits for a word from a person gets none."""
    try:
        return subprocess.run(  # noqa: S603 - commands of this file
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            **settings,
        )
    except subprocess.TimeoutExpired as error:
        raise FailedElsewhereError(
            f"{Path(command[0]).name} was ended after {seconds / 60:.0f} minutes"
        ) from error


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return child.last_line(done.stderr, otherwise=f"exit status {done.returncode}")
