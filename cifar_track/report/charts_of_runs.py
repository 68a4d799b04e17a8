"""Charts of what the runs reached: accuracy, the study's bars, pairs and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import altair as alt

from cifar_track.config import CLASS_FIGURES, FIRST_CLASSES
from cifar_track.report.chart import (
    FAINT,
    GIVEN_NAMES,
    INK,
    MAYBE_LUCK,
    MORE_THAN_LUCK,
    ROWS,
    WIDTH,
    Chart,
    run_scale,
    zero_line,
)

if TYPE_CHECKING:
    from cifar_track.comparison import Comparison, Number, Pair, RunResult, SeedGroup

MOST_PAIRS_DRAWN = 30


def accuracy_chart(comparison: Comparison, numbers: Sequence[Number | None]) -> Chart:
    """Test accuracy of every run with its interval, and the study's own figure beside it."""
    rows = [
        {
            "run": label,
            "accuracy": number.value,
            "low": number.low,
            "high": number.high,
            "study": result.study.get("accuracy"),
        }
        for label, result, number in zip(
            comparison.labels, comparison.results, numbers, strict=True
        )
        if number is not None
    ]
    highest = max((number.high or number.value for number in numbers if number), default=0.1)
    base = alt.Chart(ROWS).encode(y=alt.Y("run:N", sort=None, title=None, axis=GIVEN_NAMES))
    colour = alt.Color("run:N", scale=run_scale(comparison.labels), legend=None)
    x = alt.X(
        "accuracy:Q",
        title="test accuracy, 95 % interval",
        scale=alt.Scale(domain=[0, min(1.0, max(1.12 * highest, 0.5))]),
    )
    layers = [
        base.mark_rule(strokeWidth=3).encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"), color=colour),
        base.mark_point(filled=True, size=90, opacity=1).encode(
            x=x,
            color=colour,
            tooltip=[
                alt.Tooltip("run:N"),
                alt.Tooltip("accuracy:Q", format=".4f"),
                alt.Tooltip("low:Q", format=".4f"),
                alt.Tooltip("high:Q", format=".4f"),
            ],
        ),
        # Beside the chart, where neither an interval nor the study's figure crosses it.
        base.mark_text(align="left", dx=8, fontWeight=600).encode(
            x=alt.value("width"), text=alt.Text("accuracy:Q", format=".3f")
        ),
    ]
    caption = "A dot is a run's share of test images it is right about; the line its 95 % interval."
    if any(row["study"] is not None for row in rows):
        layers.append(
            base.transform_filter("isValid(datum.study)")
            .mark_tick(color=INK, thickness=2.5, size=20)
            .encode(x=alt.X("study:Q"), tooltip=[alt.Tooltip("study:Q", title="the study")])
        )
        caption += " The upright stroke is the study's own figure for that iteration."
    return Chart(
        name="accuracy",
        chart=alt.layer(*layers).properties(
            width=WIDTH,
            height=alt.Step(34),
            # Room for the figures at the side where a font is wider than the picture's own.
            padding={"left": 5, "top": 5, "right": 16, "bottom": 5},
        ),
        rows=rows,
        alt="Test accuracy with its 95 % interval: "
        + "; ".join(f"{row['run']} {row['accuracy']:.3f}" for row in rows),
        caption=caption,
    )


def study_chart(name: str, label: str, result: RunResult) -> Chart:
    """Precision, recall and F1 of the first classes as the study draws them."""
    first = result.per_class[:FIRST_CLASSES]
    columns = {figure.name: result.per_class_figure(figure.name) for figure in CLASS_FIGURES}
    rows = [
        {
            "class": str(row["name"]).replace("_", " "),
            "figure": figure.label,
            "value": round(float(columns[figure.name][number]), 4),
        }
        for number, row in enumerate(first)
        for figure in CLASS_FIGURES
    ]
    scale = alt.Scale(
        domain=[figure.label for figure in CLASS_FIGURES],
        range=[f"var(--{figure.name})" for figure in CLASS_FIGURES],
    )
    chart = (
        alt.Chart(ROWS, title=label)
        .mark_bar()
        .encode(
            x=alt.X("class:N", sort=None, title=None, axis=alt.Axis(labelAngle=-40)),
            xOffset=alt.XOffset("figure:N", sort=None),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("figure:N", scale=scale, sort=None, legend=alt.Legend(columns=3)),
            tooltip=[
                alt.Tooltip("class:N"),
                alt.Tooltip("figure:N"),
                alt.Tooltip("value:Q", format=".3f"),
            ],
        )
        .properties(width=WIDTH, height=150)
    )
    return Chart(
        name=name,
        chart=chart,
        rows=rows,
        alt=f"Precision, recall and F1 of {label} on the first {len(first)} classes: "
        + "; ".join(f"{row['class']} F1 {row['value']:.2f}" for row in rows[2::3]),
        caption="",
    )


def pairs_chart(pairs: Sequence[Pair]) -> Chart:
    """The difference in accuracy of every two runs, with the interval that fits the verdict."""
    tested = [pair for pair in pairs if pair.test is not None]
    shown = sorted(tested, key=lambda pair: -abs(pair.test.difference if pair.test else 0))
    rows = [
        {
            "pair": f"{pair.second} − {pair.first}",
            "difference": 100 * pair.test.difference,
            "low": 100 * (pair.low or 0.0),
            "high": 100 * (pair.high or 0.0),
            "verdict": "more than luck" if pair.differs else "could be luck",
        }
        for pair in shown[:MOST_PAIRS_DRAWN]
        if pair.test is not None
    ]
    verdicts = ["more than luck", "could be luck"]
    base = alt.Chart(ROWS).encode(y=alt.Y("pair:N", sort=None, title=None, axis=GIVEN_NAMES))
    colour = alt.Color(
        "verdict:N", scale=alt.Scale(domain=verdicts, range=[MORE_THAN_LUCK, MAYBE_LUCK])
    )
    x = alt.X("difference:Q", title="percentage points of the test images")
    chart = alt.layer(
        zero_line(),
        base.mark_rule(strokeWidth=2.5).encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"), color=colour),
        base.mark_point(size=80, filled=True, opacity=1).encode(
            x=x,
            color=colour,
            shape=alt.Shape(
                "verdict:N", scale=alt.Scale(domain=verdicts, range=["circle", "diamond"])
            ),
            tooltip=[
                alt.Tooltip("pair:N"),
                alt.Tooltip("difference:Q", format="+.2f"),
                alt.Tooltip("low:Q", format="+.2f"),
                alt.Tooltip("high:Q", format="+.2f"),
                alt.Tooltip("verdict:N"),
            ],
        ),
    ).properties(width=WIDTH, height=alt.Step(26))
    left_out = len(tested) - len(rows)
    return Chart(
        name="pairs",
        chart=chart,
        rows=rows,
        alt="Difference in test accuracy of every two runs, in percentage points: "
        + "; ".join(f"{row['pair']} {row['difference']:+.1f}, {row['verdict']}" for row in rows),
        caption="Second run less first, with its interval adjusted for the number of pairs."
        + (f" The {left_out} smallest differences are in the words alone." if left_out else ""),
    )


def seeds_chart(groups: Sequence[SeedGroup]) -> Chart:
    """Each seed's accuracy as a dot, with the group's mean and deviation."""
    rows = [
        {
            "group": group.name,
            "seed": seed,
            "accuracy": accuracy,
            "mean": group.mean,
            "low": group.mean - (group.deviation or 0),
            "high": group.mean + (group.deviation or 0),
        }
        for group in groups
        for seed, accuracy in zip(group.seeds, group.accuracies, strict=True)
    ]
    base = alt.Chart(ROWS).encode(y=alt.Y("group:N", sort=None, title=None, axis=GIVEN_NAMES))
    chart = alt.layer(
        base.mark_rule(color=FAINT, strokeWidth=2).encode(x=alt.X("low:Q"), x2=alt.X2("high:Q")),
        base.mark_tick(color=INK, thickness=2.5, size=22).encode(
            x=alt.X("mean:Q"), tooltip=[alt.Tooltip("group:N"), alt.Tooltip("mean:Q", format=".4f")]
        ),
        base.mark_point(size=70, strokeWidth=2, color="var(--run-0)", opacity=1).encode(
            x=alt.X("accuracy:Q", title="test accuracy of each seed", scale=alt.Scale(zero=False)),
            tooltip=[
                alt.Tooltip("group:N"),
                alt.Tooltip("seed:N"),
                alt.Tooltip("accuracy:Q", format=".4f"),
            ],
        ),
    ).properties(width=WIDTH, height=alt.Step(34))
    return Chart(
        name="seeds",
        chart=chart,
        rows=rows,
        alt="Test accuracy of each seed by group: "
        + "; ".join(f"{g.name} mean {g.mean:.3f} of {len(g.accuracies)}" for g in groups),
        caption="A ring is one seed; the stroke the mean, the line one standard deviation "
        "either way.",
    )
