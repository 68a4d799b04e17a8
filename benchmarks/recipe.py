"""The study's recipe written plainly, with nothing but Keras: what the others are measured by."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from numpy.typing import NDArray

FILTERS = 64
DENSE_UNITS = 256
DROPOUT = 0.2
BATCH = 64


def build() -> keras.Model:
    """The study's tuned network: images divided by 255 to probabilities of 100 classes."""
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(FILTERS, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.Dropout(DROPOUT),
            layers.Conv2D(FILTERS, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.Dropout(DROPOUT),
            layers.Flatten(),
            layers.Dense(DENSE_UNITS, activation="relu"),
            layers.Dense(100, activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(learning_rate=0.01, momentum=0.9),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def generator() -> ImageDataGenerator:
    """The study's augmentation."""
    return ImageDataGenerator(
        rotation_range=20,
        width_shift_range=0.2,
        height_shift_range=0.2,
        zoom_range=0.2,
        horizontal_flip=True,
    )


def fit(
    model: keras.Model,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    epochs: int,
    seed: int,
    validation: tuple[NDArray[np.uint8], NDArray[np.int64]] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Train on images that are scaled once and augmented one after the other."""
    if validation is not None:
        validation = (scale(validation[0]), validation[1])
    model.fit(
        generator().flow(scale(images), labels, batch_size=BATCH, seed=seed),
        epochs=epochs,
        validation_data=validation,
        callbacks=list(callbacks),
        verbose=0,
    )


def scale(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """0..255 to 0..1."""
    return images.astype(np.float32) / 255
