"""Keeps mlflow from calling home, and from talking between the lines meant to be read."""

import logging
import os

# mlflow reads these when it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
if "MLFLOW_LOGGING_LEVEL" not in os.environ:
    os.environ["MLFLOW_LOGGING_LEVEL"] = "WARNING"
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # where it has been imported already
# It warns of an environment without pip, such as uv makes, each time a model is logged.
logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
