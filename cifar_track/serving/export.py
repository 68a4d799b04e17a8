"""A network in the forms that other programs run, and how each of them is asked."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifar_track.config import CifarTrackError, nearest

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

# From uint8 (N, height, width, 3) to probabilities (N, classes).
Predictor = Callable[["NDArray[np.uint8]"], "NDArray[np.float32]"]
# What each form needs besides the project's own packages: the extra `export`.
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "keras": (),
    "saved_model": (),
    "onnx": ("onnx", "onnxruntime", "tf2onnx"),
    "litert": (),
    "litert_dynamic": (),
}
FORMATS = tuple(EXTRAS)
IMAGES_A_BATCH = 500
TIMES = 30


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How an exported form does beside the original, on the same images.

    Attributes:
        name: the form.
        megabytes: its size.
        milliseconds: the median time of one image.
        largest_difference: of any probability.
        same_class: share of the images that get the same class.
    """

    name: str
    megabytes: float
    milliseconds: float
    largest_difference: float
    same_class: float


def require_formats(names: tuple[str, ...]) -> None:
    """Raise unless every form is known and what it needs is installed.

    Raises:
        CifarTrackError: an unknown form, or one whose packages are not installed.
    """
    for name in names:
        if name not in EXTRAS:
            raise CifarTrackError(f"no format {name!r}{nearest(name, FORMATS)}")
        missing = [p for p in EXTRAS[name] if importlib.util.find_spec(p) is None]
        if missing:
            raise CifarTrackError(
                f"format {name} needs {', '.join(missing)}, which the extra `export` installs: "
                f"uv sync --locked --extra export; without it, leave {name} out of -P formats="
            )


def export_network(network: keras.Model, folder: Path, name: str) -> tuple[Path, Predictor]:
    """Write a network in one form, and open what was written.

    Args:
        network: from uint8 (N, height, width, 3) to probabilities (N, classes).
        folder: where to write.
        name: one of `FORMATS`.

    Returns:
        The file or folder written, and what asks it.
    """
    return {
        "keras": _keras,
        "saved_model": _saved_model,
        "onnx": _onnx,
        "litert": _litert,
        "litert_dynamic": _litert_dynamic,
    }[name](network, folder)


def agreement(
    name: str,
    path: Path,
    predict: Predictor,
    *,
    images: NDArray[np.uint8],
    expected: NDArray[np.float32],
) -> Agreement:
    """Ask an exported form for every image, and hold it beside the original.

    Args:
        name: the form.
        path: what was written.
        predict: what asks it.
        images: uint8 (N, height, width, 3).
        expected: what the original gives, (N, classes).
    """
    given = np.concatenate(
        [
            predict(images[start : start + IMAGES_A_BATCH])
            for start in range(0, len(images), IMAGES_A_BATCH)
        ]
    )
    predict(images[:1])
    seconds = []
    for number in range(TIMES):
        image = images[number % len(images)][None]
        began = time.perf_counter()
        predict(image)
        seconds.append(time.perf_counter() - began)
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    return Agreement(
        name=name,
        megabytes=sum(file.stat().st_size for file in files) / 1e6,
        milliseconds=1000 * statistics.median(seconds),
        largest_difference=float(np.max(np.abs(given - expected))),
        same_class=float(np.mean(given.argmax(axis=1) == expected.argmax(axis=1))),
    )


def _keras(network: keras.Model, folder: Path) -> tuple[Path, Predictor]:
    import keras

    path = folder / "model.keras"
    network.save(path)
    again = keras.saving.load_model(path, compile=False)
    return path, lambda images: np.asarray(again(images, training=False))


def _saved_model(network: keras.Model, folder: Path) -> tuple[Path, Predictor]:
    import tensorflow as tf

    path = folder / "saved_model"
    with _silence():
        network.export(str(path), verbose=False)
    again = tf.saved_model.load(str(path))
    return path, lambda images: np.asarray(again.serve(images))


def _onnx(network: keras.Model, folder: Path) -> tuple[Path, Predictor]:
    import onnxruntime

    path = folder / "model.onnx"
    with _silence():
        network.export(str(path), format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return path, lambda images: np.asarray(session.run(None, {name: images})[0])


def _litert(network: keras.Model, folder: Path) -> tuple[Path, Predictor]:
    return _convert(network, folder / "model.tflite", dynamic_range=False)


def _litert_dynamic(network: keras.Model, folder: Path) -> tuple[Path, Predictor]:
    return _convert(network, folder / "model.dynamic.tflite", dynamic_range=True)


def _convert(network: keras.Model, path: Path, *, dynamic_range: bool) -> tuple[Path, Predictor]:
    """LiteRT; with a dynamic range the weights are whole numbers of 8 bits."""
    import tensorflow as tf

    with _silence():
        converter = tf.lite.TFLiteConverter.from_keras_model(network)
        if dynamic_range:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        path.write_bytes(converter.convert())
        interpreter = tf.lite.Interpreter(str(path))
    return path, lambda images: _interpret(interpreter, images)


def _interpret(interpreter: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    entrance = interpreter.get_input_details()[0]
    if tuple(entrance["shape"]) != images.shape:
        interpreter.resize_tensor_input(entrance["index"], images.shape)
        interpreter.allocate_tensors()
    interpreter.set_tensor(entrance["index"], images)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep what converters print and warn of out of what is meant to be read."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
