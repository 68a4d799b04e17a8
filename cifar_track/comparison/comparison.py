"""Several runs side by side: parameters, metrics, classes, and whether they truly differ."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from cifar_track.comparison.run_result import STUDY, RunResult, number_of, whole_of
from cifar_track.config import CLASS_FIGURES, METRICS, CifarTrackError
from cifar_track.statistics import (
    PairedDifference,
    holm_adjust,
    holm_levels,
    paired_difference,
    tango_interval,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Cell: TypeAlias = int | float | str | bool | None
Row: TypeAlias = dict[str, Cell]

SIGNIFICANCE = 0.05


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two runs on the same test images, or the reason why they cannot be tested.

    Attributes:
        first, second: labels of the runs, as `Comparison.labels` has them.
        test: the paired difference, second less first; None where there is none.
        adjusted_p_value: McNemar's p-value by Holm's adjustment over all tested pairs.
        low, high: Tango's interval of the difference at the level at which Holm's procedure
            judges this pair, so that interval and verdict agree; where the exact test keeps 0
            and the score interval just leaves it out, it is widened to 0.
        confidence: of that interval; 0.95 where one pair is tested alone, more where several are.
        missing: why there is no test; empty where there is one.
    """

    first: str
    second: str
    test: PairedDifference | None
    adjusted_p_value: float | None
    missing: str
    low: float | None = None
    high: float | None = None
    confidence: float | None = None

    @property
    def differs(self) -> bool | None:
        """Whether the two differ by more than luck at 5 %; None where that was not tested."""
        return None if self.adjusted_p_value is None else self.adjusted_p_value < SIGNIFICANCE


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Runs side by side.

    Attributes:
        results: the runs, in the order in which they were given.
        labels: a name for each that no other has: its iteration, with the run's where it must.
        class_names: the classes that all runs with per-class figures share; empty if there are
            no such runs.
        pairs: every two runs, in order.
    """

    results: tuple[RunResult, ...]
    labels: tuple[str, ...]
    class_names: tuple[str, ...]
    pairs: tuple[Pair, ...]

    @property
    def study(self) -> Mapping[str, Mapping[str, float]]:
        """The study's figures by iteration; none where no run is on its images."""
        return STUDY if any(result.on_study_images for result in self.results) else {}

    def metric_rows(self) -> list[Row]:
        """One row a run: what it is, its metrics, and the study's figures; None where missing."""
        present = {name for result in self.results for name in result.metrics}
        with_bounds = [name for m in METRICS.values() for name in (m.name, m.low, m.high)]
        names = [name for name in with_bounds if name in present]
        names += sorted(present.difference(names))
        return [
            {
                "run": label,
                "iteration": result.iteration,
                "name": result.name,
                "run_id": result.run_id,
                "dataset": result.parameters.get("data.dataset"),
                "selection": result.parameters.get("data.selection"),
                "epochs": whole_of(result.parameters.get("training.epochs")),
                **{name: result.metric(name) for name in names},
                "study_accuracy": result.study.get("accuracy"),
                "study_macro_precision": result.study.get("precision"),
                "study_macro_recall": result.study.get("recall"),
                "study_macro_f1": result.study.get("f1"),
            }
            for label, result in zip(self.labels, self.results, strict=True)
        ]

    def parameter_rows(self) -> list[Row]:
        """One row a parameter: `parameter`, `differs`, then its value in each run, None if absent.

        Those that differ come first.
        """
        names = list(dict.fromkeys(name for result in self.results for name in result.parameters))
        rows: list[Row] = []
        for name in names:
            values = [result.parameters.get(name) for result in self.results]
            rows.append(
                {
                    "parameter": name,
                    "differs": len(set(values)) > 1,
                    **dict(zip(self.labels, values, strict=True)),
                }
            )
        return sorted(rows, key=lambda row: not row["differs"])

    def per_class_rows(self) -> list[Row]:
        """One row a class: `class`, `name`, `superclass`, then figures named `f1 <run>` and so on.

        Empty where no run has per-class figures.
        """
        described = next((r.per_class for r in self.results if r.per_class), ())
        columns = {
            f"{figure.name} {label}": (
                result.per_class_figure(figure.name) if result.per_class else None
            )
            for figure in CLASS_FIGURES
            for label, result in zip(self.labels, self.results, strict=True)
        }
        return [
            {
                "class": number,
                "name": str(row["name"]),
                "superclass": str(row.get("superclass", "")),
                **{
                    column: None if values is None else number_of(values[number])
                    for column, values in columns.items()
                },
            }
            for number, row in enumerate(described)
        ]

    def pair_rows(self) -> list[Row]:
        """One row for every two runs: the paired counts, the difference, its interval, the test."""
        rows: list[Row] = []
        for pair in self.pairs:
            test = pair.test
            rows.append(
                {
                    "first": pair.first,
                    "second": pair.second,
                    "images": test.images if test else None,
                    "both_right": test.both_right if test else None,
                    "only_first_right": test.only_first_right if test else None,
                    "only_second_right": test.only_second_right if test else None,
                    "both_wrong": test.both_wrong if test else None,
                    "accuracy_difference": test.difference if test else None,
                    "difference_low": pair.low,
                    "difference_high": pair.high,
                    "confidence": pair.confidence,
                    "mcnemar_p": test.p_value if test else None,
                    "mcnemar_p_holm": pair.adjusted_p_value,
                    "differs": pair.differs,
                    "missing": pair.missing,
                }
            )
        return rows


def compare(results: Sequence[RunResult]) -> Comparison:
    """Put runs side by side and test every two that judged the same images.

    Args:
        results: at least one run, each once; runs may lack metrics, per-class figures or
            predictions.

    Raises:
        CifarTrackError: there is no run, one comes twice, or two have different classes.
    """
    if not results:
        raise CifarTrackError("no run to compare; finish one first, as by `mlflow run . -e train`")
    twice = [run_id for run_id, count in Counter(r.run_id for r in results).items() if count > 1]
    if twice:
        raise CifarTrackError(f"run {twice[0]} is given twice; name each run once")
    labels = _unique_labels(results)
    return Comparison(
        results=tuple(results),
        labels=labels,
        class_names=_shared_class_names(results, labels),
        pairs=_test_pairs(results, labels),
    )


def _unique_labels(results: Sequence[RunResult]) -> tuple[str, ...]:
    """The iteration alone where that tells the runs apart, else with seed, name or id."""
    choices = [
        (
            r.iteration or r.name or r.run_id,
            f"{r.iteration} seed {r.parameters.get('training.seed', '?')}",
            f"{r.iteration} {r.name}",
            f"{r.iteration} {r.run_id[:8]}",
        )
        for r in results
    ]
    # What could stand for two runs stands for neither.
    claims = Counter(text for texts in choices for text in set(texts))
    return tuple(
        next((text for text in texts if claims[text] == 1), f"{r.iteration} {r.run_id}")
        for texts, r in zip(choices, results, strict=True)
    )


def _shared_class_names(results: Sequence[RunResult], labels: tuple[str, ...]) -> tuple[str, ...]:
    with_classes = [(lb, r) for lb, r in zip(labels, results, strict=True) if r.per_class]
    if not with_classes:
        return ()
    first_label, first = with_classes[0]
    for label, result in with_classes[1:]:
        if result.class_names != first.class_names:
            raise CifarTrackError(
                f"runs {first_label!r} ({first.run_id}) and {label!r} ({result.run_id}) have "
                "different classes; compare runs on one dataset"
            )
    return first.class_names


def _test_pairs(results: Sequence[RunResult], labels: tuple[str, ...]) -> tuple[Pair, ...]:
    tests: list[tuple[str, str, PairedDifference | None, str]] = []
    for (first_label, first), (second_label, second) in combinations(
        zip(labels, results, strict=True), 2
    ):
        missing = _why_untested(first, first_label) or _why_untested(second, second_label)
        if not missing and (
            first.test_digest != second.test_digest
            or not np.array_equal(_array(first.labels), _array(second.labels))
        ):
            missing = "the two were tested on different images"
        test = None
        if not missing:
            truth = _array(first.labels)
            test = paired_difference(
                _array(first.predictions) == truth, _array(second.predictions) == truth
            )
        tests.append((first_label, second_label, test, missing))
    p_values = [test.p_value for _, _, test, _ in tests if test]
    judged = iter(
        zip(holm_adjust(p_values), holm_levels(p_values, level=SIGNIFICANCE), strict=True)
    )
    return tuple(
        Pair(first=first, second=second, test=None, adjusted_p_value=None, missing=missing)
        if test is None
        else _judged_pair(first, second, test, *next(judged))
        for first, second, test, missing in tests
    )


def _judged_pair(
    first: str, second: str, test: PairedDifference, adjusted: float, level: float
) -> Pair:
    low, high = tango_interval(
        test.only_first_right, test.only_second_right, test.images, confidence=1 - level
    )
    if adjusted >= SIGNIFICANCE:
        low, high = min(low, 0.0), max(high, 0.0)
    return Pair(
        first=first,
        second=second,
        test=test,
        adjusted_p_value=adjusted,
        missing="",
        low=low,
        high=high,
        confidence=1 - level,
    )


def _why_untested(result: RunResult, label: str) -> str:
    if result.labels is None or result.predictions is None or len(result.labels) == 0:
        return f"{label} has no predictions"
    if np.shape(result.labels) != np.shape(result.predictions):
        return f"{label} has another number of predictions than of labels"
    return ""


def _array(values: NDArray[np.int64] | None) -> NDArray[np.int64]:
    return np.asarray(values)
