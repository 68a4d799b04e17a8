"""Keras's optimizers, each variable updated by one of TensorFlow's fused kernels."""

from __future__ import annotations

import keras
import tensorflow as tf

from cifar_track.config import Optimizer


def build_optimizer(settings: Optimizer) -> keras.optimizers.Optimizer:
    """Keras's optimizer of that name and those settings."""
    if settings.name == "sgd":
        return SGD(settings.learning_rate, momentum=settings.momentum)
    return Adam(settings.learning_rate)


class SGD(keras.optimizers.SGD):
    """Keras's gradient descent; with momentum, one pass over a variable in place of five.

    Same settings, state and results to rounding. Sparse gradients and Nesterov's momentum take
    Keras's way.
    """

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Move a variable, and its momentum, along a gradient of its shape."""
        if not self.momentum or self.nesterov or not isinstance(gradient, tf.Tensor):
            super().update_step(gradient, variable, learning_rate)
            return
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=self.momentums[self._get_variable_index(variable)].value.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=tf.cast(gradient, variable.dtype),
            momentum=tf.cast(self.momentum, variable.dtype),
        )


class Adam(keras.optimizers.Adam):
    """Keras's Adam, one pass over a variable in place of a dozen.

    Same settings, state and results to rounding. Sparse gradients and AMSGrad take Keras's way.
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
