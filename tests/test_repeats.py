"""Test images that were trained on: exact repeats, near repeats, and images that are neither."""

from __future__ import annotations

import numpy as np

from cifar_track.data import find_seen


def scene(seed: int) -> np.ndarray:
    """A picture with large shapes, as photographs have: noise of 4x4 fields, enlarged."""
    coarse = np.random.default_rng(seed).integers(40, 216, (4, 4, 3))
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)


def test_repeats_are_found_as_they_are_mirrored_brighter_and_noisy() -> None:
    train = np.stack([scene(seed) for seed in range(50)])
    noise = np.random.default_rng(1).normal(0, 4, train[3].shape)
    test = np.stack(
        [
            train[0],
            train[1][:, ::-1],
            (train[2] * 0.8 + 20).astype(np.uint8),
            (train[3] + noise).clip(0, 255).astype(np.uint8),
            scene(1000),
            scene(1001),
        ]
    )
    assert find_seen(test, train).tolist() == [True, True, True, True, False, False]


def test_a_plain_image_is_a_repeat_of_its_equal_alone() -> None:
    train = np.full((1, 32, 32, 3), 100, np.uint8)
    test = np.stack([np.full((32, 32, 3), value, np.uint8) for value in (100, 101)])
    assert find_seen(test, train).tolist() == [True, False]
