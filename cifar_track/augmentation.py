"""Random transforms of a batch of images."""

from __future__ import annotations

import math

import tensorflow as tf

from cifar_track.config import Augmentation


def augment(images: tf.Tensor, settings: Augmentation, *, seed: tf.Tensor) -> tf.Tensor:
    """Flip, rotate, zoom and shift every image by amounts of its own, in one resampling.

    The ranges, the order and the filling are those of Keras's `ImageDataGenerator`: zoom about
    the centre, shift, rotation, then the flip; bilinear; pixels from outside take the nearest
    edge's colour. It resamples once where separate layers would resample four times.

    Args:
        images: uint8 (N, H, W, 3).
        settings: the ranges.
        seed: int64 (2,); the same seed gives the same images.

    Returns:
        float32 (N, H, W, 3) in 0..255.
    """
    images = tf.cast(images, tf.float32)
    if settings == Augmentation():
        return images
    count, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
    # One call draws all six amounts of every image, between -1 and 1.
    draws = tf.random.stateless_uniform((6, count), seed, minval=-1.0, maxval=1.0)
    flips = tf.where(draws[5] < 0.0, -1.0, 1.0) if settings.horizontal_flip else tf.ones(count)
    transforms = affine_transforms(
        rotation=draws[0] * math.radians(settings.rotation),
        shift_y=draws[1] * settings.height_shift * height,
        shift_x=draws[2] * settings.width_shift * width,
        zoom_y=1.0 + draws[3] * settings.zoom,
        zoom_x=1.0 + draws[4] * settings.zoom,
        flip=flips,
        size=(height, width),
    )
    return resample(images, transforms)


def affine_transforms(
    *,
    rotation: tf.Tensor,
    shift_y: tf.Tensor,
    shift_x: tf.Tensor,
    zoom_y: tf.Tensor,
    zoom_x: tf.Tensor,
    flip: tf.Tensor,
    size: tuple[int, int],
) -> tf.Tensor:
    """Compose each image's flip, zoom, shift and rotation into one map of output to input pixels.

    With (y, x) counted from the centre of the image, an output pixel shows the input at
    `R(rotation) . (zoom . (y, flip x) + shift)`.

    Args:
        rotation: radians, (N,).
        shift_y: pixels, (N,).
        shift_x: pixels, (N,).
        zoom_y: factor, (N,); above 1 shows more of the image, smaller.
        zoom_x: factor, (N,).
        flip: -1 to mirror left and right, else 1, (N,).
        size: height and width in pixels.

    Returns:
        float32 (N, 8), the rows that `tf.raw_ops.ImageProjectiveTransformV3` takes.
    """
    cosine, sine = tf.cos(rotation), tf.sin(rotation)
    center_y, center_x = (size[0] - 1) / 2, (size[1] - 1) / 2
    x_by_x, x_by_y = cosine * zoom_x * flip, sine * zoom_y
    y_by_x, y_by_y = -sine * zoom_x * flip, cosine * zoom_y
    x_offset = sine * shift_y + cosine * shift_x + center_x - x_by_x * center_x - x_by_y * center_y
    y_offset = cosine * shift_y - sine * shift_x + center_y - y_by_x * center_x - y_by_y * center_y
    zero = tf.zeros_like(cosine)
    return tf.stack([x_by_x, x_by_y, x_offset, y_by_x, y_by_y, y_offset, zero, zero], axis=1)


def resample(images: tf.Tensor, transforms: tf.Tensor) -> tf.Tensor:
    """Each image seen through its transform; bilinear, the nearest edge's colour outside.

    Args:
        images: float32 (N, H, W, 3).
        transforms: float32 (N, 8), as `affine_transforms` gives them.

    Returns:
        float32 (N, H, W, 3).
    """
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=images.shape[1:3],  # known, so that all later shapes are
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
