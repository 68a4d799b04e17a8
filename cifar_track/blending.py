"""Temperatures and weights by which the probabilities of several classifiers become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize_scalar

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A temperature below or above these says that a classifier is broken rather than unsure.
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0
STEPS = 25
BAGS = 20


def temper(probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Probabilities made less sure by a temperature above 1, surer by one below.

    Args:
        probabilities: (N, C), each row summing to 1.
        temperature: above 0.

    Returns:
        (N, C): the softmax of the logarithms divided by the temperature.
    """
    logarithms = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)) / temperature
    powers = np.exp(logarithms - logarithms.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit_temperature(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The temperature at which a classifier's log loss is lowest.

    Args:
        probabilities: (N, C), of images that it was not trained on.
        labels: (N,), their classes.

    Source:
        C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger (2017), On calibration of modern neural
        networks, section 4.2.
    """
    found = minimize_scalar(
        lambda logarithm: log_loss(temper(probabilities, float(np.exp(logarithm))), labels),
        bounds=(np.log(LOWEST_TEMPERATURE), np.log(HIGHEST_TEMPERATURE)),
        method="bounded",
    )
    return float(np.exp(found.x))


def select_weights(
    members: Sequence[NDArray[np.float64]],
    labels: NDArray[np.int64],
    *,
    seed: int,
    steps: int = STEPS,
    bags: int = BAGS,
) -> NDArray[np.float64]:
    """Weights of the members of a mean of probabilities, chosen so that they don't overfit.

    Starting from the best member, the one that lowers the log loss of the mean most is added, with
    replacement; how often a member was added is its weight. Chosen and judged by the same images,
    that overfits them. So it is done for several bags of images drawn with replacement, in each for
    as long as it helps on the images that were not drawn, and the weights are averaged.

    Args:
        members: for each member (N, C), of images that none was trained on.
        labels: (N,), their classes.
        seed: of the bags.
        steps: additions at most in a bag.
        bags: how many bags.

    Returns:
        (members,), at least 0, summing to 1.

    Source:
        R. Caruana, A. Niculescu-Mizil, G. Crew, A. Ksikes (2004), Ensemble selection from libraries
        of models; the bags are of images, where those are of models.
    """
    of_true = np.stack([member[np.arange(len(labels)), labels] for member in members])
    weights = np.zeros(len(members))
    rng = np.random.default_rng(seed)
    for _ in range(bags):
        drawn = rng.integers(0, len(labels), len(labels))
        others = np.setdiff1d(np.arange(len(labels)), drawn)
        counts = _greedy(of_true[:, drawn], of_true[:, others], steps=steps)
        weights += counts / counts.sum()
    return weights / bags


def mix(
    members: Sequence[NDArray[np.float64]], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The weighted mean of the members' probabilities, (N, C)."""
    return np.asarray(np.einsum("m,mnc->nc", weights, np.stack(list(members))))


def log_loss(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The mean negative logarithm of the true class's probability, in nats."""
    of_true = probabilities[np.arange(len(labels)), labels]
    return float(-np.mean(np.log(np.maximum(of_true, np.finfo(np.float64).tiny))))


def _greedy(
    chosen_by: NDArray[np.float64], judged_by: NDArray[np.float64], *, steps: int
) -> NDArray[np.float64]:
    """How often each member is added, by its probability of the true class, (members, N) each."""
    tiny = np.finfo(np.float64).tiny
    counts = np.zeros(len(chosen_by))
    best_counts, best = counts, np.inf
    total, judged = np.zeros(chosen_by.shape[1]), np.zeros(judged_by.shape[1])
    for size in range(1, steps + 1):
        losses = -np.log(np.maximum((total + chosen_by) / size, tiny)).mean(axis=1)
        added = int(np.argmin(losses))
        counts = counts.copy()
        counts[added] += 1
        total, judged = total + chosen_by[added], judged + judged_by[added]
        loss = float(-np.log(np.maximum(judged / size, tiny)).mean()) if len(judged) else 0.0
        if loss < best:
            best_counts, best = counts, loss
    return best_counts
