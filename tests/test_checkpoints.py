"""A fit that was killed goes on from its last finished epoch, to the bit where that is asked."""

import numpy as np
import pytest

from cifar_track import training
from cifar_track.config import load_experiment, override
from cifar_track.data import Images
from cifar_track.training import checkpoints

SETTINGS = {
    "model.filters_1": 8,
    "model.filters_2": 8,
    "model.dense_units": 16,
    "model.dropout_1": 0.3,
    "optimizer.name": "adam",
    "training.epochs": 4,
    "training.batch_size": 16,
    "training.precision": "float32",
    "training.deterministic": True,
}
# Of the page of the search, for its augmentation, dropout and batch normalisation.
EXPERIMENT = override(load_experiment("tune"), SETTINGS)


class Cut(Exception):
    """What ends a fit in these tests."""


@pytest.fixture(scope="module")
def images() -> Images:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 25)
    pixels = rng.normal(labels[:, None, None, None] * 60 + 30, 20, (100, 32, 32, 3))
    return Images(pixels.clip(0, 255).astype(np.uint8), labels.astype(np.int64))


def fit(images, *, file=None, cut_after=None, experiment=EXPERIMENT):
    heard = []

    def on_epoch(epoch, metrics):
        heard.append(epoch)
        if epoch == cut_after:
            raise Cut

    try:
        result = training.fit(
            experiment, images, images, classes=4, on_epoch=on_epoch, checkpoint=file
        )
    except Cut:
        return None, heard
    return result, heard


@pytest.fixture(scope="module")
def whole(images):
    return fit(images)[0]


@pytest.mark.slow
def test_a_fit_that_was_cut_twice_is_the_same_to_the_bit(images, whole, tmp_path):
    file = tmp_path / "fit.checkpoint"
    assert fit(images, file=file, cut_after=1) == (None, [1])
    assert checkpoints.finished_epochs(file, experiment=EXPERIMENT) == 1
    assert fit(images, file=file, cut_after=3) == (None, [1, 2, 3])
    result, heard = fit(images, file=file)
    assert heard == [1, 2, 3, 4]  # whoever listens hears of all, wherever it was cut
    assert result.history == whole.history
    assert result.best_epoch == whole.best_epoch
    for ours, theirs in zip(result.model.get_weights(), whole.model.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.slow
def test_an_average_of_the_weights_goes_on_as_well(images, tmp_path):
    experiment = override(
        EXPERIMENT,
        {"training.average": 0.9, "schedule.shape": "cosine", "training.epochs": 3},
    )
    whole, _ = fit(images, experiment=experiment)
    file = tmp_path / "fit.checkpoint"
    assert fit(images, file=file, cut_after=2, experiment=experiment) == (None, [1, 2])
    result, _ = fit(images, file=file, experiment=experiment)
    assert result.history == whole.history
    for ours, theirs in zip(result.model.get_weights(), whole.model.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


TWO_PHASES = override(
    EXPERIMENT,
    {
        "training.epochs": 3,
        "training.head_epochs": 2,
        "training.head_learning_rate": 0.01,
        "training.average": 0.9,
        "schedule.shape": "linear",
    },
)


@pytest.mark.slow
def test_a_fit_of_two_phases_that_was_cut_in_each_is_the_same_to_the_bit(images, tmp_path):
    whole, _ = fit(images, experiment=TWO_PHASES)
    file = tmp_path / "fit.checkpoint"
    for epoch in (1, 2):  # the second is the end of the first phase
        assert fit(images, file=file, cut_after=epoch, experiment=TWO_PHASES)[0] is None
    result, heard = fit(images, file=file, experiment=TWO_PHASES)
    assert heard == [1, 2, 3]
    again, _ = fit(images, file=file, experiment=TWO_PHASES)  # from the end of the second
    for fitted in (result, again):
        assert fitted.history == whole.history
        for ours, theirs in zip(fitted.model.get_weights(), whole.model.get_weights(), strict=True):
            assert np.array_equal(ours, theirs)


@pytest.mark.slow
def test_a_checkpoint_of_the_second_phase_that_fits_no_more_begins_with_the_first(images, tmp_path):
    file = tmp_path / "fit.checkpoint"
    whole, _ = fit(images, file=file, experiment=TWO_PHASES)
    # As after a change of the architecture's code.
    network = training.build_model(override(TWO_PHASES, {"model.dense_units": 8}), classes=4)
    heard = []
    training.fit(
        TWO_PHASES, images, images, classes=4, model=network, checkpoint=file,
        on_epoch=lambda epoch, metrics: heard.append(metrics["train_loss"]),
    )  # fmt: skip
    assert len(heard) == 3
    assert heard != [metrics["train_loss"] for metrics in whole.history]


def test_a_fit_that_was_cut_at_its_end_trains_no_more(images, whole, tmp_path):
    file = tmp_path / "fit.checkpoint"
    fit(images, file=file)
    before = file.stat().st_mtime_ns
    result, heard = fit(images, file=file)
    assert (result.history, heard) == (whole.history, [1, 2, 3, 4])
    assert file.stat().st_mtime_ns == before
    assert [f.name for f in tmp_path.iterdir()] == ["fit.checkpoint"]
    checkpoints.remove(file)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        "changed",
        *(
            pytest.param(damage, marks=pytest.mark.slow)
            for damage in ("cut", "empty", "folder", "another page's")
        ),
    ],
)
def test_a_damaged_checkpoint_is_none(damage, images, whole, tmp_path):
    file = tmp_path / "fit.checkpoint"
    experiment = EXPERIMENT
    if damage == "another page's":
        experiment = override(EXPERIMENT, {"training.seed": 1})
    fit(images, file=file, cut_after=2, experiment=experiment)
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "folder":
        file.unlink()
        file.mkdir()
    assert checkpoints.finished_epochs(file, experiment=EXPERIMENT) == 0
    if damage != "folder":
        assert fit(images, file=file)[0].history == whole.history
