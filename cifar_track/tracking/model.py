"""A model's prepared folder as a model that MLflow has logged."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from mlflow.models import Model
from mlflow.models.model import MLMODEL_FILE_NAME

MODEL_NAME = "model"


def log_prepared_model(folder: Path, *, run_id: str, step: int) -> str:
    """Log an MLflow model that has been written to disk and return its address, `models:/m-…`.

    Args:
        folder: the model, as `cifar_track.serving` prepares it.
        run_id: the run it belongs to.
        step: the epoch whose metrics are the model's own.
    """
    logged = Model.log(
        None,
        sys.modules[__name__],
        folder=folder,
        name=MODEL_NAME,
        run_id=run_id,
        step=step,
        # It would load the model once more; the tests do that, and so does a promotion.
        validate_serving_input=False,
    )
    return str(logged.model_uri)


def save_model(*, path: str, mlflow_model: Model, folder: Path, **_: Any) -> None:
    """Copy a prepared folder and give it its run and its id; `Model.log` calls this."""
    shutil.copytree(folder, path, dirs_exist_ok=True)
    prepared = Model.load(str(folder))
    for name in (
        "flavors",
        "signature",
        "saved_input_example_info",
        "metadata",
        "model_size_bytes",
    ):
        setattr(mlflow_model, name, getattr(prepared, name))
    mlflow_model.save(str(Path(path, MLMODEL_FILE_NAME)))
