"""Several networks as one: a weighted mean of tempered probabilities, of standard layers only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cifar_track import folders
from cifar_track.config import CifarTrackError

if TYPE_CHECKING:
    import keras


def load_network(model_uri: str) -> keras.Model:
    """The Keras network inside a logged model.

    Raises:
        CifarTrackError: the model's files can't be read, or copied to where they can.
    """
    import mlflow.keras
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        with folders.temporary() as place:  # the store's own folder may have any name
            return mlflow.keras.load_model(download_artifacts(model_uri, dst_path=str(place)))
    except (MlflowException, OSError, ValueError) as error:
        raise unreadable(model_uri, error) from error


def unreadable(model_uri: str, error: Exception) -> CifarTrackError:
    """The line for a model whose files are away or damaged."""
    return CifarTrackError(
        f"the model {model_uri} can't be read ({' '.join(str(error).split())}); bring its files "
        "back, as `mlflow run . -e doctor` does for a folder that was moved, or take another"
    )


def blend_networks(
    networks: Sequence[keras.Model], *, temperatures: Sequence[float], weights: Sequence[float]
) -> keras.Model:
    """One network that gives the weighted mean of several networks' probabilities.

    Args:
        networks: each from uint8 (N, height, width, 3) to logarithms of probabilities (N, classes).
        temperatures: what each one's logarithms are divided by.
        weights: of each one's probabilities; at least 0, summing to 1.

    Returns:
        A network from the same images to probabilities float32 (N, classes).
    """
    import keras

    images = keras.Input(networks[0].input_shape[1:], dtype="uint8", name="images")
    parts = []
    for number, (network, temperature, weight) in enumerate(
        zip(networks, temperatures, weights, strict=True)
    ):
        network.name = f"member_{number}"
        tempered = keras.layers.Rescaling(1 / temperature)(network(images))
        probabilities = keras.layers.Softmax()(tempered)
        parts.append(keras.layers.Rescaling(weight)(probabilities))
    mean = keras.layers.Add()(parts) if len(parts) > 1 else parts[0]
    return keras.Model(images, mean, name="ensemble")
