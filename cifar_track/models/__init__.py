"""The architectures by name: one file each, and what turns a trained network into a served one."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from cifar_track import environment

environment.load_keras()  # before anything reads its settings

import keras  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from cifar_track.config import IMAGE_SHAPE, Model, complete_model  # noqa: E402
from cifar_track.models import layers  # noqa: E402


def build(model: Model, *, classes: int, seed: int, precision: str) -> keras.Model:
    """Build the network of an experiment with seeded initial weights.

    Args:
        model: the architecture and its settings.
        classes: the number of classes, the width of the output.
        seed: of the initial weights and of dropout; at least 0.
        precision: `float32`, or `bfloat16` for activations in bfloat16; weights, normalisation
            statistics and the softmax are float32 either way.

    Returns:
        A network from float32 (N, 32, 32, 3) in 0..255 to float32 (N, classes) summing to 1.

    Raises:
        CifarTrackError: an unknown architecture or setting, a setting that is missing, of another
            type or out of its range.
    """
    model = complete_model(model)
    architecture = importlib.import_module(f"cifar_track.models.{model.architecture}")
    builder: Callable[..., keras.Model] = architecture.build
    keras.utils.set_random_seed(seed)
    with layers.computing_in(precision):
        return builder(classes=classes, **model.settings)


def with_log_probabilities(model: keras.Model) -> keras.Model:
    """The same network with the logarithms of its probabilities at the end.

    Args:
        model: from images to probabilities. Where a softmax in its last layer gives them, as in
            every architecture here, its logarithm is computed without underflow; an ensemble's
            mean has a logarithm of at least that of the least float32.

    Returns:
        A network of its own, with equal weights, to float32 (N, classes) of at most 0.
    """
    last = model.layers[-1]
    if getattr(last, "activation", None) is not keras.activations.softmax:
        mean = keras.models.clone_model(model)
        mean.set_weights(model.get_weights())
        least = float(np.finfo(np.float32).tiny)
        return keras.Model(mean.input, keras.ops.log(keras.ops.maximum(mean.output, least)))

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        configuration = layer.get_config()
        if layer is last:
            configuration["activation"] = "log_softmax"
        return type(layer).from_config(configuration)

    logarithmic = keras.models.clone_model(model, clone_function=copy)
    logarithmic.set_weights(model.get_weights())
    return logarithmic


def adapt(network: keras.Model, model: Model, images: NDArray[np.uint8]) -> None:
    """Let an architecture that learns something of its images before training do so.

    Args:
        network: what `build` gave.
        model: the architecture; if its file has an `adapt`, that is called.
        images: the training images, uint8 (N, 32, 32, 3).
    """
    architecture = importlib.import_module(f"cifar_track.models.{model.architecture}")
    if hasattr(architecture, "adapt"):
        architecture.adapt(network, images)


def for_serving(model: keras.Model, *, views: int = 1) -> keras.Model:
    """The same network as it is saved: raw images in, standard Keras layers only, float32.

    Args:
        model: what `build` gave, trained or not.
        views: over how many looks at an image its answers are averaged, as `config.Prediction`
            has them.

    Returns:
        A network of its own, with equal weights, from uint8 (N, 32, 32, 3) to float32
        (N, classes), that loads where this package is not installed.
    """
    images = keras.Input(IMAGE_SHAPE, dtype="uint8", name="images")
    served = keras.models.clone_model(
        # Without what it was compiled with, which only training wants and which is not Keras's own.
        keras.Model(model.input, model.output, name=model.name),
        input_tensors=keras.tree.map_structure(lambda _: images, model.input),
        clone_function=layers.as_standard_layer,
    )
    served.set_weights(model.get_weights())
    return served if views == 1 else _averaged(served, views)


def _averaged(served: keras.Model, views: int) -> keras.Model:
    """The mean of a served network's logarithms over 2 or 6 views, and a softmax of that."""
    average = keras.layers.Average
    network = with_log_probabilities(served)
    images = keras.Input(IMAGE_SHAPE, dtype="uint8", name="images")

    def both_sides(pixels: keras.KerasTensor) -> list[keras.KerasTensor]:
        return [network(pixels), network(keras.ops.flip(pixels, axis=2))]

    answers = both_sides(images)
    if views == 6:
        wider = keras.ops.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        shifted = []
        for cut in ((0, 2), (2, 0)):
            shifted += both_sides(keras.layers.Cropping2D((cut, cut))(wider))
        answers = [average()(answers), average()(shifted)]
    outputs = keras.layers.Activation("softmax", name="mean")(average()(answers))
    return keras.Model(images, outputs, name=served.name)
