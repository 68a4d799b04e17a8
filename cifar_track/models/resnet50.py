"""ResNet50 without its top, as `keras.applications` has it, and a softmax over the classes."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import h5py
import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from cifar_track import folders
from cifar_track.config import IMAGE_SHAPE, CifarTrackError, nearest
from cifar_track.models.layers import as_fast_layer

PREPROCESSINGS = ("caffe", "study", "none")
TRAINABLE = ("all", "last_stage", "head")
# Where Keras's names of the layers of the last stage begin.
LAST_STAGE = "conv5_"

# Channel means of ImageNet in the order blue, green, red, in 0..255: what the published weights
# were trained with (`keras.applications.imagenet_utils.preprocess_input`, mode "caffe").
IMAGENET_MEANS = (103.939, 116.779, 123.68)


def build(
    *, classes: int, weights: str, preprocessing: str, image_size: int, trainable: str = "all"
) -> keras.Model:
    """ResNet50, global average pooling, a dense softmax.

    What is frozen keeps its weights, and normalises by the statistics that it came with
    (https://keras.io/guides/transfer_learning).

    Args:
        classes: the width of the softmax.
        weights: `imagenet` (downloaded by Keras), `none`, or the path of a weights file of
            `keras.applications.ResNet50`, with its top or without, in the HDF5 format of Keras 3
            or of those before.
        preprocessing: `caffe` as the published weights were trained, `study` for division by
            255, `none` for 0..255 as they are.
        image_size: side in pixels to which images are enlarged inside the model; at least 32.
        trainable: `all`, `last_stage` for the last of the four stages and the softmax, or `head`
            for the softmax alone.

    Returns:
        A network from float32 (N, 32, 32, 3) in 0..255 to float32 (N, classes).

    Raises:
        CifarTrackError: a setting out of its range, or weights that can't be had.
    """
    if preprocessing not in PREPROCESSINGS:
        raise CifarTrackError(
            f"model.preprocessing={preprocessing} is unknown"
            f"{nearest(preprocessing, PREPROCESSINGS)}"
        )
    if trainable not in TRAINABLE:
        raise CifarTrackError(
            f"model.trainable={trainable} is unknown{nearest(trainable, TRAINABLE)}"
        )
    if not 32 <= image_size <= 1024:
        raise CifarTrackError(
            f"model.image_size={image_size} is out of range; expected 32 to 1024 pixels"
        )
    if weights not in ("imagenet", "none"):
        weights = str(_require_file(folders.expanded(Path(weights))))

    # What can't be had is found before anything is built.
    loaded = None if weights == "none" else _load_weights(weights)

    x = keras.Input(IMAGE_SHAPE, name="images")
    # Served, it gets whole numbers, and `Resizing` of those rounds.
    x = keras.ops.cast(x, "float32")
    if image_size != IMAGE_SHAPE[0]:
        x = layers.Resizing(image_size, image_size, dtype="float32", name="enlarge")(x)
    if preprocessing == "study":
        x = layers.Rescaling(1 / 255, dtype="float32", name="scale")(x)
    elif preprocessing == "caffe":
        x = keras.ops.flip(x, axis=-1)  # RGB to BGR
        x = layers.Normalization(
            mean=IMAGENET_MEANS, variance=(1.0, 1.0, 1.0), dtype="float32", name="center"
        )(x)
    backbone = keras.applications.ResNet50(include_top=False, weights=None, input_tensor=x)
    fast = keras.models.clone_model(backbone, clone_function=as_fast_layer)
    if loaded is not None:
        fast.set_weights(loaded)
    for layer in fast.layers:
        layer.trainable = trainable == "all" or (
            trainable == "last_stage" and layer.name.startswith(LAST_STAGE)
        )
    x = layers.GlobalAveragePooling2D(name="average")(fast.output)
    outputs = layers.Dense(classes, activation="softmax", dtype="float32", name="classes")(x)
    return keras.Model(fast.inputs[0], outputs, name="resnet50")


def _require_file(path: Path) -> Path:
    if not folders.is_file(path):
        raise CifarTrackError(
            f"weights file {path} does not exist; expected imagenet, none or a path"
        )
    if not folders.is_readable(path):
        raise CifarTrackError(f"weights file {path} can't be read by this user; allow it")
    return path


def _load_weights(weights: str) -> list[NDArray[np.float32]]:
    # Loaded into a network of nothing but ResNet50, whose layers are what such a file names.
    try:
        loaded = (
            keras.applications.ResNet50(include_top=False, weights=weights)
            if weights == "imagenet"
            else _read_file(Path(weights))
        )
    except Exception as error:
        if weights == "imagenet":
            raise CifarTrackError(
                f"the ImageNet weights could not be downloaded ({_first_line(error)}); give a "
                "file with -P weights=PATH, or start from random weights with -P weights=none"
            ) from error
        raise CifarTrackError(
            f"weights file {weights} does not fit ResNet50 ({_first_line(error)}); expected a "
            "file that Keras's ResNet50 saved, .weights.h5 or .h5"
        ) from error
    values: list[NDArray[np.float32]] = loaded.get_weights()
    return values


def _read_file(file: Path) -> keras.Model:
    """ResNet50 without its top, with the weights of a file."""
    with h5py.File(file) as stored:
        # Of a whole model, they are in a group of their own.
        group = stored.get("model_weights", stored)
        is_legacy = "layer_names" in group.attrs
        classes = _classes_of_top(group) if is_legacy else None
    backbone = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=IMAGE_SHAPE, pooling="avg"
    )
    whole = backbone
    if classes is not None:  # a legacy file is read by the number and order of its layers
        outputs = layers.Dense(classes, name="predictions")(backbone.output)
        whole = keras.Model(backbone.input, outputs)
    ending = ".h5" if is_legacy else ".weights.h5"
    with tempfile.TemporaryDirectory() as folder:
        # Keras goes by the name, and before Keras 3 any name was given to a legacy file.
        named = shutil.copyfile(file, Path(folder, f"weights{ending}"))
        whole.load_weights(named)
    return backbone


def _classes_of_top(group: h5py.Group) -> int | None:
    """The width of the dense layer that a legacy file ends with; None without one."""
    weights = [
        [group[layer][name] for name in group[layer].attrs["weight_names"]]
        for layer in group.attrs["layer_names"]
    ]
    last: list[h5py.Dataset] = next((arrays for arrays in reversed(weights) if arrays), [])
    return int(last[0].shape[1]) if last and len(last[0].shape) == 2 else None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]
