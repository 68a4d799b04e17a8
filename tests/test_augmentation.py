"""Augmentation against transforms composed by scipy, and its ranges and repeatability."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from cifar_track.augmentation import affine_transforms, augment, mix, resample, resize
from cifar_track.augmentation.trivial import TRANSFORMS
from cifar_track.config import Augmentation, CifarTrackError

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


def test_a_crop_is_a_place_in_the_reflected_image(images):
    same = np.repeat(images[:1], 400, axis=0)
    cropped = augment(same, Augmentation(crop=2), rng=np.random.default_rng(3))
    extended = np.pad(images[0], ((2, 2), (2, 2), (0, 0)), mode="reflect").astype(np.float32)
    places = {
        extended[y : y + 32, x : x + 32].tobytes(): (y, x) for y in range(5) for x in range(5)
    }
    found = [places[image.tobytes()] for image in cropped]  # none is anything else
    assert set(found) == set(places.values())


def test_images_are_mirrored_where_it_is_said(images):
    mirrored = np.arange(len(images)) % 2 == 0
    seen = augment(images, Augmentation(), rng=np.random.default_rng(0), mirrored=mirrored)
    np.testing.assert_array_equal(seen[~mirrored], images[~mirrored])
    np.testing.assert_array_equal(seen[mirrored], images[mirrored][:, :, ::-1])
    # Also in one resampling with the rest.
    settings = Augmentation(rotation=1e-9)
    turned = augment(images, settings, rng=np.random.default_rng(0), mirrored=mirrored)
    np.testing.assert_allclose(turned, seen, atol=1e-3)


def test_the_images_given_are_never_changed(images):
    before = images.copy()
    everything = Augmentation(
        rotation=20.0, horizontal_flip=True, crop=2, trivial=True, cutout=8, mixup=1.0
    )
    for settings in (everything, Augmentation(cutout=8), Augmentation(horizontal_flip=True)):
        augment(images, settings, rng=np.random.default_rng(0))
        np.testing.assert_array_equal(images, before)


def test_a_square_around_any_pixel_is_erased(images):
    same = np.repeat(images[:1], 3000, axis=0)
    erased = augment(same, Augmentation(cutout=8), rng=np.random.default_rng(4))
    grey = (erased == 127.5).all(axis=3)
    np.testing.assert_array_equal(erased[~grey], same[~grey])
    heights, widths = grey.any(axis=2).sum(axis=1), grey.any(axis=1).sum(axis=1)
    # Whole squares inside, cut ones at the edges, and each row and column as often as hand-worked:
    # a row in the middle is in 8 of 32 squares, the first column in 5, the last in 4.
    np.testing.assert_array_equal(grey.sum(axis=(1, 2)), heights * widths)
    assert (heights.max(), heights.min()) == (8, 4)
    assert grey.any(axis=2)[:, 16].mean() == pytest.approx(8 / 32, abs=0.03)
    assert grey.any(axis=1)[:, 0].mean() == pytest.approx(5 / 32, abs=0.02)
    assert grey.any(axis=1)[:, -1].mean() == pytest.approx(4 / 32, abs=0.02)


def test_smaller_images_are_means_of_areas(images):
    halves = resize(images.astype(np.float32), 16)
    wanted = images.reshape(-1, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(halves, wanted, atol=1e-3)
    assert resize(images.astype(np.float32), 20).shape == (len(images), 20, 20, 3)


def labelled(count, classes=10):
    return np.eye(classes, dtype=np.float32)[np.arange(count) % classes]


def test_mixup_mixes_images_and_labels_by_one_share(images):
    images = images.astype(np.float32)
    labels = labelled(len(images))
    for step in range(20):
        rng = np.random.default_rng(step)
        seen, shares = mix(images, labels, Augmentation(mixup=0.4), rng=rng)
        np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
        # The share of each image's own label, and of whose else, says what is seen.
        np.testing.assert_allclose(
            seen, np.tensordot(shares[:, : len(images)], images, 1), rtol=1e-4
        )
    assert seen.dtype == shares.dtype == np.float32


def test_cutmix_gives_labels_the_share_of_the_pixels(images):
    images = images.astype(np.float32) + np.arange(len(images))[:, None, None, None] * 256
    labels = labelled(len(images))
    covered = []
    for step in range(50):
        rng = np.random.default_rng(step)
        seen, shares = mix(images, labels, Augmentation(cutmix=1.0), rng=rng)
        whose = (seen[..., 0] // 256).astype(int)  # each pixel is of one image, in its place
        np.testing.assert_array_equal(
            seen, np.take_along_axis(images, whose[:, :, :, None], axis=0)
        )
        for index, pixels in enumerate(whose):
            counts = np.bincount(pixels.ravel(), minlength=10) / pixels.size
            np.testing.assert_allclose(shares[index], counts, atol=1e-6)
        covered.append(1 - shares[0, 0])
    assert 0 < np.mean(covered) < 0.6
    assert max(covered) > 0.5


def test_with_both_a_batch_has_one_or_the_other(images):
    images, labels = images.astype(np.float32), labelled(len(images))
    both = Augmentation(mixup=1.0, cutmix=1.0)
    kinds = set()
    for step in range(20):
        seen, _ = mix(images, labels, both, rng=np.random.default_rng(step))
        kinds.add(bool(np.isin(seen, images).all()))
    assert kinds == {True, False}


def test_trivial_gives_each_image_one_transform_of_many():
    gradient = np.tile(np.arange(0, 256, 8, dtype=np.uint8)[None, :, None], (32, 1, 3))
    same = np.repeat(gradient[None], 500, axis=0)
    seen = augment(same, Augmentation(trivial=True), rng=np.random.default_rng(5))
    assert seen.dtype == np.float32
    distinct = {image.tobytes() for image in seen}
    assert len(distinct) > 100
    assert gradient.astype(np.float32).tobytes() in distinct  # one of the fourteen is none


def test_trivials_transforms_are_what_their_names_say(images):
    image = Image.fromarray(images[0])
    pixels = images[0].astype(int)
    solarized = np.asarray(TRANSFORMS[4](image, 0.5))
    np.testing.assert_array_equal(solarized, np.where(pixels < 128, pixels, 255 - pixels))
    np.testing.assert_array_equal(np.asarray(TRANSFORMS[5](image, -1.0)), pixels & 0b11000000)
    np.testing.assert_array_equal(np.asarray(TRANSFORMS[3](image, 0.0)), pixels)
    shifted = np.asarray(TRANSFORMS[12](image, 0.25))
    np.testing.assert_array_equal(shifted[:, :-8], pixels[:, 8:])
    # The weakest of every kind that has a strength is none at all.
    for transform in (*TRANSFORMS[6:], TRANSFORMS[0], TRANSFORMS[3], TRANSFORMS[4], TRANSFORMS[5]):
        np.testing.assert_array_equal(np.asarray(transform(image, 0.0)), pixels)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"crop": -1}, "crop=-1"),
        ({"crop": 32}, "crop=32"),
        ({"cutout": 33}, "cutout=33"),
        ({"mixup": -0.1}, "mixup=-0.1"),
        ({"horizontal_flip": True, "alternating_flip": True}, "expected one"),
    ],
)
def test_wrong_settings_are_told(setting, words):
    with pytest.raises(CifarTrackError, match=words):
        Augmentation(**setting)
