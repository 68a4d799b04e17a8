"""Architectures: settings, shapes, batch normalisation against Keras's own, and what is served."""

import importlib
import inspect
import subprocess
import sys
import warnings

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.legacy.saving import legacy_h5_format

from cifar_track import models, serving, training
from cifar_track.config import (
    CifarTrackError,
    Model,
    Optimizer,
    architecture_names,
    architecture_settings,
    experiment_names,
    load_experiment,
    override,
)
from cifar_track.models import resnet50
from cifar_track.models.layers import BatchNormalization
from cifar_track.optimizers import build_optimizer

SMALL = {
    "filters_1": 4,
    "kernel_1": 3,
    "dropout_1": 0.1,
    "filters_2": 8,
    "kernel_2": 5,
    "dropout_2": 0.0,
    "dense_units": 16,
    "batch_normalization": True,
}


def build(architecture="cnn", *, precision="float32", seed=0, **settings):
    wanted = {**SMALL, **settings} if architecture == "cnn" else settings
    return models.build(Model(architecture, **wanted), classes=100, seed=seed, precision=precision)


def random_images(count=4, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)


def test_the_pages_networks_have_the_studys_layers():
    page = load_experiment("tune").model
    network = models.build(page, classes=100, seed=0, precision="float32")
    kinds = [type(layer).__name__ for layer in network.layers[2:]]
    block = ["Conv2D", "BatchNormalization", "MaxPooling2D", "Dropout"]
    assert kinds == [*block, *block, "Flatten", "Dense", "Dense"]
    # 64 filters of 3x3 on 3 and on 64 channels, 6x6x64 into 256, 256 into 100, by hand.
    convolutions = (3 * 9 * 64 + 64) + (64 * 9 * 64 + 64) + 2 * 4 * 64
    dense = (6 * 6 * 64 * 256 + 256) + (256 * 100 + 100)
    assert network.count_params() == convolutions + dense


def test_outputs_are_probabilities():
    probabilities = np.asarray(build()(random_images().astype(np.float32)))
    assert probabilities.shape == (4, 100)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)


def test_the_seed_decides_the_weights():
    first, again, other = (build(seed=seed).get_weights() for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kernel_1": 0}, "kernel_1=0"),
        ({"dropout_2": 1.0}, "dropout_2=1.0"),
        ({"dense_units": -1}, "dense_units=-1"),
        ({"dense_unit": 3}, "did you mean 'dense_units'"),
    ],
)
def test_wrong_settings_are_told(change, words):
    with pytest.raises(CifarTrackError, match=words):
        build(**change)


def test_an_unknown_architecture_is_told():
    with pytest.raises(CifarTrackError, match="did you mean 'cnn'"):
        models.build(Model("cn"), classes=100, seed=0, precision="float32")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("mixed_bfloat16", 2e-2)])
@pytest.mark.parametrize(("scale", "center"), [(True, True), (False, True), (True, False)])
def test_batch_normalization_equals_kerass(dtype, tolerance, scale, center):
    settings = {"dtype": dtype, "scale": scale, "center": center}
    ours = BatchNormalization(**settings)
    theirs = keras.layers.BatchNormalization(**settings)
    rng = np.random.default_rng(0)
    inputs = tf.constant(rng.normal(2, 3, (16, 7, 5, 6)), tf.float32)
    sides = tf.constant(rng.normal(size=(16, 7, 5, 6)), tf.float32)
    results = []
    for layer in (ours, theirs):
        layer.build(inputs.shape)
        values = [1.5] * scale + [0.3] * center + [0.0, 1.0]
        layer.set_weights([np.full(6, value, "f4") for value in values])
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * sides)
        gradients = tape.gradient(loss, [inputs, *(v.value for v in layer.trainable_variables)])
        results.append([outputs, *gradients, *layer.get_weights(), layer(inputs, training=False)])
    for pair in zip(*results, strict=True):
        mine, reference = (np.asarray(tf.cast(tensor, tf.float32)) for tensor in pair)
        scale = max(1.0, np.abs(reference).max())
        np.testing.assert_allclose(mine / scale, reference / scale, atol=tolerance)
    assert {**ours.get_config(), "name": ""} == {**theirs.get_config(), "name": ""}


@pytest.mark.parametrize("shape", [(8, 5), (8, 4, 5)])
def test_batch_normalization_takes_other_shapes_as_keras_does(shape):
    inputs = np.random.default_rng(0).normal(size=shape).astype("f4")
    ours, theirs = BatchNormalization(), keras.layers.BatchNormalization()
    for layer in (ours, theirs):
        layer(inputs, training=True)
    np.testing.assert_allclose(ours.get_weights()[2], theirs.get_weights()[2], atol=1e-6)


def test_frozen_batch_normalization_uses_and_keeps_the_moving_statistics():
    layer = BatchNormalization()
    layer.build((None, 4, 4, 3))
    layer.trainable = False
    inputs = np.full((2, 4, 4, 3), 5.0, "f4")
    outputs = layer(inputs, training=True)
    np.testing.assert_allclose(outputs, 5.0 / np.sqrt(1 + layer.epsilon), rtol=1e-5)
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(3))


def test_bfloat16_keeps_weights_and_softmax_in_float32():
    network = build(precision="bfloat16")
    assert {weight.dtype for weight in network.weights if "seed" not in weight.path} == {"float32"}
    assert network.output.dtype == "float32"
    assert network.get_layer("block1_conv").compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"  # nothing outside has changed


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_served_model_loads_without_this_package(tmp_path, precision):
    network = build(precision=precision)
    network.compile(build_optimizer(Optimizer()), "sparse_categorical_crossentropy")
    # Statistics other than the first, and an optimizer that is not Keras's own.
    network.train_on_batch(random_images(16).astype("f4"), np.zeros(16))
    served = models.for_serving(network)
    assert served.inputs[0].dtype == "uint8"
    images = random_images()
    expected = np.asarray(served.predict_on_batch(images))
    if precision == "float32":
        direct = np.asarray(network(images.astype("f4"), training=False))
        np.testing.assert_allclose(expected, direct, atol=1e-5)
    loads_alone(served, images, tmp_path)


def loads_alone(served, images, folder):
    """The saved network gives the same answers in a process that has Keras alone."""
    expected = np.asarray(served.predict_on_batch(images))
    served.save(folder / "model.keras")
    np.savez(folder / "given.npz", images=images, expected=expected)
    program = (
        "import keras, numpy as np, sys\n"
        "assert not any('cifar_track' in name for name in sys.modules)\n"
        "given = np.load('given.npz')\n"
        "model = keras.models.load_model('model.keras')\n"
        "np.testing.assert_allclose(\n"
        "    model.predict_on_batch(given['images']), given['expected'], atol=1e-6)\n"
    )
    subprocess.run([sys.executable, "-I", "-c", program], cwd=folder, check=True)


NARROW = {"filters_1": 8, "filters_2": 16, "filters_3": 16}


@pytest.fixture(scope="module")
def whitened():
    """A network with three convolutions in a stage, adapted to images and trained a bit."""
    model = Model("whitened", convolutions_2=3, **NARROW)
    network = models.build(model, classes=100, seed=0, precision="float32")
    smooth = np.cumsum(random_images(300), axis=1) % 256  # neighbours have something in common
    images = smooth.astype(np.uint8)
    models.adapt(network, model, images)
    network.compile(
        build_optimizer(Optimizer(name="muon", momentum=0.6), steps=2),
        "sparse_categorical_crossentropy",
    )
    for step in range(2):
        network.train_on_batch(images[step::2].astype("f4"), np.arange(150) % 100)
    return network, images


def test_the_whitening_filters_make_neighbouring_pixels_independent(whitened):
    network, images = whitened
    responses = np.asarray(network.get_layer("whiten")(images.astype("f4") / 127.5 - 1))
    first = responses[..., :16].reshape(-1, 16)
    np.testing.assert_allclose(responses[..., 16:], -responses[..., :16], atol=1e-4)
    second_moments = first.T @ first / len(first)
    np.testing.assert_allclose(second_moments, np.eye(16), atol=0.1)


def test_whitening_is_left_alone_by_training_and_filters_keep_their_length(whitened):
    network, _ = whitened
    trained = {weight.path for weight in network.trainable_variables}
    assert "whiten/kernel" not in trained
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D) and layer.name != "whiten":
            lengths = np.linalg.norm(np.asarray(layer.kernel).reshape(-1, layer.filters), axis=0)
            np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_a_convolution_begins_by_passing_its_inputs_on():
    network = models.build(Model("whitened", **NARROW), classes=9, seed=0, precision="float32")
    inputs = np.random.default_rng(0).normal(size=(1, 6, 6, 16)).astype("f4")
    np.testing.assert_allclose(network.get_layer("stage2_conv2")(inputs), inputs, atol=1e-6)
    inputs = inputs[..., :8]
    passed = np.asarray(network.get_layer("stage2_conv1")(inputs))
    np.testing.assert_allclose(passed[..., :8], inputs, atol=1e-6)
    assert np.abs(passed[..., 8:]).min() > 0


def test_it_takes_images_of_any_side(whitened):
    network, _ = whitened
    for side in (14, 20, 32):
        assert network(np.zeros((2, side, side, 3), "f4")).shape == (2, 100)


def view(images, *, down, right, mirrored):
    """What a camera a pixel further up or down sees, by NumPy."""
    extended = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    seen = extended[:, 1 + down : 33 + down, 1 + right : 33 + right]
    return seen[:, :, ::-1] if mirrored else seen


@pytest.mark.parametrize("views", [1, 2, 6])
def test_a_served_network_answers_with_the_mean_of_its_views(whitened, views):
    network, images = whitened
    images = images[:5]
    weights = {(0, False): 1.0}
    if views > 1:
        weights = {(0, False): 0.5, (0, True): 0.5}
    if views == 6:
        weights = {(0, side): 0.25 for side in (False, True)}
        weights |= {(by, side): 0.125 for by in (-1, 1) for side in (False, True)}
    logarithms = sum(
        weight * np.log(network(view(images, down=by, right=by, mirrored=side).astype("f4")))
        for (by, side), weight in weights.items()
    )
    wanted = tf.nn.softmax(logarithms)
    served = models.for_serving(network, views=views)
    np.testing.assert_allclose(served.predict_on_batch(images), wanted, atol=1e-5)
    logarithmic = models.with_log_probabilities(served)
    np.testing.assert_allclose(logarithmic.predict_on_batch(images), np.log(wanted), atol=1e-4)
    assert served.input_shape == (None, 32, 32, 3)
    assert {type(layer).__module__.split(".")[0] for layer in served._flatten_layers()} == {"keras"}


@pytest.mark.slow
def test_a_network_of_six_views_loads_without_this_package(whitened, tmp_path):
    network, images = whitened
    served = models.for_serving(network, views=6)
    loads_alone(served, images[:4], tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"filters_2": 0}, "filters_2=0"),
        ({"convolutions_2": 4}, "expected 2 or 3"),
        ({"activation": "rel"}, "did you mean 'relu'"),
        ({"head_scale": 0.0}, "head_scale=0.0"),
    ],
)
def test_whitened_settings_are_checked(change, words):
    with pytest.raises(CifarTrackError, match=words):
        models.build(Model("whitened", **change), classes=9, seed=0, precision="float32")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_logarithms_are_those_of_the_probabilities_and_do_not_underflow(precision):
    served = models.for_serving(build(precision=precision))
    logarithmic = models.with_log_probabilities(served)
    images = random_images()
    np.testing.assert_allclose(np.exp(logarithmic(images)), served(images), rtol=1e-5)
    kernel, bias = served.layers[-1].get_weights()
    served.layers[-1].set_weights([kernel, bias - 1000 * (np.arange(100) == 7)])
    logarithms = np.asarray(models.with_log_probabilities(served)(images))
    assert np.all(np.asarray(served(images))[:, 7] == 0)
    assert np.all((logarithms[:, 7] < -900) & np.isfinite(logarithms[:, 7]))


def test_an_ensembles_mean_of_probabilities_has_logarithms_too():
    networks = [models.for_serving(build(seed=seed)) for seed in (1, 2)]
    images = random_images()
    for weights in ([0.25, 0.75], [1.0]):
        members = [models.with_log_probabilities(n) for n in networks[: len(weights)]]
        blended = serving.blend_networks(
            members, temperatures=[1.0, 2.0][: len(weights)], weights=weights
        )
        logarithmic = models.with_log_probabilities(blended)
        np.testing.assert_allclose(np.exp(logarithmic(images)), blended(images), rtol=1e-5)
        again = serving.blend_networks([logarithmic], temperatures=[1.0], weights=[1.0])
        np.testing.assert_allclose(again(images), blended(images), rtol=1e-5)


@pytest.fixture(scope="module")
def backbone():
    keras.utils.set_random_seed(7)
    return keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )


def test_resnet50_is_kerass_with_the_files_weights_and_preprocessing(backbone, tmp_path):
    path = tmp_path / "resnet50.weights.h5"
    backbone.save_weights(path)
    network = build("resnet50", weights=str(path), preprocessing="caffe", image_size=32)
    images = random_images().astype("f4")
    prepared = keras.applications.resnet50.preprocess_input(images.copy())
    features = np.asarray(backbone(prepared, training=False))
    head = network.get_layer("classes")
    logits = features @ np.asarray(head.kernel) + np.asarray(head.bias)
    expected = np.asarray(tf.nn.softmax(logits))
    np.testing.assert_allclose(network(images, training=False), expected, atol=1e-4)
    served = models.for_serving(network)
    np.testing.assert_allclose(served.predict_on_batch(random_images()), expected, atol=1e-4)


FILES = {
    "of Keras 3": "weights.h5",
    "of Keras 3 with its top": "weights.h5",
    "of Keras 3 under another name": "h5",
    "legacy": "h5",
    "legacy with its top": "h5",
    "legacy under another name": "weights.h5",
    "legacy whole model": "h5",
}


@pytest.mark.parametrize("kind", FILES)
def test_resnet50_takes_every_file_that_kerass_has_saved(kind, backbone, tmp_path):
    path = tmp_path / f"resnet50.{FILES[kind]}"
    saved = backbone
    if "top" in kind:  # as published, but for the number of classes
        outputs = keras.layers.Dense(7, name="predictions")(backbone.output)
        saved = keras.Model(backbone.input, outputs)
    if kind == "legacy whole model":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is legacy
            saved.save(path)
    elif kind.startswith("legacy"):
        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, saved)
    else:
        saved.save_weights(tmp_path / "resnet50.weights.h5")
        (tmp_path / "resnet50.weights.h5").rename(path)
    read = resnet50._load_weights(str(path))
    for ours, theirs in zip(read, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("trainable", "begins"),
    [("head", ("classes",)), ("last_stage", ("conv5_", "classes"))],
)
@pytest.mark.slow
def test_resnet50_is_frozen_but_for_what_is_asked(trainable, begins):
    network = build(
        "resnet50", weights="none", preprocessing="caffe", image_size=32, trainable=trainable
    )
    trained = {weight.path for weight in network.trainable_variables}
    # Of normalisation, the offset and the scale are trained where the rest of the stage is.
    assert trained == {
        weight.path
        for weight in network.weights
        if weight.path.startswith(begins) and "moving" not in weight.path
    }
    network.compile("sgd", "sparse_categorical_crossentropy")
    before = network.get_weights()
    network.train_on_batch(random_images(8).astype("f4"), np.arange(8))
    changed = {
        weight.path
        for weight, old, new in zip(network.weights, before, network.get_weights(), strict=True)
        if (old != new).any()
    }
    assert all(path.startswith(begins) for path in changed)
    assert {path for path in changed if "moving" in path} == {
        weight.path for weight in network.weights
        if weight.path.startswith(begins) and "moving" in weight.path
    }  # fmt: skip
    served = models.for_serving(network)
    images = random_images()
    direct = network(images.astype("f4"), training=False)
    np.testing.assert_allclose(served.predict_on_batch(images), direct, atol=1e-5)


def test_resnet50_enlarges_inside_the_model():
    network = build("resnet50", weights="none", preprocessing="study", image_size=64)
    assert network.input_shape == (None, 32, 32, 3)
    assert network.get_layer("enlarge").output.shape == (None, 64, 64, 3)


def test_resnet50_served_sees_the_pixels_that_it_was_trained_on():
    network = build("resnet50", weights="none", preprocessing="study", image_size=48)
    seen = [
        np.asarray(keras.Model(whole.input, whole.get_layer("scale").output)(images))
        for whole, images in (
            (network, random_images().astype("f4")),
            (models.for_serving(network), random_images()),
        )
    ]
    np.testing.assert_allclose(seen[1], seen[0], atol=1e-6)


@pytest.mark.parametrize("name", sorted({*experiment_names()} - {"resnet50", "resnet50_finetuned"}))
def test_a_page_can_be_checked_where_no_operation_is_run(name):
    training.check_model(load_experiment(name), classes=100)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weights": "/nowhere/at/all.h5"}, "does not exist"),
        ({"image_size": 16}, "image_size=16"),
        ({"preprocessing": "cafe"}, "did you mean 'caffe'"),
        ({"trainable": "last"}, "did you mean 'last_stage'"),
    ],
)
def test_resnet50_settings_are_checked(change, words):
    page = override(load_experiment("resnet50"), {"model.weights": "none"})
    page = override(page, {f"model.{name}": value for name, value in change.items()})
    with pytest.raises(CifarTrackError, match=words):
        models.build(page.model, classes=100, seed=0, precision="float32")


def test_a_foreign_weights_file_is_told(tmp_path):
    path = tmp_path / "foreign.weights.h5"
    build().save_weights(path)
    with pytest.raises(CifarTrackError, match="does not fit ResNet50"):
        build("resnet50", weights=str(path), preprocessing="caffe", image_size=32)


def test_what_is_read_is_what_python_calls_by():
    for name in architecture_names():
        build = importlib.import_module(f"cifar_track.models.{name}").build
        signature = inspect.signature(build, eval_str=True).parameters
        read = architecture_settings(name)
        assert list(read) == [parameter for parameter in signature if parameter != "classes"]
        for setting, (kind, default) in read.items():
            assert signature[setting].annotation is kind
            assert signature[setting].default in (default, inspect.Parameter.empty)


def test_a_weights_file_that_is_not_to_be_had_is_one_line(
    monkeypatch, open_folder, as_somebody_else
):
    monkeypatch.setenv("HOME", str(open_folder))
    (open_folder / "locked").mkdir()
    for name in ("mine.weights.h5", "locked/inner.weights.h5"):
        (open_folder / name).write_bytes(b"x")
    (open_folder / "mine.weights.h5").chmod(0o000)
    (open_folder / "locked").chmod(0o000)
    settings = {"preprocessing": "none", "image_size": 32}
    for weights, told in (
        ("~/mine.weights.h5", f"{open_folder}/mine.weights.h5 can't be read by this user"),
        ("~/locked/inner.weights.h5", "does not exist"),
        ("~/absent.weights.h5", f"{open_folder}/absent.weights.h5 does not exist"),
    ):
        page = Model("resnet50", weights=weights, **settings)
        with as_somebody_else(), pytest.raises(CifarTrackError, match=told):
            models.build(page, classes=100, seed=0, precision="float32")
