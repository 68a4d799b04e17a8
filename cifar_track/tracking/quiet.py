"""Keeps mlflow from calling home, and from talking between the lines meant to be read."""

import logging
import os

from cifar_track.config import CifarTrackError

# mlflow reads these when it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
_level = os.environ.get("MLFLOW_LOGGING_LEVEL")
if not _level:
    os.environ["MLFLOW_LOGGING_LEVEL"] = "WARNING"
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # where it has been imported already
elif _level.upper() not in logging.getLevelNamesMapping():
    raise CifarTrackError(
        f"MLFLOW_LOGGING_LEVEL={_level} is no level; expected DEBUG, INFO, WARNING, ERROR or "
        "CRITICAL"
    )
# A server that is away is asked again by whoever has something to send, so each try may be short;
# MLflow's own patience is four minutes, in which nothing else is tried.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
# It logs the traceback of an error that it raises as well, such as a full disk under SQLite.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
# It warns of an environment without pip, such as uv makes, each time a model is logged.
logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
