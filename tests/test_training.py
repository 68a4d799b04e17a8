"""Fitting: repeatable, keeps the best epoch, stops at NaN, reads its images in place."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from cifar_track import training
from cifar_track.augmentation import augment
from cifar_track.config import (
    Augmentation,
    CifarTrackError,
    Training,
    load_experiment,
    override,
)
from cifar_track.data import Images
from cifar_track.training import batches as pipeline
from cifar_track.training import callbacks, fitting
from cifar_track.training.phases import phases_of

SMALL = {
    "model.filters_1": 8,
    "model.filters_2": 8,
    "model.dense_units": 16,
    "training.epochs": 2,
    "training.batch_size": 16,
    "training.precision": "float32",
}


WHITENED = {
    "model.filters_1": 8,
    "model.filters_2": 8,
    "model.filters_3": 8,
    "training.batch_size": 50,
    "training.precision": "float32",
}
# No change to any image.
STILL = {
    "augmentation.rotation": 0.0,
    "augmentation.width_shift": 0.0,
    "augmentation.height_shift": 0.0,
    "augmentation.zoom": 0.0,
    "augmentation.horizontal_flip": False,
    "model.batch_normalization": False,
}


@pytest.fixture(scope="module")
def images() -> Images:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 25)
    # Each class has a brightness of its own, so that a few steps learn something.
    pixels = rng.normal(labels[:, None, None, None] * 60 + 30, 20, (100, 32, 32, 3))
    return Images(pixels.clip(0, 255).astype(np.uint8), labels.astype(np.int64))


def fit(images, page="adam_bn", on_epoch=lambda epoch, metrics: None, **changes):
    small = SMALL if page != "fast" else {}
    experiment = override(load_experiment(page), {**small, **changes})
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


@pytest.mark.parametrize("seed", [0, pytest.param(5, marks=pytest.mark.slow)])
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


@pytest.mark.parametrize(
    ("learning_rate", "words"),
    [
        (1e9, r"the (val )?loss is \S+ after epoch 1; expected"),
        (30.0, r"the loss is \S+ after epoch"),
    ],
)
def test_a_fit_that_is_worse_than_guessing_is_told_by_its_epoch(images, learning_rate, words):
    with pytest.raises(CifarTrackError, match=words) as caught:
        fit(images, **{"optimizer.learning_rate": learning_rate, "training.batch_size": 100})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [1e9, np.inf, np.nan])
def test_a_weight_beyond_reason_is_told(value):
    # Before a normalisation its size changes no loss.
    layer = keras.layers.Dense(2, name="dense")
    watch = callbacks.StopDiverged(steps_at_once=1)
    watch.set_model(keras.Sequential([keras.Input((3,)), layer]))
    watch.on_epoch_end(0, {"loss": 4.6})
    layer.kernel.assign(layer.kernel.numpy() * 0 + value)
    with pytest.raises(CifarTrackError, match=r"dense/kernel reached .* in epoch 3; expected"):
        watch.on_epoch_end(2, {"loss": 4.6})


def test_nan_is_told_by_its_step_where_each_is_an_execution(images):
    few = Images(images.images[:11], images.labels[:11])  # a prime number of steps
    with pytest.raises(CifarTrackError, match=r"epoch 1, step [23]; expected a number"):
        fit(few, **{"optimizer.learning_rate": 1e30, "training.batch_size": 1})


def test_a_step_is_made_of_the_fast_kernels(images):
    changes = {
        "model.dropout_1": 0.2,
        "training.epochs": 1,
    }
    model = fit(images, **changes).model
    batch = (tf.TensorSpec((16, 32, 32, 3), tf.float32), tf.TensorSpec((16,), tf.int64))
    step = tf.function(model.train_step).get_concrete_function(batch)
    kernels = set()
    for graph in _graphs(step.graph):
        kernels |= {operation.type for operation in graph.get_operations()}
    wanted = {"ResourceApplyAdam", "FusedBatchNormV3", "StatelessRandomUniformFullIntV2"}
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

    def watched(batch, settings, *, rng, mirrored):
        seen.append((batch.tobytes(), rng.bit_generator.state["state"]["state"]))
        return augment(batch, settings, rng=rng, mirrored=mirrored)

    monkeypatch.setattr(pipeline, "augment", watched)
    fit(images, page="tune", **{"training.epochs": 3, "training.batch_size": 50})
    batches, states = zip(*seen, strict=True)
    assert len(set(batches)) == len(set(states)) == len(seen) >= 6  # some are prefetched in vain


def test_every_other_epoch_shows_the_other_side(images):
    batches = training.training_batches(
        images, Augmentation(alternating_flip=True), batch_size=100, seed=0
    )
    epochs = [
        {image.tobytes() for image, label in zip(*batch, strict=True)}
        for batch in batches.take(3).as_numpy_iterator()
    ]
    as_given = {image.tobytes() for image in images.images.astype(np.float32)}
    mirrored = {image.tobytes() for image in images.images[:, :, ::-1].astype(np.float32)}
    first = len(epochs[0] & as_given)
    assert 30 < first < 70  # which side comes first is chance
    assert epochs[0] <= as_given | mirrored
    assert len(epochs[1] & as_given) == 100 - first
    assert not epochs[0] & epochs[1]
    assert epochs[0] == epochs[2]


def test_labels_are_shares_where_they_are_wanted(images):
    batches = training.training_batches(
        images, Augmentation(mixup=1.0), batch_size=100, seed=0, shares_of=4
    )
    [(_, shares)] = batches.take(1).as_numpy_iterator()
    assert shares.shape == (100, 4)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    assert 0 < shares.max(axis=1).min() < 1
    [(_, shares)] = training.validation_batches(images, shares_of=4).as_numpy_iterator()
    np.testing.assert_array_equal(shares, np.eye(4)[images.labels])


@pytest.mark.parametrize(
    ("first_side", "full_side_from", "sides"),
    [
        (0, 0.5, [32] * 10),
        (20, 0.6, [20, 20, 24, 24, 28, 28, 32, 32, 32, 32]),
        (32, 0.6, [32] * 10),
        (20, 0.0, [32] * 10),
    ],
)
def test_images_grow_to_their_own_side(first_side, full_side_from, sides):
    settings = Training(epochs=10, first_side=first_side, full_side_from=full_side_from)
    assert [pipeline.side_in_epoch(settings, epoch, own=32) for epoch in range(10)] == sides


@pytest.mark.parametrize(("epochs", "share", "first_whole"), [(25, 0.28, 7), (50, 0.56, 28)])
def test_images_are_whole_from_the_epoch_at_the_share(epochs, share, first_whole):
    settings = Training(epochs=epochs, first_side=20, full_side_from=share)
    sides = [pipeline.side_in_epoch(settings, epoch, own=32) for epoch in range(epochs)]
    assert sides.index(32) == first_whole


def test_an_architecture_of_one_size_is_told_before_it_is_trained(images):
    page = override(load_experiment("adam_bn"), {"training.first_side": 16})
    with pytest.raises(CifarTrackError, match="'cnn' takes those of 32 pixels alone"):
        training.build_model(page, classes=4)
    with pytest.raises(CifarTrackError, match="first_side=8 is out of range"):
        Training(first_side=8)


def test_a_fit_on_growing_images_is_judged_on_whole_ones(images, monkeypatch):
    sides = {}

    def noting(name, make):
        def noted(*given, **named):
            first = make(*given, **named).take(4).as_numpy_iterator()
            sides[name] = [batch.shape[1] for batch, _ in first]
            return make(*given, **named)

        return noted

    for name in ("training_batches", "validation_batches"):
        monkeypatch.setattr(fitting, name, noting(name, getattr(fitting, name)))
    growing = {"training.first_side": 20, "training.full_side_from": 0.5, "training.epochs": 4}
    whole = {"training.batch_size": len(images)}
    fit(images, page="fast", **{**WHITENED, **growing, **whole})
    assert sides == {"training_batches": [20, 24, 32, 32], "validation_batches": [32]}


@pytest.mark.parametrize(("choose_by", "best"), [("val_accuracy", 3), ("val_loss", 2)])
def test_the_best_epoch_and_its_weights_are_those_of_the_objective(choose_by, best):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    keeper = callbacks.BestEpoch(choose_by)
    keeper.set_model(model)
    for epoch, (loss, accuracy) in enumerate([(0.9, 0.1), (0.5, 0.2), (0.7, 0.3)]):
        model.set_weights([np.full((1, 1), epoch + 1)])
        keeper.on_epoch_end(
            epoch, {"loss": 1.0, "accuracy": 0.5, "val_loss": loss, "val_accuracy": accuracy}
        )
    assert keeper.best_epoch == best
    assert keeper.weights[0].item() == best


def test_everything_at_once_trains_and_is_judged_as_it_is_kept(images):
    everything = {
        "augmentation.rotation": 5.0,
        "augmentation.trivial": True,
        "augmentation.cutout": 8,
        "augmentation.mixup": 0.2,
        "augmentation.cutmix": 1.0,
        "optimizer.weight_decay": 0.01,
        "optimizer.clip_norm": 1.0,
        "schedule.shape": "one_cycle",
        "training.average": 0.5,
        "training.epochs": 2,
        "training.precision": "bfloat16",
    }
    result = fit(images, page="fast", **{**WHITENED, **everything})
    probabilities = training.predict(result.model, images.images.astype(np.float32))
    reached = (probabilities.argmax(1) == images.labels).mean()
    assert reached == pytest.approx(result.best_val_accuracy, abs=0.02)  # sums in another order
    assert np.isfinite([list(metrics.values()) for metrics in result.history]).all()


def test_the_head_is_trained_alone_first_and_then_everything_as_fast_as_the_page_says(images):
    settings = {
        "training.head_epochs": 2,
        "training.head_learning_rate": 0.02,
        "optimizer.learning_rate": 0.001,
    }
    experiment = override(load_experiment("adam_bn"), {**SMALL, **settings, "training.epochs": 3})
    network = training.build_model(experiment, classes=4)
    first, after = network.get_weights(), []
    rates = []

    def on_epoch(epoch, metrics):
        after.append(network.get_weights())
        rates.append(float(network.optimizer.learning_rate))

    training.fit(experiment, images, images, classes=4, model=network, on_epoch=on_epoch)
    changed = [
        {w.path for w, a, b in zip(network.weights, before, now, strict=True) if (a != b).any()}
        for before, now in itertools.pairwise([first, *after])
    ]
    head = {"classes/kernel", "classes/bias"}
    # The statistics of normalisation are weights here too.
    assert [head == names for names in changed] == [True, True, False]
    assert changed[2] >= head | {w.path for w in network.weights if "moving" in w.path}
    assert rates == pytest.approx([0.02, 0.02, 0.001])
    assert all(layer.trainable for layer in network.layers)


def test_the_heads_own_rate_is_the_one_that_muon_leaves_to_adam():
    page = override(load_experiment("fast"), {"training.head_epochs": 1})
    for rate, product in ((0.0, 0.12 * 0.08), (0.02, 0.02)):
        page = override(page, {"training.head_learning_rate": rate})
        first, _ = phases_of(page.training)
        muon = first.build_optimizer(page, steps=3)
        assert float(muon.learning_rate) * muon.adam_lr_ratio == pytest.approx(product)


def test_a_fit_may_be_of_the_head_alone(images):
    result = fit(images, **{"training.epochs": 1, "training.head_epochs": 3})
    assert len(result.history) == 1


def test_label_smoothing_is_the_losss_and_not_the_validations(images):
    heard = []
    changes = {"optimizer.learning_rate": 1e-12, "training.epochs": 1}  # weights stay as they are
    for smoothing in (0.0, 0.2):
        result = fit(
            images,
            on_epoch=lambda epoch, metrics: heard.append(metrics),
            **{**changes, "training.label_smoothing": smoothing, **STILL},
        )
    probabilities = training.predict(result.model, images.images.astype(np.float32))
    logarithms = np.log(probabilities)
    plain = -logarithms[np.arange(100), images.labels].mean()
    smoothed = 0.8 * plain - 0.2 * logarithms.mean()
    assert heard[0]["val_loss"] == pytest.approx(plain, rel=1e-3)
    assert heard[1]["val_loss"] == pytest.approx(plain, rel=1e-3)
    assert heard[1]["train_loss"] == pytest.approx(smoothed, rel=1e-3)
    assert abs(smoothed / plain - 1) > 0.004


def test_the_average_is_kerass_for_the_weights_and_holds_the_statistics(images):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.BatchNormalization(), keras.layers.Dense(4)]
    model = keras.Sequential([keras.Input((32, 32, 3)), *layers, keras.layers.Softmax()])
    # Keras's own average of what an optimizer moves, for the same steps.
    optimizer = keras.optimizers.SGD(0.001, use_ema=True, ema_momentum=0.8)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    first, statistics = [], []
    averager = callbacks.AverageWeights(0.8, steps_at_once=1)
    seen = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: (
            statistics.append(np.asarray(model.weights[2])),
            first.append([np.asarray(weight) for weight in model.trainable_variables]),
        ),
        on_test_begin=lambda logs: judged.extend(np.asarray(w) for w in model.weights),
    )
    judged = []
    x = images.images / 255
    model.fit(
        x, images.labels, batch_size=10, epochs=1, verbose=0, shuffle=False,
        validation_data=(x, images.labels), callbacks=[averager, seen],
    )  # fmt: skip
    # Keras's begins with the weights after the first step, which so count more than the others.
    kept = 0.8**10
    for variable, start, theirs in zip(
        model.trainable_variables, first[0], optimizer._model_variables_moving_average, strict=True
    ):
        [ours] = [w for w, v in zip(judged, model.weights, strict=True) if v is variable]
        wanted = (np.asarray(theirs) - kept * start) / (1 - kept)
        np.testing.assert_allclose(ours, wanted, rtol=1e-3, atol=1e-5)
    mean = judged[2]
    wanted = (
        sum(0.8 ** (9 - step) * each for step, each in enumerate(statistics)) * 0.2 / (1 - kept)
    )
    np.testing.assert_allclose(mean, wanted, rtol=1e-4, atol=1e-6)
    # Training goes on from the weights themselves.
    assert np.abs(np.asarray(model.weights[2]) - statistics[-1]).max() == 0


@pytest.mark.parametrize("momentum", [0.9, 0.99999])
def test_the_average_of_what_does_not_move_is_itself(momentum):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    before = model.get_weights()
    averager = callbacks.AverageWeights(momentum, steps_at_once=8)
    averager.set_model(model)
    averager.on_train_begin()
    for batch in range(3):
        averager.on_train_batch_end(batch)
    averager.on_test_begin()
    for weight, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_allclose(weight, kept, rtol=1e-5)


def test_what_is_frozen_is_no_part_of_the_average(images):
    frozen = keras.layers.BatchNormalization(trainable=False)
    layers = [keras.layers.Flatten(), frozen, keras.layers.Dense(4), keras.layers.Softmax()]
    model = keras.Sequential([keras.Input((32, 32, 3)), *layers])
    # Of values that an average of themselves would change in their last bits.
    given = [np.random.default_rng(n).uniform(1, 2, 3072).astype(np.float32) for n in range(4)]
    frozen.set_weights(given)
    model.compile("sgd", "sparse_categorical_crossentropy")
    averager = callbacks.AverageWeights(0.9, steps_at_once=1)
    judged = []
    seen = keras.callbacks.LambdaCallback(
        on_test_begin=lambda logs: judged.extend(frozen.get_weights())
    )
    x, y = images.images / 255, images.labels
    model.fit(x, y, batch_size=10, verbose=0, validation_data=(x, y), callbacks=[averager, seen])
    for weight, kept in zip(judged, given, strict=True):
        np.testing.assert_array_equal(weight, kept)
    assert [value.shape for value in averager.state()] == [(3072, 4), (4,), ()]


def test_a_step_is_traced_once(images, monkeypatch):
    traced = []
    step = keras.Model.train_step
    monkeypatch.setattr(
        keras.Model, "train_step", lambda self, data: traced.append(1) or step(self, data)
    )
    fit(images, **{"training.epochs": 2})
    assert len(traced) == 1


def test_the_average_is_what_is_kept(images):
    changes = {"optimizer.learning_rate": 0.01, "training.average": 0.9, "training.epochs": 3}
    result = fit(images, **changes)
    probabilities = training.predict(result.model, images.images.astype(np.float32))
    reached = (probabilities.argmax(1) == images.labels).mean()
    assert reached == pytest.approx(result.best_val_accuracy, abs=1e-6)
    plain = fit(images, **{**changes, "training.average": 0.0})
    assert plain.history[0]["train_loss"] == pytest.approx(result.history[0]["train_loss"], 1e-3)
    # All 7 steps of an epoch are one execution, so the first average is the weights themselves.
    assert plain.history[1]["val_loss"] != pytest.approx(result.history[1]["val_loss"], 1e-3)


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
