"""What watches a fit: its best epoch, and losses that are no numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import keras
import numpy as np
from numpy.typing import NDArray

from cifar_track.config import CifarTrackError

EpochListener = Callable[[int, Mapping[str, float]], None]


class BestEpoch(keras.callbacks.Callback):
    """Renames an epoch's metrics, hands them on, and remembers the weights of the best."""

    def __init__(self, on_epoch: EpochListener) -> None:
        super().__init__()
        self.on_epoch = on_epoch
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self.weights: list[NDArray[np.float32]] = []

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Take the epoch's metrics, and its weights where it is the best so far."""
        logs = logs or {}
        metrics = {
            "train_loss": float(logs["loss"]),
            "train_accuracy": float(logs["accuracy"]),
            "val_loss": float(logs["val_loss"]),
            "val_accuracy": float(logs["val_accuracy"]),
        }
        self.history.append(metrics)
        best = self.history[self.best_epoch - 1]["val_accuracy"] if self.best_epoch else -1.0
        if metrics["val_accuracy"] > best:
            self.best_epoch = epoch + 1
            self.weights = self.model.get_weights()
        self.on_epoch(epoch + 1, metrics)


class StopAtNaN(keras.callbacks.Callback):
    """Ends a fit whose loss is no number any more, rather than let it run to its last epoch."""

    def __init__(self, steps_at_once: int) -> None:
        super().__init__()
        self.steps_at_once = steps_at_once

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        """Count the epoch."""
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Refuse a loss that is no number."""
        if not math.isfinite(float((logs or {}).get("loss", 0.0))):
            first, last = batch + 2 - self.steps_at_once, batch + 1
            steps = f"step {last}" if first == last else f"steps {first} to {last}"
            raise CifarTrackError(
                f"the loss became {(logs or {})['loss']} in epoch {self.epoch}, {steps}; "
                "expected a number; a lower optimizer.learning_rate may help"
            )
