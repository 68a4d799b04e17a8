"""The model as MLflow keeps it: served fast, loaded as Keras again, without this project."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.types import Schema, TensorSpec

if TYPE_CHECKING:
    import keras

MODEL_NAME = "model"
# What the saved network needs; inferring it would load the model in a process of its own.
REQUIRED_PACKAGES = ("mlflow", "tensorflow", "keras", "numpy")


def log_served_model(model: keras.Model, *, run_id: str, step: int, example: np.ndarray) -> str:
    """Log a Keras model and return its address, `models:/m-…`.

    Args:
        model: from uint8 (N, 32, 32, 3) to float32 (N, classes), of standard layers only.
        run_id: the run it belongs to.
        step: the epoch whose metrics are the model's own.
        example: a few images, uint8 (n, 32, 32, 3).
    """
    if example.dtype != np.uint8:
        raise ValueError(f"the example is {example.dtype}; expected uint8")
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, *model.input_shape[1:]))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, model.output_shape[-1]))]),
    )
    requirements = [
        f"{package}=={importlib.metadata.version(package)}" for package in REQUIRED_PACKAGES
    ]
    logged = Model.log(
        None,
        sys.modules[__name__],
        model=model,
        name=MODEL_NAME,
        run_id=run_id,
        step=step,
        signature=signature,
        input_example=example,
        pip_requirements=requirements,
        # It would load the model once more; the tests do that, and so does a promotion.
        validate_serving_input=False,
    )
    return str(logged.model_uri)


def save_model(
    *,
    model: keras.Model,
    path: str,
    mlflow_model: Model,
    signature: ModelSignature,
    input_example: np.ndarray,
    pip_requirements: list[str],
    **_: Any,
) -> None:
    """Save a model as an exported graph and as a Keras file; `Model.log` calls this.

    `mlflow.pyfunc` loads the graph: one image takes 1 ms, where `Model.predict` of Keras takes
    50. `mlflow.tensorflow.load_model` loads the Keras file, to be looked into or trained further.
    """
    import mlflow.keras

    # MLflow writes the input example before it makes the folder.
    Path(path).mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(io.StringIO()):  # Keras lists every weight it exports
        mlflow.keras.save_model(
            model,
            path,
            save_exported_model=True,
            mlflow_model=mlflow_model,
            signature=signature,
            input_example=input_example,
            pip_requirements=pip_requirements,
        )
    model.save(Path(path, "data", "model.keras"))
    # `mlflow.tensorflow` looks here, and takes the file for HDF5 unless told.
    mlflow_model.flavors[mlflow.keras.FLAVOR_NAME]["save_format"] = "tf"
    mlflow_model.model_size_bytes = sum(
        file.stat().st_size for file in Path(path).rglob("*") if file.is_file()
    )
    mlflow_model.save(str(Path(path, MLMODEL_FILE_NAME)))
