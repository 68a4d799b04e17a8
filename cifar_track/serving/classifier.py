"""The model that is served: pictures and arrays in, names and probabilities out.

MLflow keeps a copy of this file with every logged model and runs it when the model is loaded, so
it imports nothing of this package.
"""

from __future__ import annotations

import base64
import binascii
import io
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from PIL import Image, ImageOps

# What a picture may be written as; Pillow's other readers, some of which start programs, stay shut.
FORMATS = ("PNG", "JPEG", "WEBP")
WHITE = (255, 255, 255, 255)
IMAGES_A_PASS = 500
EXPECTED = (
    "a picture (PNG, JPEG or WebP, as bytes or in base64) or an array of whole numbers from 0 to "
    "255 of the shape (height, width, 3)"
)


class BadRequestError(MlflowException):
    """What is wrong with a request, in one line; MLflow's server answers it with status 400."""

    def __init__(self, message: str) -> None:
        self._line = " ".join(message.split())
        super().__init__(self._line, error_code=INVALID_PARAMETER_VALUE)

    @property
    def message(self) -> str:
        """The line."""
        return self._line

    @message.setter
    def message(self, value: str) -> None:
        # MLflow's server puts the whole request in front, which whoever sent it has already.
        pass


class PictureClassifier(PythonModel):
    """Names what a picture shows.

    Input, a list (`{"inputs": [...]}` over HTTP), an array, or a table with one column:

    - pictures: PNG, JPEG or WebP, as bytes or as text in base64;
    - arrays: whole numbers from 0 to 255, (height, width, 3), red, green, blue.

    A picture that is not 32 pixels square is scaled until its shorter side is 32, and the middle
    of the other is kept. It is turned as its EXIF says, and what is transparent becomes white.

    Parameters: `top_k`, how many classes to list (5); `threshold`, the probability below which
    no class is named (0); `raw`, whether to give the probabilities of all classes (false).

    Output, one row an image: `class`, `superclass` and `probability` of the most probable class;
    `top`, the most probable ones, the first first; `model_version`, of the registry; with `raw`
    also `probabilities`, in the order of `classes.json`.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the network and the names; the limits are the model's configuration."""
        # TensorFlow's own loader of Keras is not asked: it may be set to another backend.
        import keras
        import tensorflow as tf

        settings = context.model_config or {}
        self.max_images = int(settings["max_images"])
        self.max_pixels = int(settings["max_pixels"])
        names = json.loads(Path(context.artifacts["classes"]).read_text(encoding="utf-8"))
        self.classes: list[str] = names["classes"]
        self.superclasses: list[str | None] = names["superclass_of_class"]
        self.model_version = _registered_version(Path(context.artifacts["classes"]))
        network = keras.saving.load_model(context.artifacts["network"], compile=False)
        self.side = int(network.input_shape[1])
        self._network = tf.function(
            lambda images: network(images, training=False),
            input_signature=[tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8)],
        )
        self._network(np.zeros((1, *network.input_shape[1:]), np.uint8))  # the first call traces

    # The annotation is one that MLflow makes no schema of: what comes in is checked here.
    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - MLflow's own signature
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Name what pictures show; see the class.

        Raises:
            BadRequestError: something is not as expected; no image has been judged then.
        """
        top_k, threshold, raw = _parameters(params, classes=len(self.classes))
        images = self._images(model_input)
        probabilities = np.concatenate(
            [
                self._network(images[start : start + IMAGES_A_PASS]).numpy()
                for start in range(0, len(images), IMAGES_A_PASS)
            ]
        )
        return self._named(probabilities, top_k=top_k, threshold=threshold, raw=raw)

    def _images(self, given: Any) -> np.ndarray:
        """Whatever was given as uint8 (N, side, side, 3)."""
        side = self.side
        if isinstance(given, np.ndarray) and given.dtype != object and given.ndim == 4:
            self._require_number(len(given))
            _require_array(given, place="the array", dimensions=4)
            if given.shape[1:3] == (side, side):
                return np.ascontiguousarray(given, dtype=np.uint8)
        if isinstance(given, pd.DataFrame | pd.Series | list | tuple) or np.ndim(given):
            self._require_number(len(given))  # before each is made an object of its own
        entries = _entries(given)
        images = np.empty((len(entries), side, side, 3), np.uint8)
        pixels_left = self.max_pixels
        for number, entry in enumerate(entries):
            place = f"image {number}"
            opened: Image.Image | np.ndarray
            if isinstance(entry, str | bytes | bytearray | memoryview):
                opened = _open_picture(entry, place=place)
                width, height = opened.size
            else:
                opened = _as_array(entry, place=place)
                height, width = opened.shape[:2]
            pixels_left -= width * height
            if pixels_left < 0:
                raise BadRequestError(
                    f"{place} has {width} × {height} pixels, and with it the request is past "
                    f"{self.max_pixels:,}; send smaller pictures"
                )
            picture = _decode(opened, place=place) if isinstance(opened, Image.Image) else opened
            images[number] = _fitted(picture, side)
        return images

    def _require_number(self, images: int) -> None:
        if not 1 <= images <= self.max_images:
            raise BadRequestError(
                f"{images} images in a request; expected from 1 to {self.max_images:,}"
            )

    def _named(
        self, probabilities: np.ndarray, *, top_k: int, threshold: float, raw: bool
    ) -> pd.DataFrame:
        """Probabilities (N, classes) as a table that JSON can hold."""
        # Among equals the lowest number first, as argmax has it.
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
        highest = np.take_along_axis(probabilities, order, axis=1).tolist()
        names, groups = self.classes, self.superclasses
        top = [
            [{"class": names[n], "probability": p} for n, p in zip(row, values, strict=True)]
            for row, values in zip(order.tolist(), highest, strict=True)
        ]
        first = [
            (row[0] if values[0] >= threshold else None)
            for row, values in zip(order.tolist(), highest, strict=True)
        ]
        columns: dict[str, Any] = {
            "class": [None if n is None else names[n] for n in first],
            "superclass": [None if n is None else groups[n] for n in first],
            "probability": [values[0] for values in highest],
            "top": top,
            "model_version": self.model_version,
        }
        if raw:
            columns["probabilities"] = probabilities.tolist()
        return pd.DataFrame(columns)


def _parameters(given: dict[str, Any] | None, *, classes: int) -> tuple[int, float, bool]:
    assert given is not None  # MLflow puts the signature's own where none are given
    top_k, threshold = int(given["top_k"]), float(given["threshold"])
    if not 1 <= top_k <= classes:
        raise BadRequestError(f"top_k={top_k} is out of range; expected from 1 to {classes}")
    if not (math.isfinite(threshold) and 0 <= threshold <= 1):
        raise BadRequestError(f"threshold={threshold} is out of range; expected from 0 to 1")
    return top_k, threshold, bool(given["raw"])


def _entries(given: Any) -> Sequence[Any]:
    """What was given as one entry an image."""
    if isinstance(given, pd.DataFrame):
        if len(given.columns) != 1:
            raise BadRequestError(
                f"a table with the columns {', '.join(map(str, given.columns[:9]))}; expected one "
                "column, of pictures"
            )
        given = given.iloc[:, 0]
    if isinstance(given, pd.Series):
        given = given.tolist()
    if isinstance(given, np.ndarray):
        if given.ndim == 4 or (given.ndim == 1 and given.dtype.kind in "OSU"):
            return list(given)
        raise BadRequestError(
            f"an array of {given.dtype} of the shape {given.shape}; expected whole numbers from 0 "
            "to 255 of the shape (images, height, width, 3)"
        )
    if not isinstance(given, list | tuple):
        raise BadRequestError(
            f"{_kind(given)} in place of images; expected a list, each {EXPECTED}"
        )
    return given


def _open_picture(entry: Any, *, place: str) -> Image.Image:
    """A picture of which the head alone has been read."""
    if isinstance(entry, str):
        text = "".join(entry.partition(",")[2].split() if entry[:5] == "data:" else entry.split())
        try:
            entry = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadRequestError(f"{place} is text that is not base64 ({error})") from None
    try:
        picture = Image.open(io.BytesIO(entry), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise BadRequestError(f"{place}: {error}") from None
    except Exception:  # a damaged file can fail anywhere in Pillow
        raise BadRequestError(
            f"{place} is no picture that can be read; expected {EXPECTED}"
        ) from None
    frames = getattr(picture, "n_frames", 1)
    # A telephone's JPEG may carry a depth map or a preview behind the picture: Pillow's MPO.
    if frames != 1 and picture.format != "MPO":
        raise BadRequestError(f"{place} is an animation of {frames} pictures; expected one picture")
    return picture


def _decode(picture: Image.Image, *, place: str) -> np.ndarray:
    """A picture as uint8 (height, width, 3): upright, on white, 8 bits a channel."""
    try:
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
        if picture.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
            grey = np.asarray(picture).astype(np.float64) / 257
            picture = Image.fromarray(np.rint(grey.clip(0, 255)).astype(np.uint8))
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, WHITE), picture)
        return np.asarray(picture.convert("RGB"))
    except Exception as error:  # a damaged file can fail anywhere in Pillow
        raise BadRequestError(f"{place} is a damaged picture ({error})") from None


def _as_array(entry: Any, *, place: str) -> np.ndarray:
    """Nested lists, or an array, as uint8 (height, width, 3)."""
    if isinstance(entry, list | tuple):
        _require_whole_numbers(entry, place=place)
        try:
            entry = np.asarray(entry)
        except ValueError:
            raise BadRequestError(
                f"{place} has rows of unequal length; expected {EXPECTED}"
            ) from None
    if not isinstance(entry, np.ndarray):
        raise BadRequestError(f"{place} is {_kind(entry)}; expected {EXPECTED}")
    _require_array(entry, place=place, dimensions=3)
    return entry.astype(np.uint8, copy=False)


def _require_whole_numbers(entry: Any, *, place: str) -> None:
    """Refuse texts, floats and truth values, which NumPy would make numbers of."""
    level: list[Any] = list(entry)
    for _ in range(3):
        if not all(isinstance(part, list | tuple) for part in level):
            break
        level = list(itertools.chain.from_iterable(level))
    wrong = {kind for kind in set(map(type, level)) if kind is not int}
    if wrong:
        kinds = ", ".join(sorted(kind.__name__ for kind in wrong))
        raise BadRequestError(f"{place} holds {kinds} in place of numbers; expected {EXPECTED}")


def _require_array(array: np.ndarray, *, place: str, dimensions: int) -> None:
    if array.ndim != dimensions or array.shape[-1] != 3 or 0 in array.shape:
        raise BadRequestError(f"{place} has the shape {array.shape}; expected {EXPECTED}")
    if array.dtype == np.uint8:
        return
    if array.dtype.kind not in "iu":
        raise BadRequestError(f"{place} is of {array.dtype}; expected {EXPECTED}")
    if array.min() < 0 or array.max() > 255:
        raise BadRequestError(
            f"{place} holds numbers from {array.min()} to {array.max()}; expected {EXPECTED}"
        )


def _fitted(picture: np.ndarray, side: int) -> np.ndarray:
    """uint8 (height, width, 3) as (side, side, 3): the shorter side scaled, the middle kept."""
    if picture.shape[:2] == (side, side):
        return picture
    fitted = ImageOps.fit(Image.fromarray(picture), (side, side), method=Image.Resampling.LANCZOS)
    return np.asarray(fitted)


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _registered_version(path: Path) -> str | None:
    """The version that MLflow notes beside a model that it loads from the registry."""
    for folder in path.parents:
        note = folder / "registered_model_meta"
        if note.is_file():
            lines = dict(
                line.split(": ", 1) for line in note.read_text().splitlines() if ": " in line
            )
            return lines["model_version"].strip("'\"")
        if (folder / "MLmodel").is_file():
            break
    return None


mlflow.models.set_model(PictureClassifier())
