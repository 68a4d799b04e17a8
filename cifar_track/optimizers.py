"""Keras's optimizers by the settings of a page; Adam fused, Muon for filters too."""

from __future__ import annotations

import keras
import tensorflow as tf

from cifar_track.config import Optimizer, Schedule
from cifar_track.schedules import build_schedule

# What weight decay spares: biases, and the offsets and scales of normalisation.
NOT_DECAYED = r"(^|/)(bias|beta|gamma)(:|$)"
# The dense layer of every architecture that gives the classes; its columns are compared with one
# another, so an orthogonal step is not for it.
OUTPUT_LAYER = "classes"
# Jordan's number for networks of this size; Keras takes five.
ORTHOGONALIZING_STEPS = 3


def build_optimizer(
    settings: Optimizer, schedule: Schedule | None = None, *, steps: int = 1
) -> keras.optimizers.Optimizer:
    """Keras's optimizer of that name and those settings.

    Args:
        settings: the optimizer.
        schedule: the course of its learning rate; it stays as it is unless given.
        steps: of the whole fit, over which that course goes.
    """
    common = {
        "learning_rate": build_schedule(
            schedule or Schedule(), learning_rate=settings.learning_rate, steps=steps
        ),
        "weight_decay": settings.weight_decay or None,
        "global_clipnorm": settings.clip_norm or None,
    }
    optimizer: keras.optimizers.Optimizer
    if settings.name == "sgd":
        optimizer = keras.optimizers.SGD(
            momentum=settings.momentum, nesterov=settings.nesterov, **common
        )
    elif settings.name == "muon":
        optimizer = Muon(
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            adam_lr_ratio=settings.adam_factor,
            # Keras takes Muon's learning rate for this too, and the step that it goes with has
            # `adam_factor` of that.
            adam_weight_decay=settings.weight_decay * settings.adam_factor or None,
            exclude_layers=[f"(^|/){OUTPUT_LAYER}/"],
            rms_rate=None,
            ns_steps=ORTHOGONALIZING_STEPS,
            **common,
        )
    else:
        optimizer = Adam(**common)
    if settings.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=[NOT_DECAYED])
    return optimizer


@keras.saving.register_keras_serializable("cifar_track")
class Adam(keras.optimizers.Adam):
    """Keras's Adam, one pass over a variable in place of a dozen.

    That is worth 0.8 ms of the 19 CPU ms that a step of `adam_bn` takes on one thread. Same
    settings, state and results to rounding. Sparse gradients and AMSGrad take Keras's way.
    """

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Move a variable, and its two moments, along a gradient of its shape."""
        if self.amsgrad or not isinstance(gradient, tf.Tensor):
            super().update_step(gradient, variable, learning_rate)
            return
        index, dtype = self._get_variable_index(variable), variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        beta_1, beta_2 = tf.cast(self.beta_1, dtype), tf.cast(self.beta_2, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=beta_1**step,
            beta2_power=beta_2**step,
            lr=tf.cast(learning_rate, dtype),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )


@keras.saving.register_keras_serializable("cifar_track")
class Muon(keras.optimizers.Muon):
    """Keras's Muon, which takes the filters of a convolution for a matrix as well.

    Keras leaves everything but matrices to Adam, so all filters of a network of convolutions. Here
    filters (height, width, in, out) are the matrix (height · width · in, out), as in Jordan
    (2024), https://kellerjordan.github.io/posts/muon. The products are computed in bfloat16, where
    an error of a hundredth does not matter; a step is of spectral norm `learning_rate`, and
    `rms_rate` is not for filters.
    """

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        if len(variable.shape) != 4:
            return bool(super()._should_use_adamw(variable))
        return False

    def zeropower_via_newtonschulz5(self, x: tf.Tensor, steps: int) -> tf.Tensor:
        """The orthogonal matrix nearest to a gradient's, about.

        After three steps its singular values are 0.7 to 1.2 where the gradient's are at least a
        fiftieth of its norm; smaller ones are left smaller.
        """
        matrix = tf.reshape(x, (-1, x.shape[-1]))
        norm = tf.norm(matrix) + 1e-7  # before bfloat16 could lose what is small
        orthogonal = super().zeropower_via_newtonschulz5(tf.cast(matrix / norm, tf.bfloat16), steps)
        return tf.reshape(tf.cast(orthogonal, x.dtype), x.shape)
