"""Random streams: told apart by seed, purpose and index, and the same in every version."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifar_track.seeds import Purpose, derived_seed, stream

SEEDS = (0, 1, 2, 2**31 - 1)
INDICES = ((), (0,), (1,), (0, 0), (0, 1), (1, 0))


def test_streams_are_the_same_for_ever():
    # NumPy's own guarantee for SeedSequence, held with its plain call.
    plain = np.random.default_rng(np.random.SeedSequence(7, spawn_key=(6, 3, 2)))
    assert np.array_equal(stream(7, Purpose.AUGMENTATION, 3, 2).random(9), plain.random(9))
    assert stream(0, Purpose.SPLIT, 0).integers(0, 1000, 5).tolist() == [484, 945, 969, 411, 117]
    seeds = [derived_seed(0, Purpose.TRIAL, number) for number in range(3)]
    assert seeds == [1666988961, 785480209, 768354266]


def test_a_purpose_keeps_its_number():
    assert {purpose.name: purpose.value for purpose in Purpose} == {
        "SPLIT": 1,
        "TEST_SUBSET": 2,
        "STAND_IN": 3,
        "WEIGHTS": 4,
        "ORDER": 5,
        "AUGMENTATION": 6,
        "SEARCH": 7,
        "TRIAL": 8,
        "BOOTSTRAP": 9,
    }


def test_neighbouring_seeds_purposes_and_indices_share_nothing():
    keys = list(itertools.product(SEEDS, Purpose, INDICES))
    drawn = np.stack([stream(s, p, *i).random(1000) for s, p, i in keys])
    assert len(np.unique(drawn)) == drawn.size  # nor does a stream run into another's
    correlations = np.corrcoef(drawn) - np.eye(len(keys))
    # The largest of 23,220 among independent ones is 4.2 standard errors, seldom above 5.
    assert np.abs(correlations).max() < 6 / np.sqrt(1000)


def test_derived_seeds_do_not_meet():
    seeds = [derived_seed(s, p, i) for s in SEEDS for p in Purpose for i in range(100)]
    assert len(set(seeds)) == len(seeds)
    assert all(type(seed) is int and 0 <= seed < 2**31 for seed in seeds)
    assert sum(seed >= 2**30 for seed in seeds) == pytest.approx(len(seeds) / 2, rel=0.1)


@given(st.integers(0, 2**64), st.sampled_from(Purpose), st.lists(st.integers(0, 2**32 - 1)))
def test_one_key_gives_one_stream(seed, purpose, index):
    first, again = (stream(seed, purpose, *index).bytes(16) for _ in range(2))
    assert first == again
    assert first != stream(seed, purpose, *index, 0).bytes(16)
    assert first != stream(seed + 1, purpose, *index).bytes(16)


@pytest.mark.parametrize("index", [(-1,), (0, 2**32)])
def test_an_index_that_would_be_taken_for_two_is_refused(index):
    with pytest.raises(ValueError, match="out of range"):
        stream(0, Purpose.ORDER, *index)
