"""Starts the command line in a process: environment, signals, exit status."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from pathlib import Path

# What `import` calls the packages of pyproject.toml.
PACKAGES = (
    "PIL",
    "altair",
    "click",
    "cv2",
    "filelock",
    "h5py",
    "jinja2",
    "keras",
    "keras_tuner",
    "matplotlib",
    "mlflow",
    "numpy",
    "platformdirs",
    "psutil",
    "rich",
    "scipy",
    "sklearn",
    "tensorboard",
    "tensorflow",
    "uvicorn",
    "vl_convert",
)


def main() -> int:
    """Run the verb on the command line and return the process's exit status."""
    # An environment whose making was killed is used again as it is, by MLflow and by people; the
    # package that is missing would show itself when the training is over.
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        print(  # noqa: T201
            f"error: the environment {os.environ.get('VIRTUAL_ENV', sys.prefix)} lacks "
            f"{', '.join(missing)}; if `mlflow run` made it, delete it and repeat the command, "
            "otherwise install as the README says",
            file=sys.stderr,
        )
        return 2
    if sys.flags.optimize > 1:
        print(  # noqa: T201
            "error: Python was told to leave docstrings out, which MLflow builds on; unset "
            "PYTHONOPTIMIZE, or call python without -OO",
            file=sys.stderr,
        )
        return 2
    from cifar_track import cli, environment, interrupts, streams

    streams.settle()
    environment.settle()
    try:
        Path.cwd()
    except OSError as error:
        print(  # noqa: T201
            f"error: the working folder is gone ({error.strerror}); go to another and repeat the "
            "command",
            file=sys.stderr,
        )
        return 2
    # Imports make a million objects to stay; looking for garbage among them, again and again, takes
    # a fifth of the imports' time. Who loads TensorFlow lives for longer, and looks more often.
    gc.set_threshold(1_000_000)
    if os.environ.get("MLFLOW_RUN_ID"):
        interrupts.follow_launcher()
    try:
        with interrupts.raised():
            return cli.run(sys.argv[1:])
    except KeyboardInterrupt as interrupt:
        return interrupts.exit_status(interrupt)
    finally:
        # Nor is there anything to be found on the way out, which would take a second.
        gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
