"""The fused Adam against Keras's own, state and all; each setting of an optimizer by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cifar_track import optimizers
from cifar_track.config import CifarTrackError, Optimizer

PAIRS = [
    (optimizers.Adam(0.01), keras.optimizers.Adam(0.01)),
    (optimizers.Adam(0.01, amsgrad=True), keras.optimizers.Adam(0.01, amsgrad=True)),
    (
        optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)),
        keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)),
    ),
]


def compiled(optimizer, variables):
    signature = [tf.TensorSpec(variable.shape) for variable in variables]
    return tf.function(lambda *given: optimizer.apply(given, variables), signature)


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
            step(*(tf.constant(gradient, tf.float32) for gradient in given))
        # Weights, then everything that the optimizer keeps, the count of steps included.
        results.append([np.asarray(v) for v in [*variables, *optimizer.variables]])
    assert int(ours.iterations.numpy()) == 10
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5)


def test_sparse_gradients_take_kerass_way():
    results = []
    for kind in (optimizers.Adam, keras.optimizers.Adam):
        table = keras.Variable(np.ones((4, 2), np.float32))
        optimizer = kind(0.5)
        optimizer.build([table])
        optimizer.apply([tf.IndexedSlices(tf.ones((1, 2)), tf.constant([2]), (4, 2))], [table])
        results.append(np.asarray(table))
    np.testing.assert_allclose(*results)


def network():
    """A convolution, a normalisation and the layer of the classes, by their names on the pages."""
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Conv2D(8, 3, name="conv"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Flatten(),
        keras.layers.Dense(16, name="dense"),
        keras.layers.Dense(5, name="classes"),
    ]
    x = inputs = keras.Input((6, 6, 3))
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


def moved(settings, gradients_of, *, steps=1):
    """By how much the settings' optimizer moves each weight of the network, by its path."""
    model = network()
    weights = model.trainable_variables
    before = [np.asarray(weight) for weight in weights]
    optimizer = optimizers.build_optimizer(settings)
    optimizer.build(weights)
    step = compiled(optimizer, weights)
    for _ in range(steps):
        step(*[tf.constant(gradients_of(weight), tf.float32) for weight in weights])
    return {
        weight.path: (first, np.asarray(weight) - first)
        for weight, first in zip(weights, before, strict=True)
    }


def test_the_settings_choose():
    sgd = optimizers.build_optimizer(Optimizer(name="sgd", learning_rate=0.02, momentum=0.8))
    assert type(sgd) is keras.optimizers.SGD
    assert (float(sgd.learning_rate.numpy()), sgd.momentum) == (pytest.approx(0.02), 0.8)
    assert not sgd.nesterov
    assert sgd.weight_decay is None
    assert sgd.global_clipnorm is None
    adam = optimizers.build_optimizer(Optimizer(name="adam", learning_rate=0.003))
    assert isinstance(adam, keras.optimizers.Adam)
    assert float(adam.learning_rate.numpy()) == pytest.approx(0.003)


def test_nesterovs_momentum_looks_ahead():
    # Two steps along 1: momentum goes -0.1, -0.19; a step looks 0.9 of that further.
    settings = Optimizer(name="sgd", learning_rate=0.1, momentum=0.9, nesterov=True)
    both = moved(settings, lambda weight: np.ones(weight.shape), steps=2)
    for _, change in both.values():
        np.testing.assert_allclose(change, (0.9 * -0.1 - 0.1) + (0.9 * -0.19 - 0.1), atol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adam", "muon"])
def test_weight_decay_takes_its_part_of_all_but_biases_and_normalisation(name):
    settings = Optimizer(name=name, learning_rate=0.1, weight_decay=0.5)
    decayed = moved(settings, lambda weight: np.zeros(weight.shape))
    for path, (first, change) in decayed.items():
        part = 0.1 * 0.5 if path.endswith("kernel") else 0.0
        np.testing.assert_allclose(change, -part * first, atol=1e-6, err_msg=path)
    assert np.abs(decayed["norm/gamma"][0]).min() == 1  # it had something to lose


def test_gradients_are_cut_to_a_norm_together():
    weights = sum(np.prod(weight.shape) for weight in network().trainable_variables)
    settings = Optimizer(name="sgd", learning_rate=1.0, clip_norm=0.5)
    for _, change in moved(settings, lambda weight: np.ones(weight.shape)).values():
        np.testing.assert_allclose(change, -0.5 / np.sqrt(weights), rtol=1e-5)
    # Shorter ones are left as they are.
    settings = Optimizer(name="sgd", learning_rate=1.0, clip_norm=1e6)
    for _, change in moved(settings, lambda weight: np.ones(weight.shape)).values():
        np.testing.assert_allclose(change, -1, rtol=1e-5)


@pytest.mark.parametrize("path", ["conv/kernel", "dense/kernel"])
def test_muon_moves_filters_and_matrices_by_orthogonal_steps(path):
    rng = np.random.default_rng(0)
    drawn = {w.path: rng.normal(size=w.shape) for w in network().trainable_variables}
    settings = Optimizer(name="muon", learning_rate=0.1, momentum=0.9, nesterov=True)
    _, change = moved(settings, lambda weight: drawn[weight.path])[path]
    matrix = -change.reshape(-1, change.shape[-1]) / 0.1
    left, _, right = np.linalg.svd(drawn[path].reshape(matrix.shape), full_matrices=False)
    # The same directions as the gradient's, each about as far: the iteration's own spread.
    turned = left.T @ matrix @ right.T
    lengths = np.diag(turned)
    assert lengths.min() > 0.5
    assert lengths.max() < 1.3
    np.testing.assert_allclose(turned - np.diag(lengths), 0, atol=0.05)


def test_muon_leaves_the_rest_to_adam_at_its_own_rate():
    settings = Optimizer(name="muon", learning_rate=0.1, momentum=0.9, adam_factor=0.25)
    changes = moved(settings, lambda weight: np.full(weight.shape, 3.0))
    for path in ("conv/bias", "norm/gamma", "norm/beta", "dense/bias", "classes/kernel"):
        # Adam's first step is the learning rate, whatever the gradient.
        np.testing.assert_allclose(changes[path][1], -0.1 * 0.25, rtol=1e-4, err_msg=path)


def test_what_muon_leaves_to_adam_decays_by_the_rate_of_its_own_steps():
    settings = Optimizer(name="muon", learning_rate=0.1, weight_decay=0.5, adam_factor=0.25)
    decayed = moved(settings, lambda weight: np.zeros(weight.shape))
    for path, factor in (("conv/kernel", 1), ("dense/kernel", 1), ("classes/kernel", 0.25)):
        first, change = decayed[path]
        np.testing.assert_allclose(change, -0.1 * factor * 0.5 * first, atol=1e-6, err_msg=path)


@pytest.mark.parametrize("kind", [optimizers.Adam, optimizers.Muon])
def test_ours_are_built_again_from_their_configuration(kind):
    optimizer = kind(0.02, weight_decay=0.1)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is kind
    assert again.get_config() == optimizer.get_config()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"name": "muom"}, "did you mean 'muon'"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1"),
        ({"clip_norm": float("nan")}, "clip_norm=nan"),
        ({"adam_factor": 0.0}, "adam_factor=0.0"),
        ({"nesterov": True}, "expected optimizer.momentum above 0"),
    ],
)
def test_wrong_settings_are_told(setting, words):
    with pytest.raises(CifarTrackError, match=words):
        Optimizer(**setting)
