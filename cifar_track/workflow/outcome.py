"""What a network comes to, for every verb that makes one: judged by the test images, and saved."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cifar_track import tracking
from cifar_track.data import Dataset, find_seen
from cifar_track.evaluation import Evaluation, evaluate

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

    from cifar_track.data import Images

EXAMPLE_IMAGES = 2


def judge(
    probabilities: NDArray[np.floating],
    test: Images,
    data: Dataset,
    *,
    log_probabilities: NDArray[np.floating] | None = None,
) -> Evaluation:
    """What the probabilities of the test images are worth.

    Args:
        probabilities: of each image's classes, (N, C).
        test: the N images, with their labels.
        data: which they are of; test images that its training images repeat are counted apart.
        log_probabilities: (N, C), where probabilities may have underflowed.
    """
    return evaluate(
        probabilities,
        test.labels,
        log_probabilities=log_probabilities,
        seen=find_seen(test.images, data.train.images),
        class_names=data.classes.fine,
        superclass_names=data.classes.coarse,
        superclass_of=data.classes.superclass_of,
    )


def log_classifier(run: tracking.Run, network: keras.Model, data: Dataset, *, step: int) -> None:
    """Log a network as the model that is registered and served.

    Args:
        run: the open run.
        network: from uint8 images to probabilities, of standard layers.
        data: its classes, and images for the example.
        step: at which the run's figures of the model stand.
    """
    from cifar_track import serving

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder, "model")
        example = data.validation.images[:EXAMPLE_IMAGES]
        serving.save_classifier(network, prepared, classes=data.classes, example=example)
        run.log_model(prepared, metrics_step=step)
