"""Every random stream, derived from (seed, purpose, index) in one place."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

MOST_INDEX = 2**32  # a number of the key above this would take two words, as two numbers do


class Purpose(IntEnum):
    """What is drawn from a stream; a number once given is kept, so that seeds mean the same."""

    SPLIT = 1  # of the training images: which are trained on, which are chosen by
    TEST_SUBSET = 2  # which of the test images are read, where not all are
    STAND_IN = 3  # the images of the procedural data set
    WEIGHTS = 4  # initial weights, and what dropout drops
    ORDER = 5  # of the images in an epoch
    AUGMENTATION = 6
    SEARCH = 7  # what a tuner proposes
    TRIAL = 8  # the seed of a trial's page; the refit of the best keeps the page's own
    BOOTSTRAP = 9


def stream(seed: int, purpose: Purpose, *index: int) -> np.random.Generator:
    """The random numbers for one purpose, independent of every other seed, purpose and index.

    Args:
        seed: what a person gave, 0 or above; 0 is a seed.
        purpose: what they are drawn for.
        index: which one of them, such as the epoch and the batch; each from 0 to below 2**32.

    Returns:
        A generator in its initial state.
    """
    return np.random.default_rng(_sequence(seed, purpose, index))


def derived_seed(seed: int, purpose: Purpose, *index: int) -> int:
    """A seed from 0 to below 2**31 for what takes a number; arguments as those of `stream`."""
    return int(_sequence(seed, purpose, index).generate_state(1)[0] >> 1)


def _sequence(seed: int, purpose: Purpose, index: tuple[int, ...]) -> np.random.SeedSequence:
    if not all(0 <= number < MOST_INDEX for number in index):
        raise ValueError(f"index {index} is out of range; expected 0 to below 2**32")
    # As a spawn key, because NumPy takes the entropies [1] and [1, 0] for the same.
    return np.random.SeedSequence(seed, spawn_key=(int(purpose), *index))
