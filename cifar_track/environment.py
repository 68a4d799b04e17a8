"""What this program's own processes find in their environment, whatever the person's says."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from cifar_track.config import CifarTrackError

# Read by libraries as they are imported, and inherited by the processes that are started from here.
SETTLED: Mapping[str, str] = MappingProxyType(
    {
        # Jupyter and Colab name a drawing backend of their own, which raises where it is absent.
        "MPLBACKEND": "agg",
        "KERAS_BACKEND": "tensorflow",
        "KERAS_NNX_ENABLED": "false",
        # TensorFlow would route `tf.keras` to a package that is not installed.
        "TF_USE_LEGACY_KERAS": "0",
        # Else the first process that looks at a GPU takes all of its memory.
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }
)
REMOVED = (
    # Keras cuts every fit short by them; a run's epochs are those that it logs.
    "KERAS_MAX_EPOCHS",
    "KERAS_MAX_STEPS_PER_EPOCH",
    # It calls the store from a thread of its own, and what is read back may not be there yet.
    "MLFLOW_ENABLE_ASYNC_LOGGING",
)
# As Python itself has it.
IGNORED_WARNINGS = (
    DeprecationWarning,
    PendingDeprecationWarning,
    ImportWarning,
    ResourceWarning,
)


def settle() -> None:
    """Decide what a person's environment would otherwise decide for Keras and its like.

    Called before they are imported; a process that is started afterwards inherits it.
    """
    os.environ.update(SETTLED)
    for name in REMOVED:
        os.environ.pop(name, None)
    if os.environ.pop("PYTHONWARNINGS", ""):  # what a library warns of may be made an error by it
        sys.warnoptions.clear()  # which a process that is started gets as well
        warnings.resetwarnings()
        for kind in IGNORED_WARNINGS:
            warnings.simplefilter("ignore", kind)
    # It writes two long lines about a home that can't be written, and does without.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


def load_keras() -> None:
    """Import Keras on TensorFlow with its own defaults, whatever `keras.json` says.

    Raises:
        CifarTrackError: Keras can't read its `keras.json`, or runs on another backend already.
    """
    settle()
    try:
        import keras
    except (OSError, ValueError, TypeError, AttributeError) as error:
        folder = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")  # noqa: PTH118
        raise CifarTrackError(
            f"Keras can't use its settings in {folder}/keras.json ({error}); mend that file, "
            "remove it, or set KERAS_HOME to another folder"
        ) from error
    if keras.config.backend() != "tensorflow":
        raise CifarTrackError(
            f"Keras runs on {keras.config.backend()} in this process already; expected tensorflow: "
            "start a fresh process, and import cifar_track before keras"
        )
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)


def require_threads() -> None:
    """Look at the numbers of threads that TensorFlow reads as it is imported.

    It ends the process for one below 0, and takes every core for what is no number.

    Raises:
        CifarTrackError: one of them is none.
    """
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        text = os.environ.get(name, "").strip()
        if text and not (text.isascii() and text.isdecimal() and int(text) < 2**31):
            raise CifarTrackError(
                f"{name}={text} is no number of threads; expected a whole number, such as 1, or 0 "
                "for every core"
            )


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a moment; a process started meanwhile has them for good."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
