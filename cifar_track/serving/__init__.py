"""The model that is served: pictures and arrays in, names and probabilities out."""

from cifar_track.tracking import quiet  # noqa: F401, I001 - before mlflow is imported
from cifar_track.serving.blend import blend_networks, load_network
from cifar_track.serving.export import (
    FORMATS,
    Agreement,
    agreement,
    export_network,
    require_formats,
)
from cifar_track.serving.front import Front
from cifar_track.serving.model import save_classifier
from cifar_track.serving.server import serve

__all__ = [
    "FORMATS",
    "Agreement",
    "Front",
    "agreement",
    "blend_networks",
    "export_network",
    "load_network",
    "require_formats",
    "save_classifier",
    "serve",
]
