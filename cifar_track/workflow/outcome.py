"""What a network comes to, for every verb that makes one: judged by the test images, and saved."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cifar_track import tracking
from cifar_track.config import Experiment
from cifar_track.data import Dataset, find_seen
from cifar_track.evaluation import Evaluation, evaluate
from cifar_track.tracking import tag
from cifar_track.workflow.progress import waiting

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

    from cifar_track import training
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


def log_outcome(
    run: tracking.Run,
    fit: training.Fit,
    experiment: Experiment,
    data: Dataset,
    *,
    moments: Sequence[float] = (),
) -> dict[str, float]:
    """Judge a fit by the test images, and log all of it.

    Args:
        run: the open run.
        fit: the network and its course.
        experiment: the page that it was fitted by.
        data: its images.
        moments: when each epoch ended, in seconds since 1970, where the epochs are yet to be
            logged.

    Returns:
        The figures of the run.
    """
    from cifar_track import models, training

    served = models.for_serving(fit.model, views=experiment.prediction.views)
    with waiting("evaluating"):
        test = data.load_test()
        run.set_tags({tag.TEST_DIGEST: test.digest})
        judged = models.with_log_probabilities(served)
        logarithms = training.predict(judged, test.images)
        evaluation = judge(np.exp(logarithms), test, data, log_probabilities=logarithms)
    figures = {
        "best_val_accuracy": fit.best_val_accuracy,
        "best_val_loss": fit.best_val_loss,
        "best_epoch": float(fit.best_epoch),
        **evaluation.metrics(),
        "fit_seconds": fit.fit_seconds,
        "fit_cpu_seconds": fit.fit_cpu_seconds,
        "images_per_second": fit.images_per_second,
        "parameters": float(served.count_params()),
    }
    # After a kill in between, they are made again, and stand once.
    with waiting("logging"), run.together():
        for epoch, moment in enumerate(moments, start=1):
            run.log_epoch(epoch, fit.history[epoch - 1], at=moment)
        run.log_metrics(figures)
        run.log_history(fit.history)
        run.log_evaluation(evaluation)
        validation = np.exp(training.predict(judged, data.validation.images))
        run.log_validation(validation, data.validation.labels)
        log_classifier(run, served, data, step=fit.best_epoch)
    return figures
