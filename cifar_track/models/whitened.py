"""Three stages of 3×3 convolutions behind a whitening layer, after Jordan (2024)."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from cifar_track.config import CifarTrackError, nearest
from cifar_track.models.layers import BatchNormalization, Conv2D

ACTIVATIONS = ("relu", "silu", "gelu")

# The whitening filters: 16 directions of 3×3 pixels and their opposites. Convolutions of the
# processor's want channels by the sixteen.
WHITENING_SIDE = 3
WHITENING_FILTERS = 32
# So many images tell the 27 by 27 covariances of neighbouring pixels well enough.
WHITENING_IMAGES = 5000
# Directions of less variance than this, in pixels from -1 to 1, are noise.
LEAST_VARIANCE = 5e-4


def build(
    *,
    classes: int,
    filters_1: int = 64,
    filters_2: int = 256,
    filters_3: int = 256,
    convolutions_1: int = 2,
    convolutions_2: int = 2,
    convolutions_3: int = 2,
    activation: str = "silu",
    head_scale: float = 0.125,
) -> keras.Model:
    """A frozen whitening layer, three stages of convolutions, the maximum over the image, softmax.

    A stage is a convolution, a max pooling by two, and one or two more convolutions, each
    normalised without a scale of its own; a third convolution's output is added to the first's.
    Each filter is kept at length one, which the normalisation after it undoes, so that the
    learning rate alone says how far a step turns it. A convolution begins by passing its inputs
    on, as far as it has filters for them. After "94% on CIFAR-10 in 3.29 Seconds on a Single GPU"
    (Jordan 2024, arXiv:2404.00498).

    Args:
        classes: the width of the softmax.
        filters_1: filters of the first stage's convolutions.
        filters_2: filters of the second's.
        filters_3: filters of the third's.
        convolutions_1: how many convolutions the first stage has, 2 or 3.
        convolutions_2: the second.
        convolutions_3: the third.
        activation: `relu`, `silu` or `gelu`.
        head_scale: what the features are multiplied by before the softmax.

    Returns:
        A network from float32 (N, height, width, 3) in 0..255, sides of 14 or more, to float32
        (N, classes). `adapt` gives its first layer what it is for.

    Raises:
        CifarTrackError: a setting out of its range.
    """
    stages = (
        (filters_1, convolutions_1),
        (filters_2, convolutions_2),
        (filters_3, convolutions_3),
    )
    for number, (filters, convolutions) in enumerate(stages, start=1):
        if not 1 <= filters <= 4096:
            raise CifarTrackError(
                f"model.filters_{number}={filters} is out of range; expected 1 to 4096"
            )
        if convolutions not in (2, 3):
            raise CifarTrackError(
                f"model.convolutions_{number}={convolutions} is unknown; expected 2 or 3"
            )
    if activation not in ACTIVATIONS:
        raise CifarTrackError(
            f"model.activation={activation} is unknown{nearest(activation, ACTIVATIONS)}"
        )
    if not 0 < head_scale <= 100:
        raise CifarTrackError(
            f"model.head_scale={head_scale} is out of range; expected above 0 and at most 100"
        )

    inputs = keras.Input((None, None, 3), name="images")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="scale")(inputs)
    x = layers.Conv2D(
        WHITENING_FILTERS, WHITENING_SIDE, use_bias=False, trainable=False, name="whiten"
    )(x)
    x = layers.Activation(activation, name="whiten_activation")(x)
    for number, (filters, convolutions) in enumerate(stages, start=1):
        stage = f"stage{number}"
        x = _convolution(x, filters, name=f"{stage}_conv1")
        x = layers.MaxPooling2D(name=f"{stage}_pool")(x)
        x = _normalization(x, name=f"{stage}_norm1")
        first = x = layers.Activation(activation, name=f"{stage}_activation1")(x)
        x = _convolution(x, filters, name=f"{stage}_conv2")
        x = _normalization(x, name=f"{stage}_norm2")
        x = layers.Activation(activation, name=f"{stage}_activation2")(x)
        if convolutions == 3:
            x = _convolution(x, filters, name=f"{stage}_conv3")
            x = _normalization(x, name=f"{stage}_norm3")
            x = layers.Add(name=f"{stage}_add")([x, first])
            x = layers.Activation(activation, name=f"{stage}_activation3")(x)
    x = layers.GlobalMaxPooling2D(name="maximum")(x)
    x = layers.Rescaling(head_scale, dtype="float32", name="head_scale")(x)
    outputs = layers.Dense(
        classes, use_bias=False, activation="softmax", dtype="float32", name="classes"
    )(x)
    network = keras.Model(inputs, outputs, name="whitened")
    for layer in network.layers:
        if isinstance(layer, layers.Conv2D) and layer.trainable:
            layer.kernel.assign(layer.kernel_constraint(_passing_on(layer.kernel)))
    return network


def adapt(network: keras.Model, images: NDArray[np.uint8]) -> None:
    """Give the first layer the filters that make neighbouring pixels of these images independent.

    Args:
        network: what `build` gave.
        images: uint8 (N, H, W, 3), training images; the first few thousand are looked at.
    """
    side = WHITENING_SIDE
    pixels = images[:WHITENING_IMAGES].astype(np.float32) / 127.5 - 1.0
    patches = np.lib.stride_tricks.sliding_window_view(pixels, (side, side), axis=(1, 2))
    # Overlapping patches say little more than those side by side.
    rows = patches[:, ::side, ::side].transpose(0, 1, 2, 4, 5, 3).reshape(-1, side * side * 3)
    variances, directions = np.linalg.eigh(rows.T.astype(np.float64) @ rows / len(rows))
    strongest = np.argsort(-variances)[: WHITENING_FILTERS // 2]
    filters = directions[:, strongest] / np.sqrt(variances[strongest] + LEAST_VARIANCE)
    kernel = np.concatenate([filters, -filters], axis=1).reshape(side, side, 3, WHITENING_FILTERS)
    network.get_layer("whiten").kernel.assign(kernel)


def _convolution(x: keras.KerasTensor, filters: int, *, name: str) -> keras.KerasTensor:
    return Conv2D(
        filters,
        3,
        padding="same",
        use_bias=False,
        kernel_constraint=keras.constraints.UnitNorm(axis=(0, 1, 2)),
        name=name,
    )(x)


def _normalization(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    # With a short memory, because the weights move fast and end at rest.
    return BatchNormalization(momentum=0.6, epsilon=1e-5, scale=False, name=name)(x)


def _passing_on(kernel: keras.Variable) -> keras.KerasTensor:
    """Filters of which the first pass on their input channel, those that are left as they were."""
    channels = min(kernel.shape[2:])
    first = np.zeros((*kernel.shape[:-1], channels), np.float32)
    middle = kernel.shape[0] // 2
    first[middle, middle, range(channels), range(channels)] = 1
    return keras.ops.concatenate([first, kernel[..., channels:]], axis=-1)
