"""Fitting: repeatable, keeps the best epoch, stops at NaN, reads its images in place."""

import numpy as np
import pytest
import tensorflow as tf

from cifar_track import training
from cifar_track.augmentation import augment
from cifar_track.config import Augmentation, CifarTrackError, load_experiment, override
from cifar_track.data import Images
from cifar_track.training import batches as pipeline
from cifar_track.training import fitting

SMALL = {
    "model.filters_1": 8,
    "model.filters_2": 8,
    "model.dense_units": 16,
    "training.epochs": 2,
    "training.batch_size": 16,
    "training.precision": "float32",
}


@pytest.fixture(scope="module")
def images() -> Images:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 25)
    # Each class has a brightness of its own, so that a few steps learn something.
    pixels = rng.normal(labels[:, None, None, None] * 60 + 30, 20, (100, 32, 32, 3))
    return Images(pixels.clip(0, 255).astype(np.uint8), labels.astype(np.int64))


def fit(images, page="adam_bn", on_epoch=lambda epoch, metrics: None, **changes):
    experiment = override(load_experiment(page), {**SMALL, **changes})
    return training.fit(experiment, images, images, classes=4, on_epoch=on_epoch)


def test_each_epoch_is_told_and_the_best_is_kept(images):
    heard = []
    result = fit(
        images,
        on_epoch=lambda epoch, metrics: heard.append((epoch, metrics)),
        **{
            "training.epochs": 4,
            "optimizer.learning_rate": 0.01,
        },
    )
    assert [epoch for epoch, _ in heard] == [1, 2, 3, 4]
    assert [metrics for _, metrics in heard] == list(result.history)
    assert set(heard[0][1]) == {"train_loss", "train_accuracy", "val_loss", "val_accuracy"}
    accuracies = [metrics["val_accuracy"] for metrics in result.history]
    assert result.best_epoch == int(np.argmax(accuracies)) + 1
    # The weights are those of that epoch: the network reaches that very accuracy.
    probabilities = training.predict(result.model, images.images.astype(np.float32))
    reached = (probabilities.argmax(1) == images.labels).mean()
    assert reached == pytest.approx(result.best_val_accuracy, abs=1e-6)


@pytest.mark.parametrize("seed", [0, 5])
def test_one_seed_gives_one_result(images, seed):
    first, again = (fit(images, **{"training.seed": seed}).history for _ in range(2))
    for a, b in zip(first, again, strict=True):
        assert a == pytest.approx(b, rel=1e-3)
    other = fit(images, **{"training.seed": seed + 1}).history
    assert other[0]["train_loss"] != pytest.approx(first[0]["train_loss"], rel=1e-4)


def test_nan_ends_a_fit_with_one_line_that_says_when(images):
    with pytest.raises(
        CifarTrackError, match=r"epoch 1, steps 1 to 7; expected a number"
    ) as caught:
        fit(images, **{"optimizer.learning_rate": 1e30})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("steps", "at_once"), [(704, 8), (150, 6), (7, 7), (1, 1), (11, 1), (101, 1), (64, 8)]
)
def test_an_epoch_is_a_whole_number_of_executions(steps, at_once):
    assert fitting._steps_at_once(steps) == at_once


def test_nan_is_told_by_its_step_where_each_is_an_execution(images):
    few = Images(images.images[:11], images.labels[:11])  # a prime number of steps
    with pytest.raises(CifarTrackError, match=r"epoch 1, step [23]; expected a number"):
        fit(few, **{"optimizer.learning_rate": 1e30, "training.batch_size": 1})


@pytest.mark.parametrize(
    ("optimizer", "kernel"),
    [("sgd", "ResourceApplyKerasMomentum"), ("adam", "ResourceApplyAdam")],
)
def test_a_step_is_made_of_the_fast_kernels(images, optimizer, kernel):
    changes = {
        "optimizer.name": optimizer,
        "optimizer.momentum": 0.9,
        "model.dropout_1": 0.2,
        "training.epochs": 1,
    }
    model = fit(images, **changes).model
    batch = (tf.TensorSpec((16, 32, 32, 3), tf.float32), tf.TensorSpec((16,), tf.int64))
    step = tf.function(model.train_step).get_concrete_function(batch)
    kernels = set()
    for graph in _graphs(step.graph):
        kernels |= {operation.type for operation in graph.get_operations()}
    wanted = {kernel, "FusedBatchNormV3", "StatelessRandomUniformFullIntV2"}
    assert wanted <= kernels


def _graphs(graph):
    yield graph
    for function in graph._functions.values():
        yield from _graphs(function.graph)


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(1, [1] * 100), (32, [32, 32, 32, 4]), (100, [100]), (128, [100])]
)
def test_a_pass_shows_every_image_once_with_its_label(images, batch_size, sizes):
    batches = training.training_batches(images, Augmentation(), batch_size=batch_size, seed=0)
    steps = list(batches.take(len(sizes)).as_numpy_iterator())
    assert [len(labels) for _, labels in steps] == sizes
    seen = np.concatenate([batch for batch, _ in steps])
    labels = np.concatenate([labels for _, labels in steps])
    assert seen.dtype == np.float32
    shown = zip(seen, labels, strict=True)
    wanted = zip(images.images.astype(np.float32), images.labels, strict=True)
    assert {(image.tobytes(), int(label)) for image, label in shown} == {
        (image.tobytes(), int(label)) for image, label in wanted
    }
    assert (labels != images.labels).any()  # shuffled


def test_passes_differ_from_each_other_and_repeat_by_seed(images):
    def order(seed):
        batches = training.training_batches(images, Augmentation(), batch_size=100, seed=seed)
        return [labels.tobytes() for _, labels in batches.take(2).as_numpy_iterator()]

    first, second = order(0)
    assert first != second
    assert order(0) == [first, second]
    assert order(1)[0] != first


def test_every_epoch_has_an_order_and_transforms_of_its_own(images, monkeypatch):
    seen = []

    def watched(batch, settings, *, rng):
        seen.append((batch.tobytes(), rng.bit_generator.state["state"]["state"]))
        return augment(batch, settings, rng=rng)

    monkeypatch.setattr(pipeline, "augment", watched)
    fit(images, page="tune", **{"training.epochs": 3, "training.batch_size": 50})
    batches, states = zip(*seen, strict=True)
    assert len(set(batches)) == len(set(states)) == len(seen) >= 6  # some are prefetched in vain


def test_images_are_read_from_a_mapped_file_in_place(images, tmp_path):
    np.save(tmp_path / "images.npy", images.images)
    mapped = Images(np.load(tmp_path / "images.npy", mmap_mode="r"), images.labels)
    batches = training.training_batches(mapped, Augmentation(), batch_size=100, seed=0)
    direct = training.training_batches(images, Augmentation(), batch_size=100, seed=0)
    for (a, _), (b, _) in zip(
        batches.take(1).as_numpy_iterator(), direct.take(1).as_numpy_iterator(), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_precision_is_as_asked_or_what_the_hardware_computes():
    settings = load_experiment("baseline").training
    assert training.resolve_precision(settings) in ("float32", "bfloat16")
    asked = override(load_experiment("baseline"), {"training.precision": "bfloat16"}).training
    assert training.resolve_precision(asked) == "bfloat16"
