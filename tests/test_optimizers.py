"""The fused optimizers against Keras's own, state and all."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cifar_track import optimizers
from cifar_track.config import Optimizer

PAIRS = [
    (optimizers.SGD(0.1, momentum=0.9), keras.optimizers.SGD(0.1, momentum=0.9)),
    (optimizers.SGD(0.1), keras.optimizers.SGD(0.1)),
    (
        optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    ),
    (optimizers.Adam(0.01), keras.optimizers.Adam(0.01)),
    (optimizers.Adam(0.01, amsgrad=True), keras.optimizers.Adam(0.01, amsgrad=True)),
    (
        optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)),
        keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)),
    ),
]


def compiled(optimizer, variables):
    return tf.function(lambda *gradients: optimizer.apply(gradients, variables))


@pytest.mark.parametrize(("ours", "kerass"), PAIRS)
def test_updates_equal_kerass(ours, kerass):
    """Ten steps, the gradients of a million of magnitudes."""
    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape).astype(np.float32) for shape in ((5, 7), (3,))]
    gradients = [
        [rng.normal(size=w.shape).astype(np.float32) * 10.0 ** rng.integers(-3, 4) for w in start]
        for _ in range(10)
    ]
    results = []
    for optimizer in (ours, kerass):
        variables = [keras.Variable(weights) for weights in start]
        optimizer.build(variables)
        step = compiled(optimizer, variables)
        for given in gradients:
            step(*map(tf.constant, given))
        # Weights, then everything that the optimizer keeps, the count of steps included.
        results.append([np.asarray(v) for v in [*variables, *optimizer.variables]])
    assert int(ours.iterations.numpy()) == 10
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5)


def test_sparse_gradients_take_kerass_way():
    table = keras.Variable(np.ones((4, 2), np.float32))
    optimizer = optimizers.SGD(0.5, momentum=0.9)
    optimizer.build([table])
    optimizer.apply([tf.IndexedSlices(tf.ones((1, 2)), tf.constant([2]), (4, 2))], [table])
    np.testing.assert_allclose(table, [[1, 1], [1, 1], [0.5, 0.5], [1, 1]])


def test_the_settings_choose():
    sgd = optimizers.build_optimizer(Optimizer(name="sgd", learning_rate=0.02, momentum=0.8))
    assert isinstance(sgd, keras.optimizers.SGD)
    assert (float(sgd.learning_rate.numpy()), sgd.momentum) == (pytest.approx(0.02), 0.8)
    adam = optimizers.build_optimizer(Optimizer(name="adam", learning_rate=0.003))
    assert isinstance(adam, keras.optimizers.Adam)
    assert float(adam.learning_rate.numpy()) == pytest.approx(0.003)
