"""Charts of the training: accuracy and loss by epoch, and what accuracy took."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt

from cifar_track.report.chart import (
    ROWS,
    WIDTH,
    Chart,
    epoch_axis,
    run_scale,
    shape_scale,
    zooming,
)

if TYPE_CHECKING:
    from cifar_track.comparison import Comparison


def curve_charts(comparison: Comparison) -> list[Chart]:
    """Accuracy and loss by epoch, the runs laid over each other."""
    charts = []
    for metric in ("accuracy", "loss"):
        rows = [
            {"run": label, "epoch": epoch, "images": images, "value": round(values[key], 5)}
            for label, result in zip(comparison.labels, comparison.results, strict=True)
            for epoch, values in enumerate(result.history, start=1)
            for images, key in (("validation", f"val_{metric}"), ("training", f"train_{metric}"))
            if key in values
        ]
        if not rows:
            continue
        chosen = alt.selection_point(fields=["run"], bind="legend")
        longest = max(int(str(row["epoch"])) for row in rows)
        line = (
            alt.Chart(ROWS)
            .mark_line(point=alt.OverlayMarkDef(size=28) if longest <= 30 else False)
            .encode(
                x=alt.X("epoch:Q", axis=epoch_axis(longest)),
                y=alt.Y("value:Q", title=metric, scale=alt.Scale(zero=metric == "accuracy")),
                color=alt.Color("run:N", scale=run_scale(comparison.labels), sort=None),
                strokeDash=alt.StrokeDash(
                    "images:N",
                    scale=alt.Scale(domain=["validation", "training"], range=[[1, 0], [3, 3]]),
                ),
                opacity=alt.condition(chosen, alt.value(1), alt.value(0.15)),
                tooltip=[
                    alt.Tooltip("run:N"),
                    alt.Tooltip("epoch:Q"),
                    alt.Tooltip("images:N"),
                    alt.Tooltip("value:Q", format=".4f"),
                ],
            )
            .add_params(chosen, zooming())
            .properties(width=WIDTH, height=230)
        )
        last = [
            f"{label} {result.history[-1][f'val_{metric}']:.3f}"
            for label, result in zip(comparison.labels, comparison.results, strict=True)
            if result.history and f"val_{metric}" in result.history[-1]
        ]
        charts.append(
            Chart(
                name=f"curves-{metric}",
                chart=line,
                rows=rows,
                alt=f"{metric.capitalize()} by epoch of each run; validation at the end: "
                + "; ".join(last),
                caption="Solid: validation. Dashed: training images, as they were trained on. A "
                "click on a run's name in the legend shows it alone.",
            )
        )
    return charts


def cost_chart(comparison: Comparison) -> Chart | None:
    """Accuracy against the processor time of the fit."""
    rows = [
        {
            "run": label,
            "seconds": result.metric("fit_cpu_seconds") or result.metric("fit_seconds"),
            "accuracy": result.metric("test_accuracy"),
            "parameters": result.metric("parameters"),
        }
        for label, result in zip(comparison.labels, comparison.results, strict=True)
        if result.metric("test_accuracy") is not None
        and (result.metric("fit_cpu_seconds") or result.metric("fit_seconds"))
    ]
    if not rows:
        return None
    chart = (
        alt.Chart(ROWS)
        .mark_point(size=110, filled=True, opacity=1)
        .encode(
            x=alt.X(
                "seconds:Q",
                title="CPU seconds of the fit (logarithmic)",
                scale=alt.Scale(type="log", padding=24),
                axis=alt.Axis(tickCount=5, format=",d"),
            ),
            y=alt.Y("accuracy:Q", title="test accuracy", scale=alt.Scale(zero=False, padding=14)),
            color=alt.Color("run:N", scale=run_scale(comparison.labels), sort=None),
            shape=alt.Shape("run:N", scale=shape_scale(comparison.labels), sort=None),
            tooltip=[
                alt.Tooltip("run:N"),
                alt.Tooltip("seconds:Q", format=",.0f"),
                alt.Tooltip("accuracy:Q", format=".4f"),
                alt.Tooltip("parameters:Q", format=",d"),
            ],
        )
        .add_params(zooming())
        .properties(width=WIDTH, height=230)
    )
    return Chart(
        name="cost",
        chart=chart,
        rows=rows,
        alt="Test accuracy against CPU seconds of the fit: "
        + "; ".join(f"{r['run']} {r['accuracy']:.3f} in {r['seconds']:,.0f} s" for r in rows),
        caption="Up is better, left is cheaper. A search's trials are not in its refit's time.",
    )
