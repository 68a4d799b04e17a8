"""Charts by class: how any two runs differ, and what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import altair as alt

from cifar_track.report.chart import (
    FAINT,
    MAYBE_LUCK,
    MORE_THAN_LUCK,
    ROWS,
    WIDTH,
    Chart,
    run_scale,
    shape_scale,
    zero_line,
)

if TYPE_CHECKING:
    from cifar_track.comparison import Confusion, GroupDifferences

PAIR = "pair"  # the signal that the page's choice of two runs sets


def differences_chart(
    name: str, by_pair: Mapping[str, GroupDifferences], *, kind: str, step: int
) -> Chart:
    """The signed difference of each class or superclass, of the pair that is chosen.

    Args:
        name: the chart's identifier.
        by_pair: of every two runs, by the pair's name; the first is shown at first.
        kind: `class` or `superclass`.
        step: the height of a row in pixels.
    """
    chosen, first = next(iter(by_pair.items()))
    rows = [
        {
            PAIR: number,
            kind: group.replace("_", " "),
            "difference": round(100 * float(found.difference[n]), 2),
            "low": round(100 * float(found.low[n]), 2),
            "high": round(100 * float(found.high[n]), 2),
            **({"clear": 1} if found.stands_out[n] else {}),
        }
        for number, found in enumerate(by_pair.values())
        for n, group in enumerate(found.names)
    ]
    verdicts = ["more than noise", "could be noise"]
    base = (
        alt.Chart(ROWS)
        .transform_filter(f"datum.{PAIR} === {PAIR}")
        .transform_calculate(noise=f"datum.clear ? '{verdicts[0]}' : '{verdicts[1]}'")
        .encode(
            y=alt.Y(
                f"{kind}:N", sort=alt.EncodingSortField("difference", order="descending"),
                title=None,
            )
        )
    )  # fmt: skip
    colour = alt.Color(
        "noise:N", scale=alt.Scale(domain=verdicts, range=[MORE_THAN_LUCK, MAYBE_LUCK])
    )
    chart = (
        alt.layer(
            zero_line(),
            base.mark_rule(strokeWidth=1.6).encode(
                x=alt.X("low:Q"), x2=alt.X2("high:Q"), color=colour
            ),
            base.mark_point(size=46, filled=True, opacity=1).encode(
                x=alt.X(
                    "difference:Q", title="percentage points of its images",
                    axis=alt.Axis(orient="top"),
                ),
                color=colour,
                shape=alt.Shape(
                    "noise:N", scale=alt.Scale(domain=verdicts, range=["circle", "diamond"])
                ),
                tooltip=[
                    alt.Tooltip(f"{kind}:N"),
                    alt.Tooltip("difference:Q", format="+.1f"),
                    alt.Tooltip("low:Q", format="+.1f"),
                    alt.Tooltip("high:Q", format="+.1f"),
                    alt.Tooltip("noise:N"),
                ],
            ),
        )
        .add_params(alt.param(name=PAIR, value=0))
        .properties(width=WIDTH - 40, height=alt.Step(step))
    )  # fmt: skip
    plural = f"{kind}es" if kind.endswith("s") else f"{kind}s"
    return Chart(
        name=name,
        chart=chart,
        rows=rows,
        alt=f"Difference of each {kind}, {chosen}: {first.sentence(plural)}",
        caption=f"Second run less first on the images of each {kind}, with Tango's 95 % interval.",
        control=PAIR,
    )


def confusions_chart(confusions: Sequence[Confusion], labels: Sequence[str]) -> Chart:
    """How often each run takes a class for another."""
    rows = [
        {
            "confusion": f"{_spoken(c.true)} → {_spoken(c.predicted)}",
            "run": label,
            "percent": round(100 * count / max(c.support, 1), 2),
            "images": count,
        }
        for c in confusions
        for label, count in zip(labels, c.counts, strict=True)
    ]
    base = alt.Chart(ROWS).encode(y=alt.Y("confusion:N", sort=None, title=None))
    chart = alt.layer(
        base.mark_rule(color=FAINT).encode(x=alt.X("min(percent):Q"), x2=alt.X2("max(percent):Q")),
        base.mark_point(size=70, filled=True, opacity=0.9).encode(
            x=alt.X("percent:Q", title="percent of the true class's images"),
            color=alt.Color("run:N", scale=run_scale(labels), sort=None),
            shape=alt.Shape("run:N", scale=shape_scale(labels), sort=None),
            tooltip=[
                alt.Tooltip("confusion:N"),
                alt.Tooltip("run:N"),
                alt.Tooltip("images:Q"),
                alt.Tooltip("percent:Q", format=".1f"),
            ],
        ),
    ).properties(width=WIDTH - 60, height=alt.Step(22))
    return Chart(
        name="confusions",
        chart=chart,
        rows=rows,
        alt="How often each run takes one class for another, the most frequent first: "
        + "; ".join(f"{c.true} for {c.predicted} up to {max(c.counts)}" for c in confusions[:6]),
        caption="The most frequent mistakes of all runs together, true class → predicted class.",
    )


def _spoken(name: str) -> str:
    return name.replace("_", " ")
