"""Runs side by side: what differs, what is missing, and which differences are more than luck."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from cifar_track.comparison import (
    STUDY,
    Comparison,
    RunResult,
    compare,
    epochs_text,
    figure_text,
    numbers_of,
    summary_table,
)
from cifar_track.config import METRICS, CifarTrackError
from cifar_track.statistics import holm_adjust, mcnemar, tango_interval
from tests.made_up_evaluations import make_evaluation, make_result

ACCURACY = METRICS["test_accuracy"]


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(
        [
            make_result("baseline", make_evaluation(seed=1, strength=1.0)),
            make_result("adam_bn", make_evaluation(seed=2, strength=3.0)),
            make_result("tune", make_evaluation(seed=3, strength=3.2), **{"optimizer.name": "sgd"}),
            make_result("resnet50", None),
        ]
    )


def test_the_studys_figures() -> None:
    assert {name: figures["accuracy"] for name, figures in STUDY.items()} == {
        "baseline": 0.18,
        "adam_bn": 0.34,
        "tune": 0.46,
    }
    assert dict(STUDY["tune"]) == {"accuracy": 0.46, "precision": 0.48, "recall": 0.46, "f1": 0.45}
    with pytest.raises(TypeError):
        STUDY["tune"]["accuracy"] = 1.0  # type: ignore[index]


def test_metric_rows_show_what_is_missing_as_missing(comparison: Comparison) -> None:
    rows = comparison.metric_rows()
    assert [row["run"] for row in rows] == ["baseline", "adam_bn", "tune", "resnet50"]
    assert len({tuple(row) for row in rows}) == 1
    assert rows[3]["test_accuracy"] is None
    assert rows[3]["epochs"] == 20
    assert rows[1]["test_accuracy"] == comparison.results[1].metrics["test_accuracy"]
    assert (rows[2]["study_accuracy"], rows[2]["study_macro_f1"]) == (0.46, 0.45)
    assert (rows[0]["study_accuracy"], rows[0]["study_macro_f1"]) == (0.18, None)
    assert rows[3]["study_accuracy"] is None


def test_parameter_rows_put_first_what_differs(comparison: Comparison) -> None:
    rows = comparison.parameter_rows()
    assert rows[0] == {
        "parameter": "optimizer.name",
        "differs": True,
        "baseline": None,
        "adam_bn": None,
        "tune": "sgd",
        "resnet50": None,
    }
    assert [row["differs"] for row in rows] == [True, False, False]


def test_per_class_rows(comparison: Comparison) -> None:
    rows = comparison.per_class_rows()
    assert len(rows) == 100
    assert rows[7]["name"] == comparison.class_names[7]
    assert rows[7]["f1 tune"] == comparison.results[2].per_class[7]["f1"]
    assert rows[7]["f1 resnet50"] is None
    assert list(rows[0])[:5] == [
        "class",
        "name",
        "superclass",
        "precision baseline",
        "precision adam_bn",
    ]


def test_pairs_are_tested_on_the_same_images_and_adjusted_together(comparison: Comparison) -> None:
    rows = comparison.pair_rows()
    assert [(row["first"], row["second"]) for row in rows] == [
        ("baseline", "adam_bn"),
        ("baseline", "tune"),
        ("baseline", "resnet50"),
        ("adam_bn", "tune"),
        ("adam_bn", "resnet50"),
        ("tune", "resnet50"),
    ]
    first, second = comparison.results[0], comparison.results[1]
    assert first.labels is not None
    assert second.labels is not None
    first_right, second_right = (
        first.predictions == first.labels,
        second.predictions == second.labels,
    )
    lost = int(np.sum(first_right & ~second_right))
    gained = int(np.sum(~first_right & second_right))
    assert (rows[0]["only_first_right"], rows[0]["only_second_right"]) == (lost, gained)
    assert rows[0]["accuracy_difference"] == pytest.approx(
        second.metrics["test_accuracy"] - first.metrics["test_accuracy"]
    )
    # Three tests at once: the smallest p-value is judged at 5 % / 3, and so is its interval.
    smallest = min((rows[0], rows[1], rows[3]), key=lambda row: float(str(row["mcnemar_p"])))
    assert smallest["confidence"] == pytest.approx(1 - 0.05 / 3)
    confidence = float(str(rows[0]["confidence"]))
    assert (rows[0]["difference_low"], rows[0]["difference_high"]) == tango_interval(
        lost, gained, 2000, confidence=confidence
    )
    assert rows[0]["mcnemar_p"] == mcnemar(lost, gained)
    tested = [rows[0], rows[1], rows[3]]
    assert tuple(row["mcnemar_p_holm"] for row in tested) == holm_adjust(
        [float(str(row["mcnemar_p"])) for row in tested]
    )
    assert rows[0]["differs"] is True


@pytest.mark.parametrize("seed", range(8))
def test_no_interval_leaves_out_zero_beside_no_more_than_luck(seed: int) -> None:
    """Close runs, several at once: the interval and the adjusted test say the same."""
    results = [
        make_result(f"run{n}", make_evaluation(seed=100 * seed + n, strength=3 + 0.12 * n))
        for n in range(4)
    ]
    for pair in compare(results).pairs:
        assert pair.low is not None
        assert pair.high is not None
        assert pair.differs == (not pair.low <= 0 <= pair.high)


def test_a_pair_that_cannot_be_tested_says_why(comparison: Comparison) -> None:
    row = comparison.pair_rows()[2]
    assert row["missing"] == "resnet50 has no predictions"
    assert row["differs"] is None
    assert row["accuracy_difference"] is None

    whole = make_result("tune", make_evaluation())
    assert whole.labels is not None
    other = replace(whole, run_id="b", labels=whole.labels[::-1].copy())
    short = replace(whole, run_id="c", predictions=np.zeros(3, dtype=np.int64))
    reasons = [pair.missing for pair in compare([whole, other, short]).pairs]
    assert reasons[0] == "the two were tested on different images"
    assert "another number of predictions" in reasons[1]


def test_two_equal_runs_do_not_differ() -> None:
    evaluation = make_evaluation()
    (pair,) = compare(
        [make_result("tune", evaluation, run_id="a"), make_result("tune", evaluation, run_id="b")]
    ).pairs
    assert pair.test is not None
    assert (pair.test.difference, pair.test.p_value, pair.differs) == (0.0, 1.0, False)


def test_labels_tell_runs_apart() -> None:
    def labels(*runs: tuple[str, str, str]) -> tuple[str, ...]:
        return compare([RunResult(run_id=i, name=n, iteration=t) for i, n, t in runs]).labels

    assert labels(("1", "x", "tune"), ("2", "x", "adam_bn")) == ("tune", "adam_bn")
    assert labels(("1", "x", "tune"), ("2", "y", "tune")) == ("tune x", "tune y")
    assert labels(("111111112", "x", "tune"), ("111111113", "x", "tune")) == (
        "tune 111111112",
        "tune 111111113",
    )
    assert labels(("1", "x", ""), ("2", "y", "")) == ("x", "y")
    # An iteration that is called like another's label with its name.
    crossed = labels(("1", "x", "a"), ("2", "y", "a"), ("3", "z", "a x"))
    assert len(set(crossed)) == 3


def test_values_read_from_csv_are_numbers() -> None:
    rows = make_evaluation().per_class_rows()
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    read = list(csv.DictReader(io.StringIO(text.getvalue())))
    read[4]["f1"] = ""
    result = RunResult(run_id="1", name="x", iteration="tune", per_class=read)
    compared = compare([result]).per_class_rows()
    assert compared[5]["f1 tune"] == rows[5]["f1"]
    assert compared[4]["f1 tune"] is None


def test_foreign_metrics_are_kept_and_nan_is_missing() -> None:
    result = RunResult(
        run_id="1", name="x", iteration="other", metrics={"loss_x": 1.5, "test_accuracy": np.nan}
    )
    (row,) = compare([result]).metric_rows()
    assert (row["loss_x"], row["test_accuracy"], row["epochs"]) == (1.5, None, None)


def test_what_cannot_be_compared_is_refused() -> None:
    whole = make_result("tune", make_evaluation())
    few = make_result("adam_bn", make_evaluation(classes=4, superclasses=2))
    with pytest.raises(CifarTrackError, match="no run to compare"):
        compare([])
    with pytest.raises(CifarTrackError, match="given twice"):
        compare([whole, whole])
    with pytest.raises(CifarTrackError, match="different classes") as raised:
        compare([whole, make_result("baseline", None), few])
    assert "\n" not in str(raised.value)


def test_rows_are_plain_values(comparison: Comparison) -> None:
    for rows in (
        comparison.metric_rows(),
        comparison.parameter_rows(),
        comparison.per_class_rows(),
        comparison.pair_rows(),
    ):
        assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_the_summary_is_an_aligned_markdown_table(comparison: Comparison) -> None:
    lines = summary_table(comparison).splitlines()
    assert len(lines) == 6
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == [
        "iteration",
        "test accuracy (95 %)",
        "top-5",
        "precision",
        "recall",
        "F1",
        "epochs",
        "study",
    ]
    assert cells[4][0] == "tune"
    assert cells[4][1] == figure_text(comparison.results[2], ACCURACY)
    assert cells[4][6:] == ["20 (best 17)", "0.46"]
    assert cells[5] == ["resnet50", "-", "-", "-", "-", "-", "20", "-"]


def test_texts_of_partial_results() -> None:
    bare = RunResult(run_id="1", name="x", iteration="tune", metrics={"test_accuracy": 0.5})
    assert (figure_text(bare, ACCURACY), epochs_text(bare)) == ("0.500", "-")
    bounded = replace(
        bare,
        metrics={
            "test_accuracy": 0.4615,
            "test_accuracy_low": 0.4517,
            "test_accuracy_high": 0.4713,
            "best_epoch": 3.0,
        },
    )
    assert figure_text(bounded, ACCURACY) == "0.462 (0.452-0.471)"
    assert epochs_text(bounded) == "- (best 3)"


def test_the_study_says_nothing_of_the_stand_in() -> None:
    result = make_result("tune", make_evaluation(), **{"data.dataset": "procedural"})
    compared = compare([result])
    assert compared.metric_rows()[0]["study_accuracy"] is None
    assert not compared.study
    assert summary_table(compared).splitlines()[2].endswith("- |")


def test_macro_intervals_are_of_draws_within_the_classes_and_wait_for_enough_images() -> None:
    for per_class, has_interval in ((2, False), (19, False), (20, True)):
        evaluation = make_evaluation(seed=3, strength=3, per_class=per_class)
        [found] = numbers_of([make_result("a", evaluation, run_id="a")])
        for name in ("test_macro_precision", "test_macro_recall", "test_macro_f1"):
            number = found.numbers[name]
            assert (number.low is not None) == has_interval
            if number.low is not None and number.high is not None:
                assert number.low <= number.value <= number.high <= 1
        # No interval of a calibration error covers what it says.
        assert found.numbers["test_calibration_error"].low is None
        assert "test_calibration_error" not in found.draws
        # Draws within classes have every class: a macro recall over equal classes is the accuracy.
        if has_interval:
            np.testing.assert_allclose(
                found.draws["test_macro_recall"], found.draws["test_accuracy"], atol=1e-6
            )
