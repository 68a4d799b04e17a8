"""Fits a network to images and keeps its best epoch; knows nothing of who listens."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cifar_track import models
from cifar_track.augmentation import augment
from cifar_track.config import Augmentation, CifarTrackError, Experiment
from cifar_track.config import Training as TrainingSettings
from cifar_track.data import Images
from cifar_track.optimizers import build_optimizer
from cifar_track.seeds import Purpose, derived_seed, stream

# Past the last size at which one forward pass still fits a small machine, larger is not faster.
PREDICTION_BATCH = 500

# TensorFlow comes back to Python, which costs 1 ms, after so many steps: a signal and a loss that
# is no number are seen then. Of a large network each step takes long enough.
MOST_STEPS_AT_ONCE = 8
LARGE_NETWORK = 5_000_000  # weights; the study's CNN has at most 3 million, ResNet50 23 million

EpochListener = Callable[[int, Mapping[str, float]], None]
Batch = tuple[NDArray[np.float32], NDArray[np.int64]]  # images (N, 32, 32, 3), labels (N,)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A trained network and the course of its training.

    Attributes:
        model: the network with the weights of its best epoch.
        history: for each epoch `train_loss`, `train_accuracy`, `val_loss`, `val_accuracy`.
        best_epoch: the first epoch, counted from 1, with the highest `val_accuracy`.
        best_val_accuracy: that accuracy, a fraction.
        best_val_loss: the loss of the same epoch.
        fit_seconds: wall time, validation included.
        fit_cpu_seconds: processor time of the whole process in that time.
        images_per_second: training images a wall second.
    """

    model: keras.Model
    history: tuple[Mapping[str, float], ...]
    best_epoch: int
    best_val_accuracy: float
    best_val_loss: float
    fit_seconds: float
    fit_cpu_seconds: float
    images_per_second: float


def fit(
    experiment: Experiment,
    train: Images,
    validation: Images,
    *,
    classes: int,
    on_epoch: EpochListener = lambda epoch, metrics: None,
    model: keras.Model | None = None,
    initial_weights: Path | None = None,
) -> Fit:
    """Train an experiment's network and keep the epoch that does best on the validation images.

    Args:
        experiment: the settings; `training.precision` may be `auto`.
        train: images to train on.
        validation: images to choose the best epoch by.
        classes: the number of classes.
        on_epoch: called after each epoch with its number, from 1, and its four metrics.
        model: a network that `build_model` made of the same experiment, if there is one already.
        initial_weights: a weights file to start from, such as an earlier trial's.

    Returns:
        The network and its history.

    Raises:
        CifarTrackError: the loss stopped being a number.
    """
    model = model or build_model(experiment, classes=classes)
    if initial_weights is not None:
        model.load_weights(initial_weights)
    settings = experiment.training
    steps = math.ceil(len(train) / settings.batch_size)
    steps_at_once = 1 if model.count_params() > LARGE_NETWORK else _steps_at_once(steps)
    model.compile(
        optimizer=build_optimizer(experiment.optimizer),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
        # XLA makes a step five times slower on a CPU.
        jit_compile=bool(tf.config.list_physical_devices("GPU")),
        steps_per_execution=steps_at_once,
    )
    keeper = _BestEpoch(on_epoch)
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(
        training_batches(
            train,
            experiment.augmentation,
            batch_size=settings.batch_size,
            seed=settings.seed,
        ),
        steps_per_epoch=steps,
        epochs=settings.epochs,
        validation_data=validation_batches(validation),
        callbacks=[_StopAtNaN(steps_at_once), keeper],
        shuffle=False,  # the pipeline shuffles
        verbose=0,
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    model.set_weights(keeper.weights)
    best = keeper.history[keeper.best_epoch - 1]
    return Fit(
        model=model,
        history=tuple(keeper.history),
        best_epoch=keeper.best_epoch,
        best_val_accuracy=best["val_accuracy"],
        best_val_loss=best["val_loss"],
        fit_seconds=wall,
        fit_cpu_seconds=cpu,
        images_per_second=len(train) * len(keeper.history) / wall,
    )


def build_model(experiment: Experiment, *, classes: int) -> keras.Model:
    """The experiment's network, seeded by it, in its precision.

    Raises:
        CifarTrackError: a setting of the architecture is wrong, or its weights can't be had.
    """
    settings = experiment.training
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    return models.build(
        experiment.model,
        classes=classes,
        seed=derived_seed(settings.seed, Purpose.WEIGHTS),
        precision=resolve_precision(settings),
    )


def resolve_precision(settings: TrainingSettings) -> str:
    """`float32` or `bfloat16`: as asked, or with `auto` what the hardware computes natively."""
    if settings.precision != "auto":
        return settings.precision
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        native = details.get("compute_capability", (0, 0)) >= (8, 0)
    else:
        native = _processor_computes_bfloat16()
    return "bfloat16" if native else "float32"


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


def predict(model: keras.Model, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probabilities of the classes, float32 (N, classes), for uint8 (N, 32, 32, 3)."""
    return np.concatenate(
        [
            np.asarray(model.predict_on_batch(images[start : start + PREDICTION_BATCH]))
            for start in range(0, len(images), PREDICTION_BATCH)
        ]
    )


class _BestEpoch(keras.callbacks.Callback):
    """Renames an epoch's metrics, hands them on, and remembers the weights of the best."""

    def __init__(self, on_epoch: EpochListener) -> None:
        super().__init__()
        self.on_epoch = on_epoch
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self.weights: list[NDArray[np.float32]] = []

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        logs = logs or {}
        metrics = {
            "train_loss": float(logs["loss"]),
            "train_accuracy": float(logs["accuracy"]),
            "val_loss": float(logs["val_loss"]),
            "val_accuracy": float(logs["val_accuracy"]),
        }
        self.history.append(metrics)
        best = self.history[self.best_epoch - 1]["val_accuracy"] if self.best_epoch else -1.0
        if metrics["val_accuracy"] > best:
            self.best_epoch = epoch + 1
            self.weights = self.model.get_weights()
        self.on_epoch(epoch + 1, metrics)


class _StopAtNaN(keras.callbacks.Callback):
    """Ends a fit whose loss is no number any more, rather than let it run to its last epoch."""

    def __init__(self, steps_at_once: int) -> None:
        super().__init__()
        self.steps_at_once = steps_at_once

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        if not math.isfinite(float((logs or {}).get("loss", 0.0))):
            first, last = batch + 2 - self.steps_at_once, batch + 1
            steps = f"step {last}" if first == last else f"steps {first} to {last}"
            raise CifarTrackError(
                f"the loss became {(logs or {})['loss']} in epoch {self.epoch}, {steps}; "
                "expected a number; a lower optimizer.learning_rate may help"
            )


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


def _steps_at_once(steps: int) -> int:
    """How many steps TensorFlow runs before it comes back to Python.

    A divisor of an epoch's steps, because Keras does not cut the last execution of an epoch
    short: the study's 704 steps have 8, a prime number of steps only 1.
    """
    return max(count for count in range(1, MOST_STEPS_AT_ONCE + 1) if steps % count == 0)


def _processor_computes_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False  # not Linux; no macOS or Windows build of TensorFlow uses such instructions
    return any(flag in flags for flag in ("amx_bf16", "avx512_bf16"))
