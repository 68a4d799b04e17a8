"""The procedural stand-in: names, shapes, seeds, and that its classes can be told apart."""

from __future__ import annotations

import numpy as np
import pytest

from cifar_track.config import CifarTrackError, Data
from cifar_track.data import Dataset, generate_images, load_dataset, procedural_names
from cifar_track.workflow import study


@pytest.fixture(scope="module")
def few() -> tuple[np.ndarray, np.ndarray]:
    return generate_images(3, seed=0, part="train")


def load(**settings: object) -> Dataset:
    small = {"train_per_class": 3, "validation_per_class": 2, "test_per_class": 2}
    return load_dataset(Data(dataset="procedural", **{**small, **settings}))


def test_a_folder_to_read_it_from_is_refused(tmp_path):
    with pytest.raises(CifarTrackError, match="are drawn, not read from"):
        load_dataset(Data(dataset="procedural"), directory=tmp_path)
    with pytest.raises(CifarTrackError, match="are drawn, not read from"):
        study._choose_dataset("procedural", tmp_path)


def test_names_say_what_the_images_are():
    fine, coarse, superclass_of = procedural_names()
    assert len(set(fine)) == 100
    assert len(set(coarse)) == 20
    assert all(name.startswith("procedural-") for name in fine + coarse)
    for name, superclass in zip(fine, superclass_of, strict=True):
        assert name.startswith(coarse[superclass] + "-")
    assert np.bincount(superclass_of).tolist() == [5] * 20


def test_images_have_the_types_of_cifar100(few):
    images, labels = few
    assert images.shape == (300, 32, 32, 3)
    assert images.dtype == np.uint8
    assert images.flags.c_contiguous
    assert labels.dtype == np.int64
    assert np.bincount(labels).tolist() == [3] * 100
    assert 60 < images.mean() < 190
    assert len(np.unique(images.reshape(300, -1), axis=0)) == 300


def test_the_same_seed_draws_the_same_images(few):
    again = generate_images(3, seed=0, part="train")
    other = generate_images(3, seed=1, part="train")
    assert np.array_equal(few[0], again[0])
    assert not (few[0] == other[0]).all(axis=(1, 2, 3)).any()


# 64 images are drawn at a time, so 70 goes past one block.
@pytest.mark.parametrize("more", [4, 64, 70])
def test_the_first_images_do_not_depend_on_how_many_there_are(few, more):
    images, labels = generate_images(more, seed=0, part="train")
    assert np.array_equal(images[:300], few[0])
    assert np.array_equal(labels[:300], few[1])


def test_train_and_test_share_no_image(few):
    test, _ = generate_images(3, seed=0, part="test")
    assert len(np.unique(np.concatenate([few[0], test]).reshape(600, -1), axis=0)) == 600


def test_colour_alone_tells_the_variation_far_better_than_chance():
    images, labels = generate_images(20, seed=0, part="train")
    # The mean colour, brightness taken away: chance is 0.2 among the five colours.
    means = images.mean(axis=(1, 2))
    chroma = means - means.mean(axis=1, keepdims=True)
    centres = np.stack([chroma[:1000][labels[:1000] % 5 == c].mean(axis=0) for c in range(5)])
    distances = np.linalg.norm(chroma[1000:, None] - centres, axis=2)
    accuracy = (distances.argmin(axis=1) == labels[1000:] % 5).mean()
    assert 0.4 < accuracy < 0.99


def test_loaded_like_cifar100():
    data = load()
    assert (data.name, data.source, data.protocol) == ("procedural", "procedural", "validation")
    assert np.bincount(data.train.labels).tolist() == [3] * 100
    assert np.bincount(data.validation.labels).tolist() == [2] * 100
    test = data.load_test()
    assert len(test) == 200
    together = np.concatenate([data.train.images, data.validation.images, test.images])
    assert len(np.unique(together.reshape(len(together), -1), axis=0)) == len(together)
    assert all(part.images.flags.c_contiguous for part in (data.train, data.validation, test))


def test_digest_changes_with_everything_that_changes_the_data():
    digests = [
        load(**settings).digest
        for settings in (
            {},
            {"split_seed": 1},
            {"train_per_class": 4},
            {"validation_per_class": 1},
            {"test_per_class": 3},
            {"selection": "test"},
        )
    ]
    assert len(set(digests)) == len(digests)
    assert all(len(digest) == 32 and int(digest, 16) for digest in digests)
    assert load().digest == digests[0]


def test_the_same_images_are_chosen_by_and_tested_on_however_many_are_trained_on():
    few, many = load(train_per_class=1), load(train_per_class=9)
    assert np.array_equal(few.validation.images, many.validation.images)
    assert np.array_equal(few.load_test().images, many.load_test().images)
    assert np.array_equal(few.train.images, many.train.images[:100])
    assert np.array_equal(
        load(validation_per_class=1).validation.images, many.validation.images[:100]
    )


def test_selection_by_test_trains_on_everything_else():
    data = load(selection="test")
    assert data.protocol == "test"
    assert len(data.train) == 500
    assert np.array_equal(data.validation.images, data.load_test().images)


@pytest.mark.slow
def test_the_study_network_learns_it_but_not_perfectly():
    from cifar_track import training
    from cifar_track.config import load_experiment, override

    experiment = override(
        load_experiment("adam_bn"),
        {
            "data.dataset": "procedural",
            "data.train_per_class": 100,
            "data.validation_per_class": 10,
            "data.test_per_class": 20,
            "augmentation.rotation": 0.0,
            "augmentation.width_shift": 0.0,
            "augmentation.height_shift": 0.0,
            "augmentation.zoom": 0.0,
            "augmentation.horizontal_flip": False,
            "training.epochs": 5,
        },
    )
    data = load_dataset(experiment.data)
    fitted = training.fit(experiment, data.train, data.validation, classes=100)
    test = data.load_test()
    accuracy = (training.predict(fitted.model, test.images).argmax(axis=1) == test.labels).mean()
    assert 0.6 < accuracy < 0.99
