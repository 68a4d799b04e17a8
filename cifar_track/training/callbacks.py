"""What watches a fit: its best epoch, the average of its weights, and whether it has diverged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cifar_track.config import CifarTrackError, first_best

EpochListener = Callable[[int, Mapping[str, float]], None]
StepListener = Callable[[int, int, int], None]

# The name of the loss without label smoothing, where that is not the loss itself.
CROSS_ENTROPY = "cross_entropy"

# Guessing costs log(classes), 4.6 nats for 100. Validation may be far worse than that for an epoch,
# while the statistics of normalisation lag behind; training as a whole not.
REASONABLE_LOSS = 100.0
# A product of two such weights' sums still fits a float32.
REASONABLE_WEIGHT = 1e8
TO_DO = "a lower optimizer.learning_rate may help"


class BestEpoch(keras.callbacks.Callback):
    """Renames an epoch's metrics, and remembers the weights of the best by one of them."""

    def __init__(self, choose_by: str) -> None:
        super().__init__()
        self.choose_by = choose_by
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self.weights: list[NDArray[np.float32]] = []

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Note the metrics of epoch `epoch`, from 0, and its weights if it is the best so far."""
        logs = logs or {}
        metrics = {
            "train_loss": float(logs["loss"]),
            "train_accuracy": float(logs["accuracy"]),
            "val_loss": float(logs.get(f"val_{CROSS_ENTROPY}", logs["val_loss"])),
            "val_accuracy": float(logs["val_accuracy"]),
        }
        self.history.append(metrics)
        scores = [metrics[self.choose_by] for metrics in self.history]
        if first_best(scores, maximize=not self.choose_by.endswith("loss")) == epoch:
            self.best_epoch = epoch + 1
            self.weights = self.model.get_weights()


class Steps(keras.callbacks.Callback):
    """Hands on how many steps of an epoch are over."""

    def __init__(self, on_step: StepListener, steps: int) -> None:
        super().__init__()
        self.on_step = on_step
        self.steps = steps

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        """Count the epoch."""
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:  # noqa: ARG002
        """Hand on the number of steps."""
        self.on_step(self.epoch, batch + 1, self.steps)


class StopDiverged(keras.callbacks.Callback):
    """Ends a fit whose loss or weights are no numbers, or beyond reason, and says when."""

    def __init__(self, steps_at_once: int) -> None:
        super().__init__()
        self.steps_at_once = steps_at_once

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        """Note which epoch it is."""
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Look at the mean loss of the epoch so far, after each execution of a few steps."""
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            first, last = batch + 2 - self.steps_at_once, batch + 1
            steps = f"step {last}" if first == last else f"steps {first} to {last}"
            raise CifarTrackError(
                f"the loss became {loss} in epoch {self.epoch}, {steps}; expected a number; {TO_DO}"
            )

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Look at the epoch's losses and at every weight."""
        logs = logs or {}
        for name, most in (("loss", REASONABLE_LOSS), ("val_loss", math.inf)):
            if not logs.get(name, 0.0) <= most or math.isinf(logs.get(name, 0.0)):
                raise CifarTrackError(
                    f"the {name.replace('_', ' ')} is {logs[name]:.4g} after epoch {epoch + 1}; "
                    f"expected a number, and of training one below {REASONABLE_LOSS:g}; {TO_DO}"
                )
        for weight in self.model.weights:
            largest = float(np.abs(np.asarray(weight)).max(initial=0.0))
            if not largest <= REASONABLE_WEIGHT and "seed" not in weight.path:
                raise CifarTrackError(
                    f"the weight {weight.path} reached {largest:.4g} in epoch {epoch + 1}; "
                    f"expected at most {REASONABLE_WEIGHT:g}; {TO_DO}"
                )


class AverageWeights(keras.callbacks.Callback):
    """Keeps a moving average of all but what is frozen, which is judged in its place.

    Keras's optimizers average too, but only what they move themselves, so that the statistics of
    normalisation would be those of other weights. Here these are averaged alike. The first steps
    count more, so that nothing of the initial weights is left (Kingma and Ba 2014, section 7.2).
    """

    def __init__(self, momentum: float, steps_at_once: int) -> None:
        super().__init__()
        self.momentum = momentum
        self.steps_at_once = steps_at_once
        self._restored: list[NDArray[Any]] = []

    def state(self) -> list[NDArray[Any]]:
        """What has been averaged so far, as `restore` takes it."""
        return [*(np.asarray(total) for total in self.sums), np.asarray(self.share)]

    def restore(self, state: list[NDArray[Any]]) -> None:
        """Begin the next fit with what an earlier one had averaged."""
        self._restored = state

    def on_train_begin(self, logs: object = None) -> None:  # noqa: ARG002
        """Begin with nothing averaged, or with what was restored."""
        frozen = {
            id(w) for layer in self.model.layers if not layer.trainable for w in layer.weights
        }
        floating = [
            weight
            for weight in self.model.weights
            if weight.dtype.startswith(("float", "bfloat")) and id(weight) not in frozen
        ]
        self.weights = [weight.value for weight in floating]
        self.sums = [tf.Variable(tf.zeros_like(weight)) for weight in self.weights]
        self.kept = [tf.Variable(tf.zeros_like(weight)) for weight in self.weights]
        self.share = 0.0
        if self._restored:
            *sums, share = self._restored
            self.share = float(share)
            for total, restored in zip(self.sums, sums, strict=True):
                total.assign(restored)
        self._add = tf.function(self._add_weights, autograph=False)

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:  # noqa: ARG002
        """Add the weights as they are after an execution of a few steps."""
        # Of both the same number, or all weights would be too large or too small by what differs.
        momentum = float(np.float32(self.momentum**self.steps_at_once))
        self._add(tf.constant(momentum))
        self.share = momentum * self.share + 1 - momentum

    def on_test_begin(self, logs: object = None) -> None:  # noqa: ARG002
        """Put the average in the place of the weights."""
        for weight, total, kept in zip(self.weights, self.sums, self.kept, strict=True):
            kept.assign(weight)
            weight.assign(total / self.share)

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        """Put the weights back, once whoever keeps the best has seen the average."""
        for weight, kept in zip(self.weights, self.kept, strict=True):
            weight.assign(kept)

    def _add_weights(self, momentum: tf.Tensor) -> None:
        for weight, total in zip(self.weights, self.sums, strict=True):
            total.assign(momentum * total + (1 - momentum) * weight)
