"""The folder of a model as MLflow keeps it, prepared on disk."""

from __future__ import annotations

import base64
import importlib.metadata
import inspect
import io
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType, Array, Object, Property
from PIL import Image

from cifar_track.addresses import folder_address
from cifar_track.serving.classifier import PictureClassifier

if TYPE_CHECKING:
    import keras

    from cifar_track.data import ClassNames

# What the saved network needs; inferring it would load the model in a process of its own.
REQUIRED_PACKAGES = ("mlflow", "tensorflow", "keras", "numpy", "pandas", "pillow")
CODE = Path(__file__).with_name("classifier.py")
# Past either, a server that shares a processor with others keeps them waiting.
LIMITS = {"max_images": 1000, "max_pixels": 50_000_000}
TOP_K = 5


def save_classifier(
    network: keras.Model, folder: Path, *, classes: ClassNames, example: np.ndarray
) -> None:
    """Write an MLflow model that names what pictures show, and that is a Keras model besides.

    `mlflow.pyfunc` loads it as `cifar_track.serving.classifier.PictureClassifier`, `mlflow.keras`
    as the network alone. Nothing is sent anywhere.

    Args:
        network: from uint8 (N, height, width, 3) to probabilities float32 (N, classes), of standard
            layers only.
        folder: where to write; it must not be there yet, or be empty.
        classes: what the classes are called.
        example: a few images, uint8 (n, height, width, 3).

    Raises:
        ValueError: the example is not uint8, or the names are not the network's classes.
    """
    if example.dtype != np.uint8:
        raise ValueError(f"the example is {example.dtype}; expected uint8")
    if network.output_shape[-1] != len(classes.fine):
        raise ValueError(f"{len(classes.fine)} names for {network.output_shape[-1]} classes")
    # Otherwise the lock of whatever project the working folder is would be taken for the model's.
    os.environ["MLFLOW_UV_AUTO_DETECT"] = "false"
    top_k = min(TOP_K, len(classes.fine))
    saved = Model()
    with tempfile.TemporaryDirectory() as parts:
        network.save(Path(parts, "model.keras"))
        _write_json(_names(classes), Path(parts, "classes.json"))
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(CODE),
            artifacts={
                # MLflow takes a path for an address, in which `?`, `#` and `%` mean something else.
                "network": folder_address(Path(parts, "model.keras")),
                "classes": folder_address(Path(parts, "classes.json")),
            },
            mlflow_model=saved,
            signature=_signature(top_k),
            input_example=([_png_in_base64(image) for image in example], {"top_k": top_k}),
            pip_requirements=[
                f"{package}=={importlib.metadata.version(package)}" for package in REQUIRED_PACKAGES
            ],
            metadata={"description": inspect.getdoc(PictureClassifier)},
            model_config=LIMITS,
        )
    examples = folder / "examples"
    examples.mkdir()
    _write_json({"inputs": [_png_in_base64(image) for image in example]}, examples / "png.json")
    _write_json({"inputs": example.tolist()}, examples / "arrays.json")
    import keras

    # Not the paths of this machine.
    served = saved.flavors[mlflow.pyfunc.FLAVOR_NAME]
    served["model_code_path"] = CODE.name
    for artifact in served["artifacts"].values():
        artifact["uri"] = artifact["path"]
    saved.add_flavor(
        "keras",
        data="artifacts",  # where MLflow looks for `model.keras`
        keras_version=keras.__version__,
        keras_backend=keras.backend.backend(),
        save_exported_model=False,
    )
    saved.model_size_bytes = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    saved.save(str(folder / MLMODEL_FILE_NAME))


def _signature(top_k: int) -> ModelSignature:
    """Any entry: the model checks each form of an image itself, and says what is wrong."""
    classes = Object([Property("class", DataType.string), Property("probability", DataType.double)])
    signature = ModelSignature(
        inputs=Schema([ColSpec(AnyType())]),  # type: ignore[no-untyped-call]
        outputs=Schema(
            [
                ColSpec(DataType.string, "class", required=False),
                ColSpec(DataType.string, "superclass", required=False),
                ColSpec(DataType.double, "probability"),
                ColSpec(Array(classes), "top"),
                ColSpec(DataType.string, "model_version", required=False),
                ColSpec(Array(DataType.double), "probabilities", required=False),
            ]
        ),
        params=ParamSchema(
            [
                ParamSpec("top_k", DataType.long, top_k),
                ParamSpec("threshold", DataType.double, 0.0),
                ParamSpec("raw", DataType.boolean, default=False),
            ]
        ),
    )
    # MLflow then hands on what is under `inputs` as it came. Otherwise it makes one array of it,
    # in which every text takes the room of the longest, and nested lists become columns.
    signature._is_signature_from_type_hint = True  # noqa: SLF001 - it has no other way
    return signature


def _names(classes: ClassNames) -> dict[str, Any]:
    groups = [classes.coarse[n] for n in classes.superclass_of] if classes.coarse else None
    return {
        "classes": list(classes.fine),
        "superclass_of_class": groups or [None] * len(classes.fine),
    }


def _png_in_base64(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _write_json(value: Any, path: Path) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
