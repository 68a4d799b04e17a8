"""Temperatures and weights, against scipy and cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from cifar_track import blending

RANDOM = np.random.default_rng(0)


def drawn(strength, *, images=4000, classes=10, noise=1.0, seed=0):
    """Labels, and probabilities of a classifier that knows them to some extent."""
    random = np.random.default_rng(seed)
    labels = np.random.default_rng(99).integers(0, classes, images)
    logits = random.normal(0, noise, (images, classes))
    logits[np.arange(images), labels] += strength
    return labels, logits


def test_a_temperature_is_a_softmax_of_divided_logits():
    _, logits = drawn(2.0)
    tempered = blending.temper(softmax(logits, axis=1), 2.5)
    np.testing.assert_allclose(tempered, softmax(logits / 2.5, axis=1), atol=1e-12)


@pytest.mark.parametrize("overconfidence", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_made_it_too_sure(overconfidence):
    # Labels drawn from the probabilities themselves, so that 1 is right by construction.
    logits = RANDOM.normal(0, 1.5, (20_000, 10))
    truth = softmax(logits, axis=1)
    labels = (truth.cumsum(axis=1) > RANDOM.random((20_000, 1))).argmax(axis=1)
    too_sure = softmax(logits * overconfidence, axis=1)
    assert blending.fit_temperature(too_sure, labels) == pytest.approx(overconfidence, rel=0.05)


def test_certainty_is_no_infinite_loss():
    certain = np.eye(3)[[0, 1, 2]]
    assert np.isfinite(blending.log_loss(certain, np.array([1, 1, 2])))
    assert np.isfinite(blending.temper(certain, 0.05)).all()


def test_one_that_knows_nothing_gets_next_to_no_weight():
    labels, good = drawn(3.0)
    _, useless = drawn(0.0, seed=1)
    weights = blending.select_weights(
        [softmax(good, axis=1), softmax(useless, axis=1)], labels, seed=0
    )
    assert weights.sum() == pytest.approx(1)
    assert weights[1] < 0.05


def test_two_alike_share_the_weight_and_beat_either():
    labels, first = drawn(2.0, seed=1)
    _, second = drawn(2.0, seed=2)
    members = [softmax(first, axis=1), softmax(second, axis=1)]
    weights = blending.select_weights(members, labels, seed=0)
    assert weights == pytest.approx([0.5, 0.5], abs=0.1)
    mixed = blending.log_loss(blending.mix(members, weights), labels)
    assert mixed < min(blending.log_loss(member, labels) for member in members) - 0.05


def test_the_same_member_twice_is_no_better_than_once():
    labels, logits = drawn(2.0)
    member = softmax(logits, axis=1)
    weights = blending.select_weights([member, member, member], labels, seed=0)
    np.testing.assert_allclose(blending.mix([member] * 3, weights), member, atol=1e-12)


def test_many_that_know_nothing_do_not_overfit_few_images():
    # Chosen greedily on 60 images, some of 30 coin throwers always seem to help.
    labels, good = drawn(1.5, images=2060)
    members = [softmax(good, axis=1)]
    members += [softmax(drawn(0.0, images=2060, seed=s)[1], axis=1) for s in range(1, 31)]
    weights = blending.select_weights([m[:60] for m in members], labels[:60], seed=0)
    unseen = [member[60:] for member in members]
    mixed = blending.log_loss(blending.mix(unseen, weights), labels[60:])
    assert mixed < blending.log_loss(unseen[0], labels[60:]) + 0.05


def test_weights_are_the_same_from_the_same_seed():
    labels, first = drawn(2.0, seed=1)
    _, second = drawn(1.5, seed=2)
    members = [softmax(first, axis=1), softmax(second, axis=1)]
    again = [blending.select_weights(members, labels, seed=7) for _ in range(2)]
    np.testing.assert_array_equal(*again)
