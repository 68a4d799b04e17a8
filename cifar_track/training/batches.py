"""Batches of images as training and validation see them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cifar_track.augmentation import augment, mix, resize
from cifar_track.config import Augmentation, Training
from cifar_track.data import Images
from cifar_track.seeds import Purpose, stream

# Past the last size at which one forward pass still fits a small machine, larger is not faster.
PREDICTION_BATCH = 500
# Sides that are multiples of this let pooling halve them; between two of them lies nothing.
SIDE_STEP = 4

Labels: TypeAlias = NDArray[np.int64] | NDArray[np.float32]  # (N,), or shares (N, classes)
Batch: TypeAlias = tuple[NDArray[np.float32], Labels]  # images (N, H, W, 3)


def training_batches(
    images: Images,
    augmentation: Augmentation,
    *,
    batch_size: int,
    seed: int,
    first_epoch: int = 0,
    side_of: Callable[[int], int] | None = None,
    shares_of: int | None = None,
) -> tf.data.Dataset:
    """Endless shuffled, augmented batches; one pass over the images after another.

    Args:
        images: what to draw from; read in place, so that processes can share a mapped file.
        augmentation: what is done to them by chance.
        batch_size: images a batch; the last of a pass may be smaller.
        seed: of the order and of the changes.
        first_epoch: the pass to begin with, counted from 0.
        side_of: the side in pixels that images have in an epoch, counted from 0; their own unless
            given.
        shares_of: the number of classes, where labels are wanted as shares of each.

    Returns:
        Batches of float32 (N, H, W, 3) in 0..255, and int64 (N,) or float32 (N, classes).
    """
    steps = math.ceil(len(images) / batch_size)
    first_sides = stream(seed, Purpose.AUGMENTATION).random(len(images)) < 0.5

    @functools.lru_cache(maxsize=1)
    def order(epoch: int) -> NDArray[np.int64]:
        return stream(seed, Purpose.ORDER, epoch).permutation(len(images))

    def make(step: int) -> Batch:
        # Of the step alone, so that a batch does not depend on which thread makes it.
        epoch, batch = divmod(step, steps)
        drawn = order(epoch)[batch * batch_size : (batch + 1) * batch_size]
        rng = stream(seed, Purpose.AUGMENTATION, epoch, batch)
        mirrored = first_sides[drawn] ^ bool(epoch % 2) if augmentation.alternating_flip else None
        seen = augment(images.images[drawn], augmentation, rng=rng, mirrored=mirrored)
        labels: Labels = images.labels[drawn]
        if shares_of is not None:
            labels = shares = as_shares(images.labels[drawn], shares_of)
            if augmentation.mixes_labels:
                seen, labels = mix(seen, shares, augmentation, rng=rng)
        if side_of is not None and side_of(epoch) != seen.shape[1]:
            seen = resize(seen, side_of(epoch))
        return seen, labels

    shape = images.images.shape[1:] if side_of is None else (None, None, images.images.shape[3])
    endless = tf.data.Dataset.range(first_epoch * steps, tf.int64.max)
    return _batches(make, endless, image=shape, shares_of=shares_of, ahead=4)


def validation_batches(images: Images, *, shares_of: int | None = None) -> tf.data.Dataset:
    """All images once, in order, in large batches of float32 (N, 32, 32, 3) in 0..255."""

    def make(step: int) -> Batch:
        batch = slice(step * PREDICTION_BATCH, (step + 1) * PREDICTION_BATCH)
        labels = images.labels[batch]
        pixels = images.images[batch].astype(np.float32)
        return pixels, labels if shares_of is None else as_shares(labels, shares_of)

    steps = tf.data.Dataset.range(math.ceil(len(images) / PREDICTION_BATCH))
    return _batches(make, steps, image=images.images.shape[1:], shares_of=shares_of, ahead=1)


def side_in_epoch(settings: Training, epoch: int, *, own: int) -> int:
    """The side in pixels of the images of an epoch, counted from 0.

    From `first_side` in the first epoch it grows by equal shares, in steps of four pixels, to the
    images' own in the epoch that begins at or after the share `full_side_from` of all epochs.
    """
    growing = round(settings.full_side_from * settings.epochs, 9)  # 0.28 of 25 is 7
    if not settings.first_side or epoch >= growing:
        return own
    grown = settings.first_side + (own - settings.first_side) * epoch / growing
    return min(own, settings.first_side + int(grown - settings.first_side) // SIDE_STEP * SIDE_STEP)


def as_shares(labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Class numbers (N,) as shares, float32 (N, classes): all of an image is its one class's."""
    return np.eye(classes, dtype=np.float32)[labels]


def _batches(
    make: Callable[[int], Batch],
    steps: tf.data.Dataset,
    *,
    image: tuple[int | None, ...],
    shares_of: int | None,
    ahead: int,
) -> tf.data.Dataset:
    """What `make` gives for each of the steps, a few of them made ahead in a thread."""
    label = tf.TensorSpec((None,), tf.int64)
    if shares_of is not None:
        label = tf.TensorSpec((None, shares_of), tf.float32)

    def read(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = tf.numpy_function(
            lambda step: make(int(step)), [step], (tf.float32, label.dtype), stateful=False
        )
        return tf.ensure_shape(images, (None, *image)), tf.ensure_shape(labels, label.shape)

    # Left to itself, TensorFlow adds threads, and handing a batch from one to the next costs more
    # than it brings; and its tuner of them holds up the end of each pass for 0.6 s.
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    # AutoGraph would look for a tensor's branches for 0.2 s, and leave a source file in /tmp.
    read_as_it_is = tf.autograph.experimental.do_not_convert(read)
    return steps.map(read_as_it_is).prefetch(ahead).with_options(options)
