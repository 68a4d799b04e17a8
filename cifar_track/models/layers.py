"""What the architectures share: fast layers, precision, standard equivalents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

# Channels from which a product a tap is faster than oneDNN's way, whatever the size of the maps.
_WIDE = 128
# cuDNN refuses a smaller epsilon; Keras's own path takes any.
_SMALLEST_FUSED_EPSILON = 1e-5


@keras.saving.register_keras_serializable("cifar_track")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalisation, computed by TensorFlow's fused kernel.

    Same weights, configuration and results. Keras 3 writes the normalisation out as separate
    operations, which on a CPU cost more than the convolutions around them; the fused kernel does
    them in one pass. It takes channels-last images, (N, H, W, C); anything else, a mask, or
    synchronised replicas take Keras's way.
    """

    def call(
        self,
        inputs: tf.Tensor,
        training: bool | None = None,  # noqa: FBT001 - Keras's own signature
        mask: Any = None,
    ) -> tf.Tensor:
        """Normalise (N, H, W, C), in training by the batch's statistics, else the moving ones."""
        if not self._fused_kernel_applies(inputs, mask):
            return super().call(inputs, training=training, mask=mask)
        with_batch_statistics = bool(training) and self.trainable
        normalized, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self._of_channels(self.gamma, inputs, otherwise=1.0),
            offset=self._of_channels(self.beta, inputs, otherwise=0.0),
            mean=[] if with_batch_statistics else tf.convert_to_tensor(self.moving_mean),
            variance=[] if with_batch_statistics else tf.convert_to_tensor(self.moving_variance),
            epsilon=self.epsilon,
            is_training=with_batch_statistics,
        )
        if with_batch_statistics:
            # The kernel reports the variance of the population (over n - 1), Keras keeps the
            # variance of the batch (over n).
            count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), variance.dtype)
            self._move(self.moving_mean, mean)
            self._move(self.moving_variance, variance * (tf.maximum(count - 1, 1) / count))
        return normalized

    def _fused_kernel_applies(self, inputs: tf.Tensor, mask: Any) -> bool:
        return (
            len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and mask is None
            and not self.synchronized
            and not self.renorm
            and self.epsilon >= _SMALLEST_FUSED_EPSILON
            and inputs.dtype in (tf.float32, tf.bfloat16, tf.float16)
        )

    def _of_channels(
        self, variable: keras.Variable | None, inputs: tf.Tensor, *, otherwise: float
    ) -> tf.Tensor:
        if variable is not None:
            return tf.convert_to_tensor(variable)
        return tf.fill([inputs.shape[-1]], otherwise)

    def _move(self, moving: keras.Variable, batch: tf.Tensor) -> None:
        batch = tf.cast(batch, moving.dtype)
        moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))


@keras.saving.register_keras_serializable("cifar_track")
class Dropout(keras.layers.Dropout):
    """Keras's dropout, from 8 random bits a unit where Keras draws 32.

    Drawing them is what dropout costs on a CPU. Each unit has a byte, and is dropped if that is
    below 256 rate + u, rounded down, with u drawn once a call between 0 and 1: so with a
    probability of exactly `rate`, as Keras's are. Units of one call share the u, which moves their
    share by up to 1/256; given u they are dropped independently. A noise shape takes Keras's way.
    """

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:  # noqa: FBT001, FBT002
        """In training zero a fraction `rate` of the units and scale up the rest."""
        if not training or self.noise_shape is not None or not 0 < self.rate < 255 / 256:
            return super().call(inputs, training=training)
        units = tf.size(inputs)
        drawn = tf.random.stateless_uniform(
            [units // 4 + 2],  # words of four bytes, and one for u
            tf.cast(self.seed_generator.next(), tf.int32),
            minval=None,
            maxval=None,
            dtype=tf.uint32,
            alg="philox",
        )
        draws = tf.reshape(tf.bitcast(drawn[:-1], tf.uint8), (-1,))
        u = tf.cast(drawn[-1], tf.float32) * 2.0**-32
        kept = draws >= tf.cast(256 * self.rate + u, tf.uint8)
        scales = _where(kept, 1 / (1 - self.rate), inputs.dtype)
        return inputs * tf.reshape(scales[:units], tf.shape(inputs))


def _where(condition: tf.Tensor, value: float, dtype: tf.DType) -> tf.Tensor:
    """A value above 0 where a condition holds, else 0; an even number of them."""
    if dtype.size > 2:
        return tf.cast(condition, dtype) * value
    # TensorFlow multiplies numbers of 16 bits slowly on a CPU. As whole numbers of 32 bits, the
    # bits of two copies of the value are multiplied by 0 or 1 at once.
    pairs = tf.bitcast(tf.reshape(tf.cast(condition, tf.int16), (-1, 2)), tf.int32)
    bits = tf.cast(tf.bitcast(tf.constant(value, dtype), tf.int16), tf.int32)
    return tf.reshape(tf.bitcast(pairs * bits, dtype), (-1,))


@keras.saving.register_keras_serializable("cifar_track")
class Conv2D(keras.layers.Conv2D):
    """Keras's convolution, of which wide ones find their filters' gradient by matrix products.

    Same weights, configuration and results, to rounding. In bfloat16 on a CPU, oneDNN takes that
    gradient at a tenth of the rate of the forward pass where maps are small; as a product for each
    tap of the filter it is no slower than that. 384 filters of 3×3 over 500 maps of 2×2 take 54 ms
    in place of 225, forward and back (`benchmarks.convolutions`). A convolution of 1×1 is such a
    product as it stands. Whatever else there is takes Keras's way: fewer channels, whose products
    are thin; other types, strides, dilations and groups; a GPU.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Convolve (N, H, W, C) with (height, width, C, filters), add the bias, activate."""
        if not self._products_apply(inputs):
            return super().call(inputs)
        kernel = tf.convert_to_tensor(self.kernel)
        height, width = self.kernel_size
        if (height, width) == (1, 1) or tuple(inputs.shape[1:3]) == (1, 1):
            # Of a larger filter, the middle alone sees a map of one place.
            down, right = self.strides
            seen = inputs[:, ::down, ::right]
            outputs = tf.tensordot(seen, kernel[height // 2, width // 2], axes=1)
        else:
            outputs = _convolved(inputs, kernel)
        if self.use_bias:
            # Not `bias_add`, which sums its gradient in bfloat16.
            outputs = outputs + tf.convert_to_tensor(self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def _products_apply(self, inputs: tf.Tensor) -> bool:
        height, width = self.kernel_size
        keeps_the_map = self.padding == "same" and self.strides == (1, 1)
        return (
            inputs.dtype == tf.bfloat16
            and inputs.shape[-1] >= _WIDE
            and self.data_format == "channels_last"
            and self.groups == 1
            and self.dilation_rate == (1, 1)
            and (height == width == 1 or (keeps_the_map and height % 2 == width % 2 == 1))
            and not tf.config.list_physical_devices("GPU")
        )


def _overlaps(side: int) -> Iterator[tuple[slice, slice]]:
    """By each tap of a filter of this side: the inputs that it sees, and the outputs it adds to."""
    for shift in range(-(side // 2), side // 2 + 1):
        before, after = max(shift, 0), min(shift, 0)
        yield slice(before, after or None), slice(-after, -before or None)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _convolved(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """A convolution of an odd side that keeps the size of its maps, and its gradients."""

    def gradients(of_outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        of_inputs = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.shape(inputs),
            filter=kernel,
            out_backprop=of_outputs,
            strides=[1, 1, 1, 1],
            padding="SAME",
        )
        # A tap of the filter has seen the inputs at its own distance from the outputs, where both
        # are on the map.
        height, width, channels, filters = kernel.shape
        taps = [
            tf.matmul(
                tf.reshape(inputs[:, down_inputs, across_inputs], (-1, channels)),
                tf.reshape(of_outputs[:, down_outputs, across_outputs], (-1, filters)),
                transpose_a=True,
            )
            for down_inputs, down_outputs in _overlaps(height)
            for across_inputs, across_outputs in _overlaps(width)
        ]
        return of_inputs, tf.reshape(tf.stack(taps), kernel.shape)

    return tf.nn.conv2d(inputs, kernel, strides=1, padding="SAME"), gradients


# The fast layers by Keras's own that they stand for, and the other way.
_FAST: Mapping[Any, Any] = {
    keras.layers.BatchNormalization: BatchNormalization,
    keras.layers.Conv2D: Conv2D,
    keras.layers.Dropout: Dropout,
}
_STANDARD: Mapping[Any, Any] = {fast: standard for standard, fast in _FAST.items()}


@contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Give layers built inside this activations of `float32` or `bfloat16`, weights of float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def as_standard_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    """A layer's equivalent from Keras itself, computing in float32; without its weights."""
    configuration = layer.get_config()
    if "dtype" in configuration:  # a bare operation, such as a flip, has none
        configuration["dtype"] = "float32"
    kind = _STANDARD.get(type(layer), type(layer))
    return kind.from_config(configuration)


def as_fast_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    """A copy of a layer, the fast one where there is one; without its weights."""
    kind = _FAST.get(type(layer), type(layer))
    return kind.from_config(layer.get_config())
