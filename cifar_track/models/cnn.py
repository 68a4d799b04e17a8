"""The study's convolutional network: two convolutional blocks and a dense layer."""

from __future__ import annotations

import keras
from keras import layers

from cifar_track.config import IMAGE_SHAPE, CifarTrackError
from cifar_track.models.layers import BatchNormalization, Dropout


def build(
    *,
    classes: int,
    filters_1: int,
    kernel_1: int,
    dropout_1: float,
    filters_2: int,
    kernel_2: int,
    dropout_2: float,
    dense_units: int,
    batch_normalization: bool,
) -> keras.Model:
    """Twice convolution, normalisation, max pooling, dropout; then a dense layer and a softmax.

    Args:
        classes: the width of the softmax.
        filters_1: filters of the first convolution, at least 1.
        kernel_1: side of its kernel in pixels, 1 to 9.
        dropout_1: fraction of the first block's output that training drops, 0 to below 1.
        filters_2: filters of the second convolution.
        kernel_2: side of its kernel.
        dropout_2: fraction of the second block's output that training drops.
        dense_units: width of the dense layer, at least 1.
        batch_normalization: whether each convolution is followed by a batch normalisation.

    Returns:
        A network from float32 (N, 32, 32, 3) in 0..255 to float32 (N, classes).

    Raises:
        CifarTrackError: a setting out of its range.
    """
    blocks = ((filters_1, kernel_1, dropout_1), (filters_2, kernel_2, dropout_2))
    for number, (filters, kernel, dropout) in enumerate(blocks, start=1):
        _check(f"filters_{number}", filters, low=1, high=4096)
        _check(f"kernel_{number}", kernel, low=1, high=9)
        _check(f"dropout_{number}", dropout, low=0.0, high=0.99)
    _check("dense_units", dense_units, low=1, high=65536)

    inputs = keras.Input(IMAGE_SHAPE, name="images")
    x = layers.Rescaling(1 / 255, dtype="float32", name="scale")(inputs)
    for number, (filters, kernel, dropout) in enumerate(blocks, start=1):
        x = layers.Conv2D(filters, kernel, activation="relu", name=f"block{number}_conv")(x)
        if batch_normalization:
            x = BatchNormalization(name=f"block{number}_norm")(x)
        x = layers.MaxPooling2D(name=f"block{number}_pool")(x)
        if dropout:
            x = Dropout(dropout, name=f"block{number}_dropout")(x)
    x = layers.Flatten(name="flatten")(x)  # (N, 6 * 6 * filters_2) with 3x3 kernels
    x = layers.Dense(dense_units, activation="relu", name="dense")(x)
    outputs = layers.Dense(classes, activation="softmax", dtype="float32", name="classes")(x)
    return keras.Model(inputs, outputs, name="cnn")


def _check(name: str, value: float, *, low: float, high: float) -> None:
    if not low <= value <= high:
        raise CifarTrackError(f"model.{name}={value} is out of range; expected {low} to {high}")
