"""Measures what keeping a checkpoint after each epoch costs, as a share of an epoch.

    TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1 python -m benchmarks.checkpoints

Fits the study's network for a few epochs of an eighth of the images, as a trial does, with the
checkpoints that a trial keeps. Wall seconds hang on the disk, which is waited for.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import BATCH, TRAINING_IMAGES, images

STEPS = 88  # an eighth of an epoch's, and as many of them at once


def main() -> None:
    """Fit, and print what the checkpoints took of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=6, help="the first is not counted")
    given = parser.parse_args()
    from cifar_track import training
    from cifar_track.config import load_experiment, override
    from cifar_track.training import checkpoints

    save, saves, epochs = checkpoints.save, [], []

    def timed_save(*state: Any, **named: Any) -> None:
        began = now()
        save(*state, **named)
        saves.append(since(began))

    def end_epoch(*_: object) -> None:
        nonlocal began
        epochs.append(since(began))
        began = now()

    checkpoints.save = timed_save
    page = override(load_experiment("tune"), {"training.epochs": given.epochs})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "checkpoint")
        began = now()
        training.fit(
            page, images(BATCH * STEPS), images(1), classes=100, on_epoch=end_epoch, checkpoint=file
        )
        print(f"checkpoint: {file.stat().st_size / 1e6:.1f} MB")
    for column, kind in enumerate(("CPU", "wall")):
        each = np.array(saves)[1:, column]
        trained = np.median(np.array(epochs)[1:, column] - each)
        epoch = trained * TRAINING_IMAGES / (BATCH * STEPS)
        print(
            f"{kind} seconds: {np.median(each):.3f} ({each.min():.3f} to {each.max():.3f}) a "
            f"checkpoint, {epoch:.1f} an epoch of {TRAINING_IMAGES:,} images: "
            f"{100 * np.median(each) / epoch:.2f} %"
        )


def now() -> tuple[float, float]:
    """Processor and wall seconds."""
    return time.process_time(), time.perf_counter()


def since(began: tuple[float, float]) -> tuple[float, float]:
    """Those since a moment."""
    cpu, wall = now()
    return cpu - began[0], wall - began[1]


if __name__ == "__main__":
    main()
