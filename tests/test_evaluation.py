"""The figures of an evaluation against scikit-learn and hand-worked cases."""

from __future__ import annotations

import math
import re
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from cifar_track.config import METRICS
from cifar_track.evaluation import Evaluation, evaluate
from cifar_track.statistics import wilson_interval
from tests.made_up_evaluations import make_evaluation

NAMES: dict[str, Any] = {
    "class_names": ("cat", "dog", "oak", "elm"),
    "superclass_names": ("pets", "trees"),
    "superclass_of": (0, 0, 1, 1),
}


def by_hand() -> Evaluation:
    """Ten images; `elm` has images and is never predicted, `oak` is predicted for a dog."""
    labels = [0, 0, 0, 0, 1, 1, 1, 2, 2, 3]
    predicted = [0, 0, 0, 1, 1, 0, 2, 2, 2, 2]
    probabilities = np.full((10, 4), 0.1)
    probabilities[np.arange(10), predicted] = 0.7
    return evaluate(probabilities, labels, **NAMES)


def test_by_hand() -> None:
    found = by_hand()
    assert found.confusion.tolist() == [[3, 1, 0, 0], [1, 1, 1, 0], [0, 0, 2, 0], [0, 0, 1, 0]]
    assert found.support.tolist() == [4, 3, 2, 1]
    assert found.precision.tolist() == pytest.approx([3 / 4, 1 / 2, 2 / 4, 0])
    assert found.recall.tolist() == pytest.approx([3 / 4, 1 / 3, 1, 0])
    assert found.f1.tolist() == pytest.approx([3 / 4, 2 / 5, 2 / 3, 0])
    assert found.accuracy == pytest.approx(0.6)
    assert (found.accuracy_low, found.accuracy_high) == wilson_interval(6, 10)
    assert (found.recall_low[0], found.recall_high[0]) == wilson_interval(3, 4)
    assert found.macro_f1 == pytest.approx((3 / 4 + 2 / 5 + 2 / 3) / 4)
    assert found.top5_accuracy == 1.0
    assert found.log_loss == pytest.approx(-(6 * math.log(0.7) + 4 * math.log(0.1)) / 10)


@pytest.mark.parametrize("seed", [0, 1])
def test_every_figure_is_scikit_learns(seed: int) -> None:
    found = make_evaluation(seed=seed, never_predicted=None)
    classes = np.arange(100)
    labels, predicted = found.labels, found.probabilities.argmax(axis=1)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=0
    )
    np.testing.assert_allclose(found.precision, precision)
    np.testing.assert_allclose(found.recall, recall)
    np.testing.assert_allclose(found.f1, f1)
    np.testing.assert_array_equal(found.support, support)
    np.testing.assert_array_equal(found.confusion, metrics.confusion_matrix(labels, predicted))
    np.testing.assert_array_equal(found.predictions, predicted)
    exact = found.probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    expected = {
        "test_accuracy": metrics.accuracy_score(labels, predicted),
        "test_macro_precision": precision.mean(),
        "test_macro_recall": recall.mean(),
        "test_macro_f1": f1.mean(),
        "test_top5_accuracy": metrics.top_k_accuracy_score(
            labels, found.probabilities, k=5, labels=classes
        ),
        "test_log_loss": metrics.log_loss(labels, exact, labels=classes),
    }
    logged = found.metrics()
    assert {name: logged[name] for name in expected} == pytest.approx(expected)
    for name in ("test_accuracy", "test_top5_accuracy", "test_superclass_accuracy"):
        right = round(logged[name] * labels.size)
        bounds = logged[f"{name}_low"], logged[f"{name}_high"]
        assert bounds == wilson_interval(right, labels.size)
    assert all(type(value) is float for value in logged.values())


def test_every_metric_that_is_logged_is_known() -> None:
    names = {name for info in METRICS.values() for name in (info.name, info.low, info.high)}
    logged = make_evaluation(seen=np.arange(2000) % 10 == 0).metrics()
    assert set(logged) <= names
    assert {info.name for info in METRICS.values() if info.is_the_tests} <= set(logged)


def test_the_log_loss_does_not_saturate() -> None:
    """Logarithms far below the least float32: 200 and 300 nats are what the mean is of."""
    logs = np.array([[0.0, -200.0, -300.0, -400.0]] * 2)
    found = evaluate(np.exp(logs), [1, 2], **NAMES, log_probabilities=logs)
    assert found.log_loss == pytest.approx(250)
    assert found.losses.tolist() == [200, 300]
    # Without the logarithms a probability that float32 rounds to 0 is taken for the least it knows.
    assert evaluate(np.exp(logs), [1, 2], **NAMES).log_loss == pytest.approx(-math.log(2**-149))


def test_images_seen_in_training_are_left_out() -> None:
    found = evaluate(
        np.eye(4)[[0, 1, 2, 0]], [0, 1, 2, 3], **NAMES, seen=[True, False, False, False]
    )
    assert found.unseen_accuracy == pytest.approx(2 / 3)
    assert (found.unseen_low, found.unseen_high) == wilson_interval(2, 3)
    assert found.metrics()["test_images_seen"] == 1
    everything = evaluate(np.eye(4), [0, 1, 2, 3], **NAMES, seen=[True] * 4)
    assert everything.unseen_accuracy is None
    assert "test_accuracy_unseen" not in everything.metrics()


def test_the_superclass_is_right_where_any_of_its_classes_is() -> None:
    assert by_hand().superclass_accuracy == pytest.approx(0.9)  # a dog taken for an oak


def test_a_class_never_predicted_has_precision_zero() -> None:
    found = make_evaluation(never_predicted=3)
    assert found.confusion[:, 3].sum() == 0
    assert (found.precision[3], found.recall[3], found.f1[3]) == (0, 0, 0)
    assert found.recall_high[3] > 0


def test_a_class_without_images_counts_as_zero_and_is_unknown() -> None:
    found = evaluate([[0.6, 0.2, 0.1, 0.1]], [0], **NAMES)
    assert found.support.tolist() == [1, 0, 0, 0]
    assert found.macro_recall == pytest.approx(0.25)
    assert (found.recall_low[1], found.recall_high[1]) == (0, 1)
    assert [row["class_accuracy"] for row in found.superclass_rows()] == [1.0, 0.0]


def test_ties_go_to_the_lowest_class_in_top_1_and_top_5() -> None:
    names = {
        "class_names": tuple("abcdefgh"),
        "superclass_names": ("all",),
        "superclass_of": (0,) * 8,
    }
    found = evaluate(np.full((8, 8), 1 / 8), np.arange(8), **names)
    assert found.predictions.tolist() == [0] * 8
    assert found.top5_accuracy == pytest.approx(5 / 8)


def test_probabilities_of_zero_are_no_error() -> None:
    found = evaluate([[1.0, 0.0, 0.0, 0.0]], [1], **NAMES)
    assert math.isfinite(found.log_loss)
    assert found.log_loss > 30


def test_per_class_rows() -> None:
    rows = by_hand().per_class_rows()
    assert list(rows[0]) == [
        "class",
        "name",
        "superclass",
        "precision",
        "recall",
        "f1",
        "support",
        "recall_low",
        "recall_high",
    ]
    assert [(row["class"], row["name"], row["superclass"]) for row in rows] == [
        (0, "cat", "pets"),
        (1, "dog", "pets"),
        (2, "oak", "trees"),
        (3, "elm", "trees"),
    ]
    # Plain values alone, that json and csv write as they are.
    assert {type(value) for row in rows for value in row.values()} == {int, float, str}


def test_confused_pairs_come_by_frequency() -> None:
    rows = make_evaluation().confused_pairs()
    counts = [row["count"] for row in rows]
    assert counts == sorted(counts, reverse=True)
    assert by_hand().confused_pairs() == [
        {"true": "cat", "predicted": "dog", "count": 1, "share": 0.25, "same_superclass": True},
        {"true": "dog", "predicted": "cat", "count": 1, "share": 1 / 3, "same_superclass": True},
        {"true": "dog", "predicted": "oak", "count": 1, "share": 1 / 3, "same_superclass": False},
        {"true": "elm", "predicted": "oak", "count": 1, "share": 1.0, "same_superclass": True},
    ]
    assert {type(value) for row in rows for value in row.values()} == {int, float, str, bool}


def test_superclasses_count_any_of_their_classes_as_right() -> None:
    found = by_hand()
    assert found.superclass_confusion.tolist() == [[6, 1], [0, 3]]
    pets, trees = found.superclass_rows()
    assert pets == {
        "superclass": "pets",
        "classes": 2,
        "support": 7,
        "precision": 1.0,
        "recall": pytest.approx(6 / 7),
        "f1": pytest.approx(12 / 13),
        "class_accuracy": pytest.approx(4 / 7),
    }
    assert trees["class_accuracy"] == pytest.approx(2 / 3)


def test_confusion_rows_name_both_classes() -> None:
    assert by_hand().confusion_rows()[1] == {"true": "dog", "cat": 1, "dog": 1, "oak": 1, "elm": 0}


def test_a_class_may_not_have_the_name_of_the_first_column() -> None:
    names = {**NAMES, "class_names": ("true", "dog", "oak", "elm")}
    with pytest.raises(ValueError, match="'true'"):
        evaluate([[1.0, 0, 0, 0]], [0], **names)


def test_classification_report_is_scikit_learns() -> None:
    found = by_hand()
    assert found.classification_report() == metrics.classification_report(
        found.labels,
        found.predictions,
        target_names=["cat", "dog", "oak", "elm"],
        digits=4,
        zero_division=0,
    )


def test_it_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        by_hand().accuracy = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        ([0.25] * 4, [0], "must be (N, 4)"),
        (np.zeros((0, 4)), [], "N >= 1"),
        ([[0.5, 0.5]], [0], "got (1, 2)"),
        ([[0.25] * 4, [0.25, math.nan, 0.25, 0.5]], [0, 0], "NaN or infinity in 1 of 2 rows"),
        ([[math.inf, 0, 0, 0]], [0], "first in row 0"),
        ([[1.5, -0.5, 0, 0]], [0], "at least 0"),
        ([[2.0, 3.0, 1.0, 4.0]], [0], "are these logits?"),
        ([[0.25] * 4], [0, 1], "labels must be (1,)"),
        ([[0.25] * 4], [[0]], "labels must be (1,)"),
        ([[0.25] * 4], [0.0], "whole numbers"),
        ([[0.25] * 4], [4], "from 0 to 3, got 4 to 4"),
        ([[0.25] * 4], [-1], "from 0 to 3"),
    ],
)
def test_what_does_not_fit_is_refused(probabilities: Any, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        evaluate(probabilities, labels, **NAMES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": ("cat", "cat", "oak", "elm")}, "different names"),
        ({"superclass_of": (0, 0, 1)}, "an index for each of 4"),
        ({"superclass_of": (0, 0, 1, 2)}, "indices below 2"),
    ],
)
def test_names_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate([[0.25] * 4], [0], **{**NAMES, **change})
