"""Wide convolutions on small maps in bfloat16, Keras's layer beside ours.

    TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1 python -m benchmarks.convolutions

A forward pass and both gradients on one thread; the two layers in turns, the median of nine.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable

import keras
import tensorflow as tf

from cifar_track.models.layers import Conv2D

ROUNDS = 9
KINDS = (keras.layers.Conv2D, Conv2D)
# Images, side of the maps, side of the filters, channels, filters.
SHAPES = {
    "strong": [(500, 2, 3, 384, 384), (500, 4, 3, 320, 384), (500, 7, 3, 320, 320)],
    "fast": [(500, 3, 3, 256, 256), (500, 7, 3, 256, 256)],
    "resnet50": [(64, 1, 3, 512, 512), (64, 1, 1, 2048, 512), (64, 2, 3, 256, 256)],
}


def main() -> None:
    """Print the table in Markdown."""
    print("| page | images | map | filters | Keras's, CPU ms | ours | × |")
    print("|---|---|---|---|---|---|---|")
    for page, shapes in SHAPES.items():
        for images, side, filter_side, channels, filters in shapes:
            inputs = tf.cast(tf.random.normal((images, side, side, channels)), tf.bfloat16)
            steps = [step(k(filters, filter_side, padding="same"), inputs) for k in KINDS]
            kerass, ours = (statistics.median(ms) for ms in zip(*in_turns(steps), strict=True))
            print(
                f"| {page} | {images} | {side}×{side}×{channels} "
                f"| {filters} of {filter_side}×{filter_side} "
                f"| {kerass:.1f} | {ours:.1f} | {kerass / ours:.1f} |"
            )


def step(layer: keras.layers.Layer, inputs: tf.Tensor) -> Callable[[], float]:
    """A forward pass of a layer with both its gradients, compiled."""
    layer.build(inputs.shape)

    @tf.function
    def run() -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)
        of_inputs, of_filters = tape.gradient(outputs, [inputs, layer.kernel.value])
        return tf.cast(tf.reduce_max(of_inputs), tf.float32) + tf.reduce_max(of_filters)

    return lambda: float(run())  # computed once it is a number


def in_turns(steps: list[Callable[[], float]]) -> list[list[float]]:
    """Milliseconds of processor time of each step, round after round, once all are traced."""
    for run in steps:
        run()
    rounds = []
    for _ in range(ROUNDS):
        times = [time.process_time()]
        for run in steps:
            run()
            times.append(time.process_time())
        rounds.append([1000 * (after - before) for before, after in itertools.pairwise(times)])
    return rounds


if __name__ == "__main__":
    keras.config.set_dtype_policy("mixed_bfloat16")
    main()
