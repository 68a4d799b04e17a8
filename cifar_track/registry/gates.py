"""What a model has to prove before it may become the champion, each proof with its figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cifar_track.config import is_of_validation
from cifar_track.statistics import paired_difference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cifar_track.config import Demands
    from cifar_track.registry.candidates import Choice
    from cifar_track.registry.elsewhere import Behaviour

# The same kernels run in other batches than in the evaluation.
TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One proof.

    Attributes:
        name: what was asked.
        passed: whether it was given.
        figure: what was found, in a sentence.
    """

    name: str
    passed: bool
    figure: str

    def __str__(self) -> str:
        """The sentence, with its verdict in front."""
        return f"{'passed' if self.passed else 'refused'}: {self.figure}"


@dataclass(frozen=True, kw_only=True)
class LoggedPredictions:
    """What a run logged of its evaluation on the test images.

    Attributes:
        labels: int64 (N,).
        predictions: int64 (N,).
        probabilities: float32 (N, C).
        is_unaltered: whether the file is the one whose digest the run carries; None where it
            carries none.
        test_digest: of the test images; None where the run carries none.
    """

    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    is_unaltered: bool | None
    test_digest: str | None

    @property
    def right(self) -> NDArray[np.bool_]:
        """Bool (N,), whether each image's class was told."""
        return np.asarray(self.labels == self.predictions)


def loads_elsewhere(behaviour: Behaviour | None, error: str) -> Gate:
    """Whether a process that has nothing of this package can load the model and ask it."""
    if behaviour is None:
        return Gate(name="loads", passed=False, figure=f"it does not load elsewhere: {error}")
    return Gate(
        name="loads",
        passed=True,
        figure=f"loaded in {behaviour.load_seconds:.1f} s in {behaviour.environment}, without this "
        "package",
    )


def predicts_as_logged(
    probabilities: NDArray[np.float64], logged: LoggedPredictions, labels: NDArray[np.int64]
) -> Gate:
    """Whether the model gives, for the test images, what its run logged."""
    images = len(labels)
    faults = []
    if logged.is_unaltered is False:
        faults.append("predictions.npz has been altered since the run logged it")
    if not np.array_equal(labels, logged.labels):
        faults.append("the labels logged are not those of the test images")
    if not np.array_equal(logged.predictions, np.argmax(logged.probabilities, axis=1)):
        faults.append("the predictions logged are not of the probabilities logged")
    if probabilities.shape != logged.probabilities.shape:
        faults.append(f"it gives {probabilities.shape}, logged were {logged.probabilities.shape}")
        return Gate(name="predictions", passed=False, figure="; ".join(faults))
    difference = float(np.max(np.abs(probabilities - logged.probabilities)))
    if not difference <= TOLERANCE:  # a NaN is a difference too
        faults.append(f"its probabilities differ from those logged by up to {difference:.2g}")
    others = np.argmax(probabilities, axis=1) != logged.predictions
    # Two classes within the tolerance of each other may change places.
    top = np.sort(logged.probabilities, axis=1)[:, -2:]
    others &= top[:, 1] - top[:, 0] > 2 * TOLERANCE
    if others.any():
        faults.append(f"{np.count_nonzero(others):,} images get another class than logged")
    figure = "; ".join(faults) or (
        f"as logged on {images:,} test images, to {difference:.1g} in every probability"
    )
    return Gate(name="predictions", passed=not faults, figure=figure)


def compares_with_champion(
    candidate: LoggedPredictions, champion: LoggedPredictions, demands: Demands
) -> Gate:
    """How the model does on the test images beside the champion."""
    digests = {candidate.test_digest, champion.test_digest} - {None}
    fault = ""
    if not np.array_equal(candidate.labels, champion.labels) or len(digests) > 1:
        fault = "the champion was tested on other images"
    elif champion.is_unaltered is False:
        fault = "the champion's predictions.npz has been altered since its run logged it"
    if fault:
        return Gate(
            name="champion",
            passed=demands.gate == "none",
            figure=f"{fault}, so that the two can't be compared",
        )
    test = paired_difference(champion.right, candidate.right)
    wanted = {
        "better": "above 0",
        "not_worse": f"above {-demands.margin:+.3f}",
        "none": "nothing was asked",
    }[demands.gate]
    passed = demands.gate == "none" or test.low > (
        0.0 if demands.gate == "better" else -demands.margin
    )
    return Gate(
        name="champion",
        passed=passed,
        figure=f"test accuracy less the champion's {test.difference:+.4f} (95 % {test.low:+.4f} to "
        f"{test.high:+.4f}, McNemar p {test.p_value:.2g}); gate={demands.gate}, {wanted}",
    )


def predicts_every_class(logged: LoggedPredictions, demands: Demands) -> Gate:
    """Whether every class is predicted for some test image."""
    classes = logged.probabilities.shape[1]
    missing = classes - len(np.unique(logged.predictions))
    return Gate(
        name="classes",
        passed=missing <= demands.never_predicted,
        figure=f"{missing} of {classes} classes are never predicted; at most "
        f"{demands.never_predicted} may be",
    )


def stays_within_limits(behaviour: Behaviour, demands: Demands) -> list[Gate]:
    """Size and time of one image."""
    return [
        Gate(
            name="size",
            passed=behaviour.megabytes <= demands.max_megabytes,
            figure=f"{behaviour.megabytes:.1f} MB; at most {demands.max_megabytes:g}",
        ),
        Gate(
            name="latency",
            passed=behaviour.milliseconds <= demands.max_milliseconds,
            figure=f"one image takes {behaviour.milliseconds:.1f} ms (median); at most "
            f"{demands.max_milliseconds:g}",
        ),
    ]


def is_chosen(choice: Choice) -> Gate:
    """How the run stands by the validation figure beside the champion's; it is asked before."""
    where = " on the validation images" if is_of_validation(choice.metric) else ""
    figure = f"{choice.metric} {choice.figure:.4f}{where}"
    if choice.better is not None:
        figure += f", worse than the champion's {choice.better.metrics[choice.metric]:.4f}"
    if choice.run not in choice.looked_at:
        figure += ", which are others than the champion's, or of another budget"
    return Gate(name="validation", passed=True, figure=figure)
