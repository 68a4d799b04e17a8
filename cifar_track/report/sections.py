"""The sections of the page in their order, each with what its template is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cifar_track.comparison import (
    Number,
    attributions,
    logged_numbers,
    seed_rule,
    superclass_recall,
)
from cifar_track.config import CLASS_FIGURES, Place, metrics_at
from cifar_track.report import (
    charts_of_classes,
    charts_of_runs,
    charts_of_training,
    sentences,
)
from cifar_track.report.charts_of_search import search_charts
from cifar_track.report.pictures import strip

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cifar_track.report.analysis import Analysis, PairAnalysis

Context = Mapping[str, Any]

# Each class of each pair is a row of the charts' data; of more pairs those of the best runs.
MOST_PAIRS_BY_CLASS = 15
MOST_IMPROVED = 5
MOST_STUDY_CHARTS = 10
MOST_STRIPS = 10


def _compared(analysis: Analysis, *, notices: Sequence[str], **_: Any) -> Context:
    comparison = analysis.comparison
    images = sorted({len(r.labels) for r in comparison.results if r.labels is not None})
    numbers = [run.numbers.get("test_accuracy") for run in analysis.numbers]
    return {
        "dataset": sentences.dataset_titles(comparison),
        "images": " and ".join(f"{count:,}" for count in images),
        "notices": [*notices, *sentences.notices(comparison)],
        "headline": sentences.headline(comparison),
        "accuracy": charts_of_runs.accuracy_chart(comparison, numbers) if any(numbers) else None,
        "repeats": _repeats(analysis),
    }


def _repeats(analysis: Analysis) -> str:
    """What becomes of the accuracies without the test images that were trained on."""
    told = [
        (label, run.numbers["test_accuracy"].value, run.numbers["test_accuracy_unseen"].value)
        for label, run in zip(analysis.comparison.labels, analysis.numbers, strict=True)
        if {"test_accuracy", "test_accuracy_unseen"} <= set(run.numbers)
    ]
    if not told:
        return ""
    counts = [
        int(result.metric("test_images_seen") or 0)
        for result in analysis.comparison.results
        if result.metric("test_images_seen") is not None
    ]
    most = f"up to {max(counts):,} of them" if counts else "some of them"
    listed = "; ".join(f"{label} {all_:.3f} → {unseen:.3f}" for label, all_, unseen in told)
    return (
        f"Some test images occur, or all but occur, among those trained on ({most}). Accuracy on "
        f"all → without them: {listed}."
    )


def _study(analysis: Analysis, **_: Any) -> Context | None:
    results = analysis.results
    with_classes = {label for label, result in results.items() if result.per_class}
    firsts = [group.labels[0] for group in analysis.groups if group.labels[0] in with_classes]
    if not firsts:
        return None
    charts = [
        charts_of_runs.study_chart(f"study-{n}", label, results[label])
        for n, label in enumerate(firsts[:MOST_STUDY_CHARTS])
    ]
    return {
        "charts": charts,
        "other_seeds": len(with_classes) - len(firsts),
        "left_out": len(firsts) - len(charts),
    }


def _runs(analysis: Analysis, **_: Any) -> Context:
    study = any(result.study for result in analysis.comparison.results)
    return {**_columns([run.numbers for run in analysis.numbers], "page"), "study": study}


def _columns(numbers: Sequence[Mapping[str, Number]], place: Place) -> Context:
    """Of a table with a row of figures for each run, the metrics and the best value of each."""
    shown, best = [], {}
    for metric in metrics_at(place):
        values = [run[metric.name].value for run in numbers if metric.name in run]
        if values:
            shown.append(metric)
        if metric.better != "neither" and len(set(values)) > 1:
            best[metric.name] = max(values) if metric.better == "higher" else min(values)
    return {"numbers": numbers, "metrics": shown, "best": best}


def _pairs(analysis: Analysis, **_: Any) -> Context:
    shown = [m for m in metrics_at("page") if any(m.name in p.differences for p in analysis.pairs)]
    untested = [pair for pair in analysis.comparison.pairs if pair.test is None]
    return {
        "chart": charts_of_runs.pairs_chart(analysis.comparison.pairs) if analysis.pairs else None,
        "verdicts": [
            (p.pair, sentences.judgement(p.pair), sentences.verdict(p.pair)) for p in analysis.pairs
        ],
        "untested": [sentences.verdict(pair) for pair in untested],
        "metrics": [metric for metric in shown if metric.name != "test_accuracy"],
    }


def _seeds(analysis: Analysis, **_: Any) -> Context | None:
    if not any(len(group.accuracies) > 1 for group in analysis.groups):
        return None
    return {
        "chart": charts_of_runs.seeds_chart(analysis.groups),
        "rule": seed_rule(),
        "told": [sentences.seed_sentence(test, analysis.groups) for test in analysis.seed_tests],
    }


def _classes(analysis: Analysis, **_: Any) -> Context | None:
    measured = {label: result for label, result in analysis.results.items() if result.per_class}
    if not measured:
        return None
    by_class = [pair for pair in analysis.pairs if pair.classes is not None]
    pairs = by_class[:MOST_PAIRS_BY_CLASS]
    first = next(iter(measured.values()))
    classes = {pair.name: pair.classes for pair in pairs if pair.classes is not None}
    groups = {pair.name: pair.superclasses for pair in pairs if pair.superclasses is not None}
    return {
        "measured": measured,
        "rows": [dict(row) for row in first.per_class],
        "columns": {
            label: {f.name: result.per_class_figure(f.name) for f in CLASS_FIGURES}
            for label, result in measured.items()
        },
        "pairs": pairs,
        "left_out": len(by_class) - len(pairs),
        "moved": {pair.name: _moved(pair) for pair in pairs},
        "chart": charts_of_classes.differences_chart("classes", classes, kind="class", step=13)
        if classes
        else None,
        "superclass_chart": charts_of_classes.differences_chart(
            "superclasses", groups, kind="superclass", step=18
        )
        if groups
        else None,
        "superclasses": first.superclass_names if len(first.superclass_names) > 1 else (),
        "superclass_recall": {
            label: superclass_recall(result)
            for label, result in measured.items()
            if result.right is not None
        },
    }


def _moved(pair: PairAnalysis) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """The classes that gained and that lost most."""
    found = pair.classes
    assert found is not None
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "difference": float(found.difference[n]),
            "low": float(found.low[n]),
            "high": float(found.high[n]),
            "stands_out": bool(found.stands_out[n]),
        }
        for n, name in enumerate(found.names)
    ]
    rows.sort(key=lambda row: -row["difference"])
    return [
        ("most improved", [row for row in rows[:MOST_IMPROVED] if row["difference"] > 0]),
        ("most worsened", [row for row in rows[::-1][:MOST_IMPROVED] if row["difference"] < 0]),
    ]


def _confusions(
    analysis: Analysis, *, test_images: NDArray[np.uint8] | None, **_: Any
) -> Context | None:
    if not analysis.confusions:
        return None
    labels = list(analysis.judged)
    return {
        "chart": charts_of_classes.confusions_chart(analysis.confusions, labels),
        "labels": labels,
        "strips": [
            "" if test_images is None or n >= MOST_STRIPS else strip(test_images, entry.examples)
            for n, entry in enumerate(analysis.confusions)
        ],
    }


def _together(analysis: Analysis, **_: Any) -> Context | None:
    return {} if analysis.pairs else None


def _training(analysis: Analysis, **_: Any) -> Context:
    cost = charts_of_training.cost_chart(analysis.comparison)
    curves = charts_of_training.curve_charts(analysis.comparison)
    logged = [logged_numbers(result) for result in analysis.comparison.results]
    return {**_columns(logged, "cost"), "charts": [*curves, *([cost] if cost else [])]}


def _settings(analysis: Analysis, **_: Any) -> Context:
    comparison = analysis.comparison
    rows = [row for row in comparison.parameter_rows() if "." in str(row["parameter"])]
    firsts = [group.labels[0] for group in analysis.groups] or list(comparison.labels)
    return {
        "differing": [row for row in rows if row["differs"]],
        "shared": [row for row in rows if not row["differs"]],
        "attributions": attributions([analysis.results[label] for label in firsts], firsts),
    }


def _search(analysis: Analysis, **_: Any) -> Context | None:
    searches = []
    for number, (label, found) in enumerate(analysis.importances.items()):
        search = analysis.results[label].search
        assert search is not None
        charts = search_charts(f"search-{number}", search, found)
        names = dict.fromkeys(name for trial in search.trials for name in trial if "." in name)
        searches.append(
            {
                "label": label,
                "search": search,
                "importances": found,
                "charts": charts,
                "names": list(names),
            }
        )
    return {"searches": searches} if searches else None


SECTIONS: Sequence[tuple[str, str, Callable[..., Context | None]]] = (
    ("compared", "What was compared", _compared),
    ("study", "The first classes, as the study draws them", _study),
    ("runs", "Runs", _runs),
    ("pairs", "More than luck?", _pairs),
    ("seeds", "Seeds", _seeds),
    ("classes", "Classes", _classes),
    ("confusions", "Confusions", _confusions),
    ("together", "Together", _together),
    ("training", "Training", _training),
    ("settings", "Settings that differ", _settings),
    ("search", "Search", _search),
)
# Written first: their charts are drawn while the figures of all the others are worked out.
WITHOUT_FIGURES = ("study", "training")
