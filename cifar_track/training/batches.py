"""Batches of images as training and validation see them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cifar_track.augmentation import augment
from cifar_track.config import Augmentation
from cifar_track.data import Images
from cifar_track.seeds import Purpose, stream

# Past the last size at which one forward pass still fits a small machine, larger is not faster.
PREDICTION_BATCH = 500

Batch = tuple[NDArray[np.float32], NDArray[np.int64]]  # images (N, 32, 32, 3), labels (N,)


def training_batches(
    images: Images, augmentation: Augmentation, *, batch_size: int, seed: int
) -> tf.data.Dataset:
    """Endless shuffled, augmented batches; one pass over the images after another.

    Args:
        images: what to draw from; read in place, so that processes can share a mapped file.
        augmentation: the ranges of the random transforms.
        batch_size: images a batch; the last of a pass may be smaller.
        seed: of the order and of the transforms.

    Returns:
        Batches of float32 (N, 32, 32, 3) in 0..255 and int64 (N,).
    """
    steps = math.ceil(len(images) / batch_size)

    @functools.lru_cache(maxsize=1)
    def order(epoch: int) -> NDArray[np.int64]:
        return stream(seed, Purpose.ORDER, epoch).permutation(len(images))

    def make(step: int) -> Batch:
        # Of the step alone, so that a batch does not depend on which thread makes it.
        epoch, batch = divmod(step, steps)
        drawn = order(epoch)[batch * batch_size : (batch + 1) * batch_size]
        rng = stream(seed, Purpose.AUGMENTATION, epoch, batch)
        return augment(images.images[drawn], augmentation, rng=rng), images.labels[drawn]

    return _batches(make, steps=tf.int64.max, image=images.images.shape[1:], ahead=4)


def validation_batches(images: Images) -> tf.data.Dataset:
    """All images once, in order, in large batches of float32 (N, 32, 32, 3) in 0..255."""

    def make(step: int) -> Batch:
        batch = slice(step * PREDICTION_BATCH, (step + 1) * PREDICTION_BATCH)
        return images.images[batch].astype(np.float32), images.labels[batch]

    steps = math.ceil(len(images) / PREDICTION_BATCH)
    return _batches(make, steps=steps, image=images.images.shape[1:], ahead=1)


def _batches(
    make: Callable[[int], Batch], *, steps: int, image: tuple[int, ...], ahead: int
) -> tf.data.Dataset:
    """What `make` gives for the steps from 0 on, a few of them made ahead in a thread."""

    def read(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = tf.numpy_function(
            lambda step: make(int(step)), [step], (tf.float32, tf.int64), stateful=False
        )
        return tf.ensure_shape(images, (None, *image)), tf.ensure_shape(labels, (None,))

    # Left to itself, TensorFlow adds threads, and handing a batch from one to the next costs more
    # than it brings; and its tuner of them holds up the end of each pass for 0.6 s.
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    # AutoGraph would look for a tensor's branches for 0.2 s, and leave a source file in /tmp.
    read_as_it_is = tf.autograph.experimental.do_not_convert(read)
    return tf.data.Dataset.range(steps).map(read_as_it_is).prefetch(ahead).with_options(options)
