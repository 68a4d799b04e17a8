"""How the learning rate goes over the steps of a fit."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from cifar_track.config import Schedule

# PyTorch's `OneCycleLR` begins at this part of the highest learning rate.
FIRST_OF_ONE_CYCLE = 1 / 25


def build_schedule(
    settings: Schedule, *, learning_rate: float, steps: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate of each step of a fit.

    Args:
        settings: its course.
        learning_rate: the highest.
        steps: of the whole fit.

    Returns:
        The number itself where it does not change, else a schedule of Keras's, or one like them.
    """
    rising = min(round(settings.warm_up * steps), steps - 1)  # one is left at the highest
    falling = max(1, steps - rising)
    if settings.shape == "one_cycle":
        return OneCycle(learning_rate, rising=rising, steps=steps, final=settings.final)
    if settings.shape == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            0.0 if rising else learning_rate,
            decay_steps=falling,
            alpha=settings.final,
            warmup_target=learning_rate if rising else None,
            warmup_steps=rising,
        )
    if settings.shape == "linear":
        fall = keras.optimizers.schedules.PolynomialDecay(
            learning_rate, decay_steps=falling, end_learning_rate=settings.final * learning_rate
        )
        return WarmUp(learning_rate, steps=rising, then=fall) if rising else fall
    return WarmUp(learning_rate, steps=rising) if rising else learning_rate


@keras.saving.register_keras_serializable("cifar_track")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """In a line from 0 to a learning rate, then another schedule from its beginning.

    Keras's `CosineDecay` can do so by itself, its `PolynomialDecay` can't.
    """

    def __init__(
        self,
        learning_rate: float,
        *,
        steps: int,
        then: keras.optimizers.schedules.LearningRateSchedule | None = None,
    ) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.steps = steps
        self.then = then

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """The learning rate of a step, counted from 0."""
        step = tf.cast(step, tf.float32)
        after = self.learning_rate if self.then is None else self.then(step - self.steps)
        return tf.where(step < self.steps, self.learning_rate * step / self.steps, after)

    def get_config(self) -> dict[str, Any]:
        """What it is built again from."""
        return {
            "learning_rate": self.learning_rate,
            "steps": self.steps,
            "then": self.then and keras.saving.serialize_keras_object(self.then),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WarmUp:
        """Built again from what `get_config` gave."""
        then = config["then"]
        return cls(**{**config, "then": then and keras.saving.deserialize_keras_object(then)})


@keras.saving.register_keras_serializable("cifar_track")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """By half a cosine from a twenty-fifth of a learning rate up to it, by another one down.

    Smith and Topin (2017), with the curves and the beginning of PyTorch's `OneCycleLR`. Other than
    that one it ends at `final`, a step after the last; its momentum stays as it is.
    """

    def __init__(self, learning_rate: float, *, rising: int, steps: int, final: float) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.rising = rising
        self.steps = steps
        self.final = final

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """The learning rate of a step, counted from 0."""
        step = tf.cast(step, tf.float32)
        up = _half_cosine(FIRST_OF_ONE_CYCLE, 1.0, step / max(1, self.rising))
        down = _half_cosine(
            1.0, self.final, (step - self.rising) / max(1, self.steps - self.rising)
        )
        return self.learning_rate * tf.where(step < self.rising, up, down)

    def get_config(self) -> dict[str, Any]:
        """What it is built again from."""
        return {
            "learning_rate": self.learning_rate,
            "rising": self.rising,
            "steps": self.steps,
            "final": self.final,
        }


def _half_cosine(first: float, last: float, share: tf.Tensor) -> tf.Tensor:
    way = (1 - tf.cos(math.pi * tf.clip_by_value(share, 0.0, 1.0))) / 2
    return first + (last - first) * way
