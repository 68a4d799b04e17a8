"""Loads a model and asks it, in a process that has nothing of this package.

Run as a script: `python -I asked_elsewhere.py MODEL IMAGES.npy ANSWER.npz`.
"""

import statistics
import sys
import time

import numpy as np

IMAGES_A_REQUEST = 500
TIMES = 30


def main(model_uri: str, images_path: str, answer_path: str) -> None:
    """Write `probabilities` (N, C), `load_seconds` and `milliseconds` of one image."""
    sys.modules["cifar_track"] = None  # type: ignore[assignment]  # as if it were not installed
    import mlflow

    images = np.load(images_path)
    began = time.perf_counter()
    model = mlflow.pyfunc.load_model(model_uri)
    raw = {"raw": True}
    model.predict(images[:1], params=raw)
    load_seconds = time.perf_counter() - began
    probabilities = []
    for start in range(0, len(images), IMAGES_A_REQUEST):
        answer = model.predict(images[start : start + IMAGES_A_REQUEST], params=raw)
        probabilities.extend(answer["probabilities"])
    seconds = []
    for number in range(TIMES):
        image = images[number % len(images)][None]
        began = time.perf_counter()
        model.predict(image)
        seconds.append(time.perf_counter() - began)
    np.savez(
        answer_path,
        probabilities=np.array(probabilities),
        load_seconds=load_seconds,
        milliseconds=1000 * statistics.median(seconds),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
