"""The model that is served: pictures and arrays in, names and probabilities out."""

from cifar_track.tracking import quiet  # noqa: F401, I001 - before mlflow is imported
from cifar_track.serving.model import save_classifier

__all__ = ["save_classifier"]
