"""Each change to training images, ours beside Keras's layer for it, in images a CPU second.

    TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1 python -m benchmarks.augmentation

Batches of 500 images on one thread; the median of five passes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from cifar_track.augmentation import augment, mix
from cifar_track.config import Augmentation

BATCH, CLASSES, PASSES = 500, 100, 5

OURS = {
    "crop": Augmentation(crop=2),
    "flip": Augmentation(horizontal_flip=True),
    "cutout": Augmentation(cutout=8),
    "trivial": Augmentation(trivial=True),
}
MIXED = {"mixup": Augmentation(mixup=1.0), "cutmix": Augmentation(cutmix=1.0)}
KERASS = {
    "crop": keras.layers.RandomCrop(32, 32),  # of the whole batch in one place
    "flip": keras.layers.RandomFlip("horizontal"),
    "cutout": keras.layers.RandomErasing(factor=1.0, scale=(0.06, 0.07)),
    "trivial": keras.layers.RandAugment(value_range=(0, 255), num_ops=1),
    "mixup": keras.layers.MixUp(alpha=1.0),
    "cutmix": keras.layers.CutMix(factor=1.0),
}


def main() -> None:
    """Print the table in Markdown."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, 32, 32, 3)).astype(np.uint8)
    floats = images.astype(np.float32)
    labels = np.eye(CLASSES, dtype=np.float32)[np.arange(BATCH) % CLASSES]
    rates = {name: rate(lambda s=s: augment(images, s, rng=rng)) for name, s in OURS.items()}
    rates |= {name: rate(lambda s=s: mix(floats, labels, s, rng=rng)) for name, s in MIXED.items()}
    print("| change | ours | Keras's layer |\n|---|---|---|")
    for name, layer in KERASS.items():
        print(f"| {name} | {rates[name]:,.0f} | {rate(compiled(layer, floats, labels)):,.0f} |")


def compiled(
    layer: keras.layers.Layer, images: np.ndarray, labels: np.ndarray
) -> Callable[[], object]:
    """A layer's call as it would stand in a pipeline, compiled, on images of the size it wants."""
    given: object = tf.constant(images)
    if isinstance(layer, keras.layers.RandomCrop):
        given = tf.constant(np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect"))
    elif isinstance(layer, keras.layers.MixUp | keras.layers.CutMix):
        given = {"images": given, "labels": tf.constant(labels)}
    return tf.function(lambda: layer(given, training=True))


def rate(change: Callable[[], object]) -> float:
    """Images a second of processor time, once it has been traced."""
    change()
    seconds = []
    for _ in range(PASSES):
        before = time.process_time()
        change()
        seconds.append(time.process_time() - before)
    return BATCH / statistics.median(seconds)


if __name__ == "__main__":
    main()
