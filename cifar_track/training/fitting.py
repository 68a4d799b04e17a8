"""The fit of one network, from its first step to the weights of its best epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cifar_track import models
from cifar_track.config import CifarTrackError, Experiment, Training
from cifar_track.data import Images
from cifar_track.optimizers import OUTPUT_LAYER
from cifar_track.seeds import Purpose, derived_seed
from cifar_track.training.batches import (
    PREDICTION_BATCH,
    side_in_epoch,
    training_batches,
    validation_batches,
)
from cifar_track.training.callbacks import (
    CROSS_ENTROPY,
    AverageWeights,
    BestEpoch,
    EpochListener,
    StepListener,
    Steps,
    StopDiverged,
)
from cifar_track.training.checkpoints import KeepCheckpoint, finished_epochs
from cifar_track.training.phases import Phase, phases_of
from cifar_track.training.precision import resolve_precision

# TensorFlow comes back to Python, which costs 1 ms of a step's 19 to 29, after so many steps: a
# signal and a loss that is no number are seen then. Of a large network each step takes long enough.
MOST_STEPS_AT_ONCE = 8
LARGE_NETWORK = 5_000_000  # weights; the study's CNN has at most 3 million, ResNet50 23 million


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A trained network and the course of its training.

    Attributes:
        model: the network with the weights of its best epoch.
        history: for each epoch `train_loss`, `train_accuracy`, `val_loss`, `val_accuracy`.
        best_epoch: the first epoch, counted from 1, that is best by what was chosen by.
        best_val_accuracy: the accuracy of that epoch, a fraction.
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
    on_step: StepListener = lambda epoch, step, steps: None,
    model: keras.Model | None = None,
    initial_weights: Path | None = None,
    checkpoint: Path | None = None,
    choose_by: str = "val_accuracy",
) -> Fit:
    """Train an experiment's network and keep the epoch that does best on the validation images.

    Args:
        experiment: the settings; `training.precision` may be `auto`.
        train: images to train on.
        validation: images to choose the best epoch by.
        classes: the number of classes.
        on_epoch: called after each epoch with its number, from 1, and its four metrics.
        on_step: called after every few steps with the epoch's number, from 1, the steps that
            are over in it, and how many it has.
        model: a network that `build_model` made of the same experiment, if there is one already.
        initial_weights: a weights file to start from, such as an earlier trial's.
        checkpoint: where the state after each epoch is kept, and whoever was killed goes on from;
            `on_epoch` then hears of the epochs before that again. The caller removes it.
        choose_by: the metric by which an epoch is the best: `val_accuracy` or `val_loss`.

    Returns:
        The network and its history.

    Raises:
        CifarTrackError: the loss stopped being a number.
    """
    model = model or build_model(experiment, classes=classes)
    models.adapt(model, experiment.model, train.images)
    if initial_weights is not None:
        model.load_weights(initial_weights)
    settings = experiment.training
    steps = math.ceil(len(train) / settings.batch_size)
    steps_at_once = 1 if model.count_params() > LARGE_NETWORK else _steps_at_once(steps)
    shares_of = classes if _wants_shares(experiment) else None
    keeper = BestEpoch(choose_by)
    keeping = KeepCheckpoint(checkpoint, experiment, on_epoch=on_epoch, best=keeper)
    own_trainable = [layer.trainable for layer in model.layers]

    def enter(phase: Phase) -> None:
        for layer, own in zip(model.layers, own_trainable, strict=True):
            layer.trainable = own and (layer.name == OUTPUT_LAYER or not phase.head_alone)
        model.compile(
            optimizer=phase.build_optimizer(experiment, steps=steps),
            loss=_loss(settings, shares_of=shares_of),
            metrics=_metrics(shares_of=shares_of),
            # XLA makes a step five times slower on a CPU.
            jit_compile=bool(tf.config.list_physical_devices("GPU")),
            steps_per_execution=steps_at_once,
        )
        _make_state(model, classes=classes, shares_of=shares_of)
        if settings.average:
            keeping.average = AverageWeights(settings.average, steps_at_once)

    def side_of(epoch: int) -> int:
        return side_in_epoch(settings, epoch, own=train.images.shape[1])

    phases = phases_of(settings)
    kept = 0 if checkpoint is None else finished_epochs(checkpoint, experiment=experiment)
    at = sum(phase.end < kept for phase in phases)  # the phase of the last epoch that is kept
    enter(phases[at])
    done = keeping.restore(model)
    if at and not done:  # it does not fit this network after all
        at = 0
        enter(phases[at])
    for phase in phases[at:]:
        if phase is not phases[at]:
            enter(phase)
        if done >= phase.end:
            continue
        first = max(done, phase.first)
        model.fit(
            training_batches(
                train,
                experiment.augmentation,
                batch_size=settings.batch_size,
                seed=settings.seed,
                first_epoch=first,
                side_of=side_of if settings.first_side else None,
                shares_of=shares_of,
            ),
            steps_per_epoch=steps,
            initial_epoch=first,
            epochs=phase.end,
            validation_data=validation_batches(validation, shares_of=shares_of),
            callbacks=[
                StopDiverged(steps_at_once),
                Steps(on_step, steps),
                keeper,
                *([keeping.average] if keeping.average else []),
                keeping,
            ],
            shuffle=False,  # the pipeline shuffles
            verbose=0,
        )
    seconds = keeping.seconds()
    model.set_weights(keeper.weights)
    best = keeper.history[keeper.best_epoch - 1]
    return Fit(
        model=model,
        history=tuple(keeper.history),
        best_epoch=keeper.best_epoch,
        best_val_accuracy=best["val_accuracy"],
        best_val_loss=best["val_loss"],
        fit_seconds=seconds,
        fit_cpu_seconds=keeping.cpu_seconds(),
        images_per_second=len(train) * len(keeper.history) / seconds,
    )


def build_model(experiment: Experiment, *, classes: int) -> keras.Model:
    """The experiment's network, seeded by it, in its precision.

    Raises:
        CifarTrackError: a setting of the architecture is wrong, its weights can't be had, or it
            does not take the images that it is to be trained on.
    """
    settings = experiment.training
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    model = models.build(
        experiment.model,
        classes=classes,
        seed=derived_seed(settings.seed, Purpose.WEIGHTS),
        precision=resolve_precision(settings),
    )
    if settings.first_side and model.input_shape[1] is not None:
        raise CifarTrackError(
            f"training.first_side={settings.first_side} shows smaller images first, and the "
            f"architecture {experiment.model.architecture!r} takes those of {model.input_shape[1]} "
            "pixels alone; expected 0, or another architecture, such as 'whitened'"
        )
    return model


def _wants_shares(experiment: Experiment) -> bool:
    """Whether a label is more than the number of a class, which is what costs nothing."""
    return experiment.augmentation.mixes_labels or experiment.training.label_smoothing > 0


def _loss(settings: Training, *, shares_of: int | None) -> keras.losses.Loss:
    if shares_of is None:
        return keras.losses.SparseCategoricalCrossentropy()
    return keras.losses.CategoricalCrossentropy(label_smoothing=settings.label_smoothing)


def _metrics(*, shares_of: int | None) -> list[str | keras.metrics.Metric]:
    if shares_of is None:
        return ["accuracy"]
    # So that a validation loss means the same on every page.
    return ["accuracy", keras.metrics.CategoricalCrossentropy(name=CROSS_ENTROPY)]


def _make_state(model: keras.Model, *, classes: int, shares_of: int | None) -> None:
    """Make what the optimizer and the metrics keep.

    Where a step makes any of it, TensorFlow traces the step twice, which takes ResNet50 seconds.
    """
    model.optimizer.build(model.trainable_variables)
    labels = np.zeros((1,) if shares_of is None else (1, shares_of), np.int64)
    model.compute_metrics(None, labels, np.full((1, classes), 1 / classes, np.float32))
    model.reset_metrics()


def _steps_at_once(steps: int) -> int:
    """How many steps TensorFlow runs before it comes back to Python.

    A divisor of an epoch's steps, because Keras does not cut the last execution of an epoch
    short: the study's 704 steps have 8, a prime number of steps only 1.
    """
    return max(count for count in range(1, MOST_STEPS_AT_ONCE + 1) if steps % count == 0)


def check_model(experiment: Experiment, *, classes: int) -> None:
    """Find what is wrong with a network's settings while no device is touched.

    A process that has begun to use a GPU keeps memory on it until it ends, and a search's trials
    want all of it. A network that begins from given weights is built for good, since they are read.

    Raises:
        CifarTrackError: as `build_model`.
    """
    if experiment.model.settings.get("weights", "none") != "none":
        build_model(experiment, classes=classes)
        return
    with tf.Graph().as_default():  # of operations that are never run
        build_model(experiment, classes=classes)


def predict(model: keras.Model, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probabilities of the classes, float32 (N, classes), for uint8 (N, 32, 32, 3)."""
    return np.concatenate(
        [
            np.asarray(model.predict_on_batch(images[start : start + PREDICTION_BATCH]))
            for start in range(0, len(images), PREDICTION_BATCH)
        ]
    )
