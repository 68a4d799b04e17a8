"""Where a training step's time goes, against its arithmetic and the processor's matrix rate.

TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1 python -m benchmarks.profile
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections import Counter
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from benchmarks.processes import BATCH, images
from cifar_track import training
from cifar_track.config import load_experiment, override
from cifar_track.optimizers import build_optimizer

STEPS_AT_ONCE = 32
STEPS = 3 * STEPS_AT_ONCE

# What the kernels of a step are for, by their names in the trace; the first that matches.
PARTS = (
    ("activations' gradients", r"ReluGrad"),
    ("convolution 2, forward", r"block2_conv[^/]*/(Relu|BiasAdd|convolution)[^/]*$"),
    ("convolution 2, filters' gradient", r"block2_conv.*BackpropFilter"),
    ("convolution 2, input's gradient", r"block2_conv.*BackpropInput"),
    ("convolution 1, forward", r"block1_conv[^/]*/(Relu|BiasAdd|convolution)[^/]*$"),
    ("convolution 1, filters' gradient", r"block1_conv.*BackpropFilter"),
    ("batch normalisation", r"_norm_?\d*/"),
    ("max pooling", r"_pool_?\d*/"),
    ("dropout, random bytes", r"dropout.*[Rr]andom"),
    ("dropout, the rest", r"_dropout"),
    ("dense layers", r"/(dense|classes)_?\d*/"),
    ("optimizer", r"/(sgd|adam)_?\d*/"),
    ("reading and augmentation", r"Iterator|PyFunc"),
)
# The threads wait in these, or the work is in what they call.
WAITING = re.compile(
    r"^(KernelAndDevice|TFE_|FunctionRun|ExecutorState|ExecutorDone|EagerLocal|multi_step|Executor)"
)


def main() -> None:
    """Print the parts of a step, then the arithmetic."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", default="auto")
    given = parser.parse_args()
    experiment = override(load_experiment("tune"), {"training.precision": given.precision})
    precision = training.resolve_precision(experiment.training)
    model = training.build_model(experiment, classes=100)
    model.compile(
        optimizer=build_optimizer(experiment.optimizer),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
        jit_compile=False,
        steps_per_execution=STEPS_AT_ONCE,
    )
    batches = training.training_batches(
        images(6400), experiment.augmentation, batch_size=BATCH, seed=0
    )
    run = {"steps_per_epoch": STEPS, "epochs": 1, "verbose": 0, "shuffle": False}
    model.fit(batches, **run)
    seconds = time.process_time()
    model.fit(batches, **run)
    seconds = (time.process_time() - seconds) / STEPS
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        model.fit(batches, **run)
        tf.profiler.experimental.stop()
        parts = milliseconds(next(Path(folder).rglob("*.xplane.pb")))
    known = sum(parts.values())
    print(f"{precision}: {1000 * seconds:.1f} CPU ms a step of {BATCH} images, in the trace:\n")
    print("| part | ms a step | share |\n|---|---|---|")
    for part, each in parts.most_common():
        print(f"| {part} | {each:.2f} | {100 * each / known:.0f} % |")
    arithmetic = training_flops(model) * BATCH
    print(f"\narithmetic of a step: {arithmetic / 1e9:.2f} GFLOP")
    for kind in ("float32", "bfloat16"):
        rate = matrix_rate(kind)
        least = 1000 * arithmetic / rate
        print(f"matrix rate, {kind}: {rate / 1e9:.0f} GFLOP/s: {least:.1f} ms a step at least")


def milliseconds(trace: Path) -> Counter[str]:
    """The time of the kernels themselves, a step, by part."""
    space = xplane_pb2.XSpace()
    space.ParseFromString(trace.read_bytes())
    parts: Counter[str] = Counter()
    for plane in space.planes:
        if plane.name != "/host:CPU":
            continue
        for line in plane.lines:
            events = sorted(
                (
                    (event.offset_ps, event.duration_ps, plane.event_metadata[event.metadata_id])
                    for event in line.events
                ),
                key=lambda event: (event[0], -event[1]),
            )
            around: list[tuple[int, str]] = []  # the ends and parts of the events around this one
            for start, duration, metadata in events:
                while around and around[-1][0] <= start:
                    around.pop()
                part = part_of(metadata.name)
                if around:
                    parts[around[-1][1]] -= duration
                parts[part] += duration
                around.append((start + duration, part))
    del parts["waiting"]
    return Counter({part: each / 1e9 / STEPS for part, each in parts.items()})


def part_of(event: str) -> str:
    """The part of a step that an event of the trace belongs to."""
    if WAITING.match(event):
        return "waiting"
    name = event.partition(":")[0] if "/" in event else event
    return next((part for part, pattern in PARTS if re.search(pattern, name)), "all else")


def training_flops(model: keras.Model) -> float:
    """Multiplications and additions of one image, forward and backward.

    The gradient of the filters costs what the forward pass costs, that of the input as well; the
    first layer needs none.
    """
    total, first = 0.0, True
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            rows, columns, _ = layer.output.shape[1:]
            forward = 2 * rows * columns * float(layer.kernel.shape.num_elements())
        elif isinstance(layer, keras.layers.Dense):
            forward = 2 * float(layer.kernel.shape.num_elements())
        else:
            continue
        total += forward * (2 if first else 3)
        first = False
    return total


def matrix_rate(kind: str, *, size: int = 2048, repeats: int = 20) -> float:
    """Operations a second of one thread's matrix product, the best of a few."""
    left = tf.cast(tf.random.stateless_normal((size, size), (0, 0)), kind)
    product = tf.function(tf.matmul)
    product(left, left)
    best = 0.0
    for _ in range(repeats):
        before = time.perf_counter()
        product(left, left)
        best = max(best, 2 * size**3 / (time.perf_counter() - before))
    return best


if __name__ == "__main__":
    main()
