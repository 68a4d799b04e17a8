"""Fits a network to images and keeps its best epoch; knows nothing of who listens."""

from cifar_track.training.batches import PREDICTION_BATCH, training_batches, validation_batches
from cifar_track.training.callbacks import EpochListener
from cifar_track.training.fitting import Fit, build_model, check_model, fit, predict
from cifar_track.training.precision import resolve_precision

__all__ = [
    "PREDICTION_BATCH",
    "EpochListener",
    "Fit",
    "build_model",
    "check_model",
    "fit",
    "predict",
    "resolve_precision",
    "training_batches",
    "validation_batches",
]
