"""Augmentation against transforms composed by scipy, and its ranges and repeatability."""

import numpy as np
import pytest
from scipy import ndimage

from cifar_track.augmentation import affine_transforms, augment, resample
from cifar_track.config import Augmentation

STUDY = Augmentation(
    rotation=20.0, width_shift=0.2, height_shift=0.2, zoom=0.2, horizontal_flip=True
)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3))
    return ndimage.gaussian_filter(noise, (0, 1, 1, 0)).astype(np.uint8)


def _image_data_generator(image, *, rotation, shift_y, shift_x, zoom_y, zoom_x, flip):
    """What Keras's `ImageDataGenerator.apply_transform` computes, written out with scipy."""
    cosine, sine = np.cos(rotation), np.sin(rotation)
    matrix = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    matrix = matrix @ np.array([[1, 0, shift_y], [0, 1, shift_x], [0, 0, 1]])
    matrix = matrix @ np.diag([zoom_y, zoom_x, 1])
    center = 32 / 2 - 0.5
    offset = np.array([[1, 0, center], [0, 1, center], [0, 0, 1]])
    reset = np.array([[1, 0, -center], [0, 1, -center], [0, 0, 1]])
    matrix = offset @ matrix @ reset
    channels = [
        ndimage.affine_transform(
            image[..., channel], matrix[:2, :2], matrix[:2, 2], order=1, mode="nearest"
        )
        for channel in range(3)
    ]
    transformed = np.stack(channels, axis=-1)
    return transformed[:, ::-1] if flip < 0 else transformed


@pytest.mark.parametrize(
    "amounts",
    [
        {"rotation": np.radians(20)},
        {"shift_y": 3.3},
        {"shift_x": -5.7},
        {"zoom_y": 1.2, "zoom_x": 0.8},
        {"flip": -1.0},
        {
            "rotation": np.radians(-13),
            "shift_y": -4.2,
            "shift_x": 6.1,
            "zoom_y": 0.83,
            "zoom_x": 1.17,
            "flip": -1.0,
        },
    ],
)
def test_one_resampling_equals_scipys_composition(images, amounts):
    still = {
        "rotation": 0.0,
        "shift_y": 0.0,
        "shift_x": 0.0,
        "zoom_y": 1.0,
        "zoom_x": 1.0,
        "flip": 1.0,
    }
    amounts = {**still, **amounts}
    arrays = {name: np.full(len(images), value) for name, value in amounts.items()}
    ours = resample(images, affine_transforms(**arrays, size=(32, 32)))
    assert ours.dtype == np.float32
    for image, transformed in zip(images, ours, strict=True):
        wanted = _image_data_generator(image.astype(np.float32), **amounts)
        np.testing.assert_allclose(transformed, wanted, atol=0.005)


def test_the_brightest_stay_in_range():
    white = np.full((64, 32, 32, 3), 255, np.uint8)
    augmented = augment(white, STUDY, rng=np.random.default_rng(0))
    assert augmented.min() > 254.999
    assert augmented.max() <= 255


def test_each_image_is_seen_through_its_own_transform(images):
    rng = np.random.default_rng(1)
    count = len(images)
    amounts = {
        "rotation": rng.uniform(-0.35, 0.35, count),
        "shift_y": rng.uniform(-6.4, 6.4, count),
        "shift_x": rng.uniform(-6.4, 6.4, count),
        "zoom_y": rng.uniform(0.8, 1.2, count),
        "zoom_x": rng.uniform(0.8, 1.2, count),
        "flip": np.where(np.arange(count) % 2, -1.0, 1.0),
    }
    ours = resample(images, affine_transforms(**amounts, size=(32, 32)))
    for index, image in enumerate(images):
        own = {name: values[index] for name, values in amounts.items()}
        wanted = _image_data_generator(image.astype(np.float32), **own)
        np.testing.assert_allclose(ours[index], wanted, atol=0.005)


def test_an_image_need_not_be_square():
    images = np.random.default_rng(2).integers(0, 256, (2, 12, 20, 3)).astype(np.uint8)
    still = dict.fromkeys(("rotation", "shift_y", "shift_x"), np.zeros(2))
    whole = dict.fromkeys(("zoom_y", "zoom_x"), np.ones(2))
    mirrored = affine_transforms(**still, **whole, flip=-np.ones(2), size=(12, 20))
    np.testing.assert_allclose(resample(images, mirrored), images[:, :, ::-1], atol=1e-3)


def test_no_range_is_no_transform(images):
    plain = augment(images, Augmentation(), rng=np.random.default_rng(0))
    assert plain.dtype == np.float32
    np.testing.assert_array_equal(plain, images)


def test_a_seed_repeats_and_another_does_not(images):
    first, again, other = (
        augment(images, STUDY, rng=np.random.default_rng(step)) for step in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 1
    assert first.min() >= 0
    assert first.max() <= 255


def test_images_of_a_batch_get_amounts_of_their_own(images):
    same = np.repeat(images[:1], 8, axis=0)
    changed = augment(same, STUDY, rng=np.random.default_rng(1))
    assert len({image.tobytes() for image in changed}) == 8


def test_shifts_stay_in_their_range_and_use_it():
    # A bright column in the middle shows where each image has gone.
    columns = np.zeros((2000, 32, 32, 3), np.uint8)
    columns[:, :, 16] = 255
    shifted = augment(columns, Augmentation(width_shift=0.2), rng=np.random.default_rng(1))
    profile = shifted[:, 16, :, 0]
    moved = (profile * np.arange(32)).sum(1) / profile.sum(1) - 16
    assert np.abs(moved).max() <= 6.4 + 1e-3
    assert moved.min() < -6
    assert moved.max() > 6
    assert abs(moved.mean()) < 0.5


def test_about_half_are_mirrored(images):
    same = np.repeat(images[:1], 2000, axis=0)
    flipped = augment(same, Augmentation(horizontal_flip=True), rng=np.random.default_rng(1))
    mirrored = np.abs(flipped - same[:, :, ::-1]).max((1, 2, 3)) < 1e-3
    kept = np.abs(flipped - same).max((1, 2, 3)) < 1e-3
    assert (mirrored ^ kept).all()
    assert 0.45 < mirrored.mean() < 0.55
