"""Several tests made at once: which of their findings may be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


def holm_adjust(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down adjustment of the p-values of several tests made at once.

    Args:
        p_values: one for each test, each from 0 to 1, in any order.

    Returns:
        The adjusted p-values in the same order: to reject those below 0.05 keeps the chance of
        any false rejection below 0.05, whatever the tests' dependence.

    Raises:
        ValueError: a p-value is not from 0 to 1.

    Source:
        S. Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian
        Journal of Statistics 6, 65-70.
    """
    values: NDArray[np.float64] = np.asarray(p_values, dtype=np.float64)
    if not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"p-values must be from 0 to 1, got {list(p_values)}")
    order = np.argsort(values, kind="stable")
    steps = values[order] * (values.size - np.arange(values.size))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return tuple(float(value) for value in adjusted)


def holm_levels(p_values: Sequence[float], *, level: float = 0.05) -> tuple[float, ...]:
    """The level at which Holm's procedure judges each test by itself.

    A test is rejected by `holm_adjust` exactly where its own p-value is below its level here, so
    that an interval of confidence 1 less this level says the same as the adjusted test. The
    smallest of n p-values is judged at level / n, the next at level / (n - 1), and so on to the
    first that is not rejected; all after it are judged at its level.
    """
    values: NDArray[np.float64] = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    levels = np.empty_like(values)
    left, stopped = values.size, False
    for index in order:
        levels[index] = level / left
        stopped = stopped or values[index] * left >= level
        left -= 0 if stopped else 1
    return tuple(float(value) for value in levels)


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Benjamini and Hochberg's step-up adjustment of the p-values of several tests.

    Args:
        p_values: float (n,), one for each test, each from 0 to 1.

    Returns:
        The adjusted p-values, float64 (n,): of those below 0.05, at most 5 % are expected to be
        false, for tests that are independent or positively dependent.

    Raises:
        ValueError: a p-value is not from 0 to 1.

    Source:
        Y. Benjamini and Y. Hochberg (1995), Controlling the false discovery rate, Journal of the
        Royal Statistical Society B 57, 289-300.
    """
    values: NDArray[np.float64] = np.asarray(p_values, dtype=np.float64)
    if not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"p-values must be from 0 to 1, got {values.tolist()}")
    order = np.argsort(-values, kind="stable")
    ranks = values.size - np.arange(values.size)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum.accumulate(values[order] * values.size / ranks)
    return np.minimum(adjusted, 1.0)
