"""The fast layers against Keras's own, and against what probability says."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from cifar_track.models import for_serving
from cifar_track.models.layers import Conv2D, Dropout, as_fast_layer, as_standard_layer

CALLS = 400


def dropped(layer, inputs):
    return np.asarray(tf.cast(layer(inputs, training=True), tf.float32)) == 0


# 0.1 and 0.3 are no multiples of 1/256: what the byte can't say, the threshold's u must.
@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_each_unit_is_dropped_at_the_rate(rate, dtype):
    layer = Dropout(rate, seed=1, dtype=dtype)
    ones = tf.ones((64, 7, 7, 11), dtype)  # an odd number of units a call
    count = tf.function(lambda: tf.math.count_nonzero(layer(ones, training=True) == 0))
    counts = sum(int(count()) for _ in range(CALLS))
    units = CALLS * 64 * 7 * 7 * 11
    # A step's u moves its share by up to 1/256, which adds to the binomial variance.
    steps = CALLS * (units / CALLS / 256) ** 2 / 4
    deviation = np.sqrt(units * rate * (1 - rate) + steps)
    assert abs(counts - units * rate) < 4 * deviation
    # Bytes alone, rounded down or up, would be seen.
    assert 4 * deviation < units * abs(np.ceil(rate * 256) / 256 - rate) or rate == 0.5


def test_units_are_dropped_independently_of_their_place_and_of_each_other():
    layer = Dropout(0.3, seed=2)
    ones = tf.ones((256, 64))
    masks = np.stack([dropped(layer, ones) for _ in range(40)]).astype(np.float64)
    by_column = masks.sum(axis=(0, 1))
    expected = np.full(64, by_column.mean())
    assert stats.chisquare(by_column / 0.7, expected / 0.7).pvalue > 1e-4
    # Neighbours along every axis, the step included.
    for axis in range(3):
        a = np.take(masks, range(masks.shape[axis] - 1), axis)
        b = np.take(masks, range(1, masks.shape[axis]), axis)
        correlation = np.corrcoef(a.ravel(), b.ravel())[0, 1]
        assert abs(correlation) < 5 / np.sqrt(a.size), axis


def test_any_three_units_are_dropped_independently():
    # At one half a unit's first bit decides, so that exclusive ors of others' would be seen.
    units = 7 * 4 * 1000
    layer = Dropout(0.5, seed=7)
    masks = np.stack([dropped(layer, tf.ones((1, units)))[0] for _ in range(60)])
    for parts in (4, 7, 28):  # near and far neighbours
        a, b, c = masks.reshape(60, parts, -1).swapaxes(0, 1).reshape(parts, -1)[:3]
        together = (a & b & c).mean()
        assert abs(together - 1 / 8) < 5 * np.sqrt(1 / 8 * 7 / 8 / a.size), parts
    # Nor does the number dropped in a call vary otherwise than independent units' does, where u
    # adds nothing.
    layer = Dropout(0.25, seed=8)  # 64 of 256
    counts = [dropped(layer, tf.ones((1, units))).sum() for _ in range(400)]
    ratio = np.var(counts, ddof=1) / (units * 0.25 * 0.75)
    assert stats.chi2.ppf(1e-4, 399) < 399 * ratio < stats.chi2.ppf(1 - 1e-4, 399)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_what_is_kept_is_scaled_as_keras_does_and_gradients_pass_where_units_did(dtype):
    inputs = tf.cast(tf.random.stateless_normal((32, 9), seed=(0, 1)) + 10.0, dtype)
    layer = Dropout(0.4, seed=3, dtype=dtype)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
    gradient = tape.gradient(outputs, inputs)
    assert outputs.dtype == gradient.dtype == dtype
    inputs, outputs, gradient = (
        tf.cast(each, tf.float64).numpy() for each in (inputs, outputs, gradient)
    )
    kept = outputs != 0
    assert 0 < kept.sum() < kept.size
    within = {"float64": 1e-6, "float32": 1e-6, "bfloat16": 2**-7, "float16": 2**-10}[dtype]
    np.testing.assert_allclose(outputs, np.where(kept, inputs / 0.6, 0), rtol=within)
    np.testing.assert_allclose(gradient, np.where(kept, 1 / 0.6, 0), rtol=within)


def test_dropout_does_nothing_but_in_training_and_repeats_by_seed():
    inputs = tf.ones((8, 33))
    np.testing.assert_array_equal(Dropout(0.5, seed=4)(inputs), inputs)
    a, b, other = (dropped(Dropout(0.5, seed=seed), inputs) for seed in (4, 4, 5))
    np.testing.assert_array_equal(a, b)
    assert (a != other).any()


def test_dropout_takes_a_noise_shape_as_keras_does():
    layer = Dropout(0.5, noise_shape=(None, 1), seed=6)
    mask = dropped(layer, tf.ones((64, 10)))
    assert (mask == mask[:, :1]).all()
    assert mask.any()
    assert not mask.all()


def convolved(kind, inputs, dtype, sides=(None, None), **settings):
    """What a layer makes of images, whose sides it may be told, and the gradients of its square."""
    keras.utils.set_random_seed(1)
    layer = kind(dtype="mixed_bfloat16" if dtype == "bfloat16" else dtype, **settings)
    layer.build(inputs.shape)
    layer.bias.assign(tf.linspace(-1.0, 1.0, layer.filters))

    @tf.function(input_signature=[tf.TensorSpec((None, *sides, inputs.shape[-1]), dtype)])
    def square(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = layer(images)
            loss = tf.reduce_sum(tf.cast(outputs, tf.float32) ** 2)
        variables = [layer.kernel.value, layer.bias.value]
        return outputs, *tape.gradient(loss, [images, *variables])

    return [np.asarray(tf.cast(each, tf.float32)) for each in square(tf.cast(inputs, dtype))]


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((1, 1, 130), {"kernel_size": 3, "padding": "same"}),  # which most taps never see
        ((2, 2, 130), {"kernel_size": 3, "padding": "same"}),
        ((5, 7, 130), {"kernel_size": (3, 5), "padding": "same", "activation": "relu"}),
        ((4, 4, 130), {"kernel_size": 1}),
        ((5, 4, 130), {"kernel_size": 1, "strides": (2, 1), "padding": "same"}),
        # Keras's way.
        ((5, 7, 3), {"kernel_size": 3, "padding": "same"}),
        ((4, 4, 130), {"kernel_size": 4, "padding": "same"}),
        ((5, 5, 130), {"kernel_size": 3, "strides": 2, "padding": "same"}),
        ((5, 5, 130), {"kernel_size": 3}),
    ],
)
def test_a_convolution_gives_what_kerass_own_gives_in_float32(shape, settings):
    inputs = tf.random.stateless_normal((6, *shape), seed=(3, 4))
    exact = convolved(keras.layers.Conv2D, inputs, "float32", filters=24, **settings)
    # A layer knows the size of its maps, or meets it with the images.
    for sides in (shape[:2], (None, None)):
        ours = convolved(Conv2D, inputs, "bfloat16", sides, filters=24, **settings)
        for of_ours, of_keras in zip(ours, exact, strict=True):
            assert of_ours.shape == of_keras.shape
            # bfloat16 rounds to a 256th; sums that kept no more would be off by several times that.
            assert np.abs(of_ours - of_keras).max() < 0.01 * np.abs(of_keras).max()


@pytest.mark.parametrize(("channels", "by_products"), [(256, True), (64, False)])
def test_a_wide_convolution_takes_its_filters_gradient_by_products(channels, by_products):
    layer = Conv2D(8, 3, padding="same", dtype="mixed_bfloat16")
    inputs = tf.zeros((2, 4, 4, channels), tf.bfloat16)
    layer.build(inputs.shape)

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            outputs = layer(inputs)
        return tape.gradient(outputs, layer.kernel.value)

    graph = gradient.get_concrete_function().graph
    used = {operation.type for operation in graph.get_operations()}
    assert ("MatMul" in used, "Conv2DBackpropFilter" in used) == (by_products, not by_products)


@pytest.mark.parametrize("kind", [keras.layers.Dropout, keras.layers.BatchNormalization])
def test_fast_layers_and_kerass_own_turn_into_each_other(kind):
    standard = kind(0.3, name="x") if kind is keras.layers.Dropout else kind(epsilon=0.01, name="x")
    fast = as_fast_layer(standard)
    assert type(fast) is not kind
    assert isinstance(fast, kind)
    back = as_standard_layer(fast)
    assert type(back) is kind
    assert back.get_config() == standard.get_config()


def test_a_served_network_holds_kerass_own_layers_alone():
    inputs = keras.Input((32, 32, 3))
    served = for_serving(keras.Model(inputs, Dropout(0.2)(inputs)))
    assert {type(layer).__module__.split(".")[0] for layer in served.layers} == {"keras"}
